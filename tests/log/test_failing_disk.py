"""P-13: an operation of the disk fails. Nothing is tried again, nothing that was durable is lost, the next start is whole."""

from __future__ import annotations

from copy import deepcopy

import pytest

from zkembed.durable import Epochs
from zkembed.errors import StorageError
from zkembed.log.base import Log
from zkembed.log.disk import DiskFullError
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record

from .helpers import behind, chunks_at, everything, history, open_log, read_all, small, state_at, write_snapshot
from .stories import OTHER, RECORDS, STORIES, Story, look_at, outcomes_of, prepare, steps_of

# A failed start or a failed snapshot is no failed log; they have tests of their own.
NOT_FATAL = ("first start", "restart", "restart with snapshots", "own snapshot", "orderly close")
FATAL = [story for story in STORIES if story.name not in NOT_FATAL]


def fail(story: Story, step: int, error: type[StorageError]) -> tuple[SimulatedDisk, Log]:
    """The operation, with this step of it failing."""
    disk, log = prepare(story)
    disk.fail_at[disk.steps + step] = error
    with pytest.raises(StorageError):
        story.act(log, disk)
    return disk, log


@pytest.mark.parametrize("story", FATAL, ids=lambda story: story.name)
def test_a_failed_step_ends_all_writing(story: Story) -> None:
    """At each step: StorageError, then every write is refused, reads go on; killed and started again it is whole old or whole new;
    and what *that* start reports survives a power cut, though after a failed fsync the cache lied to it (P-10)."""
    stages = outcomes_of(story)
    for step in range(1, steps_of(story) + 1):
        disk, log = fail(story, step, StorageError)
        refuses_writes(log)
        disk.kill()
        again = small(disk)
        found = open_log(again)
        records = everything(again, found)
        assert not found.damage
        reported = (found.epochs, found.snapshot, tuple(records))
        assert reported in [(stage.epochs, stage.snapshot, stage.records) for stage in stages], f"step {step}"
        disk.crash()
        after = look_at(disk)
        assert (after.epochs, after.snapshot, after.records) == reported, f"step {step}: reported, and lost"


def refuses_writes(log: Log) -> None:
    for write in (
        lambda: log.append(behind(RECORDS[-1], 1)),
        log.seal,
        lambda: log.truncate(RECORDS[30].zxid),
        lambda: log.set_epochs(Epochs(9, 1, 9)),
        lambda: log.begin_install(state_at(OTHER[3])),
        log.commit_install,
        log.purge,
        lambda: log.snapshot_writer(state_at(RECORDS[30])),
    ):
        with pytest.raises(StorageError, match="open it anew"):
            write()
    log.abort_install()
    durable = log.statistics().durable_zxid
    if durable:
        assert read_all(log, log.statistics().records_from, durable)[-1].zxid == durable
    log.close()


def test_no_fsync_is_tried_twice() -> None:
    disk, log = prepare(STORIES[1])
    disk.journal = []
    write, sync = disk.steps + 1, disk.steps + 2
    disk.fail_at[sync] = StorageError
    with pytest.raises(StorageError):
        log.append(RECORDS[40:42])
    log.close()
    assert [line.split()[0] for line in disk.journal] == ["write", "sync"]
    assert write < sync


def test_a_failed_start_changes_nothing_that_matters() -> None:
    """Each step of a start fails in turn; the start says so, gives the directory back, and a later one is as if it had not been."""
    for story in (STORIES[0], STORIES[1]):
        disk, _ = prepare(story)
        disk.kill()
        expected = look_at(disk)
        step = 0
        failed = True
        while failed:
            step += 1
            victim = deepcopy(disk)
            victim.fail_at[victim.steps + step] = StorageError
            try:
                open_log(small(victim))
                failed = False
            except StorageError:
                victim.fail_at.clear()
                assert look_at(victim) == expected, f"step {step}"
        assert step > 5


def test_a_snapshot_that_fails_is_only_a_snapshot_less() -> None:
    """P-8: at each step; the log goes on, the older snapshot stays, and a later attempt succeeds."""
    setup = STORIES[1].setup
    step = 0
    failed = True
    while failed:
        step += 1
        disk = SimulatedDisk()
        log = setup(disk)
        write_snapshot(log, RECORDS[9])
        disk.fail_at[disk.steps + step] = DiskFullError
        try:
            writer = log.snapshot_writer(state_at(RECORDS[25]))
            try:
                for chunk in chunks_at(RECORDS[25]):
                    writer.write(chunk)
                writer.finish()
                failed = False
            finally:
                writer.abort()
        except StorageError:
            assert log.statistics().snapshots == (RECORDS[9].zxid,)
        disk.fail_at.clear()
        log.append(RECORDS[40:42])
        write_snapshot(log, RECORDS[30])
        assert log.statistics().snapshots[-1] == RECORDS[30].zxid
        assert list(log.chunks(RECORDS[9].zxid)) == chunks_at(RECORDS[9])
        log.close()
    assert step > 8


def append_until_full(log: Log, records: list[Record]) -> int:
    """How many appends returned."""
    for done, record in enumerate(records):
        try:
            log.append([record])
        except DiskFullError:
            return done
    raise AssertionError("the disk was never full")


def test_full_disk_at_each_size() -> None:
    """DU-7: whatever does not fit any more: StorageError, nothing that was answered is lost, and a start with room goes on."""
    records = history(30)
    for room in range(0, 1200, 60):
        disk = SimulatedDisk()
        log = small(disk)
        open_log(log)
        disk.capacity_bytes = disk.used_bytes() + room
        durable = append_until_full(log, records)
        log.close()
        tight = deepcopy(disk)
        tight.capacity_bytes = 0
        with pytest.raises(DiskFullError):
            open_log(small(tight))
        disk.crash()
        disk.capacity_bytes = None
        log = small(disk)
        assert everything(log, open_log(log)) == records[:durable]
        log.append(records[durable:])
        log.close()


@pytest.mark.parametrize("name", ["replace epochs", "truncate within a batch"])
def test_on_a_full_disk_a_replace_is_finished_on_the_reserve(name: str) -> None:
    """P-13: P-2 and P-6 finish; only then the log stops."""
    (story,) = [story for story in STORIES if story.name == name]
    disk = SimulatedDisk()
    log = _with_big_reserve(disk)
    disk.capacity_bytes = disk.used_bytes()
    story.act(log, disk)
    with pytest.raises(StorageError, match="open it anew"):
        log.append(behind(RECORDS[37], 1, epoch=30))
    log.close()
    disk.crash()
    disk.capacity_bytes = None
    plain_disk, plain_log = prepare(story)
    story.act(plain_log, plain_disk)
    plain_disk.crash()
    assert look_at(disk) == look_at(plain_disk)


def _with_big_reserve(disk: SimulatedDisk) -> Log:
    log = MemoryLog(disk, segment_bytes=700, reserve_bytes=65536, extend_bytes=256)
    open_log(log)
    log.set_epochs(Epochs(3, 2, 2))
    for start in range(0, 40, 4):
        log.append(RECORDS[start : start + 4])
    return log
