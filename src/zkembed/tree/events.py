"""What a watch tells, and what it is made from.

``Change`` is what ``Tree.apply`` reports of one znode; ``WatchedEvent`` is what an application sees. Events are made from
changes only where somebody watches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import Enum
from typing import NamedTuple

from attrs import field, frozen

from ..zxid import to_hex
from .stat import Stat, Znode
from .znode import TreeNode


class EventKind(Enum):
    """CREATED to CHILDREN_CHANGED as in ZooKeeper.

    OVERFLOW: a slow reader's events were dropped.  GAP: changes were not seen. After these two: read anew.
    """

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4
    OVERFLOW = 5
    GAP = 6


@frozen
class WatchedEvent:
    """A change that a watch saw (C12).

    zxid: of the entry that made it.  data, stat: after the change; None where the znode was deleted.  previous: before it,
    None where there was none. CHILDREN_CHANGED is about the parent; data and stat are the parent's.
    """

    kind: EventKind
    path: str
    zxid: int = field(repr=to_hex)
    data: bytes | None = None
    stat: Stat | None = None
    previous: Znode | None = None


class Change(NamedTuple):
    """One step of an entry, in the order in which ZooKeeper triggers watches: a child's before its parent's.

    Every znode that an entry writes appears here, so an entry is undone by putting each ``before`` back, last first.
    """

    kind: EventKind
    path: str
    before: TreeNode | None
    after: TreeNode | None

    def event(self, zxid: int) -> WatchedEvent:
        before, after = self.before, self.after
        return WatchedEvent(
            self.kind,
            self.path,
            zxid,
            None if after is None else after.data,
            None if after is None else after.stat(),
            None if before is None else before.znode(),
        )


class Removal(NamedTuple):
    """Siblings that one entry deleted, in order. parent: the path of theirs, ``before`` it lost them.  nodes: by path, as they were."""

    parent: str
    before: TreeNode
    nodes: dict[str, TreeNode]
    zxid: int

    def changes(self) -> Iterator[Change]:
        parent = self.before
        for path, node in self.nodes.items():
            after = parent.without_child(self.zxid)
            yield Change(EventKind.DELETED, path, node, None)
            yield Change(EventKind.CHILDREN_CHANGED, self.parent, parent, after)
            parent = after


class Removals(Collection[Change]):
    """The changes of an entry that closed sessions, made only when somebody looks: there may be very many, and mostly nobody does."""

    __slots__ = ("removals",)

    def __init__(self, removals: tuple[Removal, ...]) -> None:
        self.removals = removals

    def __len__(self) -> int:
        return 2 * sum(len(removal.nodes) for removal in self.removals)

    def __iter__(self) -> Iterator[Change]:
        for removal in self.removals:
            yield from removal.changes()

    def __contains__(self, change: object) -> bool:
        return any(change == each for each in self)
