"""Space set aside, so that on a full disk what has begun can still be finished (rule P-13)."""

from __future__ import annotations

from .disk import Disk

RESERVE = "reserve"
_PIECE_BYTES = 1 << 20


class Reserve:
    def __init__(self, disk: Disk, size_bytes: int) -> None:
        self._disk = disk
        self._size_bytes = size_bytes

    def fill(self) -> None:
        """Make sure that it is there. Raises DiskFullError: with less room than this a node does not start."""
        if not self._size_bytes or self._size() >= self._size_bytes:
            return
        file = self._disk.create(RESERVE)
        try:
            file.reserve(self._size_bytes)
            # Where space cannot be reserved it is written.
            for offset in range(file.size(), self._size_bytes, _PIECE_BYTES):
                file.write_at(offset, bytes(min(_PIECE_BYTES, self._size_bytes - offset)))
            file.sync()
        finally:
            file.close()
        self._disk.sync_directory()

    def release(self) -> bool:
        """Give the space back to the disk; whether there was any."""
        if RESERVE not in self._disk.names():
            return False
        self._disk.unlink(RESERVE)
        self._disk.sync_directory()
        return True

    def _size(self) -> int:
        if RESERVE not in self._disk.names():
            return 0
        file = self._disk.open(RESERVE)
        try:
            return file.size()
        finally:
            file.close()
