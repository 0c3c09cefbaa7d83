"""A snapshot of the own state on its way to a file, and one being read (rules P-8, Y-4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..durable import SnapshotInfo
from ..errors import InternalError, StorageError
from .base import SnapshotReader, SnapshotWriter
from .snapshots import SnapshotFileReader, SnapshotFileWriter


class OwnSnapshotWriter(SnapshotWriter):
    """adopt: gives the finished file its name among the live ones, or drops it.  over: called once, when this is finished or aborted."""

    def __init__(self, file: SnapshotFileWriter, adopt: Callable[[SnapshotFileWriter], None], over: Callable[[], None]) -> None:
        self._file = file
        self._adopt = adopt
        self._over = over
        self._done = False

    def write(self, chunk: bytes) -> None:
        self._check()
        self._file.write(chunk)

    def finish(self) -> None:
        self._check()
        self._file.finish()
        self._adopt(self._file)
        self._done = True
        self._over()

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        # A leftover is deleted by the next snapshot, or by the next start.
        with suppress(StorageError):
            self._file.abort()
        self._over()

    def _check(self) -> None:
        if self._done:
            raise InternalError("the snapshot is finished or aborted")


class PinnedSnapshotReader(SnapshotReader):
    """unpin: called once, at ``close``."""

    def __init__(self, file: SnapshotFileReader, unpin: Callable[[], None]) -> None:
        self._file = file
        self._unpin: Callable[[], None] | None = unpin
        self.info: SnapshotInfo = file.info

    def read(self) -> bytes | None:
        return self._file.read()

    def close(self) -> None:
        unpin, self._unpin = self._unpin, None
        if unpin is not None:
            self._file.close()
            unpin()
