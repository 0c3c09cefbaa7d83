"""Every operation that takes more than one step on the disk, for the tests that die, fail or run out of space between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from random import Random

from attrs import frozen

from zkembed.durable import Epochs, SnapshotInfo
from zkembed.log.base import Log
from zkembed.log.simulated_disk import PowerCutError, SimulatedDisk, Unsynced
from zkembed.record import Record

from .helpers import behind, everything, history, install, open_log, small, write_snapshot

RECORDS = history(60)
OTHER = history(40, epoch=7, payload=b"another history")
EPOCHS = Epochs(accepted=3, accepted_leader=2, current=2)


@frozen
class Story:
    """setup: what happened before, ending with an open log.  act: the operation; it may open and close logs of that disk itself."""

    name: str
    setup: Callable[[SimulatedDisk], Log]
    act: Callable[[Log, SimulatedDisk], None]


@frozen
class Outcome:
    """All that a start reports and a reader reads; two logs with the same Outcome hold the same."""

    epochs: Epochs
    snapshot: SnapshotInfo
    records: tuple[Record, ...]
    damage: str

    @property
    def last_zxid(self) -> int:
        return self.records[-1].zxid if self.records else self.snapshot.zxid


def outcome_of(log: Log) -> Outcome:
    """Of a log not yet opened."""
    found = open_log(log)
    if found.snapshot.zxid:
        assert list(log.chunks(found.snapshot.zxid)), "the snapshot that a start reports can be read"
    return Outcome(found.epochs, found.snapshot, tuple(everything(log, found)), found.damage)


def look_at(disk: SimulatedDisk) -> Outcome:
    """What a start would find on this disk, which stays as it is."""
    return outcome_of(small(deepcopy(disk)))


def _with_log(disk: SimulatedDisk) -> Log:
    """Some batches over several segments, nothing vouches for the last one yet."""
    log = small(disk)
    open_log(log)
    log.set_epochs(EPOCHS)
    for start in range(0, 40, 4):
        log.append(RECORDS[start : start + 4])
    return log


def _with_snapshots(disk: SimulatedDisk) -> Log:
    log = _with_log(disk)
    write_snapshot(log, RECORDS[9])
    write_snapshot(log, RECORDS[21])
    write_snapshot(log, RECORDS[29])
    return log


def _empty(disk: SimulatedDisk) -> Log:
    return small(disk)


def _first_start(log: Log, disk: SimulatedDisk) -> None:
    open_log(log)


def _restart(log: Log, disk: SimulatedDisk) -> None:
    disk.kill()
    again = small(disk)
    open_log(again)
    again.append(behind(RECORDS[39], 2, epoch=9))


def _append_all(log: Log, disk: SimulatedDisk) -> None:
    for start in range(40, 60, 3):
        log.append(RECORDS[start : start + 3])


def _purge(log: Log, disk: SimulatedDisk) -> None:
    assert log.purge() > 0


STORIES = (
    Story("first start", _empty, _first_start),
    Story("append a batch", _with_log, lambda log, disk: log.append(RECORDS[40:43])),
    Story("append a batch of many blocks", _with_log, lambda log, disk: log.append(RECORDS[40:])),
    Story("append and roll segments", _with_log, _append_all),
    Story("seal", _with_log, lambda log, disk: log.seal()),
    Story("replace epochs", _with_log, lambda log, disk: log.set_epochs(Epochs(8, 1, 3))),
    Story("truncate within a batch", _with_log, lambda log, disk: log.truncate(RECORDS[37].zxid)),
    Story("truncate segments away", _with_snapshots, lambda log, disk: log.truncate(RECORDS[30].zxid)),
    Story("truncate all away", _with_log, lambda log, disk: log.truncate(0)),
    Story("install", _with_snapshots, lambda log, disk: install(log, OTHER[9], OTHER[10:])),
    Story("own snapshot", _with_log, lambda log, disk: write_snapshot(log, RECORDS[25])),
    Story("purge", _with_snapshots, _purge),
    Story("restart", _with_log, _restart),
    Story("restart with snapshots", _with_snapshots, _restart),
    Story("orderly close", _with_snapshots, lambda log, disk: log.close()),
)


def subsets(disk: SimulatedDisk, seed: object) -> Iterator[Callable[[Unsynced], bool]]:
    """None of what is not synced, all of it, each single effect, all but each, and some drawn from a seed."""
    count = len(disk.unsynced())
    yield lambda effect: False
    if count:
        yield lambda effect: True
    if count > 1:
        few = range(count) if count <= 8 else Random(f"{seed} few").sample(range(count), 8)
        for only in few:
            yield lambda effect, only=only: effect.index == only  # type: ignore[misc]
            yield lambda effect, only=only: effect.index != only  # type: ignore[misc]
        for draw in range(3):
            random = Random(f"{seed} {draw}")
            kept = frozenset(i for i in range(count) if random.random() < 0.5)
            yield lambda effect, kept=kept: effect.index in kept  # type: ignore[misc]


def prepare(story: Story) -> tuple[SimulatedDisk, Log]:
    """The disk and the log right before the operation."""
    disk = SimulatedDisk()
    return disk, story.setup(disk)


def steps_of(story: Story) -> int:
    """How many steps the operation takes."""
    disk, log = prepare(story)
    before = disk.steps
    story.act(log, disk)
    return disk.steps - before


def outcomes_of(story: Story) -> tuple[Outcome, ...]:
    """What the disk may hold around the operation: whole old, whole new, and for several batches each stage between them."""
    disk, log = prepare(story)
    disk.journal = []
    first = disk.steps
    story.act(log, disk)
    found: list[Outcome] = []
    for step in range(1, disk.steps - first + 2):
        # The power fails before each step and the cache survives: that is every stage, and no subset of one.
        disk, log = die_at(story, step)
        disk.crash(lambda effect: True)
        outcome = look_at(disk)
        if outcome not in found:
            found.append(outcome)
    return tuple(found)


def die_at(story: Story, step: int) -> tuple[SimulatedDisk, Log]:
    """The disk as it is when the power fails right before this step of the operation, or right behind its last one."""
    disk, log = prepare(story)
    disk.die_at = disk.steps + step
    with suppress(PowerCutError):
        story.act(log, disk)
    return disk, log
