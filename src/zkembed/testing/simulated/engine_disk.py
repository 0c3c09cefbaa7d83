"""The production log in the world: ``LogEngine`` over a ``SimulatedDisk``, with the model beside it that says what must be there.

An operation is performed on the engine, then on the model. After a crash the next start is judged: what recovery reports is
the last durable state, or that of an operation under way, whole or not at all (D2); a disk that was only cut off is never
DAMAGED, and one that was tampered with never comes back silently shorter (D3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from attrs import frozen

from ...durable import Epochs, Identity, SnapshotInfo
from ...errors import CorruptLogError, StorageError
from ...log.base import Recovered, SnapshotWriter
from ...log.memory import MemoryLog
from ...log.simulated_disk import BLOCK_BYTES, PowerCutError, SimulatedDisk, Unsynced
from ...log_worker import perform
from ...record import Record
from ...zab.effects import Append, CommitInstall, Truncate
from ...zxid import EMPTY, to_hex
from ..checkers import Violation
from .disk import Generation, SimDisk
from .node import CLUSTER

READ_BYTES = 1 << 20
STEPS_OF_A_BATCH = 14
STEPS_OF_A_START = 40


@frozen
class DiskOptions:
    """What a seed sets. small_batches: how often only a part of what is queued goes to the log together.  dies_while_opening: how
    often a start is cut off as well."""

    segment_bytes: int = 1 << 14
    snapshots_kept: int = 2
    small_batches: float = 0.3
    dies_while_opening: float = 0.1


@frozen
class State:
    """What a start may report."""

    epochs: Epochs
    end: int
    chain: int

    @classmethod
    def of(cls, model: SimDisk) -> State:
        """A start that finds the DAMAGED mark offers no log, also if an install had replaced it before the mark could go (P-12)."""
        if model.epochs.damaged:
            return cls(model.epochs, EMPTY, 0)
        return cls(model.epochs, model.live.end, model.live.end_chain)


@frozen
class Backup:
    """A copy of a data directory, and what the model was then."""

    device: SimulatedDisk
    storage_id: bytes
    incarnation: int
    epochs: Epochs
    live: Generation
    possible: tuple[State, ...]
    tampered: bool


class EngineDisk(SimDisk):
    """device: the files.  log: of the process that runs on them.

    tampered: something on it was changed behind its back, and no start has found that yet.
    """

    def __init__(self, rng: Random, node_id: int, options: DiskOptions, count: Callable[[str], None]) -> None:
        super().__init__(rng, node_id)
        self._options = options
        self._count = count
        self.device = SimulatedDisk(place=f"disk of node {node_id}")
        self.log: MemoryLog | None = None
        self.storage_id = b""
        self.recovered: Recovered | None = None
        self._possible: list[State] = []
        # The log up to here is vouched for by the batch behind it; EMPTY where that is not known.
        self._vouched = EMPTY
        self.tampered = False
        self._off = False
        self._backup: Backup | None = None
        self.outdated = False
        """It is an old copy, and has not become another storage yet."""
        self._steps = Random(rng.random())

    # --- a process starts ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        rng = self._steps
        self._possible = self._possible or [self._state()]
        while True:
            if rng.random() < self._options.dies_while_opening:
                self.device.die_at = self.device.steps + rng.randint(1, STEPS_OF_A_START)
            log = self._new_log(self.device)
            try:
                recovered = log.open(CLUSTER, self.node_id)
                self.device.die_at = None
                break
            except PowerCutError:
                self.device.crash(self._keep())
        self.log = log
        self.recovered = recovered
        self._judge_start(recovered)
        self._adopt(recovered, log)

    def _new_log(self, device: SimulatedDisk) -> MemoryLog:
        return MemoryLog(
            device,
            segment_bytes=self._options.segment_bytes,
            snapshots_kept=self._options.snapshots_kept,
            random_bytes=self._rng.randbytes,
        )

    def _judge_start(self, recovered: Recovered) -> None:
        """D2, D3."""
        identity, found = recovered.identity, State(recovered.epochs, recovered.last_zxid, recovered.last_chain)
        if self.storage_id and identity.storage_id != self.storage_id and not self.tampered:
            raise Violation("D2", f"node {self.node_id} starts with another storage id on an unharmed disk", (self.node_id,))
        if identity.storage_id == self.storage_id and identity.incarnation <= self.incarnation and not self.tampered:
            raise Violation("D2", f"node {self.node_id}: incarnation {identity.incarnation} behind {self.incarnation}", (self.node_id,))
        self._count("D3" if self.tampered else "D2")
        if found in self._possible or (self.tampered and (recovered.epochs.damaged or recovered.fresh)):
            return
        if recovered.epochs.damaged and not any(state.epochs.damaged for state in self._possible):
            raise Violation("D3", f"node {self.node_id} is DAMAGED by a loss of power alone: {recovered.damage}", (self.node_id,))
        expected = " or ".join(f"{state.epochs} up to {to_hex(state.end)}" for state in self._possible)
        check = "D3" if self.tampered else "D2"
        raise Violation(
            check, f"node {self.node_id} recovers {found.epochs} up to {to_hex(found.end)}, expected {expected}", (self.node_id,)
        )

    def _adopt(self, recovered: Recovered, log: MemoryLog) -> None:
        """From here on the model is what was recovered."""
        self.storage_id, self.incarnation = recovered.identity.storage_id, recovered.identity.incarnation
        self.epochs = recovered.epochs
        self._possible.clear()
        self._vouched = EMPTY
        if recovered.epochs.damaged:  # It was found, and all of the log will come anew.
            self.tampered = False
        statistics = log.statistics()
        infos = {zxid: self._info(log, zxid) for zxid in statistics.snapshots if zxid <= recovered.snapshot.zxid}
        snapshots: dict[int, tuple[SnapshotInfo, tuple[bytes, ...]]] = {zxid: (info, ()) for zxid, info in infos.items() if info}
        start = statistics.records_from
        if start != EMPTY and start not in snapshots and self.live.chain_at(start) is None:
            start = recovered.snapshot.zxid
        base = self._base(start, snapshots)
        records = list(_read(log, start, recovered.last_zxid)) if recovered.last_zxid > start else []
        self.live = Generation(base, snapshots, records)

    @staticmethod
    def _info(log: MemoryLog, zxid: int) -> SnapshotInfo | None:
        """None: an older one that has become unreadable; nobody needs it."""
        try:
            reader = log.read_snapshot(zxid)
        except CorruptLogError:
            return None
        reader.close()
        return reader.info

    def _base(self, zxid: int, snapshots: Mapping[int, tuple[SnapshotInfo, object]]) -> SnapshotInfo:
        """What a log that begins behind ``zxid`` stands on: a snapshot, or just the record there."""
        if zxid in snapshots:
            return snapshots[zxid][0]
        chain = self.live.chain_at(zxid)
        return SnapshotInfo(zxid, chain) if chain is not None else SnapshotInfo()

    def _state(self) -> State:
        return State.of(self)

    # --- operations ---------------------------------------------------------------------------------------------------

    def take_batch(self) -> Sequence[Any]:
        """What queued while the disk was busy; sometimes only the first of it had queued by then."""
        queue = self.queue
        count = len(queue)
        if count > 1 and self._steps.random() < self._options.small_batches:
            count = self._steps.randint(1, count)
        batch: list[Any] = []
        while queue and len(batch) < count and not self.held():
            batch.append(queue.popleft())
        return batch

    def perform(self, batch: Sequence[Any]) -> None:
        """Raises StorageError where a fault was injected; what it leaves behind is one of the states on the way (P-13)."""
        assert self.log is not None
        kinds = {type(effect) for effect in batch}
        if kinds & {Truncate, CommitInstall}:
            self._vouched = EMPTY
        elif Append in kinds:
            self._vouched = self.live.end
        try:
            perform(self.log, batch)
        except StorageError:
            self._possible = self._states_of(batch)
            raise

    def _states_of(self, batch: Sequence[Any]) -> list[State]:
        """The states before, between and behind these operations; appends that stand together are one."""
        model = SimDisk(Random(0), self.node_id)
        model.epochs, model.live = self.epochs, self.live.copy()
        model.staged = self.staged.copy() if self.staged is not None else None
        states = [State.of(model)]
        for index, effect in enumerate(batch):
            model.execute(effect)
            if type(effect) is Append and index + 1 < len(batch) and type(batch[index + 1]) is Append:
                continue
            states.append(State.of(model))
        return states

    # --- the process ends ---------------------------------------------------------------------------------------------

    def crash(self, *, power: bool = True) -> None:
        """At any step of what is under way."""
        if self.log is not None:
            self._die_under_way()
            self.log = None
        if power or self._off:
            self.device.crash(self._keep() if power else lambda _: True)
        else:
            self.device.kill()
        self._off = False
        super().crash()

    def lose_power(self) -> None:
        """Of a machine whose process is down already."""
        assert self.log is None
        self.device.crash(self._keep())

    def _die_under_way(self) -> None:
        assert self.log is not None
        if self._possible:  # It had failed before.
            return
        batch = self.take_batch()
        self._possible = [self._state()]
        if batch:
            self.device.die_at = self.device.steps + self._steps.randint(1, STEPS_OF_A_BATCH)
            states = self._states_of(batch)
            try:
                perform(self.log, batch)
            except PowerCutError:
                self._possible, self._off = states, True
            except StorageError:
                self._possible = states
            else:
                self._possible = states[-1:]
                self.device.die_at = None

    def leave(self) -> None:
        """The process ends in good order."""
        assert self.log is not None
        self._possible = [self._state()]
        with suppress(StorageError):  # The last seal may fail; everything else is on the disk.
            self.log.close()
        self.log = None
        self.device.kill()
        super().crash()

    def _keep(self) -> Callable[[Unsynced], bool]:
        """Which of what was not synced a loss of power leaves: nothing, everything, or any subset."""
        rng = self._steps
        chance = rng.choice([0.0, 1.0, rng.random()])
        return lambda _: rng.random() < chance

    @property
    def trusted(self) -> bool:
        """Its process may vote with it."""
        return not self.epochs.damaged and not self.outdated

    @property
    def surely(self) -> int:
        """Up to where the next start will find the log, whatever was under way."""
        return min((state.end for state in self._possible), default=self.live.end)

    # --- faults -------------------------------------------------------------------------------------------------------

    def wipe(self) -> None:
        self.device = SimulatedDisk(place=self.device.place)
        self.storage_id, self.incarnation = b"", 0
        self.epochs, self.live = Epochs(), Generation()
        self._possible.clear()
        self._vouched = EMPTY
        self.tampered = False

    def flip(self) -> str:
        """One bit in one file of a process that is down, or a block zeroed or written over with another: file and offset; "" if none was.

        Not where nobody could tell it from a torn write: the last batch while nothing vouches for it (P-11).
        """
        rng = self._steps
        for _ in range(8):
            names = [name for name in self.device.names() if self.device.read(name)]
            if not names:
                return ""
            name = rng.choice(names)
            offset, rot = self._rot(self.device.read(name), bits_only=name == max(names, key=_log_order))
            twin = self.device.copy()
            twin.capacity_bytes = None
            twin.damage(name, offset, rot)
            seen = self._new_log(twin).open(CLUSTER, self.node_id)
            end = max(state.end for state in self._possible or [self._state()])
            if not seen.epochs.damaged and self._vouched <= seen.last_zxid < end:
                continue
            self.device.damage(name, offset, rot)
            self.tampered = True
            return f"{name} at {offset}, {len(rot)} bytes"
        return ""

    def _rot(self, content: bytes, *, bits_only: bool) -> tuple[int, bytes]:
        """Where, and what stands there then. bits_only: in the log's last segment, where one block may hold the last batches together
        with all that vouches for them; without it nobody can tell that they were there (P-11)."""
        rng = self._steps
        if bits_only or rng.random() < 0.6:
            offset = rng.randrange(len(content))
            return offset, bytes([content[offset] ^ (1 << rng.randrange(8))])
        blocks = (len(content) + BLOCK_BYTES - 1) // BLOCK_BYTES
        offset = rng.randrange(blocks) * BLOCK_BYTES
        length = len(content[offset : offset + BLOCK_BYTES])
        if rng.random() < 0.5:
            return offset, bytes(length)
        other = rng.randrange(blocks) * BLOCK_BYTES
        return offset, content[other : other + BLOCK_BYTES].ljust(length, b"\0")[:length]

    def back_up(self) -> None:
        """Put a copy of the directory aside, as it is now."""
        possible = tuple(self._possible) or (self._state(),)
        self._backup = Backup(self.device.copy(), self.storage_id, self.incarnation, self.epochs, self.live.copy(), possible, self.tampered)

    @property
    def outdated_backup(self) -> bool:
        """There is a copy, of this storage, and it has been started at least twice since, so that who remembers can tell (I-6)."""
        backup = self._backup
        return backup is not None and backup.storage_id == self.storage_id and self.incarnation >= backup.incarnation + 2

    def restore(self) -> None:
        """The directory becomes that copy: what it has promised and acknowledged since is forgotten. The process must be down."""
        assert self._backup is not None
        backup, self._backup = self._backup, None
        self.device = backup.device
        self.storage_id, self.incarnation = backup.storage_id, backup.incarnation
        self.epochs, self.live = backup.epochs, backup.live
        self._possible = list(backup.possible)
        self.tampered = backup.tampered
        self.outdated = True
        self._vouched = EMPTY

    def renew(self) -> Identity:
        """It becomes another storage, durably (I-6). Raises StorageError."""
        assert self.log is not None
        identity = self.log.renew_storage()
        self.storage_id, self.incarnation = identity.storage_id, identity.incarnation
        self.outdated = False
        return identity

    def fail_soon(self, steps: int) -> None:
        """A sync, or whatever stands at that step, fails once (P-13)."""
        self.device.fail_at[self.device.steps + steps] = lambda what: StorageError(f"injected: {what}")

    def fill(self, room: int) -> None:
        """The device has room for that many bytes more."""
        self.device.capacity_bytes = self.device.used_bytes() + room

    def empty_out(self) -> None:
        """There is room again."""
        self.device.capacity_bytes = None

    # --- reading ------------------------------------------------------------------------------------------------------

    def newest_snapshot(self) -> tuple[SnapshotInfo, tuple[bytes, ...]]:
        """What a start begins with."""
        assert self.recovered is not None
        base = self.recovered.snapshot
        return self.read_snapshot(base.zxid) if base.zxid != EMPTY else (base, ())

    def read_snapshot(self, zxid: int) -> tuple[SnapshotInfo, tuple[bytes, ...]]:
        assert self.log is not None
        reader = self.log.read_snapshot(zxid)
        chunks = []
        try:
            while (chunk := reader.read()) is not None:
                chunks.append(chunk)
        finally:
            reader.close()
        return reader.info, tuple(chunks)

    def read_records(self, after: int, upto: int) -> Iterable[Record]:
        assert self.log is not None
        return _read(self.log, after, upto)

    # --- own snapshots ------------------------------------------------------------------------------------------------

    def begin_snapshot(self, info: SnapshotInfo) -> SnapshotWriter:
        """Raises StorageError."""
        assert self.log is not None
        return self.log.snapshot_writer(info)

    def finish_snapshot(self, writer: SnapshotWriter, info: SnapshotInfo) -> int | None:
        """It has its name, and what P-9 lets go is gone; records_from, or None if the log was replaced meanwhile. Raises StorageError."""
        log, live = self.log, self.live
        assert log is not None
        writer.finish()
        records_from = log.purge()
        kept = log.statistics().snapshots
        if info.zxid not in kept:
            return None
        live.snapshots[info.zxid] = (info, ())
        if records_from != live.base.zxid:
            live.base = self._base(records_from, live.snapshots)
            live.records = live.behind(records_from)
        live.snapshots = {zxid: live.snapshots[zxid] for zxid in kept}
        return records_from


def _read(log: MemoryLog, after: int, upto: int) -> Iterable[Record]:
    """Raises CorruptLogError."""
    reader = log.read_records(after, upto)
    try:
        while records := reader.read(READ_BYTES):
            yield from records
    finally:
        reader.close()


def _log_order(name: str) -> tuple[bool, str]:
    """Greatest for the log's newest segment."""
    return name.startswith("log-"), name
