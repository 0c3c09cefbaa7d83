"""Who wants to be told of what: the table of watches of one replica.

A watcher is any hashable value; what it means is its owner's business. Nothing is delivered here: ``trigger`` says which
watcher is due which event, in order, in the step that applied the change, so that the owner can deliver it before the new state
can be read (C4). Watches are local and volatile; they have no part in the replicated state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from enum import IntEnum
from itertools import chain
from typing import TypeAlias

from ..errors import InternalError, LimitReachedError
from .events import Change, EventKind, Removal, Removals, WatchedEvent
from .path import ROOT, parent_of
from .tree import Applied
from .znode import TreeNode


class WatchMode(IntEnum):
    """DATA, EXISTS and CHILDREN fire once, as set by ZooKeeper's getData, exists and getChildren; the others stay (C8)."""

    DATA = 1
    EXISTS = 2
    CHILDREN = 3
    PERSISTENT = 4
    RECURSIVE = 5


# Watchers of one replica (G8). An application that reaches it has lost track of its watches.
WATCHERS_MAX = 1_000_000

Due: TypeAlias = list[tuple[Hashable, WatchedEvent]]
Lookup: TypeAlias = Callable[[str], TreeNode | None]
_Table: TypeAlias = dict[str, dict[Hashable, None]]

_ONE_SHOT = (WatchMode.DATA, WatchMode.EXISTS, WatchMode.CHILDREN)
# Which watches of the very path a change concerns, in ZooKeeper's order. Recursive ones are looked up along the path.
_CONCERNED: dict[EventKind, tuple[WatchMode, ...]] = {
    EventKind.CREATED: (WatchMode.DATA, WatchMode.EXISTS, WatchMode.PERSISTENT),
    EventKind.DATA_CHANGED: (WatchMode.DATA, WatchMode.EXISTS, WatchMode.PERSISTENT),
    EventKind.DELETED: (WatchMode.DATA, WatchMode.EXISTS, WatchMode.CHILDREN, WatchMode.PERSISTENT),
    EventKind.CHILDREN_CHANGED: (WatchMode.CHILDREN, WatchMode.PERSISTENT),
}


class Watches:
    """One table for each mode: path -> watchers, in the order in which they were set."""

    def __init__(self) -> None:
        # Invariant: no path without watchers, no watcher without watches; both sides say the same.
        self._tables: dict[WatchMode, _Table] = {mode: {} for mode in WatchMode}
        self._watchers: dict[Hashable, dict[tuple[WatchMode, str], None]] = {}

    def __len__(self) -> int:
        """How many watches are set."""
        return sum(map(len, self._watchers.values()))

    def __iter__(self) -> Iterator[Hashable]:
        """Every watcher that has a watch left."""
        return iter(tuple(self._watchers))

    def __contains__(self, watcher: object) -> bool:
        """Whether the watcher has any watch left."""
        return watcher in self._watchers

    def add(self, watcher: Hashable, path: str, mode: WatchMode) -> None:
        """Set a watch; setting it twice is the same as once.

        The caller sets DATA and CHILDREN only on znodes that exist (C2); EXISTS may be on one that does not. Raises
        LimitReachedError beyond WATCHERS_MAX watchers.
        """
        if len(self._watchers) >= WATCHERS_MAX and watcher not in self._watchers:
            raise LimitReachedError(f"watch {path!r}: {WATCHERS_MAX} watchers are set already")
        self._tables[mode].setdefault(path, {})[watcher] = None
        self._watchers.setdefault(watcher, {})[mode, path] = None

    def remove(self, watcher: Hashable) -> bool:
        """Drop all watches of this watcher; whether there were any (C10)."""
        watches = self._watchers.pop(watcher, None)
        if watches is None:
            return False
        for mode, path in watches:
            self._drop(mode, path, watcher)
        return True

    def trigger(self, applied: Applied) -> Due:
        """Who is to be told what of one applied record, in the order of its changes (C4, C12). One-shot watches are used up."""
        if not self._watchers or not applied.changes:
            return []
        due: Due = []
        for change in self._of_interest(applied.changes):
            kind, path, _, _ = change
            watchers = self._fire(kind, path)
            if watchers:
                event = change.event(applied.zxid)
                due.extend((watcher, event) for watcher in watchers)
        return due

    def jump(self, old: Lookup, new: Lookup, zxid: int) -> Due:
        """The state was replaced by a later one, at ``zxid``, and what lay between was not seen (W1).

        One-shot watches whose znode differs fire now, as with ZooKeeper's setWatches; each persistent one is told GAP.
        """
        due: Due = []
        told: set[tuple[Hashable, str, EventKind]] = set()
        for mode in WatchMode:
            for path, watchers in list(self._tables[mode].items()):
                before, after = old(path), new(path)
                kind = _difference(mode, before, after)
                if kind is None:
                    continue
                event = _jump_event(kind, path, zxid, before, after)
                for watcher in list(watchers):
                    if mode in _ONE_SHOT:
                        self._use_up(mode, path, watcher)
                    if (watcher, path, kind) not in told:
                        told.add((watcher, path, kind))
                        due.append((watcher, event))
        return due

    def _of_interest(self, changes: Collection[Change]) -> Iterable[Change]:
        """Siblings that were deleted together are looked at one by one only if a watch concerns any of them: there may be very many."""
        if not isinstance(changes, Removals):
            return changes
        return chain.from_iterable(removal.changes() for removal in changes.removals if self._concerned_by(removal))

    def _concerned_by(self, removal: Removal) -> bool:
        tables = self._tables
        if removal.parent in tables[WatchMode.CHILDREN] or removal.parent in tables[WatchMode.PERSISTENT]:
            return True
        if not all(table.keys().isdisjoint(removal.nodes.keys()) for table in tables.values()):
            return True
        recursive = tables[WatchMode.RECURSIVE]
        return any(above in recursive for above in _upwards(removal.parent))

    def _fire(self, kind: EventKind, path: str) -> dict[Hashable, None]:
        """Whom a change concerns, each once, also if it watches both data and children of what was deleted (C5)."""
        found: dict[Hashable, None] = {}
        for mode in _CONCERNED[kind]:
            watchers = self._tables[mode].get(path)
            if watchers:
                found.update(watchers)
                if mode in _ONE_SHOT:
                    for watcher in list(watchers):
                        self._use_up(mode, path, watcher)
        recursive = self._tables[WatchMode.RECURSIVE]
        if recursive and kind is not EventKind.CHILDREN_CHANGED:
            for above in _upwards(path):
                found.update(recursive.get(above, {}))
        return found

    def _use_up(self, mode: WatchMode, path: str, watcher: Hashable) -> None:
        self._drop(mode, path, watcher)
        watches = self._watchers[watcher]
        del watches[mode, path]
        if not watches:
            del self._watchers[watcher]

    def _drop(self, mode: WatchMode, path: str, watcher: Hashable) -> None:
        watchers = self._tables[mode][path]
        del watchers[watcher]
        if not watchers:
            del self._tables[mode][path]

    def check_invariants(self) -> None:
        listed = {(watcher, mode, path) for watcher, watches in self._watchers.items() for mode, path in watches}
        tabled = {(watcher, mode, path) for mode, table in self._tables.items() for path, watchers in table.items() for watcher in watchers}
        if listed != tabled:
            raise InternalError(f"{len(listed ^ tabled)} watches are known to one side only")
        if not all(self._watchers.values()) or not all(all(table.values()) for table in self._tables.values()):
            raise InternalError("an empty entry in the table of watches")


def _upwards(path: str) -> Iterator[str]:
    """The path itself and all above it, up to the root."""
    while path != ROOT:
        yield path
        path = parent_of(path)
    yield ROOT


def _difference(mode: WatchMode, before: TreeNode | None, after: TreeNode | None) -> EventKind | None:
    """What a watch would be told that sees only the two states; None: nothing that concerns it differs."""
    if mode not in _ONE_SHOT:
        return EventKind.GAP
    if before is None:
        return None if after is None else EventKind.CREATED
    if after is None:
        return EventKind.DELETED
    # A znode deleted and created anew differs too: all its zxids are later ones.
    if mode is WatchMode.CHILDREN:
        return EventKind.CHILDREN_CHANGED if before.pzxid != after.pzxid else None
    return EventKind.DATA_CHANGED if before.mzxid != after.mzxid else None


def _jump_event(kind: EventKind, path: str, zxid: int, before: TreeNode | None, after: TreeNode | None) -> WatchedEvent:
    if kind is EventKind.GAP:
        return WatchedEvent(kind, path, zxid)
    return WatchedEvent(
        kind,
        path,
        zxid,
        None if after is None else after.data,
        None if after is None else after.stat(),
        None if before is None else before.znode(),
    )
