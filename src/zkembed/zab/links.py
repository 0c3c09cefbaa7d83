"""The links that are up, and which of two from the same node stays (rule I-6); the keep-alive on every one (rules E-2, E-11).

Knows nothing of what messages mean. Messages leave through ``send`` alone, so that silence is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from .effects import CloseLink, Effect, Purpose, Send
from .messages import FollowerInfo, KeepAlive, Message

_KEEP_ALIVE = KeepAlive()
INCARNATIONS_MAX = 4096
"""Storage ids remembered; the one not seen for longest is forgotten."""


class Link:
    """One connection. heard_at, sent_at: when something last came in or went out.  held: a FOLLOWERINFO that came before this node
    had decided (rule D-1).  outbound: this node dialled."""

    __slots__ = ("heard_at", "held", "id", "incarnation", "node_id", "outbound", "purpose", "sent_at", "storage_id", "up_at")

    def __init__(
        self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, *, outbound: bool, now: float
    ) -> None:
        self.id = link
        self.node_id = node_id
        self.storage_id = storage_id
        self.incarnation = incarnation
        self.purpose = purpose
        self.outbound = outbound
        self.up_at = now
        self.heard_at = now
        self.sent_at = now
        self.held: FollowerInfo | None = None


class Links:
    """Invariant: at most one link for each (node id, purpose, direction)."""

    def __init__(self, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self._links: dict[int, Link] = {}
        self._by_end: dict[tuple[int, Purpose, bool], Link] = {}
        self._incarnations: dict[tuple[int, bytes], int] = {}
        self.now = 0.0

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def get(self, link: int) -> Link | None:
        return self._links.get(link)

    def find(self, node_id: int, purpose: Purpose, *, outbound: bool) -> Link | None:
        return self._by_end.get((node_id, purpose, outbound))

    def judge(self, new: Link, *, new_named: bool, old_named: bool, silence_max: float) -> str:
        """Why ``new`` may not stay, or "" if it may; then the one it replaces has to go (rule I-6).

        new_named, old_named: whether the configuration names their storage ids.

        1. The same storage id: a lower incarnation than any seen is refused for ever; else the newer link stays.
        2. Two storage ids: the one that the configuration names stays as long as it is heard; else the newer.
        """
        newest = self.newest_incarnation(new.node_id, new.storage_id)
        if new.incarnation < newest:
            return f"incarnation {new.incarnation} of node {new.node_id} is older than {newest}"
        old = self.find(new.node_id, new.purpose, outbound=new.outbound)
        if old is None or old.storage_id == new.storage_id:
            return ""
        if old_named and not new_named and self.now < old.heard_at + silence_max:
            return f"node {new.node_id} is heard with the storage id that the configuration names"
        return ""

    def add(self, link: Link) -> None:
        self._links[link.id] = link
        self._by_end[link.node_id, link.purpose, link.outbound] = link
        self.remember(link.node_id, link.storage_id, link.incarnation)

    def newest_incarnation(self, node_id: int, storage_id: bytes) -> int:
        """The latest start of this storage that this process knows of; 0 if none."""
        return self._incarnations.get((node_id, storage_id), 0)

    def remember(self, node_id: int, storage_id: bytes, incarnation: int) -> None:
        """A start of this storage, as its link or the state says (rule I-6)."""
        key = (node_id, storage_id)
        self._incarnations[key] = max(incarnation, self._incarnations.pop(key, 0))
        if len(self._incarnations) > INCARNATIONS_MAX:
            del self._incarnations[next(iter(self._incarnations))]

    def remove(self, link: int) -> Link | None:
        """It is gone; None if it was not known (any more)."""
        gone = self._links.pop(link, None)
        if gone is not None:
            end = (gone.node_id, gone.purpose, gone.outbound)
            if self._by_end.get(end) is gone:
                del self._by_end[end]
        return gone

    def close(self, link: int, reason: str, *, flush: bool = False) -> Link | None:
        """Close it from this end; nothing is received on it any more."""
        gone = self.remove(link)
        if gone is not None:
            self._emit(CloseLink(link, reason, flush))
        return gone

    def send(self, link: int, message: Message) -> None:
        """A message for a link that is already gone is dropped."""
        entry = self._links.get(link)
        if entry is not None:
            entry.sent_at = self.now
            self._emit(Send(link, message))

    def keep_alive(self, tick: float, spoken: Container[int]) -> None:
        """Say something on each link this node may speak on, if nothing was said for a tick. spoken: links that get a PING each tick."""
        for link in self._links.values():
            speaks = link.outbound or link.purpose is Purpose.ZAB
            if speaks and link.id not in spoken and self.now >= link.sent_at + tick:
                link.sent_at = self.now
                self._emit(Send(link.id, _KEEP_ALIVE))
