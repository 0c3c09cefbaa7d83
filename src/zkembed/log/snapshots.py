"""A snapshot file: chunks of somebody's state, framed and checksummed (rules P-7, P-8). What the chunks mean is not known here.

    magic, then frames: kind, length, CRC-32, body.  Kinds in order: one HEADER [zxid, chain, meta], any number of CHUNKs, one
    FOOTER [chunks, bytes].

Each frame's checksum goes on from that of the frame before, so that a frame is valid only in its place.
"""

from __future__ import annotations

import re
import struct
from zlib import crc32

from ..codec import decode, encode
from ..durable import SnapshotInfo
from ..errors import CorruptLogError, DecodeError, InternalError
from ..zxid import ZXID_MAX, to_hex
from .disk import Disk

CHUNK_BYTES_MAX = 1 << 20
META_BYTES_MAX = 1 << 20
TEMPORARY = ".new"
_MAGIC = b"zkeSnap\x01"
_FRAME = struct.Struct(">BII")
_HEADER, _CHUNK, _FOOTER = 1, 2, 3
_BODY_BYTES_MAX = max(CHUNK_BYTES_MAX, META_BYTES_MAX + 64)
_NAME = re.compile(r"snapshot-([0-9a-f]{8,15})-([0-9a-f]{16})")


def snapshot_name(generation: int, zxid: int) -> str:
    return f"snapshot-{generation:08x}-{zxid:016x}"


def parse_snapshot_name(name: str) -> tuple[int, int] | None:
    """(generation, zxid), or None if this is not the name of a finished snapshot."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1], 16), int(found[2], 16))


class SnapshotFileWriter:
    """Writes a new snapshot file under ``name``; the caller gives it its final name once ``finish`` has returned."""

    def __init__(self, disk: Disk, name: str, info: SnapshotInfo) -> None:
        if len(info.meta) > META_BYTES_MAX:
            raise InternalError(f"the meta of snapshot {to_hex(info.zxid)} has {len(info.meta)} bytes, allowed are {META_BYTES_MAX}")
        self.name = name
        self.info = info
        self._disk = disk
        self._file = disk.create(name)
        self._file.write_at(0, _MAGIC)
        self.bytes = len(_MAGIC)
        self._checksum = 0
        self._chunks = 0
        self._chunk_bytes = 0
        self._frame(_HEADER, encode([info.zxid, info.chain, info.meta]))

    def write(self, chunk: bytes) -> None:
        if len(chunk) > CHUNK_BYTES_MAX:
            raise InternalError(f"a snapshot's chunk has {len(chunk)} bytes, allowed are {CHUNK_BYTES_MAX}")
        self._frame(_CHUNK, chunk)
        self._chunks += 1
        self._chunk_bytes += len(chunk)

    def finish(self) -> None:
        """Durable and read back on return, the name is not durable yet. Raises StorageError; CorruptLogError if it reads back wrong."""
        self._frame(_FOOTER, encode([self._chunks, self._chunk_bytes]))
        self._file.sync()
        self._file.close()
        self._disk.forget(self.name)
        if verify_snapshot(self._disk, self.name) != self.info:
            raise CorruptLogError("the snapshot does not read back as it was written", self.name)

    def close(self) -> None:
        """Only close. Idempotent."""
        self._file.close()

    def abort(self) -> None:
        """Close and delete."""
        self._file.close()
        self._disk.unlink(self.name)

    def _frame(self, kind: int, body: bytes) -> None:
        self._checksum = crc32(body, crc32(bytes((kind,)), self._checksum))
        frame = _FRAME.pack(kind, len(body), self._checksum) + body
        self._file.write_at(self.bytes, frame)
        self.bytes += len(frame)


class SnapshotFileReader:
    """Reads a snapshot file from the beginning, verifying. Raises CorruptLogError from here on, if it is not what it should be."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.name = name
        self._file = disk.open(name)
        self._checksum = 0
        self._offset = len(_MAGIC)
        self._chunks = 0
        self._chunk_bytes = 0
        self._ended = False
        try:
            self._size = self._file.size()
            self.info = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def read(self) -> bytes | None:
        """The next chunk; None behind the last, when the footer has been verified."""
        if self._ended:
            return None
        kind, body = self._frame()
        if kind == _CHUNK:
            self._chunks += 1
            self._chunk_bytes += len(body)
            return body
        if kind != _FOOTER or _value(body) != [self._chunks, self._chunk_bytes] or self._offset != self._size:
            raise self._corrupt("it does not end as its footer says")
        self._ended = True
        return None

    def close(self) -> None:
        self._file.close()

    def _read_header(self) -> SnapshotInfo:
        if self._file.read_at(0, len(_MAGIC)) != _MAGIC:
            raise self._corrupt("it is no snapshot")
        kind, body = self._frame()
        match _value(body):
            case [zxid, chain, bytes(meta)] if (
                kind == _HEADER and type(zxid) is type(chain) is int and 0 < zxid <= ZXID_MAX and 0 <= chain < 2**64
            ):
                return SnapshotInfo(zxid, chain, meta)
        raise self._corrupt("its header is malformed")

    def _frame(self) -> tuple[int, bytes]:
        head = self._file.read_at(self._offset, _FRAME.size)
        if len(head) < _FRAME.size:
            raise self._corrupt("it ends early")
        kind, length, checksum = _FRAME.unpack(head)
        if length > _BODY_BYTES_MAX:
            raise self._corrupt(f"a frame claims {length} bytes")
        body = self._file.read_at(self._offset + _FRAME.size, length)
        if len(body) < length or crc32(body, crc32(bytes((kind,)), self._checksum)) != checksum:
            raise self._corrupt("a checksum does not match")
        self._checksum = checksum
        self._offset += _FRAME.size + length
        return kind, body

    def _corrupt(self, what: str) -> CorruptLogError:
        return CorruptLogError(f"the snapshot is unreadable: {what}", self.name, self._offset)


def _value(body: bytes) -> object:
    try:
        return decode(body)
    except DecodeError:
        return None


def verify_snapshot(disk: Disk, name: str) -> SnapshotInfo:
    """Read all of it. Raises CorruptLogError, StorageError."""
    reader = SnapshotFileReader(disk, name)
    try:
        while reader.read() is not None:
            pass
    finally:
        reader.close()
    return reader.info
