"""The batch: how records lie in a segment (rule P-4). Bytes in, values out; no files here.

    header: magic, body length, prev_zxid, prev_chain, first, last, synced, CRC-32 of the header
    body:   CBOR list of the encoded records, byte for byte as the leader made them
    trailer: CRC-32 of the body, continued from the header's

``synced`` is what was durable when the batch was written, so every batch vouches for those before it. A seal is a batch
without records. Both checksums begin with the batch's *place*: salt of the log, segment and offset. So a header is valid only where it
was written: neither a block that ended up elsewhere, nor an application's data that happens to look like a log, is
ever taken for evidence (rule P-11).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

from attrs import frozen

from ..codec import decode, encode
from ..errors import DecodeError
from ..record import CHAIN_BYTES, Record, verify_run
from ..zxid import ZXID_MAX, follows

MAGIC = b"zkeBatc\x01"
BODY_BYTES_MAX = 64 << 20
_FIELDS = struct.Struct(">8sIQQQQQ")
_CHECKSUM = struct.Struct(">I")
_PLACE = struct.Struct(">QQQ")
_OFFSET = struct.Struct(">Q")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
TRAILER_BYTES = _CHECKSUM.size
FRAME_BYTES = HEADER_BYTES + TRAILER_BYTES


@frozen
class BatchHeader:
    """prev_zxid, prev_chain: the end of the log before this batch.  first, last: its records; of a seal both are prev_zxid."""

    body_bytes: int
    prev_zxid: int
    prev_chain: int
    first: int
    last: int
    synced: int
    checksum: int

    @property
    def batch_bytes(self) -> int:
        return HEADER_BYTES + self.body_bytes + TRAILER_BYTES

    @property
    def is_seal(self) -> bool:
        return self.last == self.prev_zxid


def segment_seed(salt: int, generation: int, number: int) -> int:
    """The part of a batch's place that its segment has."""
    return crc32(_PLACE.pack(salt, generation, number))


def encode_batch(records: Sequence[Record], prev_zxid: int, prev_chain: int, synced: int, seed: int, offset: int) -> bytes:
    """The batch as it stands at ``offset`` of the segment with this seed. No records: a seal."""
    body = encode([record.encoded for record in records])
    first, last = (records[0].zxid, records[-1].zxid) if records else (prev_zxid, prev_zxid)
    fields = _FIELDS.pack(MAGIC, len(body), prev_zxid, prev_chain, first, last, synced)
    checksum = crc32(fields, crc32(_OFFSET.pack(offset), seed))
    return b"".join((fields, _CHECKSUM.pack(checksum), body, _CHECKSUM.pack(crc32(body, checksum))))


def decode_header(data: bytes, seed: int, offset: int, at: int = 0) -> BatchHeader | None:
    """The header in ``data`` from index ``at`` on, which lies at ``offset`` of the segment; None if it is not a valid one."""
    if len(data) - at < HEADER_BYTES or not data.startswith(MAGIC, at):
        return None
    _, body_bytes, prev_zxid, prev_chain, first, last, synced = _FIELDS.unpack_from(data, at)
    (checksum,) = _CHECKSUM.unpack_from(data, at + _FIELDS.size)
    if checksum != crc32(data[at : at + _FIELDS.size], crc32(_OFFSET.pack(offset), seed)):
        return None
    seal = first == last == prev_zxid
    if not (body_bytes <= BODY_BYTES_MAX and synced <= prev_zxid and last <= ZXID_MAX):
        return None
    if not seal and not (follows(first, prev_zxid) and first <= last):
        return None
    return BatchHeader(body_bytes, prev_zxid, prev_chain, first, last, synced, checksum)


def body_matches(header: BatchHeader, body_and_trailer: bytes) -> bool:
    """Whether these bytes are the whole and undamaged rest of the batch."""
    if len(body_and_trailer) != header.body_bytes + TRAILER_BYTES:
        return False
    view = memoryview(body_and_trailer)
    (checksum,) = _CHECKSUM.unpack_from(view, header.body_bytes)
    return bool(checksum == crc32(view[: header.body_bytes], header.checksum))


def decode_body(header: BatchHeader, body_and_trailer: bytes) -> list[Record]:
    """The records, checked against the header, each other and the chain. Raises DecodeError."""
    if not body_matches(header, body_and_trailer):
        raise DecodeError("the checksum of the batch does not match")
    parts = decode(body_and_trailer[: header.body_bytes])
    if type(parts) is not list or not all(type(part) is bytes and len(part) > CHAIN_BYTES for part in parts):
        raise DecodeError("the body of a batch is not a list of encoded records")
    records = [Record.decode(part) for part in parts]
    ends = (records[0].zxid, records[-1].zxid) if records else (header.prev_zxid, header.prev_zxid)
    if ends != (header.first, header.last):
        raise DecodeError("the records of the batch are not those that its header names")
    verify_run(records, header.prev_zxid, header.prev_chain)
    return records
