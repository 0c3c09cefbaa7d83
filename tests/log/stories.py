"""Every operation that takes more than one step on the disk, for the tests that die, fail or run out of space between them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from zkembed.durable import Epochs
from zkembed.log.base import Log
from zkembed.log.engine import LogEngine, LogOptions
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record

from .helpers import Bytes, behind, history, small
from .model import (
    Act,
    Append,
    AppendInPieces,
    BeginSnapshot,
    Close,
    EndSnapshot,
    Install,
    MakeLog,
    Place,
    Promise,
    Purge,
    Reboot,
    Renew,
    Seal,
    Snapshot,
    Spoil,
    Start,
    StartAnew,
    State,
    Truncate,
    run,
)

RECORDS = history(60)
OTHER = history(40, epoch=7, payload=b"another history")
EPOCHS = Epochs(accepted=3, accepted_leader=2, current=2)


@frozen
class Story:
    """before: what happened until the operation.  acts: the operation, in the process that is then running.

    make: the log that does it.  then: the log of the starts behind a crash.
    """

    name: str
    before: tuple[Act, ...]
    acts: tuple[Act, ...]
    make: MakeLog = small
    then: MakeLog = small


def prepare(story: Story) -> tuple[Place, State]:
    """The disk and the log right before the operation, and what is in them."""
    place = Place(SimulatedDisk(fsync=story.make is not lazy), story.make)
    return place, run(story.before, place, State())


def some(first: int, last: int, records: list[Record] = RECORDS) -> tuple[Record, ...]:
    """Records number ``first`` up to ``last``, from 1."""
    return tuple(records[first - 1 : last])


def batches(first: int, last: int, size: int) -> tuple[Append, ...]:
    """The records in appends of ``size`` each."""
    return tuple(Append(some(start, min(start + size - 1, last))) for start in range(first, last + 1, size))


def roomy(disk: SimulatedDisk) -> MemoryLog:
    """A log that puts all into one segment and reserves nothing ahead."""
    return MemoryLog(disk, segment_bytes=1 << 20, random_bytes=Bytes(disk))


def lazy(disk: SimulatedDisk) -> Log:
    """A log with fsync switched off (I-5)."""
    options = LogOptions(segment_bytes=700, extend_bytes=256, reserve_bytes=1024, random_bytes=Bytes(disk))
    return LogEngine(disk, options, inline=True, durable=True, fsync=False)


def forgetful(disk: SimulatedDisk) -> MemoryLog:
    """A log that no start may go on from (I-5)."""
    return small(disk, durable=False)


def wide(count: int, prev: Record) -> tuple[Record, ...]:
    """Records of nearly one block each."""
    return tuple(behind(prev, count, payload=b"w" * 440))


FEW = (Start(), Promise(EPOCHS), *batches(1, 12, 4))
"""Three batches that fill a segment; nothing vouches for the last."""

MANY = (Start(), Promise(EPOCHS), *batches(1, 40, 4))
"""Ten batches in five segments."""

LONG = (*FEW, Snapshot(RECORDS[5]), Append(some(13, 16)), Snapshot(RECORDS[10]), Append(some(17, 20)), Snapshot(RECORDS[14]))
"""Three snapshots, of which one may be purged, with the segments behind which it is."""

LAZY = (Start(), Promise(EPOCHS), *batches(1, 8, 4))

FORK = tuple(behind(RECORDS[17], 6, epoch=4))

STORIES = (
    Story("first start", (), (Start(),)),
    Story("append", (*FEW, Append(some(13, 14))), (Append(some(15, 17)),)),
    Story("append the first batch", (Start(),), (Append(some(1, 3)),)),
    Story("append the first batch of a segment", FEW, (Append(some(13, 15)),)),
    Story("append a batch of many blocks", (Start(), Append(some(1, 2))), (Append(wide(7, RECORDS[1])),), roomy, roomy),
    Story("append and roll", FEW, batches(13, 40, 3)),
    Story("append what is too much for one batch", FEW, (AppendInPieces(some(13, 24), (4, 4, 4)),)),
    Story("seal", FEW, (Seal(), Append(some(13, 14)), Seal(), Seal())),
    Story("replace epochs", FEW, (Promise(Epochs(8, 1, 3)), Promise(Epochs(8, 1, 8)))),
    Story("become another storage", FEW, (Renew(), Append(some(13, 14)), Start())),
    Story("truncate within a batch", MANY, (Truncate(RECORDS[37].zxid),)),
    Story("truncate at the end of a segment", MANY, (Truncate(RECORDS[31].zxid),)),
    Story("truncate over four segments", MANY, (Truncate(RECORDS[6].zxid),)),
    Story("truncate all away", MANY, (Truncate(0),)),
    Story(
        "truncate, append, truncate",
        LONG,
        (Truncate(RECORDS[17].zxid), Append(FORK), Truncate(RECORDS[15].zxid)),
    ),
    Story("install", LONG, (Install(OTHER[9], some(11, 24, OTHER)),)),
    Story("install and go on", FEW, (Install(OTHER[9], some(11, 24, OTHER)), Append(some(25, 28, OTHER)), Snapshot(OTHER[26]))),
    Story("install a snapshot alone", FEW, (Install(OTHER[9], ()), Append(some(11, 12, OTHER)))),
    Story("install records alone", FEW, (Install(None, some(1, 14, OTHER)),)),
    Story("install, aborted", LONG, (Install(OTHER[9], some(11, 24, OTHER), "abort"), Append(some(21, 22)))),
    Story("install behind a seal, aborted", (*FEW, Seal()), (Install(OTHER[9], some(11, 14, OTHER), "abort"), Close())),
    Story("install, begun again", FEW, (Install(OTHER[9], some(11, 24, OTHER), "again"), Append(some(25, 26, OTHER)))),
    Story("install, left unfinished", FEW, (Install(OTHER[9], some(11, 24, OTHER), "left"), Append(some(13, 14)), Start())),
    Story("own snapshot", FEW, (Snapshot(RECORDS[9]),)),
    Story("own snapshots, one aborted", FEW, (Snapshot(RECORDS[7]), Snapshot(RECORDS[9], aborted=True), Snapshot(RECORDS[9]))),
    Story(
        "own snapshot beside all else",
        (*FEW, Append(some(13, 16))),
        (
            BeginSnapshot(RECORDS[8]),
            Append(some(17, 18)),
            Promise(Epochs(4, 1, 3)),
            Truncate(RECORDS[13].zxid),
            Append(tuple(behind(RECORDS[13], 3, epoch=5))),
            EndSnapshot(RECORDS[8]),
            Seal(),
        ),
    ),
    Story(
        "own snapshot, overtaken by an install",
        FEW,
        (
            BeginSnapshot(RECORDS[8]),
            Install(OTHER[9], some(11, 14, OTHER)),
            EndSnapshot(RECORDS[8], overtaken=True),
            Snapshot(OTHER[11]),
        ),
    ),
    Story("purge", LONG, (Purge(), Append(some(21, 24)))),
    Story("purge what the manifest lists", (*LONG, *batches(21, 32, 4), Snapshot(RECORDS[27]), Start()), (Purge(), Start(), Purge())),
    Story("restart", FEW, (Start(), Append(tuple(behind(RECORDS[11], 2, epoch=9))), Start())),
    Story("restart with snapshots", LONG, (Start(), Purge(), Start())),
    Story("restart behind a seal", (*FEW, Seal()), (Start(), Start())),
    Story("restart behind a power cut", (*FEW, Reboot()), (Start(), Append(some(13, 15)))),
    Story("orderly close", LONG, (Close(),)),
    Story("start on a damaged log", (*FEW, Seal(), Spoil("log-", 100)), (Start(), Promise(Epochs(5, 1, 2, damaged=True)), Start())),
    Story("start on lost promises", (*FEW, Spoil("epochs", 0, b"\0" * 8192, promises=True)), (Start(), Start())),
    Story(
        "repair of a damaged log",
        (*FEW, Seal(), Spoil("log-", 100), Start()),
        (Install(OTHER[9], some(11, 16, OTHER)), Append(some(17, 18, OTHER)), Promise(Epochs(5, 1, 5)), Append(some(19, 20, OTHER))),
    ),
    Story("memory-only start", (StartAnew(always=True), *batches(1, 8, 4)), (StartAnew(always=True),), forgetful, forgetful),
    Story("start behind a boot without fsync", (*LAZY, Close(lazy=True), Start(), Reboot(fsync=True)), (StartAnew(),), lazy),
    Story("orderly close without fsync", LAZY, (Close(lazy=True),), lazy),
)


def story(name: str) -> Story:
    return {story.name: story for story in STORIES}[name]


def names(stories: Iterable[Story]) -> list[str]:
    return [story.name for story in stories]
