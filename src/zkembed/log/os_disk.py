"""Real files in one directory of a POSIX system.

Foreign errors are mapped here and nowhere else. fsync is never retried: after a failed one the page cache may claim
what the device does not have (rule P-13).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from ..errors import StorageError
from .disk import Disk, DiskFile, DiskFullError

LOCK_NAME = "lock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# Linux: the data and the size, but no time stamps; a quarter cheaper. Elsewhere the plain one.
_sync_data = getattr(os, "fdatasync", os.fsync)


@contextmanager
def _mapped(doing: str, path: Path, offset: int | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(error, doing, path, offset) from error


def _storage_error(error: OSError, doing: str, path: Path, offset: int | None = None) -> StorageError:
    if error.errno in _FULL:
        return DiskFullError(f"{doing}: {error.strerror}; free some space, then start again", str(path), offset)
    return StorageError(f"{doing}: {error.strerror or error}", str(path), offset)


class OsFile(DiskFile):
    def __init__(self, disk: OsDisk, name: str, fd: int) -> None:
        self.name = name
        self._disk = disk
        self._path = disk.path / name
        self._fd = fd

    def size(self) -> int:
        with _mapped("stat", self._path):
            return os.fstat(self._fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        with _mapped("read", self._path, offset):
            data = os.pread(self._fd, length, offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        return data

    def write_at(self, offset: int, data: bytes) -> None:
        try:
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
        except OSError as error:
            raise _storage_error(error, "write", self._path, offset) from error

    def reserve(self, size: int) -> None:
        if not hasattr(os, "posix_fallocate"):  # pragma: no cover - macOS
            return
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise _storage_error(error, "reserve space in", self._path, size) from error

    def sync(self, *, always: bool = False) -> None:
        if not (self._disk.fsync or always):
            return
        self._disk.count_sync()
        try:
            _sync_data(self._fd)
        except OSError as error:
            raise _storage_error(error, "fsync", self._path) from error

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class OsDisk(Disk):
    """path: the data directory. fsync: False trades power-cut safety for speed (rule I-5)."""

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = True) -> None:
        self.path = Path(path)
        self.place = str(self.path)
        self.fsync = fsync
        self._lock_fd = -1
        self._directory_fd = -1
        self._directory_lock = Lock()
        self._directory_error: OSError | None = None
        self._syncs = 0

    def lock(self) -> None:
        self._make_directory()
        try:
            fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot use the data directory: {error.strerror}; make it writable for user id {os.getuid()}, or name another one",
                self.place,
            ) from error
        self._flock(fd)
        self._lock_fd = fd
        self._directory_error = None
        try:
            self._directory_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.unlock()
            raise _storage_error(error, "open the data directory", self.path) from error

    def check_unlocked(self) -> None:
        """Raise StorageError if somebody holds the lock; nothing is made for that."""
        try:
            fd = os.open(self.path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # Not there yet, or not for us: ``lock`` will say.
        self._flock(fd)
        os.close(fd)

    def _flock(self, fd: int) -> None:
        """Take the lock, or close ``fd`` and raise StorageError."""
        try:
            # flock belongs to the open file, not to the process, so a second node in this process is refused as well.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _storage_error(error, "lock", self.path / LOCK_NAME) from error
            raise StorageError(
                "another process uses it (or another node in this one); stop that one, or name another directory", self.place
            ) from error

    def _make_directory(self) -> None:
        """With missing parents; each new name is made durable in the directory above (rule P-5)."""
        missing = []
        path = self.path.absolute()
        while not path.exists():
            missing.append(path)
            path = path.parent
        for path in reversed(missing):
            with _mapped(f"make the data directory for user id {os.getuid()}", path):
                path.mkdir(mode=0o700, exist_ok=True)
                fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        if not path.is_dir():
            raise StorageError("the data directory is not a directory; name another one", self.place)

    def unlock(self) -> None:
        for fd in (self._directory_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._directory_fd = self._lock_fd = -1

    def names(self) -> list[str]:
        with _mapped("list", self.path):
            return sorted(name for name in os.listdir(self.path) if name != LOCK_NAME)

    def create(self, name: str) -> DiskFile:
        with _mapped("create", self.path / name):
            # A new inode: the old one may still be read, and its blocks may still be cached wrongly.
            with suppress(FileNotFoundError):
                os.unlink(self.path / name)
            return OsFile(self, name, os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def open(self, name: str) -> DiskFile:
        with _mapped("open", self.path / name):
            return OsFile(self, name, os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC))

    def rename(self, old: str, new: str) -> None:
        with _mapped("rename", self.path / old):
            os.rename(self.path / old, self.path / new)

    def unlink(self, name: str) -> None:
        with _mapped("unlink", self.path / name), suppress(FileNotFoundError):
            os.unlink(self.path / name)

    def sync_directory(self, *, always: bool = False) -> None:
        if not (self.fsync or always):
            return
        self.count_sync()
        # The system tells an error once, to whoever comes first. A snapshot's thread may have heard it, for which it is not fatal, and
        # the append that then waits for the name of its new segment would be told that all is well (P-5, P-13).
        with _mapped("fsync", self.path), self._directory_lock:
            if self._directory_error is not None:
                raise self._directory_error
            try:
                os.fsync(self._directory_fd)
            except OSError as error:
                self._directory_error = error
                raise

    def forget(self, name: str) -> None:
        if not hasattr(os, "posix_fadvise"):  # pragma: no cover - macOS
            return
        with _mapped("open", self.path / name):
            fd = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def boot_id(self) -> str:
        try:
            return BOOT_ID.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    @property
    def syncs(self) -> int:
        return self._syncs

    def count_sync(self) -> None:
        self._syncs += 1
