"""A small value in a file of its own, always replaced as a whole (rule P-2): what identity, epochs and manifest have in common.

The file holds the value twice, each copy with a checksum and starting on a 4 KiB block of its own, so that one bad block, or
one torn one, cannot take both. A copy: magic, length and CRC-32 of the body, the body as CBOR. What the value means is
checked by those who own it.
"""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

from ..codec import decode, encode
from ..errors import DecodeError, StorageError
from .disk import Disk, DiskFile

BLOCK_BYTES = 4096
CELL_BYTES_MAX = 8 << 20
TEMPORARY = ".new"
_HEAD = struct.Struct(">8sII")
_MAGIC = b"zkeCell\x01"


def _copy_of(name: str, body: bytes) -> bytes:
    # The name is part of the checksum, so that a cell under a wrong name is no cell.
    copy = _HEAD.pack(_MAGIC, len(body), crc32(body, crc32(name.encode()))) + body
    return copy + bytes(-len(copy) % BLOCK_BYTES)


def replace_cell(disk: Disk, name: str, value: object, *, always: bool = False) -> None:
    """Durable on return, whole old or whole new after any crash. ``always``: also where fsync is switched off."""
    file = disk.create(name + TEMPORARY)
    try:
        file.write_at(0, _copy_of(name, encode(value)) * 2)
        file.sync(always=always)
    finally:
        file.close()
    disk.rename(name + TEMPORARY, name)
    disk.sync_directory(always=always)


def load_cell(disk: Disk, name: str) -> Any:
    """The value of the first valid copy. Raises DecodeError if there is none."""
    file = disk.open(name)
    try:
        size = file.size()
        if size > 2 * CELL_BYTES_MAX:
            raise DecodeError(f"{name} is larger than any such file can be: {size} bytes")
        data = b"".join([_readable(file, start) for start in range(0, size, BLOCK_BYTES)])
    finally:
        file.close()
    for start in range(0, len(data), BLOCK_BYTES):
        body = _body_at(name, data, start)
        if body is not None:
            return decode(body)
    raise DecodeError(f"{name} holds no valid copy of its value")


def _readable(file: DiskFile, start: int) -> bytes:
    """The block, or zeros where the device cannot read it: the other copy may lie elsewhere."""
    try:
        return file.read_at(start, BLOCK_BYTES)
    except StorageError:
        return bytes(BLOCK_BYTES)


def _body_at(name: str, data: bytes, start: int) -> bytes | None:
    if len(data) - start < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack_from(data, start)
    body = data[start + _HEAD.size : start + _HEAD.size + length]
    if magic != _MAGIC or len(body) != length or crc32(body, crc32(name.encode())) != checksum:
        return None
    return body
