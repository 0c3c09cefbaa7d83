"""The parts of a chaos run, each alone: what they promise, and that a fault of the ensemble would not pass them unseen."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest
import trio
from attrs import evolve

from zkembed.durable import Epochs, SnapshotInfo
from zkembed.errors import DecodeError
from zkembed.log.file import FileLog
from zkembed.record import CHAIN_EMPTY, Kind, Record
from zkembed.testing.history import Event, Fault, GuardedWrite, Invoke, Return
from zkembed.zxid import EMPTY

from .archive import ArchivingLog, DisagreementError, IncompleteError, compare, put_together, read_archive, read_directory
from .diary import Diary, merge_diaries, read_diary
from .guardian import PROJECT, Guardian
from .registers import judge_registers
from .resource import Accepted, FencedOffError, Resource, Visitor, judge_journal, open_resource, read_journal
from .run import Options
from .schedule import KINDS, draw_schedule
from .usage import command, parse

# --- the schedule ----------------------------------------------------------------------------------------------------


def test_one_seed_is_one_schedule() -> None:
    assert draw_schedule(7, [1, 2, 3], 60) == draw_schedule(7, [1, 2, 3], 60)
    assert draw_schedule(7, [1, 2, 3], 60) != draw_schedule(8, [1, 2, 3], 60)


@pytest.mark.parametrize("seconds", [2.0, 20.0, 120.0])
def test_every_fault_is_over_in_time_and_each_kind_comes_before_any_comes_again(seconds: float) -> None:
    steps = draw_schedule(1, range(1, 6), seconds)
    assert all(step.at + step.seconds <= seconds + 1e-9 for step in steps)
    first = [step.kind.name for step in steps[: len(KINDS)]]
    assert len(set(first)) == len(first)
    if seconds > 60:
        assert set(first) == set(KINDS)


def test_only_the_faults_that_were_asked_for_are_drawn() -> None:
    assert {step.kind.name for step in draw_schedule(1, [1, 2, 3], 60, ["kill", "ring"])} == {"kill", "ring"}


# --- the diary -------------------------------------------------------------------------------------------------------


def test_what_was_noted_is_read_back_even_if_the_last_line_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    diary = Diary(path, 2, 5)
    diary.write(Invoke, 7, 1, ("set", "/a/\N{SNOWMAN}", b"\x00\xff\n", None))
    diary.write(Return, 7, 1, "ok", (b"x", (1, 2)), 2**62, 3, 2**40, 0)
    whole = list(read_diary(path))
    assert [type(event) for event in whole] == [Invoke, Return]
    assert whole[0][1:] == (2, 5, 7, 1, ("set", "/a/\N{SNOWMAN}", b"\x00\xff\n", None))
    assert whole[1][5:] == ("ok", (b"x", (1, 2)), 2**62, 3, 2**40, 0)
    data = path.read_bytes()
    for length in range(data.index(b"\n") + 1, len(data)):
        path.write_bytes(data[:length])
        assert list(read_diary(path)) == whole[:1]
    path.write_bytes(b'["Nonsense"]\n')
    with pytest.raises(DecodeError):
        list(read_diary(path))


def test_diaries_of_several_processes_are_one_history_by_time(tmp_path: Path) -> None:
    for name, times in (("a", (1.0, 4.0)), ("b", (2.0, 3.0, 5.0))):
        diary = Diary(tmp_path / name)
        for time in times:
            diary.record(Fault(time, 0, 0, "x", name))
    assert [event.t for event in merge_diaries([tmp_path / "a", tmp_path / "b"])] == [1.0, 2.0, 3.0, 4.0, 5.0]


# --- the disks -------------------------------------------------------------------------------------------------------


def records(count: int, *, epoch: int = 1, behind: Record | None = None, text: str = "") -> list[Record]:
    made: list[Record] = []
    last = behind
    for number in range(1, count + 1):
        zxid = (epoch << 32) | number
        prev, chain = (EMPTY, CHAIN_EMPTY) if last is None else (last.zxid, last.chain)
        last = Record.make(zxid, prev, 0, Kind.REQUEST, 0, f"{text}{number}".encode(), chain)
        made.append(last)
    return made


def fill(directory: Path, entries: list[Record], epoch: int = 1) -> None:
    log = FileLog(directory, reserve_bytes=0)
    log.open("zkembed", int(directory.name.rpartition("-")[2]))
    log.append(entries)
    log.set_epochs(Epochs(accepted=epoch, current=epoch))
    log.close()


def test_c_is_put_together_from_the_best_disk_and_what_it_lacks_from_others(tmp_path: Path) -> None:
    whole = records(10)
    fill(tmp_path / "member-1", whole)
    fill(tmp_path / "member-2", whole[:7])
    logs = [read_directory(id, tmp_path / f"member-{id}", tmp_path / "scratch") for id in (1, 2)]
    assert put_together(logs, [], whole[-1].zxid) == whole
    assert put_together(logs, [], whole[4].zxid) == whole[:5]
    assert list(compare(logs, whole)) == []


def test_a_disk_that_holds_something_else_than_c_is_named(tmp_path: Path) -> None:
    """What lies behind the end of C was not committed and does no harm."""
    whole = records(5)
    astray = [*whole[:2], *records(1, epoch=2, behind=whole[1])]
    fill(tmp_path / "member-1", whole, epoch=2)
    fill(tmp_path / "member-2", astray)
    logs = [read_directory(id, tmp_path / f"member-{id}", tmp_path / "scratch") for id in (1, 2)]
    assert list(compare(logs, whole)) == []
    [fault] = compare(logs, [*whole, *records(2, epoch=2, behind=whole[-1])])
    assert "member 2" in fault


def test_a_gap_is_no_sequence_and_two_contents_of_one_zxid_are_a_disagreement(tmp_path: Path) -> None:
    whole, forged = records(6), records(6, text="forged")
    fill(tmp_path / "member-1", whole)
    [log] = [read_directory(1, tmp_path / "member-1", tmp_path / "scratch")]
    purged = evolve(log, base=whole[2].zxid, records=tuple(whole[3:]))
    assert put_together([purged], [whole[:3]], whole[-1].zxid) == whole
    with pytest.raises(IncompleteError):
        put_together([purged], [whole[:2]], whole[-1].zxid)
    with pytest.raises(DisagreementError):
        put_together([purged], [whole[:3], forged[:1]], whole[-1].zxid)
    with pytest.raises(IncompleteError):
        put_together([], [], 1)


def test_what_a_log_lets_go_is_in_its_archive(tmp_path: Path) -> None:
    """Across starts as well, and nothing is there twice."""
    whole = records(60)
    archive = tmp_path / "member-1.archive"
    for start in (0, 20, 40):
        log = ArchivingLog(tmp_path / "member-1", archive)
        log.open("zkembed", 1)
        for record in whole[start : start + 20]:
            log.append([record])
            if (record.zxid & 0xFFFF) % 10 == 0:
                writer = log.snapshot_writer(SnapshotInfo(record.zxid, record.chain))
                writer.finish()
                log.purge()
        log.close()
    assert list(read_archive(archive)) == whole
    archive.write_bytes(archive.read_bytes()[:-1])
    assert list(read_archive(archive)) == whole[:-1]


# --- the resource ----------------------------------------------------------------------------------------------------


def test_the_resource_refuses_a_token_lower_than_one_it_has_seen(tmp_path: Path) -> None:
    """Also if the higher one has only read: its holder will write what it makes of that."""
    resource = Resource(Diary(tmp_path / "diary"), tmp_path / "journal")
    assert resource.read("/lock", 5) == 0
    assert resource.write("/lock", 5, 1)
    assert resource.read("/lock", 9) == 1
    assert not resource.write("/lock", 5, 2)
    assert resource.read("/lock", 5) is None
    assert resource.write("/lock", 9, 2)
    assert resource.refused == 2
    assert read_journal(tmp_path / "journal") == [Accepted("/lock", 5, 1), Accepted("/lock", 9, 2)]


async def test_a_holder_reaches_the_resource_over_a_connection_and_is_noted(tmp_path: Path) -> None:
    async with open_resource(Diary(tmp_path / "diary"), tmp_path / "journal") as (resource, address):
        visitor = Visitor(address, "/lock")
        assert await visitor.read(3, (1, 1, 10)) == 0
        await visitor.write(3, 1, (1, 1, 10))
        with pytest.raises(FencedOffError):
            await visitor.write(2, 2, (2, 1, 20))
        assert (resource.accepted, resource.refused) == (1, 1)
    noted = list(read_diary(tmp_path / "diary"))
    assert [event[1:] for event in noted] == [(1, 1, 10, "/lock", 3, True), (2, 1, 20, "/lock", 2, False)]
    assert all(isinstance(event, GuardedWrite) for event in noted)


def test_two_holders_at_once_would_show_in_the_resources_journal() -> None:
    good = [Accepted("/lock", 3, 1), Accepted("/lock", 3, 2), Accepted("/lock", 8, 3)]
    assert list(judge_journal(good)) == []
    assert len(list(judge_journal([*good, Accepted("/lock", 8, 3)]))) == 1
    assert len(list(judge_journal([*good, Accepted("/lock", 7, 4)]))) == 1


# --- registers -------------------------------------------------------------------------------------------------------

STAT = (1, 2, 1, 0, 0, 1, 0, 0, 0, 1, 0)


def call(id: int, began: float, ended: float | None, op: tuple[object, ...], status: str = "ok", value: object = None) -> list[Event]:
    events: list[Event] = [Invoke(began, 1, 1, id, 1, op)]
    if ended is not None:
        events.append(Return(ended, 1, 1, id, 1, status, value, 0, 0, 0, 0))
    return events


def stat(version: int) -> tuple[int, ...]:
    return (*STAT[:5], version, *STAT[6:])


BEGINNING = call(1, 0.0, 0.1, ("create", "/registers/a", b"0", False, False, True), "ok", ("created", "/registers/a", stat(0)))
WRITE = call(2, 1.0, 1.1, ("set", "/registers/a", b"new", None), "ok", stat(1))


def by_time(*calls: list[Event]) -> list[Event]:
    return sorted((event for events in calls for event in events), key=lambda event: event.t)


def test_a_current_read_sees_what_was_answered_before_it() -> None:
    sync = call(3, 2.0, 2.1, ("sync",), "ok", 5)
    good = call(4, 2.2, 2.3, ("get", "/registers/a"), "ok", (b"new", stat(1)))
    stale = call(4, 2.2, 2.3, ("get", "/registers/a"), "ok", (b"0", stat(0)))
    assert judge_registers(by_time(BEGINNING, WRITE, sync, good))
    assert not judge_registers(by_time(BEGINNING, WRITE, sync, stale))


def test_a_read_without_a_sync_may_be_old_and_is_not_judged() -> None:
    stale = call(4, 2.2, 2.3, ("get", "/registers/a"), "ok", (b"0", stat(0)))
    assert judge_registers(by_time(BEGINNING, WRITE, stale))


def test_a_write_without_an_answer_may_have_happened_or_not_but_not_both() -> None:
    lost = call(5, 1.5, None, ("set", "/registers/a", b"lost", None))
    syncs = [call(10, 2.0, 2.1, ("sync",), "ok", 5), call(11, 2.4, 2.5, ("sync",), "ok", 5)]

    def read(id: int, began: float, data: bytes, version: int) -> list[Event]:
        return call(id, began, began + 0.05, ("get", "/registers/a"), "ok", (data, stat(version)))

    late = by_time(BEGINNING, WRITE, lost, *syncs, read(20, 2.2, b"new", 1), read(21, 2.6, b"lost", 2))
    taken_back = by_time(BEGINNING, WRITE, lost, *syncs, read(20, 2.2, b"lost", 2), read(21, 2.6, b"new", 1))
    assert judge_registers(late)
    assert not judge_registers(taken_back)


def test_a_compare_and_set_that_failed_although_nothing_had_changed_is_no_register() -> None:
    refused = call(7, 3.0, 3.1, ("set", "/registers/a", b"x", 1), "error", ("BadVersionError",))
    assert not judge_registers(by_time(BEGINNING, WRITE, refused))
    assert judge_registers(by_time(BEGINNING, refused))


# --- the guardian ----------------------------------------------------------------------------------------------------


async def test_the_guardian_kills_what_is_left_even_if_it_is_stopped() -> None:
    child = await trio.lowlevel.open_process([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        async with Guardian.open() as guardian:
            guardian.watch(child.pid)
            child.send_signal(signal.SIGSTOP)
        with trio.fail_after(20):
            assert await child.wait() == -signal.SIGKILL
    finally:
        child.kill()


async def test_the_guardian_leaves_a_process_alone_that_only_has_the_number_of_one_that_is_gone() -> None:
    child = await trio.lowlevel.open_process([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        command = [sys.executable, "-m", "tests.chaos.guardian"]
        await trio.run_process(command, stdin=b"%d 1\n%d 1\n" % (child.pid, 2**22 + 1), cwd=PROJECT)
        assert child.poll() is None
    finally:
        child.kill()
        await child.wait()


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--faults", "kill,flood"], "'flood'; there are kill, kill-leader"),
        (["--seconds", "0"], "more than 0"),
        (["--seconds", "soon"], "more than 0"),
        (["--seed", "-1"], "a whole number"),
        (["--members", "2"], "choose from 3, 4, 5, 6, 7"),
        (["--members", "many"], "invalid int value"),
        (["--secs", "3"], "unrecognized arguments"),
        (["--directory", "/"], "exists already"),
    ],
)
def test_bad_usage_says_what_is_allowed(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as usage:
        parse(arguments)
    assert usage.value.code == 2
    assert told in capsys.readouterr().err


def test_a_seed_that_was_drawn_is_told_with_the_command_that_gives_it_again() -> None:
    drawn = parse(["--members", "5", "--faults", "kill,wipe"])
    assert isinstance(drawn, Options)
    again = parse(shlex.split(shlex.split(command(drawn))[2].removeprefix("ARGS=")))
    assert isinstance(again, Options)
    assert again.steps() == drawn.steps()


def test_only_what_a_run_has_left_behind_can_be_judged_again(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    assert parse(["--judge", str(tmp_path)]) == tmp_path
    with pytest.raises(SystemExit):
        parse(["--judge", str(tmp_path / "history")])
