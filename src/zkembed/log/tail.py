"""The end of a log, where records are appended: the live one, or one that is being installed beside it (rules P-4, P-5, P-7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from ..errors import DecodeError, InternalError
from ..record import CHAIN_BYTES, Record, extend_chain, verify_run
from ..zxid import COUNTER_MAX, EMPTY, follows, to_hex
from .disk import Disk
from .records import BODY_BYTES_MAX, FRAME_BYTES, encode_batch
from .segments import Segment, SegmentWriter

BATCH_BYTES_MAX = 4 << 20
"""More than this in one append goes to disk as several batches; one record alone may be larger."""


class Tail:
    """Appends to the segments of one generation, and makes new ones.

    segments: the whole log in order; those of earlier generations are only read.  zxid, chain: its end.  durable: synced up to here.
    """

    def __init__(self, disk: Disk, generation: int, salt: int, *, segment_bytes: int, extend_bytes: int) -> None:
        self.generation = generation
        self.next_number = 0
        self.salt = salt
        self.zxid = self.durable = EMPTY
        self.chain = 0
        self.segments: list[Segment] = []
        self.batches = 0
        # Invariant: everything up to here is vouched for by a later batch, or by the manifest.
        self.vouched = EMPTY
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._extend_bytes = extend_bytes
        self._writer: SegmentWriter | None = None
        self._unsynced: list[SegmentWriter] = []

    def start_at(self, zxid: int, chain: int) -> None:
        """The log ends here, all of it durable and vouched for."""
        self.zxid = self.durable = self.vouched = zxid
        self.chain = chain

    def is_open(self, segment: Segment) -> bool:
        """Whether batches may still be added to the segment."""
        return self._writer is not None and self._writer.segment is segment

    def append(self, records: Sequence[Record], *, sync: bool = True) -> None:
        """Raises InternalError, before anything is written, if the records do not stand behind the log's end."""
        if not _stands_behind(records, self.zxid, self.chain):
            self._refuse(records)
        for batch in _split(records):
            self._append_batch(batch, sync=sync)

    def seal(self) -> None:
        """Vouch for the last batch; nothing to do if it is vouched for already."""
        if self.vouched < self.zxid:
            self._append_batch((), sync=True)

    def sync(self) -> None:
        """Make durable what was appended with ``sync=False``, its names included, and close the files."""
        self.close()
        for writer in self._unsynced:
            writer.sync()
            writer.close()
        self._unsynced.clear()
        self._disk.sync_directory()
        self.start_at(self.zxid, self.chain)

    def close(self) -> None:
        """The next append begins a new segment."""
        if self._writer is not None and self._writer not in self._unsynced:
            self._writer.close()
        self._writer = None

    def abandon(self) -> None:
        """Close all files, whatever is not synced."""
        self.close()
        for writer in self._unsynced:
            writer.close()
        self._unsynced.clear()

    def _refuse(self, records: Sequence[Record]) -> NoReturn:
        """Find out which record is wrong; the quick check only says that one is."""
        try:
            verify_run(records, self.zxid, self.chain)
        except DecodeError as error:
            raise InternalError(f"append to a log that ends at {to_hex(self.zxid)}: {error}") from error
        raise InternalError(f"append to a log that ends at {to_hex(self.zxid)}: the records changed meanwhile")

    def _append_batch(self, records: Sequence[Record], *, sync: bool) -> None:
        writer = self._writer
        new = writer is None or writer.segment.end >= self._segment_bytes
        if new:
            writer = self._begin_segment(keep=not sync)
        assert writer is not None
        segment = writer.segment
        prev_zxid = self.zxid
        batch = encode_batch(records, prev_zxid, self.chain, self.durable if sync else prev_zxid, segment.seed, segment.end)
        writer.write(batch)
        if sync:
            writer.sync()
            if new:
                self._disk.sync_directory()
        if records:
            self.zxid, self.chain = records[-1].zxid, records[-1].chain
        if new:
            self.segments.append(segment)
        segment.add(prev_zxid, self.zxid, len(batch))
        self.batches += 1
        if sync:
            self.vouched, self.durable = self.durable, self.zxid

    def _begin_segment(self, *, keep: bool) -> SegmentWriter:
        self.close()
        segment = Segment(self.generation, self.next_number, self.zxid, self.salt)
        self.next_number += 1
        self._writer = SegmentWriter(self._disk, segment, extend_bytes=self._extend_bytes, bytes_max=self._segment_bytes)
        if keep:
            self._unsynced.append(self._writer)
        return self._writer


def _stands_behind(records: Sequence[Record], zxid: int, chain: int) -> bool:
    """Whether the records follow each other and this end, the chain judged by its last value (P-4): a third of ``verify_run``'s price."""
    for record in records:
        # The plain next counter is a matter of one comparison; a first one, or a wrong one, is looked at closely.
        if record.prev_zxid != zxid or ((record.zxid != zxid + 1 or record.zxid & COUNTER_MAX < 2) and not follows(record.zxid, zxid)):
            return False
        zxid = record.zxid
    if not records:
        return True
    return extend_chain(chain, b"".join([record.encoded[:-CHAIN_BYTES] for record in records])) == records[-1].chain


def _split(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Batches of at most BATCH_BYTES_MAX; nearly always the one that was given.

    Raises InternalError for a record so large that it could not be read back.
    """
    sizes = [len(record.encoded) for record in records]
    if sum(sizes) <= BATCH_BYTES_MAX:
        if records:
            yield records
        return
    if max(sizes) > BODY_BYTES_MAX - FRAME_BYTES:
        raise InternalError(f"a record has {max(sizes)} bytes, a batch holds {BODY_BYTES_MAX}")
    start = size = 0
    for i, length in enumerate(sizes):
        if size and size + length > BATCH_BYTES_MAX:
            yield records[start:i]
            start, size = i, 0
        size += length
    yield records[start:]
