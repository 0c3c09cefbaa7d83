"""A generation in the making: a received snapshot and the records behind it, beside the live log (rule P-7)."""

from __future__ import annotations

from collections.abc import Sequence

from ..durable import SnapshotInfo
from ..errors import InternalError
from ..record import Record
from ..zxid import EMPTY
from .disk import Disk
from .snapshots import SnapshotFileWriter, snapshot_name
from .tail import Tail


class Install:
    """Nothing of it is live, or survives a crash, before the manifest names it. info.zxid 0: no snapshot, the records are the whole log."""

    def __init__(self, disk: Disk, info: SnapshotInfo, tail: Tail) -> None:
        self.info = info
        self.tail = tail
        self._disk = disk
        self._snapshot: SnapshotFileWriter | None = None
        tail.start_at(info.zxid, info.chain)
        if info.zxid != EMPTY:
            self._snapshot = SnapshotFileWriter(disk, snapshot_name(tail.generation, info.zxid), info)

    @property
    def snapshot_bytes(self) -> int:
        return 0 if self._snapshot is None else self._snapshot.bytes

    def write(self, chunk: bytes) -> None:
        if self._snapshot is None:
            raise InternalError("a chunk for an install that has no snapshot")
        self._snapshot.write(chunk)

    def append(self, records: Sequence[Record]) -> None:
        self.tail.append(records, sync=False)

    def finish(self) -> None:
        """All of it durable and the snapshot read back, names too; still not live."""
        if self._snapshot is not None:
            self._snapshot.finish()
        self.tail.sync()

    def close(self) -> None:
        """Close the files, which stay until the next start deletes them."""
        self.tail.abandon()
        if self._snapshot is not None:
            self._snapshot.close()

    def abort(self) -> None:
        self.tail.abandon()
        for segment in self.tail.segments:
            self._disk.unlink(segment.name)
        if self._snapshot is not None:
            self._snapshot.abort()
