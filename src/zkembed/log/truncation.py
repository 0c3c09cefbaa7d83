"""Where to cut a log so that it ends at a zxid (rule P-6). Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from ..errors import CorruptLogError, DecodeError, InternalError
from ..record import Record
from ..zxid import to_hex
from .disk import Disk
from .records import BatchHeader, decode_body
from .segments import Segment, Window, batch_at


@frozen
class Cut:
    """segments: how many stay, whole or in part.  offset: where the last of them ends now; 0: it stays whole.  last: the zxid there.
    chain: at ``last``.  records: those of the batch behind it that stay; they have to be written again."""

    segments: int
    offset: int
    last: int
    chain: int
    records: tuple[Record, ...]


def find_cut(disk: Disk, segments: Sequence[Segment], zxid: int) -> Cut:
    """zxid: a record of the log, or where its first segment starts. Raises InternalError if it is neither; CorruptLogError."""
    held = [segment for segment in segments if segment.start < zxid]
    # In the segment that ends at or behind zxid; to keep nothing is to cut the first one at its beginning.
    index = len(held) - 1 if held else 0
    if index >= len(segments):
        raise InternalError(f"truncate to {to_hex(zxid)}: the log has no segments")
    segment = segments[index]
    file = disk.open(segment.name)
    try:
        window = Window(file)
        offset = segment.offset_for(zxid - 1)
        while offset < segment.end:
            found = batch_at(window, segment.seed, offset, segment.end)
            if found is None:
                raise CorruptLogError("a batch of the log is damaged", segment.name, offset)
            header, rest = found
            if header.prev_zxid == zxid and not held:
                return Cut(0, 0, zxid, header.prev_chain, ())
            if header.last >= zxid and not header.is_seal:
                return _cut_batch(index, offset, header, zxid, decode_body(header, rest))
            offset += header.batch_bytes
    except DecodeError as error:
        raise CorruptLogError(f"a batch of the log is damaged: {error}", segment.name, offset) from error
    finally:
        file.close()
    raise InternalError(f"truncate to {to_hex(zxid)}, which the log does not hold")


def _cut_batch(index: int, offset: int, header: BatchHeader, zxid: int, records: list[Record]) -> Cut:
    """The batch at ``offset`` holds the record ``zxid``, or nobody does."""
    kept = tuple(record for record in records if record.zxid <= zxid)
    if not kept or kept[-1].zxid != zxid:
        raise InternalError(f"truncate to {to_hex(zxid)}, which the log does not hold")
    if len(kept) == len(records):
        return Cut(index + 1, offset + header.batch_bytes, zxid, kept[-1].chain, ())
    return Cut(index + (1 if offset else 0), offset, header.prev_zxid, header.prev_chain, kept)
