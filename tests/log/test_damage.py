"""DU-4, DU-5, HX-15, D3: bytes change on the device. It is found, said with file and offset, and never a shorter log that votes."""

from __future__ import annotations

from copy import deepcopy
from random import Random
from zlib import crc32

import pytest
from attrs import evolve

from zkembed.codec import encode
from zkembed.durable import Epochs, SnapshotInfo
from zkembed.errors import CorruptLogError, InternalError, StorageError
from zkembed.log import records as batches
from zkembed.log import recovery
from zkembed.log.base import RecordReader
from zkembed.log.cell import _copy_of
from zkembed.log.manifest import load_manifest
from zkembed.log.segments import parse_segment_name
from zkembed.log.simulated_disk import BLOCK_BYTES, SimulatedDisk, SimulatedFile
from zkembed.record import Record

from .helpers import everything, install, open_log, read_all, small, state_at, write_snapshot
from .stories import EPOCHS, OTHER, RECORDS


def sealed(*, snapshots: bool = False, seal: bool = True) -> SimulatedDisk:
    """40 records in ten batches and several segments; the process has died."""
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    log.set_epochs(EPOCHS)
    for start in range(0, 40, 4):
        log.append(RECORDS[start : start + 4])
    if snapshots:
        write_snapshot(log, RECORDS[13])
        write_snapshot(log, RECORDS[25])
    if seal:
        log.seal()
    disk.kill()
    return disk


def vouched(*, snapshots: bool = False) -> SimulatedDisk:
    """The same after a start: the manifest vouches for all of it."""
    disk = sealed(snapshots=snapshots)
    log = small(disk)
    open_log(log)
    log.close()
    return disk


def segments(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names() if parse_segment_name(name)]


def used(disk: SimulatedDisk, name: str) -> int:
    """Where the zeros begin that were only reserved."""
    return len(disk.read(name).rstrip(b"\0"))


def flip(disk: SimulatedDisk, name: str, offset: int, bit: int = 0) -> SimulatedDisk:
    """A copy of the disk with one bit changed."""
    victim = deepcopy(disk)
    victim.damage(name, offset, bytes((disk.read(name)[offset] ^ 1 << bit,)))
    return victim


def test_DU_4_one_bit_anywhere_in_the_log() -> None:
    """Every byte, so all length fields too: DAMAGED, naming the file; the promises are kept,
    nothing is offered, no file is touched."""
    disk = sealed()
    last = segments(disk)[-1]
    for name in segments(disk):
        # Behind the start of the seal in the last segment nothing of value is left.
        end = used(disk, name) - (batches.FRAME_BYTES + 1 if name == last else 0)
        for offset in range(0, end, 3):
            victim = flip(disk, name, offset, offset % 8)
            before = {segment: victim.read(segment) for segment in segments(victim)}
            found = open_log(small(victim))
            assert name in found.damage, f"byte {offset} of {name}"
            assert "offset" in found.damage
            assert found.epochs == evolve(EPOCHS, damaged=True)
            assert (found.last_zxid, found.snapshot) == (0, SnapshotInfo())
            assert {segment: victim.read(segment) for segment in segments(victim)} == before


def test_DU_4_one_bit_in_the_last_batch_without_a_seal() -> None:
    """P-11, accepted risk: it cannot be told from a torn tail, so it is cut. (With a seal behind it: the test above.)"""
    disk = sealed(seal=False)
    name = segments(disk)[-1]
    log = small(deepcopy(disk))
    assert open_log(log).last_zxid == RECORDS[39].zxid
    for offset in range(used(disk, name) - 60, used(disk, name), 5):
        found = open_log(small(flip(disk, name, offset)))
        assert not found.damage
        assert found.last_zxid == RECORDS[35].zxid


def test_DU_4_a_stale_or_misplaced_block_in_the_log() -> None:
    """D3: a block reads as zeros, as another block, or as it was before; everywhere but in what is not used."""
    disk = vouched()
    for name in segments(disk):
        content = disk.read(name)
        for start in range(0, used(disk, name) - batches.FRAME_BYTES, BLOCK_BYTES):
            for block in (bytes(BLOCK_BYTES), content[:BLOCK_BYTES] if start else b"\xee" * BLOCK_BYTES):
                victim = deepcopy(disk)
                victim.damage(name, start, block[: len(content) - start])
                assert open_log(small(victim)).damage


def test_DU_4_a_missing_segment() -> None:
    disk = sealed()
    for name in segments(disk):
        victim = deepcopy(disk)
        victim.unlink(name)
        found = open_log(small(victim))
        # The last one was made after the manifest; like a last batch, only later evidence can tell that it was there.
        assert bool(found.damage) == (name != segments(disk)[-1])


def test_DU_4_damage_below_the_snapshot_only_shortens_what_is_offered() -> None:
    """P-10: the node is whole; learners get the log from behind the damage only."""
    disk = sealed(snapshots=True)
    whole = open_log(small(deepcopy(disk)))
    offered = set()
    for name in segments(disk):
        for offset in range(0, used(disk, name) - batches.FRAME_BYTES, 7):
            log = small(flip(disk, name, offset))
            found = open_log(log)
            if found.damage:
                continue
            assert (found.snapshot, found.last_zxid) == (whole.snapshot, whole.last_zxid)
            assert everything(log, found) == RECORDS[26:40]
            records_from = log.statistics().records_from
            assert 0 < records_from <= found.snapshot.zxid
            assert any("below the snapshot" in note for note in found.notes)
            assert read_all(log, records_from, found.last_zxid) == [record for record in RECORDS[:40] if record.zxid > records_from]
            with pytest.raises(CorruptLogError):
                log.read_records(0, found.last_zxid)
            offered.add(records_from)
            log.close()
            found = open_log(small(log.disk))
            assert (found.damage, found.last_zxid) == ("", whole.last_zxid)
    assert len(offered) > 3


@pytest.mark.parametrize("whose", ["one copy", "both copies", "file"])
@pytest.mark.parametrize("name", ["identity", "epochs", "manifest"])
def test_DU_5_the_small_files(name: str, whose: str) -> None:
    """P-2: one valid copy is enough. None: I-3 for identity and epochs, DAMAGED for all three."""
    disk = sealed()
    old = open_log(small(deepcopy(disk))).identity
    content = disk.read(name)
    half = len(content) // 2
    assert content[:half] == content[half:]
    assert half % 4096 == 0
    for offset in range(0, len(content.rstrip(b"\0")) - half, 3):
        victim = deepcopy(disk)
        spoilt = bytes((content[offset] ^ 0x10,))
        if whose == "file":
            victim.unlink(name)
        else:
            victim.damage(name, offset + (half if offset % 2 else 0), spoilt)
        if whose == "both copies":
            victim.damage(name, offset + (0 if offset % 2 else half), spoilt)
        found = open_log(small(victim))
        if whose == "one copy":
            assert (found.damage, found.identity.storage_id, found.last_zxid) == ("", old.storage_id, RECORDS[39].zxid)
        else:
            assert f"the {name} file has no valid copy" in found.damage
            assert (found.identity.storage_id == old.storage_id) == (name == "manifest")
            assert found.epochs == (Epochs(damaged=True) if name == "epochs" else evolve(EPOCHS, damaged=True))


def test_DU_5_a_copy_that_the_device_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-2: EIO in one block is no worse than a bit that changed there."""
    disk = vouched()
    real = SimulatedFile.read_at

    def read_at(file: SimulatedFile, offset: int, length: int) -> bytes:
        if file.name in ("identity", "epochs", "manifest") and offset == 0:
            raise StorageError("read: Input/output error", file.name, offset)
        return real(file, offset, length)

    monkeypatch.setattr(SimulatedFile, "read_at", read_at)
    found = open_log(small(disk))
    assert (found.damage, found.last_zxid) == ("", RECORDS[39].zxid)


def test_SN_2_the_newest_snapshot_is_bad() -> None:
    """The older one and the log behind it, if unbroken; the bad one counts no more."""
    disk = sealed(snapshots=True)
    name = next(name for name in disk.names() if f"{RECORDS[25].zxid:016x}" in name)
    for offset in range(0, len(disk.read(name)), 11):
        log = small(flip(disk, name, offset, 3))
        found = open_log(log)
        assert not found.damage
        assert found.snapshot == state_at(RECORDS[13])
        assert everything(log, found) == RECORDS[14:40]
        assert log.statistics().snapshots == (RECORDS[13].zxid,)
        assert any(note.startswith("went back to the snapshot") and name in note for note in found.notes)


def test_SN_2_an_older_snapshot_is_gone() -> None:
    """P-9: it does not count as the older one of two, so nothing is purged on its word."""
    disk = sealed(snapshots=True)
    log = small(disk)
    open_log(log)
    log.close()
    name = next(name for name in disk.names() if f"{RECORDS[13].zxid:016x}" in name)
    disk.unlink(name)
    log = small(disk)
    found = open_log(log)
    assert (found.damage, found.snapshot) == ("", state_at(RECORDS[25]))
    assert any(note == f"snapshot {name} is missing" for note in found.notes)
    assert log.statistics().snapshots == (RECORDS[25].zxid,)
    assert log.purge() == 0
    assert read_all(log, 0, found.last_zxid) == RECORDS[:40]


def test_SN_2_all_snapshots_are_bad() -> None:
    """From the log alone if it begins at the beginning, else DAMAGED; never an empty tree."""
    disk = sealed(snapshots=True)
    names = [name for name in disk.names() if name.startswith("snapshot-")]
    for name in names:
        disk.damage(name, 70, b"\0bad\0")
    log = small(deepcopy(disk))
    found = open_log(log)
    assert (found.damage, found.snapshot) == ("", SnapshotInfo())
    assert everything(log, found) == RECORDS[:40]
    # Now the same where the log was purged behind them.
    disk = sealed(snapshots=True)
    log = small(disk)
    open_log(log)
    assert log.purge() > 0
    log.close()
    for name in names:
        disk.damage(name, 70, b"\0bad\0")
    found = open_log(small(disk))
    assert "no way to the log" in found.damage
    assert found.last_zxid == 0


@pytest.mark.parametrize("at", [25, 27, 38, 39])
def test_SN_2_a_snapshot_of_another_history(at: int) -> None:
    """P-4, P-7: its chain is not that of the log at its zxid, be that within a batch or at the end of one: never replayed upon it."""
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    for start in range(0, 40, 4):
        log.append(RECORDS[start : start + 4])
    log.snapshot_writer(SnapshotInfo(RECORDS[at].zxid, RECORDS[at].chain ^ 1)).finish()
    log.close()
    assert "the chain does not go on" in open_log(small(disk)).damage


def test_DU_5_a_snapshot_that_was_installed_is_bad_or_gone() -> None:
    for way in ("bad", "gone"):
        disk = SimulatedDisk()
        log = small(disk)
        open_log(log)
        install(log, OTHER[9], [] if way == "gone" else OTHER[10:12])
        log.close()
        (name,) = [name for name in disk.names() if name.startswith("snapshot-")]
        if way == "bad":
            disk.damage(name, 50, b"bad")
        else:
            disk.unlink(name)
        assert open_log(small(disk)).damage


def test_a_damaged_log_is_repaired_by_an_install() -> None:
    """P-12: nothing else is allowed to write to it; after the switch the old files go, and the mark goes by set_epochs, not before."""
    disk = sealed()
    victim = flip(disk, segments(disk)[0], 100)
    log = small(victim)
    found = open_log(log)
    assert found.damage
    with pytest.raises(InternalError, match="damaged"):
        log.append(RECORDS[40:])
    with pytest.raises(InternalError, match="DAMAGED mark"):
        log.set_epochs(Epochs(5, 1, 2))
    log.set_epochs(Epochs(5, 1, 2, damaged=True))
    log.close()
    log = small(victim)
    found = open_log(log)
    assert found.damage.startswith("marked DAMAGED by an earlier start")
    assert segments(victim) == segments(disk)
    install(log, OTHER[9], OTHER[10:14])
    assert not set(segments(victim)) & set(segments(disk))
    log.append(OTHER[14:16])
    crashed = deepcopy(victim)
    crashed.crash()
    assert open_log(small(crashed)).damage, "the mark is still there"
    log.set_epochs(Epochs(5, 1, 5))
    log.close()
    log = small(victim)
    found = open_log(log)
    assert (found.damage, found.epochs) == ("", Epochs(5, 1, 5))
    assert everything(log, found) == OTHER[10:16]


def test_a_device_that_cannot_read_counts_as_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """How the damage is reported does not raise."""
    disk = sealed()

    def unreadable(*_: object) -> None:
        raise StorageError("read: Input/output error", "log-1", 4096)

    monkeypatch.setattr(recovery, "batch_at", unreadable)
    found = open_log(small(disk))
    assert found.damage == "read: Input/output error (log-1, offset 4096)"


HOSTILE = {
    "deep": b"\x81" * 100_000,
    "huge array": b"\x9b" + b"\xff" * 8,
    "huge bytes": b"\x5b" + b"\x7f" + b"\xff" * 7,
    "indefinite": b"\x9f\x41\x00\xff",
    "tag": b"\xd8\x1c\x81\xd8\x1d\x00",
    "bignum": b"\x81\xc2\x49" + b"\xff" * 9,
    "not a list": b"\xa1\x01\x02",
    "list of numbers": encode([1, 2, 3]),
    "records of nonsense": encode([b"nonsense" * 3]),
    "short records": encode([b"", b"1234567"]),
    "no records": encode([]),
    "trailing": encode([record.encoded for record in RECORDS[40:42]]) + b"\0",
    "invalid text": b"\x81\x62\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_HX_15_hostile_batches_with_valid_checksums(body: bytes) -> None:
    """HX-15: somebody who knows the format writes it; it cannot be a torn tail: DAMAGED, and no other exception."""
    disk = sealed()
    name = segments(disk)[-1]
    manifest = load_manifest(disk)
    parsed = parse_segment_name(name)
    assert parsed is not None
    offset = used(disk, name)
    seed = batches.segment_seed(manifest.salt, *parsed)
    fields = batches._FIELDS.pack(
        batches.MAGIC, len(body), RECORDS[39].zxid, RECORDS[39].chain, RECORDS[40].zxid, RECORDS[41].zxid, RECORDS[39].zxid
    )
    checksum = crc32(fields, crc32(batches._OFFSET.pack(offset), seed))
    batch = fields + batches._CHECKSUM.pack(checksum) + body + batches._CHECKSUM.pack(crc32(body, checksum))
    disk.damage(name, offset, batch)
    found = open_log(small(disk))
    assert name in found.damage
    assert f"offset {offset}" in found.damage


def test_HX_15_hostile_cells_and_snapshots() -> None:
    """HX-15: valid checksums around nonsense, in every file that holds CBOR."""
    bodies = [body for body in HOSTILE.values() if len(body) < 5000]
    bodies += [
        encode(value)
        for value in ([1, "c", 3, b"short", 1, "", True, False], [True, 0, 0, False], [0, 0, 1, False], [1, 2, 3, 4, [[1]], []])
    ]
    for name in ("identity", "epochs", "manifest"):
        for body in bodies:
            disk = sealed()
            disk.replace(name, _copy_of(name, body) * 2)
            assert f"the {name} file has no valid copy" in open_log(small(disk)).damage
    disk = sealed(snapshots=True)
    name = next(name for name in disk.names() if name.startswith("snapshot-"))
    for content in (b"", b"zkeSnap\x01", b"zkeSnap\x01" + b"\x01\xff\xff\xff\xff" * 3, b"\0" * 5000):
        victim = deepcopy(disk)
        victim.replace(name, content)
        assert not open_log(small(victim)).damage
    disk.replace("epochs", b"\0" * (32 << 20))
    assert "epochs" in open_log(small(disk)).damage


def test_a_later_format_is_refused_and_left_alone() -> None:
    disk = sealed()
    disk.replace("identity", _copy_of("identity", encode([2, "something new"])) * 2)
    before = {name: disk.read(name) for name in disk.names()}
    with pytest.raises(StorageError, match="use a newer zkembed"):
        open_log(small(disk))
    assert {name: disk.read(name) for name in disk.names()} == before


def test_HX_15_random_spoilt_disks() -> None:
    """D3, HX-15: whatever bytes change wherever: a start returns; it finds all that was durable, or says that it does not."""
    whole = vouched(snapshots=True)
    random = Random(20)
    for round in range(300):
        disk = deepcopy(whole)
        for _ in range(random.randint(1, 4)):
            name = random.choice(disk.names())
            size = max(1, used(disk, name))
            length = random.choice([1, 4, 60, 600])
            disk.damage(name, min(random.randrange(size), len(disk.read(name)) - 1), random.randbytes(length))
        log = small(disk)
        found = open_log(log)
        if found.damage:
            assert found.epochs.damaged, f"round {round}"
            assert found.last_zxid == 0
        else:
            assert found.last_zxid == RECORDS[39].zxid, f"round {round}"
            assert everything(log, found) == [record for record in RECORDS[:40] if record.zxid > found.snapshot.zxid]


def read_into(got: list[Record], reader: RecordReader) -> None:
    while records := reader.read(1):
        got += records


def test_reading_verifies() -> None:
    """Damage that comes after the start: the reader says so, and gives nothing wrong."""
    disk = sealed(snapshots=True)
    log = small(disk)
    open_log(log)
    name = segments(disk)[1]
    disk.damage(name, 90, b"\x99\x99")
    reader = log.read_records(0, RECORDS[39].zxid)
    got: list[Record] = []
    with pytest.raises(CorruptLogError, match=name):
        read_into(got, reader)
    assert got == RECORDS[: len(got)]
    reader.close()
    name = next(name for name in disk.names() if f"{RECORDS[25].zxid:016x}" in name)
    disk.damage(name, len(disk.read(name)) - 40, b"\x99\x99")
    with pytest.raises(CorruptLogError, match=name):
        list(log.chunks(RECORDS[25].zxid))
