"""One file of a simulated disk: what the process reads, what surely survives a crash, and what may or may not.

A write is cut into blocks, and each block is an effect of its own: a crash keeps it or loses it, whatever becomes of the others. The
same holds for a file's size where it was reserved ahead. This file knows neither names nor steps.
"""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_BYTES = 512

Piece = tuple[int, bytes]
"""Where, and what."""


class Inode:
    """cached: what the process reads.  durable: what surely survives.

    pending: written, not synced.  limbo: written, and the sync failed: no later sync makes it durable, a crash may lose it.
    sized: the size that was reserved and not synced; 0: none.
    """

    __slots__ = ("_certain", "_doubts", "cached", "durable", "limbo", "pending", "sized")

    def __init__(self, content: bytes = b"") -> None:
        self.cached = bytearray(content)
        self.durable = bytearray(content)
        self.pending: list[Piece] = []
        self.limbo: list[Piece] = []
        self.sized = 0
        # Since the last crash: the size there would be without any effect, and effects whose fate nobody has noticed: index, start, end.
        self._certain = 0
        self._doubts: list[tuple[int, int, int]] = []

    def fork(self) -> Inode:
        """A twin, equal and independent, but for what a crash left to be noticed."""
        twin = Inode.__new__(Inode)
        twin.cached = self.cached.copy()
        twin.durable = self.durable.copy()
        twin.pending = self.pending.copy()
        twin.limbo = self.limbo.copy()
        twin.sized = self.sized
        twin._certain = 0
        twin._doubts = []
        return twin

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        put(self.cached, offset, data)

    def reserve(self, size: int) -> None:
        if size > len(self.cached):
            put(self.cached, size, b"")
            self.sized = size

    def sync(self) -> None:
        for offset, data in self.pending:
            put(self.durable, offset, data)
        self.pending.clear()
        if self.sized > len(self.durable):
            put(self.durable, self.sized, b"")
        self.sized = 0

    def sync_failed(self) -> None:
        self.limbo += self.pending
        self.pending = []

    def unsynced(self) -> Iterator[Piece]:
        """The blocks that a crash may lose, in the order of the writes."""
        for offset, data in (*self.limbo, *self.pending):
            yield from _blocks(offset, data)

    def settle(self, first: int, kept: Iterator[bool]) -> None:
        """A crash: of the effects, which are numbered from ``first`` on, only what ``kept`` says is there.

        kept: a decision for each block of ``unsynced``, then one for the size if there is one to lose.
        """
        self._certain = len(self.durable)
        self._doubts.clear()
        for at, piece in list(self.unsynced()):
            self._doubts.append((first + len(self._doubts), at, at + len(piece)))
            if next(kept):
                put(self.durable, at, piece)
        if self.sized:
            self._doubts.append((first + len(self._doubts), self.sized, self.sized))
            if next(kept) and self.sized > len(self.durable):
                put(self.durable, self.sized, b"")
        self.limbo, self.pending, self.sized = [], [], 0
        self.cached = bytearray(self.durable)

    def noticed(self, start: int, end: int) -> list[int]:
        """Effects of before the crash, not noticed so far, whose fate shows in what a read of these bytes gives.

        A read beyond the size that is certain, and asking for the size, notice all that may have made the file longer.
        """
        if not self._doubts:
            return []
        grown = end > self._certain
        seen = [index for index, at, to in self._doubts if (at < end and start < to) or (grown and to > self._certain)]
        if seen:
            self._doubts = [doubt for doubt in self._doubts if doubt[0] not in seen]
        return seen


def put(target: bytearray, offset: int, data: bytes) -> None:
    """Write into ``target``; what lies between its end and ``offset`` becomes zeros."""
    if offset > len(target):
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


def _blocks(offset: int, data: bytes) -> Iterator[Piece]:
    """The write cut where blocks end: what can be kept or lost by itself."""
    start = 0
    while start < len(data):
        length = min(BLOCK_BYTES - (offset + start) % BLOCK_BYTES, len(data) - start)
        yield offset + start, data[start : start + length]
        start += length
