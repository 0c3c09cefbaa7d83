"""One session as C has it, open or closed."""

from __future__ import annotations

from collections import deque

from .znode import Outcome


class PlainSession:
    """opened, closed: zxids; closed is 0 while it is open.  kept: outcomes of the last requests (Q-7).  expired: closed by a leader.

    hashes: of ``kept``, if digests are wanted; hash: of everything, as the digest holds it.
    """

    __slots__ = (
        "closed",
        "expired",
        "hash",
        "hashes",
        "id",
        "incarnation",
        "kept",
        "last_cseq",
        "node_id",
        "opened",
        "storage_id",
        "timeout_ms",
    )

    def __init__(self, id: int, opened: int, timeout_ms: int, node_id: int, storage_id: bytes, incarnation: int) -> None:
        self.id = id
        self.opened = opened
        self.timeout_ms = timeout_ms
        self.node_id = node_id
        self.storage_id = storage_id
        self.incarnation = incarnation
        self.closed = 0
        self.expired = False
        self.last_cseq = 0
        self.kept: deque[Outcome] = deque()
        self.hashes: deque[int] = deque()
        self.hash = 0

    @property
    def kept_from(self) -> int:
        return self.last_cseq - len(self.kept) + 1

    @property
    def timeout(self) -> float:
        """Seconds."""
        return self.timeout_ms / 1000

    def open_at(self, zxid: int) -> bool:
        return self.opened <= zxid and not 0 < self.closed <= zxid

    def head(self) -> tuple[int, int, int, bytes, int, int, int, int]:
        return (
            self.id,
            self.timeout_ms,
            self.node_id,
            self.storage_id,
            self.incarnation,
            self.opened,
            self.last_cseq,
            len(self.kept),
        )
