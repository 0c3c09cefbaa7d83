"""Data directories whose files were spoilt (HX-15, D3, P-10 to P-12): a start returns, believes nothing false, and never votes with less.

What the oracle demands, for a log of which all was durable and vouched for: either the start finds exactly that log, or it says
DAMAGED, durably. For one whose last batch nothing vouches for, that batch alone may be missing (P-11), as long as one file is spoilt: where
the last segment goes away as a whole, and the end of the one before it too, nothing is left that could say so.
"""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest

from tests.log.helpers import everything, open_log, small
from tests.log.stories import EPOCHS, RECORDS
from tests.log.test_damage import sealed, segments, vouched
from zkembed.errors import CorruptLogError, DecodeError, StorageError
from zkembed.log.base import Recovered
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk, SimulatedFile
from zkembed.log.snapshots import parse_snapshot_name
from zkembed.record import Record

from .effort import ITERATIONS, SEED, watching_memory
from .mutation import spoil

WHOLE = RECORDS[:40]
LAST_BATCH = 4
BYTES_OF_DISK = 8
BYTES_ALWAYS = 3 << 20
# A start that touches the disk more often than that has lost its way: one without damage does so some fifty times.
STEPS_MAX = 2_000
# A real disk makes room for as much as is asked of it.
READ_BYTES_MAX = 2 << 20


@pytest.fixture(autouse=True)
def modest_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks a file for more than it has, or a window."""
    genuine = SimulatedFile.read_at

    def read_at(file: SimulatedFile, offset: int, length: int) -> bytes:
        assert length <= max(READ_BYTES_MAX, file.size()), f"{length} bytes asked of a file of {file.size()}"
        return genuine(file, offset, length)

    monkeypatch.setattr(SimulatedFile, "read_at", read_at)


def spoil_disk(disk: SimulatedDisk, random: Random, *, files_max: int) -> list[str]:
    """Up to so many files get other bytes, another file's bytes, or (where it may be several) go away. Returns what was done."""
    done = []
    for _ in range(min(files_max, random.choice((1, 1, 1, 2, 3)))):
        name = random.choice(disk.names())
        if files_max > 1 and random.random() < 0.06:
            disk.replace(name, b"")
            disk.unlink(name)
            done.append(f"{name} removed")
            continue
        content, other = disk.read(name), disk.read(random.choice(disk.names()))
        kept = content.rstrip(b"\0")
        spoilt = other if random.random() < 0.04 else spoil(kept, other.rstrip(b"\0"), random)
        # As long as it was, mostly: a file system loses bytes more often than length.
        padding = len(content) - len(spoilt) if random.random() < 0.8 else 0
        disk.replace(name, spoilt + bytes(max(0, padding)))
        done.append(f"{name} spoilt")
    return done


def start(disk: SimulatedDisk) -> tuple[MemoryLog, Recovered | None]:
    """None: refused with a StorageError, as a directory of a later version or of somebody else is."""
    log = small(disk)
    steps = disk.steps
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    size = sum(len(disk.read(name)) for name in disk.names())
    try:
        found = open_log(log)
    except CorruptLogError as error:
        raise AssertionError("damage is a verdict of a start, not an error") from error
    except StorageError:
        return log, None
    used = tracemalloc.get_traced_memory()[1] - base
    assert used <= BYTES_OF_DISK * size + BYTES_ALWAYS, f"{used} bytes of memory for {size} on the disk"
    assert disk.steps - steps <= STEPS_MAX
    return log, found


def judge(disk: SimulatedDisk, log: MemoryLog, found: Recovered, least: int) -> str:
    """least: how many records of WHOLE must be there, unless the node is DAMAGED."""
    if found.damage:
        assert found.epochs.damaged
        assert found.last_zxid == 0
        log.close()
        _, again = start(disk)
        assert again is not None
        assert again.damage, "the mark is durable (P-12)"
        return "damaged"
    assert not found.epochs.damaged
    assert (found.epochs.accepted, found.epochs.current) == (EPOCHS.accepted, EPOCHS.current), "promises are kept"
    ends = [record.zxid for record in WHOLE[least - 1 :]]
    assert found.last_zxid in ends, "a shorter log that votes"
    expected = [record for record in WHOLE if found.snapshot.zxid < record.zxid <= found.last_zxid]
    assert everything(log, found) == expected, "a wrong read"
    assert found.snapshot.zxid in (0, RECORDS[13].zxid, RECORDS[25].zxid)
    return "whole" if found.last_zxid == WHOLE[-1].zxid else "cut"


@pytest.mark.parametrize("kind", ["all is vouched for", "the last batch is not", "snapshots"])
def test_a_spoilt_directory_is_whole_or_damaged_and_nothing_between(kind: str) -> None:
    """D3, HX-15."""
    origin = {
        "all is vouched for": lambda: vouched(),
        "the last batch is not": lambda: sealed(seal=False),
        "snapshots": lambda: vouched(snapshots=True),
    }[kind]()
    least = len(WHOLE) - (LAST_BATCH if kind == "the last batch is not" else 0)
    verdicts: dict[str, int] = {}
    with watching_memory():
        for number in range(ITERATIONS // 2 + 1):
            random = Random(f"{SEED}.{kind}.{number}")
            disk = origin.copy()
            done = spoil_disk(disk, random, files_max=1 if least < len(WHOLE) else 3)
            try:
                log, found = start(disk)
                verdict = "refused" if found is None else judge(disk, log, found, least)
            except Exception as error:
                raise AssertionError(f"seed {SEED}, number {number}: {'; '.join(done)}") from error
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
    print(verdicts)
    assert {"damaged", "whole"} <= verdicts.keys()


@pytest.mark.parametrize("claimed", [2**31, 2**32 - 1])
def test_HX_15_a_length_in_a_snapshot_file_allocates_nothing(claimed: int) -> None:
    """HX-1 for files: each frame in turn claims to be larger than any can be; nobody reads that much."""
    origin = vouched(snapshots=True)
    name = max(name for name in origin.names() if parse_snapshot_name(name))
    content, at = origin.read(name), 8
    while at < len(content):
        disk = origin.copy()
        disk.damage(name, at + 1, claimed.to_bytes(4, "big"))
        assert judge(disk, *opened(disk), least=len(WHOLE)) == "whole", "it goes back to the older one"
        at += 9 + int.from_bytes(content[at + 1 : at + 5], "big")


def opened(disk: SimulatedDisk) -> tuple[MemoryLog, Recovered]:
    log = small(disk)
    return log, open_log(log)


def test_readers_of_spoilt_files_say_so_and_return_nothing_false() -> None:
    """P-11, D3: a log that is open while its device goes bad: what is read is right, or the reader raises CorruptLogError."""
    good = {record.zxid: record for record in WHOLE}
    right = wrong = 0
    for number in range(ITERATIONS // 2 + 1):
        random = Random(f"{SEED}.reading.{number}")
        disk = vouched(snapshots=True)
        log = small(disk)
        found = open_log(log)
        name = random.choice([name for name in disk.names() if name in segments(disk) or parse_snapshot_name(name)])
        content = disk.read(name)
        spoilt = spoil(content.rstrip(b"\0"), content, random)
        disk.damage(name, 0, (spoilt + bytes(len(content)))[: len(content)])
        for record in read_what_can_be(log, found):
            assert record == good[record.zxid], f"seed {SEED}, number {number}: {name}"
            right += 1
        wrong += not read_snapshot(log, found.snapshot.zxid)
    assert right
    assert wrong


def test_the_bytes_of_a_segment_are_gone_and_the_one_before_it_is_not_there() -> None:
    """The last segment had no header left that reads, the one before it was missing: the log ended before both, sixteen answered entries
    fewer, and voted. Numbers have no gaps, so the missing one is damage (P-11). Once seed 20, number 20."""
    disk = sealed(seal=False)
    first, second, third = segments(disk)[-3:]
    disk.unlink(second)
    disk.replace(third, bytes(len(disk.read(third))))
    found = open_log(small(disk))
    assert second in found.damage
    assert first not in found.damage


def read_what_can_be(log: MemoryLog, found: Recovered) -> list[Record]:
    records: list[Record] = []
    try:
        reader = log.read_records(found.snapshot.zxid, found.last_zxid)
    except CorruptLogError:
        return records
    try:
        while batch := reader.read(1000):
            records += batch
    except CorruptLogError:
        pass
    finally:
        reader.close()
    return records


def read_snapshot(log: MemoryLog, zxid: int) -> bool:
    """Whether it reads to its end."""
    try:
        reader = log.read_snapshot(zxid)
    except (CorruptLogError, DecodeError):
        return False
    try:
        while reader.read() is not None:
            pass
    except CorruptLogError:
        return False
    finally:
        reader.close()
    return True
