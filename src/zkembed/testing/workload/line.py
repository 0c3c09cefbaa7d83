"""Where the contenders of one session line up, so that a session contends for a lock with one znode (recipes/line.py)."""

from __future__ import annotations

from .task import Bell


class Line:
    """Those of one session who want the lock at one path, in order of arrival; the first of them is in front."""

    def __init__(self) -> None:
        self._places: list[Bell] = []

    @property
    def empty(self) -> bool:
        return not self._places

    def join(self) -> Bell:
        """One's place; it rings when it is in front."""
        place = Bell()
        self._places.append(place)
        if self._places[0] is place:
            place.ring()
        return place

    def leave(self, place: Bell) -> None:
        """Idempotent."""
        if place in self._places:
            self._places.remove(place)
            if self._places and not self._places[0].rung:
                self._places[0].ring()
