"""A segment: one file of batches, how it is named, written, walked and searched (rules P-4, P-5, P-11).

A segment is written by one process life only; a new start goes on in a new segment. Space is reserved ahead in steps, so that
an fdatasync has no new size to journal; what was reserved and not written reads as zeros, which are no batch: the clean end.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from copy import copy

from .disk import Disk, DiskFile
from .records import FRAME_BYTES, HEADER_BYTES, MAGIC, TRAILER_BYTES, BatchHeader, body_matches, decode_header, segment_seed

WINDOW_BYTES = 256 << 10
INDEX_EVERY_BYTES = 64 << 10
_NAME = re.compile(r"log-([0-9a-f]{8,15})-([0-9a-f]{8,15})")


def segment_name(generation: int, number: int) -> str:
    return f"log-{generation:08x}-{number:08x}"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """(generation, number), or None if this is not a segment's name."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1], 16), int(found[2], 16))


class Segment:
    """A segment of the live log or of one being made: what is known of the file, not the file.

    start, last: zxids; it holds the records (start, last].  end: offset behind its last batch.
    """

    __slots__ = ("_index", "end", "generation", "last", "number", "seed", "start")

    def __init__(self, generation: int, number: int, start: int, salt: int) -> None:
        self.generation = generation
        self.number = number
        self.start = self.last = start
        self.end = 0
        self.seed = segment_seed(salt, generation, number)
        # Invariant: offsets of batches with their prev_zxid, both rising, the first batch among them.
        self._index: list[tuple[int, int]] = []

    @property
    def name(self) -> str:
        return segment_name(self.generation, self.number)

    def add(self, prev_zxid: int, last: int, batch_bytes: int) -> None:
        """A batch now stands at ``end``."""
        if not self._index or self.end - self._index[-1][1] >= INDEX_EVERY_BYTES:
            self._index.append((prev_zxid, self.end))
        self.end += batch_bytes
        self.last = last

    def cut(self, offset: int, last: int) -> Segment:
        """The same segment as it is when it ends at ``offset``, with the record ``last``; the file stays as it is."""
        shorter = copy(self)
        shorter.end = offset
        shorter.last = last
        shorter._index = [row for row in self._index if row[1] < offset]
        return shorter

    def restart(self, offset: int, start: int) -> None:
        """The segment now begins with the batch at ``offset``, behind the record ``start``: what is before it is of no use."""
        self._index.clear()
        self.end = offset
        self.start = self.last = start

    def offset_for(self, zxid: int) -> int:
        """The offset of a batch at or before the one that holds the record behind ``zxid``."""
        found = bisect_right(self._index, zxid, key=lambda row: row[0])
        return self._index[found - 1][1] if found else 0


class SegmentWriter:
    """Appends batches to a new file."""

    def __init__(self, disk: Disk, segment: Segment, *, extend_bytes: int, bytes_max: int) -> None:
        self.segment = segment
        self._extend_bytes = extend_bytes
        self._bytes_max = bytes_max
        self._reserved = 0
        self._file = disk.create(segment.name)

    def write(self, batch: bytes) -> None:
        """Not durable before ``sync``; the segment's state is the caller's to change."""
        end = self.segment.end + len(batch)
        if self._extend_bytes and end > self._reserved:
            self._reserved = max(end, min(end + self._extend_bytes, self._bytes_max))
            self._file.reserve(self._reserved)
        self._file.write_at(self.segment.end, batch)

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class Window:
    """Reads a file in large pieces for callers who want small ones, mostly in order."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, or fewer at the end of the file. The caller has checked ``length`` against its bounds."""
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            self._data = self._file.read_at(offset, max(length, WINDOW_BYTES))
            self._start, at = offset, 0
        return self._data[at : at + length]


def batch_at(window: Window, seed: int, offset: int, end: int) -> tuple[BatchHeader, bytes] | None:
    """The whole and undamaged batch at ``offset``, ending at or before ``end``: header, and body with trailer."""
    if offset + FRAME_BYTES > end:
        return None
    header = decode_header(window.read(offset, HEADER_BYTES), seed, offset)
    # The length is believed only as far as the file reaches, before anything is read by it.
    if header is None or offset + header.batch_bytes > end:
        return None
    rest = window.read(offset + HEADER_BYTES, header.body_bytes + TRAILER_BYTES)
    return (header, rest) if body_matches(header, rest) else None


def find_headers(window: Window, seed: int, offset: int, end: int) -> Iterator[tuple[int, BatchHeader]]:
    """Every valid header that begins at or behind ``offset``, wherever it stands; its batch may be damaged (rule P-11)."""
    while offset + HEADER_BYTES <= end:
        data = window.read(offset, min(WINDOW_BYTES, end - offset))
        at = data.find(MAGIC)
        while at >= 0:
            header = decode_header(data, seed, offset + at, at)
            if header is not None:
                yield offset + at, header
            at = data.find(MAGIC, at + 1)
        if len(data) < HEADER_BYTES:
            return
        offset += len(data) - HEADER_BYTES + 1


def is_clean_end(window: Window, offset: int, end: int) -> bool:
    """Whether nothing but zeros lies behind ``offset``."""
    while offset < end:
        data = window.read(offset, min(WINDOW_BYTES, end - offset))
        if not data:
            return True
        if data.count(0) != len(data):
            return False
        offset += len(data)
    return True
