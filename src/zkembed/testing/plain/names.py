"""Which children a znode has had, at every zxid: a list of changes, replayed from the nearest state that is kept."""

from __future__ import annotations

from bisect import bisect_right

FRAME_EVERY = 64


class Names:
    """live: the names now. Changes are added in order and may be taken back, last first."""

    __slots__ = ("_changes", "_frames", "_zxids", "live")

    def __init__(self) -> None:
        self.live: set[str] = set()
        self._zxids: list[int] = []
        self._changes: list[tuple[str, bool]] = []
        # Invariant: _frames[i] are the names behind the first i * FRAME_EVERY changes.
        self._frames: list[frozenset[str]] = [frozenset()]

    def add(self, zxid: int, name: str) -> None:
        self.live.add(name)
        self._zxids.append(zxid)
        self._changes.append((name, True))

    def remove(self, zxid: int, name: str) -> None:
        self.live.discard(name)
        self._zxids.append(zxid)
        self._changes.append((name, False))

    def undo(self) -> None:
        self._zxids.pop()
        name, added = self._changes.pop()
        if added:
            self.live.discard(name)
        else:
            self.live.add(name)

    def at(self, zxid: int) -> tuple[str, ...]:
        """Sorted. Not to be asked within an entry, which may yet be undone."""
        place = bisect_right(self._zxids, zxid)
        if place == len(self._changes):
            return tuple(sorted(self.live))
        while (len(self._frames) * FRAME_EVERY) <= place:
            start = (len(self._frames) - 1) * FRAME_EVERY
            self._frames.append(frozenset(self._replay(start, start + FRAME_EVERY)))
        return tuple(sorted(self._replay(place // FRAME_EVERY * FRAME_EVERY, place)))

    def _replay(self, start: int, end: int) -> set[str]:
        """start: of a frame."""
        names = set(self._frames[start // FRAME_EVERY])
        for name, added in self._changes[start:end]:
            if added:
                names.add(name)
            else:
                names.discard(name)
        return names
