"""The port to the file operations that a data directory needs, and no more: one flat directory of named files.

Two implementations: real files (``os_disk.py``) and a simulation that can lose whatever was not synced (``simulated_disk.py``),
so that the crash tests run the production code. Every operation is one step; a test may die before any of them.

All methods raise StorageError, or its kind DiskFullError when the device has no room. What an error leaves behind is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import StorageError


class DiskFullError(StorageError):
    """The device, or the quota on it, has no room left."""


class DiskFile(ABC):
    """An open file. Offsets and sizes are bytes. Reads and writes may come from different threads."""

    name: str

    @abstractmethod
    def size(self) -> int: ...

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the file."""

    @abstractmethod
    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data``; durable only after ``sync``."""

    @abstractmethod
    def reserve(self, size: int) -> None:
        """Make the file at least ``size`` bytes long, zero-filled, on blocks of its own. Where that is not supported: nothing."""

    @abstractmethod
    def sync(self, *, always: bool = False) -> None:
        """Data and size are durable on return, the name is not. A disk with fsync switched off does it only ``always``."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent; does not sync."""


class Disk(ABC):
    """One data directory."""

    place: str
    """What to call it in messages."""

    @abstractmethod
    def lock(self) -> None:
        """Make the directory if it is missing, and lock it against every other user. Nothing else is read or written."""

    @abstractmethod
    def unlock(self) -> None:
        """Idempotent."""

    @abstractmethod
    def names(self) -> list[str]:
        """The files of the directory, sorted, without the lock's."""

    @abstractmethod
    def create(self, name: str) -> DiskFile:
        """A new empty file; one of that name is replaced by a new one, as if unlinked before."""

    @abstractmethod
    def open(self, name: str) -> DiskFile:
        """An existing file."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Atomic, over an existing ``new``; durable only after ``sync_directory``."""

    @abstractmethod
    def unlink(self, name: str) -> None:
        """A missing one is no error. Durable only after ``sync_directory``."""

    @abstractmethod
    def sync_directory(self, *, always: bool = False) -> None:
        """The names are durable on return. ``always``: see ``DiskFile.sync``. After one that failed all fail, until the next ``lock``."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Ask that the next read of this file comes from the device and not from a cache. A hint."""

    @abstractmethod
    def boot_id(self) -> str:
        """The machine's current boot; "" where the platform has none (rule I-5)."""

    @property
    @abstractmethod
    def syncs(self) -> int:
        """How many syncs of files and of the directory were done."""
