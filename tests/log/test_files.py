"""What only real files can show: the directory, its lock, another process, fsync switched off."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from zkembed.durable import Epochs
from zkembed.errors import StorageError
from zkembed.log import os_disk
from zkembed.log.file import FileLog
from zkembed.log.memory import MemoryLog
from zkembed.log.os_disk import OsDisk
from zkembed.log.simulated_disk import SimulatedDisk

from .helpers import behind, everything, history, open_log, read_all, small, write_snapshot

HOLDER = """
import sys
from zkembed.log.file import FileLog
log = FileLog(sys.argv[1], reserve_bytes=4096)
log.open("cluster", 3)
print("open", flush=True)
sys.stdin.read()
"""


def file_log(path: Path, *, fsync: bool = True) -> FileLog:
    return FileLog(path, fsync=fsync, segment_bytes=4000, reserve_bytes=4096, extend_bytes=4096)


def test_nothing_is_touched_before_open(tmp_path: Path) -> None:
    log = file_log(tmp_path / "a" / "b")
    log.close()
    assert list(tmp_path.iterdir()) == []
    open_log(log)
    log.close()
    assert (tmp_path / "a" / "b" / "identity").stat().st_mode & 0o077 == 0, "nobody else may read the data"


def test_DU_11_another_process_is_refused_before_anything_is_read_or_written(tmp_path: Path) -> None:
    """And when that process is killed the lock is free."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        before = {path.name: (path.stat().st_mtime_ns, path.stat().st_atime_ns) for path in tmp_path.iterdir()}
        with pytest.raises(StorageError, match="another process uses it") as raised:
            open_log(file_log(tmp_path))
        assert raised.value.path == str(tmp_path)
        assert {path.name: (path.stat().st_mtime_ns, path.stat().st_atime_ns) for path in tmp_path.iterdir()} == before
        holder.kill()
    log = file_log(tmp_path)
    assert open_log(log).identity.incarnation == 2
    log.close()


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="not a directory; name another"):
        open_log(file_log(tmp_path / "file"))
    with pytest.raises(StorageError, match="make the data directory"):
        open_log(file_log(tmp_path / "file" / "below"))


def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One StorageError with the cure. (The tests may run as root, so the refusal is played.)"""
    real = os.open

    def refuse(path: os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("lock"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=r"Permission denied; make it writable for user id \d+, or name another"):
        open_log(file_log(tmp_path))


def test_files_of_others_stay(tmp_path: Path) -> None:
    for name in ("README", "log-00000001-zzz", "snapshot"):
        (tmp_path / name).write_text("mine")
    log = file_log(tmp_path)
    open_log(log)
    log.append(history(1))
    log.close()
    (tmp_path / "log-00000077-00000000").write_text("a leftover of a generation that never was")
    log = file_log(tmp_path)
    assert everything(log, open_log(log)) == history(1)
    log.close()
    for name in ("README", "log-00000001-zzz", "snapshot"):
        assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "log-00000077-00000000").exists()


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pwrite and pread may do less than they were asked for."""
    real_write, real_read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_write(fd, data[:7], offset))
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: real_read(fd, min(length, 11), offset))
    log = file_log(tmp_path)
    open_log(log)
    records = history(20)
    log.append(records)
    log.close()
    log = file_log(tmp_path)
    assert everything(log, open_log(log)) == records
    log.close()


def test_where_space_cannot_be_reserved_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    log = file_log(tmp_path)
    open_log(log)
    assert (tmp_path / "reserve").stat().st_size == 4096
    records = history(20)
    log.append(records)
    log.close()
    log = file_log(tmp_path)
    assert everything(log, open_log(log)) == records
    log.close()


def test_errors_of_the_system_name_file_and_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-13, DU-7: EIO and ENOSPC as the system reports them."""
    log = file_log(tmp_path)
    open_log(log)

    def fail(code: int) -> None:
        def refuse(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os_disk, "_sync_data", refuse)
        monkeypatch.setattr(os, "pwrite", refuse)

    fail(28)
    with pytest.raises(StorageError, match="No space left on device; free some space") as raised:
        log.append(history(1))
    assert raised.value.path is not None
    assert "log-" in raised.value.path
    assert raised.value.offset == 0
    with pytest.raises(StorageError, match="open it anew"):
        log.set_epochs(Epochs(1, 1, 1))
    log.close()
    fail(5)
    with pytest.raises(StorageError, match="Input/output error"):
        open_log(file_log(tmp_path))
    monkeypatch.undo()
    log = file_log(tmp_path)
    assert open_log(log).last_zxid == 0
    log.close()


def test_a_failed_fsync_of_the_directory_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-5, P-13: the system tells it once, here to a snapshot; the append behind it, which needs a new name, must not miss it."""
    log = file_log(tmp_path)
    open_log(log)
    log.append(history(1))
    real = os.fsync
    failed: list[int] = []

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode) and not failed:
            failed.append(fd)
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="fsync: Input/output error"):
        write_snapshot(log, history(1)[0])
    with pytest.raises(StorageError, match="fsync: Input/output error"):
        log.set_epochs(Epochs(1, 1, 1))
    log.close()
    log = file_log(tmp_path)
    assert open_log(log).last_zxid == history(1)[0].zxid
    log.close()


def boot(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (path / "boot_id").write_text(f"boot {number}\n")
    monkeypatch.setattr(os_disk, "BOOT_ID", path / "boot_id")


@pytest.mark.parametrize(
    ("first_fsync", "orderly", "booted", "believed"),
    [
        (False, False, False, True),
        (False, True, True, True),
        (False, False, True, False),
        (True, False, True, True),
    ],
)
@pytest.mark.parametrize("fsync", [False, True])
def test_fsync_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_fsync: bool, orderly: bool, booted: bool, believed: bool, fsync: bool
) -> None:
    """I-5: only if the machine has booted since, without an orderly stop, is the log a new one under a new storage id."""
    boot(tmp_path, monkeypatch, 1)
    path = tmp_path / "data"
    log = file_log(path, fsync=first_fsync)
    old = open_log(log).identity
    records = history(30)
    log.append(records)
    log.set_epochs(Epochs(3, 1, 3))
    log.close(orderly=orderly)
    boot(tmp_path, monkeypatch, 2 if booted else 1)
    log = file_log(path, fsync=fsync)
    found = open_log(log)
    assert not found.damage
    assert (found.identity.storage_id == old.storage_id) == believed
    assert found.fresh != believed
    assert everything(log, found) == (records if believed else [])
    assert found.epochs == (Epochs(3, 1, 3) if believed else Epochs())
    assert any(note.startswith("emptied") for note in found.notes) != believed
    log.close()


def test_without_fsync_no_append_waits_for_the_device(tmp_path: Path) -> None:
    log = file_log(tmp_path, fsync=False)
    open_log(log)
    before = log.statistics().fsyncs
    for record in history(50):
        log.append([record])
    assert log.statistics().fsyncs == before
    log.close()


def test_no_boot_id_on_this_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-5: then every start behind one without an orderly stop could be behind a boot."""
    monkeypatch.setattr(os_disk, "BOOT_ID", tmp_path / "nowhere")
    assert OsDisk(tmp_path).boot_id() == ""
    log = file_log(tmp_path / "data", fsync=False)
    old = open_log(log).identity.storage_id
    log.close(orderly=False)
    log = file_log(tmp_path / "data", fsync=False)
    assert open_log(log).identity.storage_id != old
    log.close()


def test_a_memory_only_log_is_new_at_each_start() -> None:
    """I-5, E16"""
    disk = SimulatedDisk()
    ids = set()
    for _ in range(3):
        log = MemoryLog(disk, durable=False)
        assert (log.inline, log.durable) == (True, False)
        found = open_log(log)
        assert found.fresh
        assert (found.last_zxid, found.identity.incarnation) == (0, 1)
        ids.add(found.identity.storage_id)
        log.append(history(3))
        log.close()
    assert len(ids) == 3


def test_readers_and_the_snapshot_work_beside_appends(tmp_path: Path) -> None:
    """The contract's second thread: a snapshot is written and the log read while appends, purges and truncations go on."""
    records = history(2000)
    log = file_log(tmp_path, fsync=False)
    assert (log.inline, log.durable) == (False, True)
    open_log(log)
    log.append(records[:400])
    trouble: list[BaseException] = []

    def beside() -> None:
        try:
            for at in range(100, 400, 60):
                write_snapshot(log, records[at])
                assert read_all(log, records[at - 1].zxid, records[399].zxid) == records[at:400]
                assert list(log.chunks(records[at].zxid))
        except BaseException as error:
            trouble.append(error)

    thread = Thread(target=beside)
    thread.start()
    done = 400
    while thread.is_alive() or done < 500:
        log.append(records[done : done + 3])
        done += 3
        if done > 1990:
            fork = behind(records[399], 1, epoch=1)
            assert fork == records[400:401]
            log.truncate(records[399].zxid)
            done = 400
    thread.join()
    assert not trouble
    log.close()
    log = file_log(tmp_path)
    assert open_log(log).last_zxid == records[done - 1].zxid
    log.close()


def test_pins_outlive_what_deletes_the_files() -> None:
    """Y-4: a file that must go while it is read goes when the reader closes."""
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    records = history(40)
    for record in records:
        log.append([record])
    reader = log.read_records(records[30].zxid, records[-1].zxid)
    count = len(disk.names())
    log.truncate(records[2].zxid)
    while_read = len(disk.names())
    reader.close()
    assert len(disk.names()) < while_read <= count + 1
    log.close()


def test_the_first_start_with_fsync_syncs_what_earlier_ones_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-5: a run without fsync was killed, the machine has not booted: all is in the cache, and must be
    on the device before it is reported."""
    boot(tmp_path, monkeypatch, 1)
    path = tmp_path / "data"
    log = file_log(path, fsync=False)
    open_log(log)
    for record in history(80):
        log.append([record])
    write_snapshot(log, history(80)[40])
    log.close(orderly=False)
    old = {name for name in os.listdir(path) if name.startswith(("log-", "snapshot-"))}
    assert len(old) > 2
    synced: set[str] = set()
    real = os_disk.OsFile.sync

    def sync(file: os_disk.OsFile, *, always: bool = False) -> None:
        real(file, always=always)
        synced.add(file.name)

    monkeypatch.setattr(os_disk.OsFile, "sync", sync)
    log = file_log(path, fsync=True)
    assert open_log(log).last_zxid == history(80)[-1].zxid
    assert old <= synced
    log.close()
