"""SN-1, P-8: own snapshots, finished or not."""

from __future__ import annotations

import pytest

from zkembed.durable import SnapshotInfo
from zkembed.errors import CorruptLogError, InternalError, StorageError
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.log.snapshots import CHUNK_BYTES_MAX, META_BYTES_MAX

from .helpers import chunks_at, everything, install, open_log, small, state_at, write_snapshot
from .stories import OTHER, RECORDS


def with_records() -> tuple[SimulatedDisk, MemoryLog]:
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    log.append(RECORDS[:40])
    return disk, log


def test_SN_1_a_half_written_snapshot_is_no_snapshot() -> None:
    """The process dies within; the previous one is used, the leftover goes, nothing else does."""
    disk, log = with_records()
    write_snapshot(log, RECORDS[9])
    writer = log.snapshot_writer(state_at(RECORDS[20]))
    writer.write(b"half")
    before = [name for name in disk.names() if name.startswith("log-")]
    log.seal()
    disk.kill()
    log = small(disk)
    found = open_log(log)
    assert found.snapshot == state_at(RECORDS[9])
    assert everything(log, found) == RECORDS[10:40]
    assert set(before) <= set(disk.names())
    assert not [name for name in disk.names() if name.endswith(".new")]


def test_SN_1_a_snapshot_is_read_back_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-8, P-9: the device gives back something else than was written; the snapshot fails, the log does not."""
    disk, log = with_records()
    monkeypatch.setattr(disk, "forget", lambda name: disk.damage(name, 60, b"\0\1\2\3"))
    writer = log.snapshot_writer(state_at(RECORDS[9]))
    for chunk in chunks_at(RECORDS[9]):
        writer.write(chunk)
    with pytest.raises(CorruptLogError, match="unreadable"):
        writer.finish()
    writer.abort()
    assert log.statistics().snapshots == ()
    log.append(RECORDS[40:])


def test_any_chunks_come_back_as_they_were() -> None:
    _, log = with_records()
    chunks = [b"", b"x", b"", bytes(CHUNK_BYTES_MAX)]
    meta = bytes(META_BYTES_MAX)
    writer = log.snapshot_writer(SnapshotInfo(RECORDS[3].zxid, RECORDS[3].chain, meta))
    for chunk in chunks:
        writer.write(chunk)
    with pytest.raises(InternalError, match="allowed are 1048576"):
        writer.write(bytes(CHUNK_BYTES_MAX + 1))
    writer.finish()
    assert list(log.chunks(RECORDS[3].zxid)) == chunks
    reader = log.read_snapshot(RECORDS[3].zxid)
    assert reader.info.meta == meta
    reader.close()
    with pytest.raises(InternalError, match="meta"):
        log.snapshot_writer(SnapshotInfo(RECORDS[5].zxid, 0, meta + b"x"))
    write_snapshot(log, RECORDS[5])


def test_a_snapshot_overtaken_by_an_install_is_dropped() -> None:
    """P-7: the log was replaced while it was written; nothing of the old state comes back."""
    disk, log = with_records()
    writer = log.snapshot_writer(state_at(RECORDS[20]))
    writer.write(b"old state")
    install(log, OTHER[9], OTHER[10:12])
    with pytest.raises(StorageError, match="not needed any more"):
        writer.finish()
    writer.abort()
    assert log.statistics().snapshots == (OTHER[9].zxid,)
    log.close()
    assert open_log(small(disk)).snapshot.zxid == OTHER[9].zxid


def test_a_second_snapshot_of_the_same_state_is_none() -> None:
    disk, log = with_records()
    write_snapshot(log, RECORDS[9])
    write_snapshot(log, RECORDS[9])
    assert log.statistics().snapshots == (RECORDS[9].zxid,)
    log.truncate(RECORDS[30].zxid)
    write_snapshot(log, RECORDS[9])
    log.close()
    assert open_log(small(disk)).snapshot == state_at(RECORDS[9])


def test_use_behind_the_end() -> None:
    _, log = with_records()
    writer = log.snapshot_writer(state_at(RECORDS[9]))
    writer.finish()
    for use in (writer.finish, lambda: writer.write(b"")):
        with pytest.raises(InternalError, match="finished or aborted"):
            use()
    writer.abort()
    assert log.statistics().snapshots == (RECORDS[9].zxid,)
