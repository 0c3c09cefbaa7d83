"""P-13: an operation of the disk fails. Nothing is tried again, nothing that was durable is lost, the next start is whole."""

from __future__ import annotations

from copy import deepcopy

import pytest
from attrs import evolve

from zkembed.durable import Epochs
from zkembed.errors import StorageError
from zkembed.log.base import Log
from zkembed.log.disk import DiskFullError
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record

from .crashes import Moment
from .helpers import behind, chunks_at, everything, history, open_log, read_all, small, state_at, write_snapshot
from .matrix import moments_of
from .model import Append, Install, Place, Promise, Purge, Seal, Snapshot, State, Truncate, difference, find, run
from .stories import FEW, MANY, OTHER, RECORDS, STORIES, Story, names, prepare, some, story

# A failed start or a failed snapshot is no failed log; they have tests of their own.
FATAL = [story for story in STORIES if all(isinstance(act, Append | Seal | Promise | Truncate | Install | Purge) for act in story.acts)]


def fail(story: Story, moment: Moment) -> Place:
    """The operation, with the step behind this moment failing."""
    place, _ = prepare(story)
    place.disk.fail_at[moment.disk.steps + 1] = StorageError
    with pytest.raises(StorageError):
        run(story.acts, place, State())
    return place


@pytest.mark.parametrize("story", FATAL, ids=names(FATAL))
def test_a_failed_step_ends_all_writing(story: Story) -> None:
    """At each step: StorageError, then every write is refused, reads go on; killed and started again it is whole old or whole new;
    and what *that* start reports survives a power cut, though after a failed fsync the cache lied to it (P-10)."""
    for moment, allowed in moments_of(story):
        if allowed.returned:
            continue
        place = fail(story, moment)
        refuses_writes(place.open_log)
        place.disk.kill()
        found = find(small(place.disk))
        assert not allowed.difference(found), f"step {moment.step}"
        place.disk.crash()
        assert find(small(place.disk)).content() == found.content(), f"step {moment.step}: reported, and lost"


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
    now = log.statistics()
    if now.durable_zxid > now.records_from:
        assert read_all(log, now.records_from, now.durable_zxid)[-1].zxid == now.durable_zxid
    log.close()


def test_no_fsync_is_tried_twice() -> None:
    place, _ = prepare(story("append"))
    disk, log = place.disk, place.open_log
    disk.journal = []
    disk.fail_at[disk.steps + 2] = StorageError
    with pytest.raises(StorageError):
        log.append(RECORDS[14:16])
    log.close()
    assert [line.split()[0] for line in disk.journal] == ["write", "sync"]


def test_a_failed_start_changes_nothing_that_matters() -> None:
    """Each step of a start fails in turn; the start says so, gives the directory back, and a later one is as if it had not been."""
    for name in ("first start", "append", "install", "start on a damaged log", "start on lost promises"):
        place, _ = prepare(story(name))
        place.disk.kill()
        expected = find(small(place.disk.fork())).content()
        step = 0
        failed = True
        while failed:
            step += 1
            victim = place.disk.fork()
            victim.fail_at[victim.steps + step] = StorageError
            try:
                open_log(small(victim))
                failed = False
            except StorageError:
                victim.fail_at.clear()
                assert find(small(victim)).content() == expected, f"step {step}"
        assert step > 5


def write_or_abort(log: Log) -> None:
    writer = log.snapshot_writer(state_at(RECORDS[25]))
    try:
        for chunk in chunks_at(RECORDS[25]):
            writer.write(chunk)
        writer.finish()
    finally:
        writer.abort()


def test_a_snapshot_that_fails_is_only_a_snapshot_less() -> None:
    """P-8: at each step but the last; the log goes on, the older snapshot stays, and a later attempt succeeds."""
    chosen = Story("", (*MANY, Snapshot(RECORDS[9])), (Snapshot(RECORDS[25]),))
    moments = [moment for moment, allowed in moments_of(chosen) if not allowed.returned]
    del moments[-1]  # The sync of the directory: the next test.
    assert len(moments) > 7
    for moment in moments:
        place, _ = prepare(chosen)
        disk, log = place.disk, place.open_log
        disk.fail_at[moment.disk.steps + 1] = DiskFullError
        with pytest.raises(DiskFullError):
            write_or_abort(log)
        assert log.statistics().snapshots == (RECORDS[9].zxid,)
        log.append(RECORDS[40:42])
        write_snapshot(log, RECORDS[30])
        assert log.statistics().snapshots == (RECORDS[9].zxid, RECORDS[30].zxid)
        assert list(log.chunks(RECORDS[9].zxid)) == chunks_at(RECORDS[9])
        log.close()
        disk.crash()
        assert find(small(disk)).snapshots == (RECORDS[9].zxid, RECORDS[30].zxid)


def test_behind_a_failed_sync_of_the_directory_no_new_name_is_believed() -> None:
    """P-5, P-13: a snapshot failed because the directory could not be synced. The system tells such an error once, so the next sync might
    return as if all were well; yet the names that waited, those of new segments among them, may never reach the device."""
    chosen = Story("", FEW, (Snapshot(RECORDS[5]),))
    *_, last = [moment for moment, allowed in moments_of(chosen) if not allowed.returned]
    place, state = prepare(chosen)
    disk, log = place.disk, place.open_log
    disk.fail_at[last.disk.steps + 1] = StorageError
    with pytest.raises(StorageError):
        write_snapshot(log, RECORDS[5])
    disk.fail_at.clear()
    with pytest.raises(StorageError):
        log.append(some(13, 15))
    log.close()
    disk.crash()
    assert difference(find(small(disk)), state) == ""


def append_until_full(log: Log, records: list[Record]) -> int:
    """How many appends returned."""
    for done, record in enumerate(records):
        try:
            log.append([record])
        except DiskFullError:
            return done
    raise AssertionError("the disk was never full")


def test_DU_7_a_full_disk_at_each_size() -> None:
    """Whatever does not fit any more: StorageError, nothing that was answered is lost, and a start with room goes on."""
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
    chosen = evolve(story(name), make=with_big_reserve)
    place, state = prepare(chosen)
    place.disk.capacity_bytes = place.disk.used_bytes()
    state = run(chosen.acts[:1], place, state)
    with pytest.raises(StorageError, match="open it anew"):
        place.open_log.append(behind(RECORDS[37], 1, epoch=30))
    place.open_log.close()
    place.disk.crash()
    place.disk.capacity_bytes = None
    assert difference(find(small(place.disk)), state) == ""


def with_big_reserve(disk: SimulatedDisk) -> Log:
    return MemoryLog(disk, segment_bytes=700, reserve_bytes=65536, extend_bytes=256)
