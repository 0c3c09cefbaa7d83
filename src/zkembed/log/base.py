"""The port to a data directory: a log of records, snapshots, epochs and identity, and what each call promises.

Two implementations pass one conformance function: files (``log/file.py``) and a simulated disk (``log/memory.py``).

Every method here is synchronous and returns only when its effect is durable, unless it says otherwise. The driver runs
them one at a time in one worker thread (``inline`` False) or on the loop (``inline`` True); only a SnapshotWriter and the readers
may be used from a second thread meanwhile. Any failing write, fsync or rename raises StorageError, and the log refuses
all further writes (P-13): what is on disk then is unknown until the next ``open``. Nothing here knows znodes or messages;
records and chunks are bytes to it, apart from a record's header.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from attrs import field, frozen

from ..durable import Epochs, Identity, SnapshotInfo
from ..record import Record
from ..zxid import to_hex


@frozen
class Recovered:
    """What ``open`` found. The records behind the snapshot come from ``read_records``.

    snapshot: the newest valid one (its zxid 0: none).  last_zxid, last_chain: end of the verified log behind it.
    fresh: the directory was empty before.  notes: what recovery did or found, a line each ("cut a torn batch of ...").
    epochs.damaged is set when P-11 says so; ``damage`` then says file and offset.
    """

    identity: Identity
    epochs: Epochs
    snapshot: SnapshotInfo
    last_zxid: int
    last_chain: int
    fresh: bool
    notes: tuple[str, ...] = ()
    damage: str = ""


@frozen
class LogStatistics:
    """records_from: the log can be read from behind this zxid on.  bytes_log, bytes_snapshots: on disk."""

    records_from: int = field(repr=to_hex)
    durable_zxid: int = field(repr=to_hex)
    segments: int
    snapshots: tuple[int, ...]
    bytes_log: int
    bytes_snapshots: int
    fsyncs: int
    batches: int


class SnapshotWriter(ABC):
    """An own snapshot being written (P-8). Not fatal if it fails: ``abort`` and try later."""

    @abstractmethod
    def write(self, chunk: bytes) -> None:
        """Add one chunk (at most 1 MiB); the reader gives the same chunks back."""

    @abstractmethod
    def finish(self) -> None:
        """Make it durable, read it back, verify it, and give it its name. Not used by recovery or purge before this."""

    @abstractmethod
    def abort(self) -> None:
        """Drop it. Idempotent."""


class SnapshotReader(ABC):
    """A snapshot being read; pinned until closed (Y-4)."""

    info: SnapshotInfo

    @abstractmethod
    def read(self) -> bytes | None:
        """The next chunk, verified; None behind the last. Raises CorruptLogError."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""


class RecordReader(ABC):
    """Records being read in order, verified; the segments it needs are pinned until closed."""

    @abstractmethod
    def read(self, bytes_max: int) -> Sequence[Record]:
        """The next records, about ``bytes_max`` encoded bytes of them, at least one; empty at the end. Raises CorruptLogError."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""


class Log(ABC):
    """See the module's text. Order of use: ``open`` once, then anything, ``close`` once."""

    inline: bool
    """Methods never block on a device: call them on the loop."""

    durable: bool
    """Survives the process. False: every start is a new storage id (I-5)."""

    def check(self) -> None:  # noqa: B027  # Nothing to check is an answer.
        """Raise StorageError if another process uses the directory now. Writes nothing; without a promise for later."""

    @abstractmethod
    def open(self, cluster: str, node_id: int) -> Recovered:
        """Take the directory's lock, load or make the identity with its incarnation raised, recover (P-10 to P-12, I-6).

        Raises StorageError when the directory cannot be used or another process has it (before anything is read or
        written), or when its identity is of another cluster or node id. Damage is no error: it is in what is returned, and made
        durable; the log then offers nothing, keeps the old files, and takes nothing but epochs and an install (P-12).
        """

    @abstractmethod
    def append(self, records: Sequence[Record]) -> None:
        """One batch: one write and one fsync (P-4, P-5); only one of several MiB becomes several.

        Raises InternalError, nothing being written, if the records do not stand behind the log's end without gap.
        """

    @abstractmethod
    def seal(self) -> None:
        """Append an empty batch (P-4)."""

    @abstractmethod
    def set_epochs(self, epochs: Epochs) -> None:
        """Atomic replace (P-2). Raises InternalError if one of them would fall, or the DAMAGED mark go before an install."""

    @abstractmethod
    def renew_storage(self) -> Identity:
        """The directory becomes another storage: a new storage id, incarnation 1, everything else as it is (rule I-6). Atomic (P-2)."""

    @abstractmethod
    def truncate(self, zxid: int) -> None:
        """The log ends at ``zxid``, which it holds, or at which it begins (P-6). Raises InternalError if not, or below a snapshot."""

    @abstractmethod
    def begin_install(self, info: SnapshotInfo) -> None:
        """Start a new generation from a received snapshot (P-7); one begun before is dropped. The live one stays as it is.

        ``info.zxid`` 0: no snapshot, the records that follow are the whole log.
        """

    @abstractmethod
    def install_chunk(self, chunk: bytes) -> None:
        """The next chunk of the received snapshot. Need not be durable on return."""

    @abstractmethod
    def install_records(self, records: Sequence[Record]) -> None:
        """Records behind the received snapshot, into the new generation. Need not be durable on return."""

    @abstractmethod
    def commit_install(self) -> None:
        """All of the new generation durable, then the manifest (P-7), then the old generation is deleted."""

    @abstractmethod
    def abort_install(self) -> None:
        """Drop a begun install. Idempotent."""

    @abstractmethod
    def snapshot_writer(self, info: SnapshotInfo) -> SnapshotWriter:
        """Write an own snapshot of the applied state at ``info.zxid``. One at a time.

        If the log is replaced meanwhile, ``finish`` raises StorageError: the snapshot is not needed any more.
        """

    @abstractmethod
    def purge(self) -> int:
        """Delete segments and snapshots that P-9 lets go; the zxid behind which records can still be read. Pinned ones stay."""

    @abstractmethod
    def read_snapshot(self, zxid: int) -> SnapshotReader:
        """The own snapshot at ``zxid``. Raises CorruptLogError if there is none or it does not verify."""

    @abstractmethod
    def read_records(self, after: int, upto: int) -> RecordReader:
        """Records (after, upto] of the live generation; ``after`` is a record's zxid or the base of a snapshot kept.

        Raises CorruptLogError if the log does not reach from the one to the other.
        """

    @abstractmethod
    def statistics(self) -> LogStatistics:
        """A snapshot of its counters and sizes. Never blocks."""

    @abstractmethod
    def close(self, *, orderly: bool = True) -> None:
        """Seal (if orderly and nothing failed), release the lock. Idempotent."""

    def chunks(self, zxid: int) -> Iterator[bytes]:
        """All chunks of a snapshot, for tests and tools."""
        reader = self.read_snapshot(zxid)
        try:
            while (chunk := reader.read()) is not None:
                yield chunk
        finally:
            reader.close()
