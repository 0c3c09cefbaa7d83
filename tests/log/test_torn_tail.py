"""DU-3: the last batch did not reach the disk whole. It was never acked: it is cut, said so, and the node is not DAMAGED."""

from __future__ import annotations

from copy import deepcopy
from random import Random

import pytest

from zkembed.errors import StorageError
from zkembed.log.base import Recovered
from zkembed.log.memory import MemoryLog
from zkembed.log.segments import parse_segment_name
from zkembed.log.simulated_disk import BLOCK_BYTES, SimulatedDisk

from .helpers import behind, everything, history, open_log, small

RECORDS = history(240, payload=b"x" * 30)


def log_on(disk: SimulatedDisk) -> MemoryLog:
    """All in one segment; extended a few blocks ahead."""
    return MemoryLog(disk, segment_bytes=1 << 20, extend_bytes=2048, random_bytes=lambda length: b"\x17" * length)


def torn(whole: int, last: int) -> tuple[SimulatedDisk, str, int, int]:
    """``whole`` records durable, then a batch of ``last`` records. The disk, its segment, and from where to where the batch is."""
    disk = SimulatedDisk()
    log = log_on(disk)
    open_log(log)
    for start in range(0, whole, 5):
        log.append(RECORDS[start : min(start + 5, whole)])
    begin = log.statistics().bytes_log
    log.append(RECORDS[whole : whole + last])
    (name,) = [name for name in disk.names() if parse_segment_name(name)]
    disk.kill()
    return disk, name, begin, log.statistics().bytes_log


def start(disk: SimulatedDisk) -> tuple[Recovered, MemoryLog]:
    log = log_on(disk)
    return open_log(log), log


@pytest.mark.parametrize(("whole", "last"), [(0, 1), (0, 3), (12, 1), (12, 7)])
@pytest.mark.parametrize("rest", ["gone", "zeros", "old bytes"])
def test_DU_3_cut_at_every_byte(whole: int, last: int, rest: str) -> None:
    """The file ends in the batch, or goes on with zeros, or with what its blocks held before."""
    disk, name, begin, end = torn(whole, last)
    content = disk.read(name)
    for at in range(begin, end):
        tail = {"gone": b"", "zeros": bytes(len(content) - at), "old bytes": b"\xa5" * (len(content) - at)}[rest]
        if content[at:end] == tail[: end - at]:
            continue  # Nothing is missing.
        victim = deepcopy(disk)
        victim.replace(name, content[:at] + tail)
        found, log = start(victim)
        assert not found.damage
        assert everything(log, found) == RECORDS[:whole]
        cut = [note for note in found.notes if "torn" in note]
        if at > begin and rest != "zeros":
            assert cut == [f"cut a torn batch: bad bytes in {name} at offset {begin} of {len(content[:at] + tail)}"]
        log.append(RECORDS[whole : whole + 2])
        log.close()
        found, log = start(victim)
        assert everything(log, found) == RECORDS[: whole + 2]


@pytest.mark.parametrize("last", [60, 200])
def test_DU_3_a_batch_of_many_blocks_with_any_of_them_missing(last: int) -> None:
    """P-11: in whatever order its blocks reached the disk, also with the header there and the middle not."""
    disk, name, begin, end = torn(12, last)
    content = disk.read(name)
    blocks = range(begin // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1)
    random = Random("blocks")
    choices = [{block} for block in blocks] + [set(blocks) - {block} for block in blocks]
    choices += [{block for block in blocks if random.random() < 0.5} for _ in range(30)]
    for lost in choices:
        if not lost:
            continue
        spoilt = bytearray(content)
        for block in lost:
            first, behind_last = max(begin, block * BLOCK_BYTES), (block + 1) * BLOCK_BYTES
            spoilt[first:behind_last] = bytes(min(behind_last, len(spoilt)) - first)
        victim = deepcopy(disk)
        victim.replace(name, bytes(spoilt))
        found, log = start(victim)
        assert not found.damage
        assert everything(log, found) == RECORDS[:12]


def test_the_last_batch_is_written_again_because_nothing_vouches_for_it() -> None:
    """P-10: in a new segment; the manifest cuts the old one; the start after it finds it vouched for and writes nothing again."""
    disk, name, begin, _ = torn(10, 3)
    found, log = start(disk)
    assert any(note.startswith("wrote the last batch again") for note in found.notes)
    assert len([name for name in disk.names() if parse_segment_name(name)]) == 2
    assert everything(log, found) == RECORDS[:13]
    # The old copy may rot from now on: it is no part of the log any more.
    disk.kill()
    disk.damage(name, begin, b"rot")
    found, log = start(disk)
    assert not found.notes
    assert everything(log, found) == RECORDS[:13]


def test_a_sealed_batch_is_not_written_again() -> None:
    """P-4: the seal vouches for it."""
    disk = SimulatedDisk()
    found, log = start(disk)
    log.append(RECORDS[:3])
    log.seal()
    disk.crash()
    found, log = start(disk)
    assert not found.notes
    assert len([name for name in disk.names() if parse_segment_name(name)]) == 1


@pytest.mark.parametrize(("segment_bytes", "steps"), [(100, 3), (1 << 20, 2)], ids=["in a segment of its own", "behind its batch"])
def test_a_seal_that_was_in_the_cache_only(segment_bytes: int, steps: int) -> None:
    """P-10: the process dies within the fsync of a seal; the next one reads it, goes on, and then the power fails. What the seal vouched
    for is there; that the seal itself is gone, in the midst of the log, is no corruption."""
    disk = SimulatedDisk()
    log = MemoryLog(disk, segment_bytes=segment_bytes)
    open_log(log)
    log.append(RECORDS[:3])
    disk.fail_at[disk.steps + steps] = StorageError
    with pytest.raises(StorageError):
        log.seal()
    disk.fail_at.clear()
    disk.kill()
    log = MemoryLog(disk, segment_bytes=segment_bytes)
    open_log(log)
    log.append(RECORDS[3:5])
    disk.crash()
    log = MemoryLog(disk, segment_bytes=segment_bytes)
    found = open_log(log)
    assert not found.damage
    assert everything(log, found) == RECORDS[:5]


def test_data_that_looks_like_a_log_is_no_evidence() -> None:
    """P-11: an application stores the very bytes of a log's later batches as its data; the batch with them is torn: cut all the same."""
    source = SimulatedDisk()
    other = MemoryLog(source, segment_bytes=1 << 20, random_bytes=lambda length: bytes(length))
    open_log(other)
    for record in RECORDS[:40]:
        other.append([record])
    other.seal()
    (name,) = [name for name in source.names() if parse_segment_name(name)]
    image = source.read(name)

    disk = SimulatedDisk()
    # The same random bytes, so even the salt is the same; only the place of the bytes differs.
    log = MemoryLog(disk, segment_bytes=1 << 20, random_bytes=lambda length: bytes(length))
    open_log(log)
    first = history(1)
    log.append(first)
    begin = log.statistics().bytes_log
    log.append(behind(first[0], 1, payload=image))
    content = disk.read(name)
    disk.kill()
    for at in range(begin + 1, len(content) - 1, 97):
        victim = deepcopy(disk)
        victim.damage(name, at, bytes((content[at] ^ 0xFF,)))
        found = open_log(small(victim))
        assert (found.damage, found.last_zxid) == ("", first[0].zxid)
