"""What a log must hold, told without its files: acts as data, each with what it does to a real log and to a plain model of it.

A ``State`` is all that a start may report and a reader read. An act says which states a power cut within it may leave: the one
before, the one after, and nothing else (P-2, P-5 to P-9, invariants D1, D2). What has returned is there, whatever follows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from attrs import Factory, define, evolve, frozen

from zkembed.durable import Epochs, Identity, SnapshotInfo
from zkembed.errors import StorageError
from zkembed.log import tail
from zkembed.log.base import Log, Recovered, SnapshotWriter
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record
from zkembed.zxid import to_hex

from .helpers import chunks_at, open_log, read_all, small, state_at, write_snapshot

MakeLog = Callable[[SimulatedDisk], Log]


# --- what may be found -----------------------------------------------------------------------------------------------


@frozen
class State:
    """history: all records behind ``base``.  base: the record that an install began at; None: the log's beginning.

    snapshots: their zxids, rising.  records_from: the log can be read from behind this zxid on; after a purge from any
    zxid up to ``purged_to``, since where segments end is not the model's business.
    damaged: the start says DAMAGED and offers nothing.  anew: it comes with a storage id never seen before (I-3, I-5).
    """

    epochs: Epochs = Epochs()
    base: Record | None = None
    history: tuple[Record, ...] = ()
    snapshots: tuple[int, ...] = ()
    records_from: int = 0
    purged_to: int = 0
    damaged: bool = False
    anew: bool = False

    @property
    def last_zxid(self) -> int:
        return self.history[-1].zxid if self.history else self.base.zxid if self.base else 0


@frozen
class Found:
    """What a start reported and a reader read."""

    identity: Identity
    epochs: Epochs
    snapshot: SnapshotInfo
    last_zxid: int
    damage: str
    snapshots: tuple[int, ...]
    records_from: int
    records: tuple[Record, ...]

    def content(self) -> tuple[object, ...]:
        """All but the identity, and how the damage is told: by what was found, or by the mark."""
        return self.epochs, self.snapshot, self.last_zxid, bool(self.damage), self.snapshots, self.records_from, self.records


def find(log: Log) -> Found:
    """Open the log, and read all of it: every record that it offers, and every chunk of every snapshot."""
    return found_by(log, open_log(log))


def found_by(log: Log, recovered: Recovered) -> Found:
    now = log.statistics()
    records = read_all(log, now.records_from, recovered.last_zxid) if not recovered.damage else []
    for zxid in now.snapshots:
        info, chunks = read_snapshot(log, zxid)
        assert info.zxid == zxid
        assert chunks == chunks_of(zxid), f"the snapshot at {to_hex(zxid)} holds what was written to it"
        if zxid == recovered.snapshot.zxid:
            assert info == recovered.snapshot
    return Found(
        recovered.identity,
        recovered.epochs,
        recovered.snapshot,
        recovered.last_zxid,
        recovered.damage,
        now.snapshots,
        now.records_from,
        tuple(records),
    )


def read_snapshot(log: Log, zxid: int) -> tuple[SnapshotInfo, list[bytes]]:
    reader = log.read_snapshot(zxid)
    try:
        chunks = []
        while (chunk := reader.read()) is not None:
            chunks.append(chunk)
        return reader.info, chunks
    finally:
        reader.close()


def chunks_of(zxid: int) -> list[bytes]:
    """See ``chunks_at``."""
    return [b"chunk %d of %x;" % (i, zxid) * (40 * i) for i in range(4)]


def difference(found: Found, state: State) -> str:
    """In what the log that was found is not this state; "" if in nothing."""
    if state.damaged:
        epochs = evolve(state.epochs, damaged=True)
        silent = (found.last_zxid, found.snapshot, found.snapshots, found.records) == (0, SnapshotInfo(), (), ())
        return "" if found.damage and silent and found.epochs == epochs else f"not DAMAGED with {epochs}"
    if found.damage:
        return f"DAMAGED: {found.damage}"
    for what, is_there, expected in (
        ("epochs", found.epochs, state.epochs),
        ("last_zxid", to_hex(found.last_zxid), to_hex(state.last_zxid)),
        ("snapshots", found.snapshots, state.snapshots),
        ("snapshot", found.snapshot.zxid, max(state.snapshots, default=0)),
        ("records", found.records, tuple(record for record in state.history if record.zxid > found.records_from)),
    ):
        if is_there != expected:
            return f"{what}: {is_there}, expected {expected}"
    if not state.records_from <= found.records_from <= max(state.records_from, state.purged_to):
        return f"records from {to_hex(found.records_from)}"
    return ""


# --- what may be done ------------------------------------------------------------------------------------------------


@define
class Place:
    """A disk with its log, as the acts go on.  make: the log of the next start.  starts: what each start that returned said of itself."""

    disk: SimulatedDisk
    make: MakeLog
    starts: list[Identity] = Factory(list)
    log: Log | None = None
    writer: SnapshotWriter | None = None

    @property
    def open_log(self) -> Log:
        assert self.log is not None
        return self.log


class Act(ABC):
    """One operation of the contract."""

    @abstractmethod
    def do(self, place: Place) -> None:
        """Do it."""

    def then(self, state: State) -> State:
        """The state behind it."""
        return state

    def within(self, state: State) -> tuple[State, ...]:
        """What a power cut within it may leave."""
        after = self.then(state)
        return (state,) if after == state else (state, after)


@frozen
class Start(Act):
    """The process, if one runs, is killed; a new one starts on the directory."""

    def do(self, place: Place) -> None:
        place.disk.kill()
        place.log = place.make(place.disk)
        found = open_log(place.log)
        place.starts.append(found.identity)

    def then(self, state: State) -> State:
        return evolve(state, anew=False)

    def within(self, state: State) -> tuple[State, ...]:
        return (state,)


@frozen
class StartAnew(Start):
    """A start that must not believe what is there (I-5): a new storage id, and an empty log.  always: so is every other."""

    always: bool = False

    def then(self, state: State) -> State:
        return State(anew=self.always)

    def within(self, state: State) -> tuple[State, ...]:
        return (State(anew=True),)


@frozen
class Append(Act):
    records: tuple[Record, ...]

    def do(self, place: Place) -> None:
        place.open_log.append(self.records)

    def then(self, state: State) -> State:
        return evolve(state, history=state.history + self.records)


@frozen
class AppendInPieces(Append):
    """An append too large for one batch: ``sizes`` are the records of each of its batches, one durable after the other."""

    sizes: tuple[int, ...]

    def do(self, place: Place) -> None:
        largest = max(sum(len(record.encoded) for record in piece) for piece in self._pieces())
        before = place.open_log.statistics().batches
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tail, "BATCH_BYTES_MAX", largest)
            place.open_log.append(self.records)
        assert place.open_log.statistics().batches - before == len(self.sizes)

    def _pieces(self) -> list[tuple[Record, ...]]:
        ends = [sum(self.sizes[:count]) for count in range(len(self.sizes) + 1)]
        return [self.records[start:end] for start, end in pairwise(ends)]

    def within(self, state: State) -> tuple[State, ...]:
        ends = [sum(self.sizes[:count]) for count in range(len(self.sizes) + 1)]
        return tuple(evolve(state, history=state.history + self.records[:end]) for end in ends)


@frozen
class Seal(Act):
    def do(self, place: Place) -> None:
        place.open_log.seal()


@frozen
class Promise(Act):
    epochs: Epochs

    def do(self, place: Place) -> None:
        place.open_log.set_epochs(self.epochs)

    def then(self, state: State) -> State:
        # A log that was damaged and has been replaced is whole from here on (P-12).
        return evolve(state, epochs=self.epochs, damaged=self.epochs.damaged)


@frozen
class Renew(Act):
    """The directory becomes another storage (I-6)."""

    def do(self, place: Place) -> None:
        place.starts.append(place.open_log.renew_storage())

    def within(self, state: State) -> tuple[State, ...]:
        return state, evolve(state, anew=True)


@frozen
class Truncate(Act):
    zxid: int

    def do(self, place: Place) -> None:
        place.open_log.truncate(self.zxid)

    def then(self, state: State) -> State:
        return evolve(state, history=tuple(record for record in state.history if record.zxid <= self.zxid))


@frozen
class Install(Act):
    """A received snapshot at ``base`` (None: none) and the records behind it, as they come in: chunks, then records in two parts.

    ending: "commit", "abort", "again" (begun anew in the middle, then committed), "left" (neither, the process goes on).
    """

    base: Record | None
    records: tuple[Record, ...]
    ending: str = "commit"

    def do(self, place: Place) -> None:
        log = place.open_log
        if self.ending == "again":
            self._receive(log, self.records[:2])
        self._receive(log, self.records)
        if self.ending == "abort":
            log.abort_install()
        elif self.ending != "left":
            log.commit_install()

    def _receive(self, log: Log, records: tuple[Record, ...]) -> None:
        log.begin_install(SnapshotInfo() if self.base is None else state_at(self.base))
        for chunk in [] if self.base is None else chunks_at(self.base):
            log.install_chunk(chunk)
        half = len(records) // 2
        for part in (records[:half], records[half:]):
            if part:
                log.install_records(part)

    def then(self, state: State) -> State:
        if self.ending in ("abort", "left"):
            return state
        zxid = self.base.zxid if self.base else 0
        # The mark stays until the epochs are written (P-12).
        return State(state.epochs, self.base, self.records, (zxid,) if zxid else (), zxid, zxid, state.damaged)


@frozen
class Snapshot(Act):
    """An own snapshot of the state at this record."""

    record: Record
    aborted: bool = False

    def do(self, place: Place) -> None:
        if not self.aborted:
            write_snapshot(place.open_log, self.record)
            return
        writer = place.open_log.snapshot_writer(state_at(self.record))
        writer.write(b"half of it")
        writer.abort()

    def then(self, state: State) -> State:
        return state if self.aborted else evolve(state, snapshots=tuple(sorted({*state.snapshots, self.record.zxid})))


@frozen
class BeginSnapshot(Act):
    """Its first half; other acts go on beside it."""

    record: Record

    def do(self, place: Place) -> None:
        place.writer = place.open_log.snapshot_writer(state_at(self.record))
        for chunk in chunks_at(self.record)[:2]:
            place.writer.write(chunk)


@frozen
class EndSnapshot(Act):
    """The other half.  overtaken: the log was replaced meanwhile, so it is not needed any more."""

    record: Record
    overtaken: bool = False

    def do(self, place: Place) -> None:
        assert place.writer is not None
        for chunk in chunks_at(self.record)[2:]:
            place.writer.write(chunk)
        if not self.overtaken:
            place.writer.finish()
            return
        with pytest.raises(StorageError, match="not needed any more"):
            place.writer.finish()
        place.writer.abort()

    def then(self, state: State) -> State:
        return state if self.overtaken else Snapshot(self.record).then(state)


@frozen
class Purge(Act):
    """Two snapshots stay, and the log behind the older of them; how much log before it goes is not said (P-9)."""

    def do(self, place: Place) -> None:
        place.open_log.purge()

    def then(self, state: State) -> State:
        if len(state.snapshots) < 2:
            return state
        return evolve(state, snapshots=state.snapshots[-2:], purged_to=max(state.purged_to, state.snapshots[-2]))


@frozen
class Close(Act):
    """lazy: of a log without fsync; before it has returned, or has come to its last step, a boot makes a new log of it (I-5)."""

    lazy: bool = False

    def do(self, place: Place) -> None:
        place.open_log.close()

    def within(self, state: State) -> tuple[State, ...]:
        return (State(anew=True), state) if self.lazy else (state,)


@frozen
class Spoil(Act):
    """Not the log's doing: the device changes bytes of the first file whose name begins so.  promises: they are gone with that."""

    prefix: str
    offset: int
    data: bytes = b"\xff\xff\xff"
    promises: bool = False

    def do(self, place: Place) -> None:
        name = next(name for name in place.disk.names() if name.startswith(self.prefix))
        place.disk.damage(name, self.offset, self.data)

    def then(self, state: State) -> State:
        return State(damaged=True, anew=True) if self.promises else evolve(state, damaged=True)


@frozen
class Reboot(Act):
    """The machine boots, with nothing lost that was synced.  fsync: it is switched on now."""

    fsync: bool = False

    def do(self, place: Place) -> None:
        place.disk.crash()
        if self.fsync:
            place.disk.fsync, place.make = True, small


def run(acts: Iterable[Act], place: Place, state: State) -> State:
    """Do them all; the state behind them."""
    for act in acts:
        act.do(place)
        state = act.then(state)
    return state
