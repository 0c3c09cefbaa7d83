"""Comparing state digests between replicas (rule B-15).

Keeps the digests of the newest boundaries passed here, and the leader's newest claim if it lies ahead of us. What follows from
a difference is the applier's decision; a leader from whom a quorum differs is stopped by the core.
"""

from __future__ import annotations

from ..tree.tree import Tree

BOUNDARIES_KEPT = 64


class Agreement:
    def __init__(self) -> None:
        self._mine: dict[int, int] = {}
        self._claim: tuple[int, int] | None = None
        self.rebuilt = False
        """The state was rebuilt from the own disk and has agreed with nobody since."""

    def passed(self, tree: Tree) -> int:
        """Note the newest boundary; its zxid if it differs from what the leader has claimed, else 0."""
        zxid, digest = tree.boundary
        if zxid and zxid not in self._mine:
            self._mine[zxid] = digest
            if len(self._mine) > BOUNDARIES_KEPT:
                del self._mine[next(iter(self._mine))]
        if self._claim is None or self._claim[0] > tree.applied:
            return 0
        claim, self._claim = self._claim, None
        return self._compare(*claim)

    def leader_says(self, zxid: int, digest: int, tree: Tree) -> int:
        """A PING's boundary; its zxid if we differ there, else 0. One that lies ahead of us is judged when we get there."""
        if zxid == 0:
            return 0
        if zxid > tree.applied:
            self._claim = (zxid, digest)
            return 0
        return self._compare(zxid, digest)

    def _compare(self, zxid: int, digest: int) -> int:
        mine = self._mine.get(zxid)
        if mine is None:
            return 0
        if mine != digest:
            return zxid
        self.rebuilt = False
        return 0

    def forget_own(self) -> None:
        """The state is another from here on."""
        self._mine.clear()
        self._claim = None
