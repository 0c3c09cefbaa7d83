"""Reading records back in order, from the segments as they were when the reader was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import CorruptLogError, DecodeError
from ..record import Record
from ..zxid import to_hex
from .base import RecordReader
from .disk import Disk, DiskFile
from .records import decode_body
from .segments import Segment, Window, batch_at


class SegmentsReader(RecordReader):
    """Records (after, upto]. ``unpin`` is called once, at ``close``. May be used in a thread of its own."""

    def __init__(self, disk: Disk, segments: Sequence[Segment], after: int, upto: int, unpin: Callable[[], None]) -> None:
        self._disk = disk
        # Segments grow and are cut meanwhile; what is read is what was there.
        self._parts = [(segment, segment.end) for segment in segments]
        self._position = after
        self._upto = upto
        self._unpin: Callable[[], None] | None = unpin
        self._ready: list[Record] = []
        self._taken = 0
        self._file: DiskFile | None = None
        self._batches = self._walk()

    def read(self, bytes_max: int) -> Sequence[Record]:
        found: list[Record] = []
        size = 0
        while self._fill():
            while self._taken < len(self._ready):
                record = self._ready[self._taken]
                if found and size + len(record.encoded) > bytes_max:
                    return found
                size += len(record.encoded)
                self._taken += 1
                found.append(record)
        return found

    def close(self) -> None:
        self._close_file()
        unpin, self._unpin = self._unpin, None
        if unpin is not None:
            unpin()

    def _fill(self) -> bool:
        """Whether records are ready; reads the next batch if none are."""
        while self._taken == len(self._ready):
            batch = next(self._batches, None)
            if batch is None:
                if self._position < self._upto:
                    raise CorruptLogError(
                        f"the log was read up to {to_hex(self._position)}, wanted is {to_hex(self._upto)}", self._disk.place
                    )
                return False
            self._ready, self._taken = batch, 0
        return True

    def _walk(self) -> Iterator[list[Record]]:
        """Batch by batch, each cut to what is wanted and checked against the position."""
        for segment, end in self._parts:
            offset = segment.offset_for(self._position)
            self._file = self._disk.open(segment.name)
            window = Window(self._file)
            while offset < end and self._position < self._upto:
                found = batch_at(window, segment.seed, offset, end)
                if found is None:
                    raise CorruptLogError("a batch of the log is damaged", segment.name, offset)
                header, rest = found
                if header.last > self._position:
                    try:
                        yield self._wanted(decode_body(header, rest))
                    except DecodeError as error:
                        raise CorruptLogError(f"a batch of the log is damaged: {error}", segment.name, offset) from error
                offset += header.batch_bytes
            self._close_file()

    def _wanted(self, records: list[Record]) -> list[Record]:
        wanted = [record for record in records if self._position < record.zxid <= self._upto]
        if wanted:
            if wanted[0].prev_zxid != self._position:
                raise DecodeError(f"{to_hex(wanted[0].zxid)} follows {to_hex(wanted[0].prev_zxid)}, not {to_hex(self._position)}")
            self._position = wanted[-1].zxid
        return wanted

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
