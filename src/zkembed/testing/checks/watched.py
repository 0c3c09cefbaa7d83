"""One watch as the checkers see it: what it must be told next, by the reference alone.

Rows C1 to C8 of docs/semantics.md: a one-shot watch is told of the first change that concerns it and of no other, a stream of every
one, and whoever's state jumps over changes of what differs (one-shot) or GAP (streams).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from ..history import WatchFired
from ..plain.znode import Change, Znode
from ..reference import Reference

ONE_SHOT = frozenset({"DATA", "EXISTS", "CHILDREN"})
_ALL = frozenset({"CREATED", "DELETED", "DATA_CHANGED", "CHILDREN_CHANGED"})
_CONCERNED: dict[str, frozenset[str]] = {
    "DATA": frozenset({"CREATED", "DELETED", "DATA_CHANGED"}),
    "EXISTS": frozenset({"CREATED", "DELETED", "DATA_CHANGED"}),
    "CHILDREN": frozenset({"DELETED", "CHILDREN_CHANGED"}),
    "PERSISTENT": _ALL,
    "RECURSIVE": _ALL - {"CHILDREN_CHANGED"},
}


def _zxid(change: Change) -> int:
    return change.zxid


class Jump(NamedTuple):
    """before, after: zxids.  told: what the watch is told of it; None: nothing that concerns it differs."""

    before: int
    after: int
    told: Change | None


class Registration:
    """One path and mode of a watch. zxid: of the state in which it was set; it is told of what lies behind."""

    __slots__ = ("_cursor", "_jumps", "_kinds", "_prefix", "_reference", "_source", "mode", "path")

    def __init__(self, reference: Reference, path: str, mode: str, zxid: int) -> None:
        self._reference = reference
        self.path = path
        self.mode = mode
        self._kinds = _CONCERNED[mode]
        self._prefix = "/" if path == "/" else path + "/"
        self._source = reference.changes if mode == "RECURSIVE" else reference.changes_of(path)
        self._cursor = 0
        self._jumps: list[Jump] = []
        self.skip(zxid)

    def skip(self, zxid: int) -> None:
        """Nothing up to there will be told."""
        self._cursor = max(self._cursor, bisect_right(self._source, zxid, key=_zxid))
        self._jumps = [jump for jump in self._jumps if jump.after > zxid]

    def due(self) -> Change | None:
        """The first that is to be told and was not; None: nothing so far."""
        change = self._next()
        while self._jumps and (change is None or change.zxid > self._jumps[0].before):
            jump = self._jumps[0]
            if jump.told is not None:
                return jump.told
            self.skip(jump.after)
            change = self._next()
        return change

    def _next(self) -> Change | None:
        source, cursor, end = self._source, self._cursor, len(self._source)
        while cursor < end and not self._concerns(source[cursor]):
            cursor += 1
        self._cursor = cursor
        return source[cursor] if cursor < end else None

    def _concerns(self, change: Change) -> bool:
        if change.kind not in self._kinds:
            return False
        return self.mode != "RECURSIVE" or change.path == self.path or change.path.startswith(self._prefix)

    def told(self, change: Change) -> None:
        """A stream goes on behind what it was told."""
        if self._jumps and self._jumps[0].told is change:
            self.skip(change.zxid)
        else:
            self._cursor += 1

    def jump(self, before: int, after: int) -> None:
        """The state it stands on was replaced by a later one."""
        self._jumps.append(Jump(before, after, self.difference(before, after)))

    def difference(self, before: int, after: int) -> Change | None:
        """What somebody is told who sees these two states alone."""
        if self.mode not in ONE_SHOT:
            return Change(after, "GAP", self.path, None, None)
        old, new = self._reference.znode_at(self.path, before), self._reference.znode_at(self.path, after)
        kind = _difference(self.mode, old, new)
        return None if kind is None else Change(after, kind, self.path, old, new)


def _difference(mode: str, old: Znode | None, new: Znode | None) -> str | None:
    if old is None:
        return None if new is None else "CREATED"
    if new is None:
        return "DELETED"
    if mode == "CHILDREN":
        return "CHILDREN_CHANGED" if old.pzxid != new.pzxid else None
    return "DATA_CHANGED" if old.mzxid != new.mzxid else None


class Watched:
    """A watch with all its registrations: given to several reads it is told once of a change that concerns several of them (C5).

    since: zxid of the last that it was told, or of the state in which it was set first.
    """

    __slots__ = ("client", "id", "life", "node", "over", "places", "registrations", "since")

    def __init__(self, id: int, client: int, node: int, life: int, zxid: int) -> None:
        self.id = id
        self.client = client
        self.node = node
        self.life = life
        self.since = zxid
        self.registrations: list[Registration] = []
        # Modes and paths, also of those that are used up.
        self.places: list[tuple[str, str]] = []
        # Why nothing more will come: "" while something may.
        self.over = ""

    def due(self, upto: int | None = None) -> Change | None:
        """What is to be told next; None: nothing so far, or nothing up to that zxid."""
        first: Change | None = None
        for registration in self.registrations:
            change = registration.due()
            if change is not None and (first is None or change.zxid < first.zxid):
                first = change
        return first if first is None or upto is None or first.zxid <= upto else None

    def add(self, registration: Registration) -> None:
        self.registrations.append(registration)
        self.places.append((registration.mode, registration.path))

    def find(self, event: WatchFired) -> Change | None:
        """Which of those that are due by now, in one entry, the event tells; None: none of them."""
        for registration in self.registrations:
            change = registration.due()
            if change is not None and is_told(change, event):
                return change
        return None

    def tell(self, change: Change) -> None:
        """It was told. One-shot registrations that this concerned are used up."""
        left = []
        for registration in self.registrations:
            due = registration.due()
            if due is not None and _same(due, change):
                registration.told(due)
                if registration.mode in ONE_SHOT:
                    continue
            left.append(registration)
        self.registrations = left
        self.since = change.zxid
        if not left:
            self.end("used up")

    def end(self, why: str) -> None:
        """Nothing more will come. The first reason stays."""
        self.over = self.over or why
        self.registrations = []


def _same(one: Change, other: Change) -> bool:
    return one is other or (one.kind == other.kind and one.path == other.path and one.zxid == other.zxid)


def is_told(change: Change, event: WatchFired) -> bool:
    """Whether the event tells this change, with data and stat behind it (C12)."""
    facts = (event.kind, event.path, event.zxid, event.data, event.stat)
    return facts == (change.kind, change.path, change.zxid, change.data, change.stat)
