"""All znodes at every zxid: each path's versions, who owns which ephemeral, and the entry under way, to be undone or kept."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from .names import Names
from .znode import Change, Znode


def parent_of(path: str) -> str:
    """Of "/a/", a sequential create without a prefix, it is "/a"."""
    return path[: path.rindex("/")] or "/"


class Znodes:
    """now: path -> znode, mid-entry too.  owned: session -> paths of its ephemerals.  changes: those of all entries, in order."""

    def __init__(self) -> None:
        self.now: dict[str, Znode] = {}
        self.owned: dict[int, set[str]] = {}
        self.changes: list[Change] = []
        self.changes_of: dict[str, list[Change]] = {}
        self._versions: dict[str, tuple[list[int], list[Znode | None]]] = {}
        self._names: dict[str, Names] = {}
        # The entry under way: its changes, and what each write replaced, first to last.
        self.pending: list[Change] = []
        self._undo: list[tuple[str, Znode | None]] = []

    # --- the entry under way ------------------------------------------------------------------------------------------

    def write(self, path: str, before: Znode, znode: Znode) -> None:
        """New data, or new counts of children."""
        self._undo.append((path, before))
        self.now[path] = znode

    def insert(self, zxid: int, path: str, znode: Znode) -> None:
        self._undo.append((path, None))
        self._put(zxid, path, znode)

    def remove(self, zxid: int, path: str, znode: Znode) -> None:
        self._undo.append((path, znode))
        self._take(zxid, path, znode)

    def _put(self, zxid: int, path: str, znode: Znode) -> None:
        self.now[path] = znode
        if znode.owner:
            self.owned.setdefault(znode.owner, set()).add(path)
        if path != "/":
            self.names(parent_of(path)).add(zxid, path[path.rindex("/") + 1 :])

    def _take(self, zxid: int, path: str, znode: Znode) -> None:
        del self.now[path]
        if znode.owner:
            self.owned[znode.owner].discard(path)
        self.names(parent_of(path)).remove(zxid, path[path.rindex("/") + 1 :])

    def undo(self) -> None:
        """Nothing of this entry has happened."""
        for path, before in reversed(self._undo):
            now = self.now.get(path)
            if before is None:
                assert now is not None
                del self.now[path]
                self._disown(path, now)
            elif now is None:
                self.now[path] = before
                self._own(path, before)
            else:
                self.now[path] = before
        self._undo.clear()
        self.pending.clear()

    def _disown(self, path: str, znode: Znode) -> None:
        if znode.owner:
            self.owned[znode.owner].discard(path)
        self.names(parent_of(path)).undo()

    def _own(self, path: str, znode: Znode) -> None:
        if znode.owner:
            self.owned[znode.owner].add(path)
        self.names(parent_of(path)).undo()

    def commit(self, zxid: int) -> tuple[tuple[Change, ...], dict[str, Znode | None]]:
        """The entry is done: its changes, and each path that it wrote with what was there before."""
        before: dict[str, Znode | None] = {}
        for path, old in self._undo:
            if path not in before:
                before[path] = old
                zxids, znodes = self._versions.setdefault(path, ([], []))
                zxids.append(zxid)
                znodes.append(self.now.get(path))
        changes = tuple(self.pending)
        self.changes.extend(changes)
        for change in changes:
            self.changes_of.setdefault(change.path, []).append(change)
        self._undo.clear()
        self.pending.clear()
        return changes, before

    # --- looking back -------------------------------------------------------------------------------------------------

    def names(self, path: str) -> Names:
        found = self._names.get(path)
        if found is None:
            found = self._names[path] = Names()
        return found

    def at(self, path: str, zxid: int) -> Znode | None:
        versions = self._versions.get(path)
        if versions is None:
            return None
        place = bisect_right(versions[0], zxid)
        return versions[1][place - 1] if place else None

    def children_at(self, path: str, zxid: int) -> tuple[str, ...]:
        names = self._names.get(path)
        return () if names is None else names.at(zxid)

    def state_at(self, zxid: int) -> Iterator[tuple[str, Znode]]:
        """Every path and znode there was, in no order."""
        for path in self._versions:
            znode = self.at(path, zxid)
            if znode is not None:
                yield path, znode
