"""What a data directory durably holds, as a model, and the queue of operations before it.

``SimDisk`` is the model alone: an operation happens as a whole or not at all. It is what scenarios of the protocol use;
``engine_disk.py`` puts the production log beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from attrs import define, evolve, field

from ...durable import Epochs, SnapshotInfo
from ...record import Record
from ...zab.effects import (
    AbortInstall,
    Append,
    BeginInstall,
    CommitInstall,
    DiskOp,
    InstallChunk,
    InstallRecords,
    Seal,
    SetEpochs,
    Truncate,
)
from ...zxid import EMPTY


@define
class Generation:
    """What one generation of a data directory holds. base: its log begins behind this zxid."""

    base: SnapshotInfo = SnapshotInfo()
    snapshots: dict[int, tuple[SnapshotInfo, tuple[bytes, ...]]] = field(factory=dict)
    records: list[Record] = field(factory=list)

    @property
    def end(self) -> int:
        return self.records[-1].zxid if self.records else self.base.zxid

    @property
    def end_chain(self) -> int:
        return self.records[-1].chain if self.records else self.base.chain

    def index_behind(self, zxid: int) -> int:
        """How many of ``records`` are not behind ``zxid``."""
        records = self.records
        low, high = 0, len(records)
        if not records or records[-1].zxid <= zxid:
            return high
        while low < high:
            middle = (low + high) // 2
            if records[middle].zxid <= zxid:
                low = middle + 1
            else:
                high = middle
        return low

    def chain_at(self, zxid: int) -> int | None:
        if zxid == self.base.zxid:
            return self.base.chain
        index = self.index_behind(zxid)
        return self.records[index - 1].chain if index and self.records[index - 1].zxid == zxid else None

    def behind(self, zxid: int) -> list[Record]:
        return self.records[self.index_behind(zxid) :]

    def copy(self) -> Generation:
        return evolve(self, snapshots=dict(self.snapshots), records=list(self.records))


class SimDisk:
    """One data directory. Operations complete in order, each ``delay`` after the one before; consecutive Appends are one batch.

    hold: operations wait until ``Cluster.step_disk``; may be a predicate: stop before such an operation.
    """

    def __init__(self, rng: Random, node_id: int) -> None:
        self._rng = rng
        self.node_id = node_id
        self.storage_id = rng.randbytes(16)
        self.incarnation = 0
        self.epochs = Epochs()
        self.live = Generation()
        self.staged: Generation | None = None
        self.queue: deque[Any] = deque()
        self.delay = 0.0005
        self.hold: bool | Callable[[DiskOp], bool] = False
        self.done_ops: list[DiskOp] = []

    def open(self) -> None:
        """A process starts on it."""
        self.incarnation += 1

    def held(self) -> bool:
        if not self.queue:
            return True
        return self.hold(self.queue[0]) if callable(self.hold) else self.hold

    def take_batch(self) -> Sequence[Any]:
        """The next operation, with the Appends behind an Append."""
        batch = [self.queue.popleft()]
        while type(batch[0]) is Append and self.queue and type(self.queue[0]) is Append and not self.held():
            batch.append(self.queue.popleft())
        return batch

    def perform(self, batch: Sequence[Any]) -> None:
        """They are about to be durable: whatever else holds the data does it now; ``execute`` follows for each."""

    def execute(self, effect: Any) -> None:
        """The operation has become durable."""
        match effect:
            case Append(records=records):
                self.live.records.extend(records)
            case SetEpochs(epochs=epochs):
                self.epochs = epochs
            case Truncate(zxid=zxid):
                self.live.records = self.live.records[: self.live.index_behind(zxid)]
            case BeginInstall(info=info):
                self.staged = Generation(info)
                if info.zxid != EMPTY:
                    self.staged.snapshots[info.zxid] = (info, ())
            case InstallChunk(data=data):
                assert self.staged is not None
                info, chunks = self.staged.snapshots[self.staged.base.zxid]
                self.staged.snapshots[info.zxid] = (info, (*chunks, data))
            case InstallRecords(records=records):
                assert self.staged is not None
                self.staged.records.extend(records)
            case CommitInstall():
                assert self.staged is not None
                self.live, self.staged = self.staged, None
            case AbortInstall():
                self.staged = None
            case Seal():
                pass
        self.done_ops.append(effect)

    def crash(self, *, power: bool = True) -> None:
        """What was not complete is gone. power: also what the operating system had not written yet."""
        self.queue.clear()
        self.staged = None
        self.done_ops.clear()

    def leave(self) -> None:
        """The process has ended in good order; nothing was under way."""
        self.crash()

    def wipe(self) -> None:
        """An empty directory: a new storage id (rule I-1)."""
        self.crash()
        self.storage_id = self._rng.randbytes(16)
        self.incarnation = 0
        self.epochs = Epochs()
        self.live = Generation()

    def damage(self) -> None:
        """Recovery found corruption: the promises hold, the log is not offered (rule P-12)."""
        self.epochs = evolve(self.epochs, damaged=True)
        self.live = Generation()

    def newest_snapshot(self) -> tuple[SnapshotInfo, tuple[bytes, ...]]:
        return self.live.snapshots[max(self.live.snapshots)] if self.live.snapshots else (SnapshotInfo(), ())

    def read_snapshot(self, zxid: int) -> tuple[SnapshotInfo, tuple[bytes, ...]]:
        """Raises CorruptLogError where a disk of this kind can have none, or a bad one."""
        return self.live.snapshots[zxid]

    def read_records(self, after: int, upto: int) -> Iterable[Record]:
        """Raises CorruptLogError where a disk of this kind can have bad ones."""
        return (record for record in self.live.behind(after) if record.zxid <= upto)

    def store_snapshot(self, info: SnapshotInfo, chunks: tuple[bytes, ...], *, purge: bool) -> int:
        """An own snapshot; with ``purge`` the log behind it goes (P-9 keeps an older one; no test needs it). Returns records_from."""
        self.live.snapshots[info.zxid] = (info, chunks)
        if purge:
            self.live.records = self.live.behind(info.zxid)
            self.live.base = info
            self.live.snapshots = {info.zxid: (info, chunks)}
        return self.live.base.zxid
