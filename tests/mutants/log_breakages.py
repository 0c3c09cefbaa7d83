"""Deliberate breakages of the log, each of one rule of the disk. See ``breakages.py`` for what a breakage is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from zkembed.codec import encode
from zkembed.durable import Epochs
from zkembed.errors import DecodeError
from zkembed.log import cell, engine, opening, recovery
from zkembed.log.cell import load_cell, replace_cell
from zkembed.log.disk import Disk
from zkembed.log.engine import LogEngine
from zkembed.log.epochs import EPOCHS, save_epochs
from zkembed.log.identity import IDENTITY, LastRun, save_identity
from zkembed.log.install import Install
from zkembed.log.manifest import load_manifest
from zkembed.log.own_snapshot import OwnSnapshotWriter
from zkembed.log.recovery import Verdict, _Recovery, _Scan
from zkembed.log.retention import Purge, plan_purge
from zkembed.log.segments import SegmentWriter
from zkembed.log.simulated_disk import SimulatedFile
from zkembed.log.snapshots import SnapshotFileWriter
from zkembed.log.tail import Tail
from zkembed.log.truncation import find_cut

Patch = pytest.MonkeyPatch


class DiskWithout:
    """A disk that forgets to do one thing."""

    def __init__(self, disk: Disk, forgotten: str) -> None:
        self._disk = disk
        self._forgotten = forgotten

    def __getattr__(self, name: str) -> Any:
        return (lambda *_, **__: None) if name == self._forgotten else getattr(self._disk, name)


# --- what is durable, and when ---------------------------------------------------------------------------------------


def append_returns_before_the_fsync(patch: Patch) -> None:
    """P-5: written is taken for durable."""
    patch.setattr(SegmentWriter, "sync", lambda self: None)


def directory_is_not_synced_for_a_new_segment(patch: Patch) -> None:
    """P-5: the file is synced, its name is not."""
    original = Tail.__init__

    def init(self: Tail, disk: Any, *args: Any, **limits: Any) -> None:
        original(self, DiskWithout(disk, "sync_directory"), *args, **limits)  # type: ignore[arg-type]

    patch.setattr(Tail, "__init__", init)


def directory_is_not_synced_for_a_small_file(patch: Patch) -> None:
    """P-2: a rename is taken for durable."""
    original = cell.replace_cell

    def replace(disk: Any, name: str, value: object, *, always: bool = False) -> None:
        original(DiskWithout(disk, "sync_directory"), name, value, always=always)  # type: ignore[arg-type]

    for module in ("epochs", "manifest", "identity"):
        patch.setattr(f"zkembed.log.{module}.replace_cell", replace)


def small_file_is_renamed_before_its_fsync(patch: Patch) -> None:
    """P-2: the new name first, the content some time."""

    def replace(disk: Disk, name: str, value: object, *, always: bool = False) -> None:
        file = disk.create(name + cell.TEMPORARY)
        file.write_at(0, cell._copy_of(name, encode(value)) * 2)
        disk.rename(name + cell.TEMPORARY, name)
        file.sync(always=always)
        disk.sync_directory(always=always)

    for module in ("epochs", "manifest", "identity"):
        patch.setattr(f"zkembed.log.{module}.replace_cell", replace)


def one_copy(patch: Patch) -> None:
    """P-2: a small file holds its value once."""
    original = SimulatedFile.write_at

    def write_at(self: SimulatedFile, offset: int, data: bytes) -> None:
        half = len(data) // 2
        original(self, offset, data[:half] if self.name.endswith(cell.TEMPORARY) and data[:half] == data[half:] else data)

    patch.setattr(SimulatedFile, "write_at", write_at)


def epochs_in_two_files(patch: Patch) -> None:
    """P-2: accepted and current epoch are replaced one after the other. [ZK-1653]"""
    current = "epochs-current"

    def save(disk: Disk, epochs: Epochs) -> None:
        save_epochs(disk, evolve(epochs, current=0))
        replace_cell(disk, current, epochs.current)

    def load(disk: Disk) -> Epochs:
        accepted, leader, _, damaged = load_cell(disk, EPOCHS)
        if current not in disk.names():
            raise DecodeError("the other file is missing")
        return Epochs(accepted, leader, load_cell(disk, current), damaged)

    patch.setattr(engine, "save_epochs", save)
    patch.setattr(opening, "save_epochs", save)
    patch.setattr(opening, "load_epochs", load)


# --- changes of what is live -----------------------------------------------------------------------------------------


def truncate_in_place(patch: Patch) -> None:
    """P-6: what is behind the cut is wiped from the segment that holds it, and later segments go; then the manifest."""
    original = LogEngine._truncate

    def truncate(self: LogEngine, zxid: int) -> None:
        segments = self._tail.segments
        cut = find_cut(self._disk, segments, zxid)
        for segment in segments[: cut.segments][-1:]:
            file = self._disk.open(segment.name)
            kept = cut.offset or segment.end
            file.write_at(kept, bytes(segment.end - kept))
            file.sync()
        for segment in reversed(segments[cut.segments :]):
            self._disk.unlink(segment.name)
        self._disk.sync_directory()
        patched(self, cut)

    def patched(self: LogEngine, cut: Any) -> None:
        with pytest.MonkeyPatch.context() as found:
            found.setattr(engine, "find_cut", lambda *_: cut)
            original(self, cut.last)

    patch.setattr(LogEngine, "_truncate", truncate)


def files_go_before_the_manifest(patch: Patch) -> None:
    """P-6, P-9: what will not be needed any more is deleted first."""
    original = LogEngine._save_manifest

    def save(self: LogEngine, tail: Tail, snapshots: Any) -> None:
        if self._opened:
            manifest = self._manifest(tail, snapshots)
            opening.sweep(self._disk, manifest, keep=(engine.OWN_SNAPSHOT,))
            self._disk.sync_directory()
        original(self, tail, snapshots)

    patch.setattr(LogEngine, "_save_manifest", save)


def switch_before_the_entries_are_durable(patch: Patch) -> None:
    """P-7: the manifest names the new generation, whose log is not synced."""

    def finish(self: Install) -> None:
        if self._snapshot is not None:
            self._snapshot.finish()
        self.tail.close()
        self.tail.start_at(self.tail.zxid, self.tail.chain)
        self._disk.sync_directory()

    patch.setattr(Install, "finish", finish)


def switch_before_the_snapshot_is_durable(patch: Patch) -> None:
    """P-7: the received snapshot is named before it is synced."""

    def finish(self: Install) -> None:
        if self._snapshot is not None:
            with pytest.MonkeyPatch.context() as unsynced:
                unsynced.setattr(SimulatedFile, "sync", lambda self, **_: None)
                self._snapshot.finish()
        self.tail.sync()

    patch.setattr(Install, "finish", finish)


def abandoned_install_is_taken_for_the_log(patch: Patch) -> None:
    """P-7: the newest generation that is there counts, named by the manifest or not."""
    original = load_manifest

    def load(disk: Disk) -> Any:
        manifest = original(disk)
        newest = max(opening._generations(disk), default=manifest.generation)
        return manifest if newest == manifest.generation else evolve(manifest, generation=newest, next_number=0, segments=())

    patch.setattr(opening, "load_manifest", load)


def generations_are_used_again(patch: Patch) -> None:
    """P-7: a start goes on behind the newest generation that it sees, though files of a newer one may come back."""
    patch.setattr(engine, "GENERATIONS_OF_A_START", 1)
    original = LogEngine._begin

    def begin(self: LogEngine, found: Any, run: Any) -> Any:
        return original(self, evolve(found, generation=max(found.generation - 1, 0)), run)

    patch.setattr(LogEngine, "_begin", begin)


def snapshot_is_named_before_it_is_durable(patch: Patch) -> None:
    """P-8: an own snapshot gets its name, and is synced afterwards."""

    def finish(self: OwnSnapshotWriter) -> None:
        with pytest.MonkeyPatch.context() as unsynced:
            unsynced.setattr(SimulatedFile, "sync", lambda self, **_: None)
            self._file.finish()
        self._adopt(self._file)
        self._file._file.sync()
        self._done = True
        self._over()

    patch.setattr(OwnSnapshotWriter, "finish", finish)


def snapshot_is_not_read_back(patch: Patch) -> None:
    """P-8, P-9: a snapshot counts because it was written; purge believes it."""

    def finish(self: SnapshotFileWriter) -> None:
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr("zkembed.log.snapshots.verify_snapshot", lambda disk, name: self.info)
            original(self)

    original = SnapshotFileWriter.finish
    patch.setattr(SnapshotFileWriter, "finish", finish)


def purge_keeps_one_snapshot(patch: Patch) -> None:
    """P-9: the newest snapshot is enough."""

    def plan(segments: Any, snapshots: Any, **options: Any) -> Purge:
        newest = max(snapshots)
        found = plan_purge(segments, [newest, newest + 1], **options)
        return Purge(found.segments, tuple(zxid for zxid in snapshots if zxid < newest))

    patch.setattr(engine, "plan_purge", plan)


# --- a start ---------------------------------------------------------------------------------------------------------


def torn_tail_in_the_middle_is_cut(patch: Patch) -> None:
    """P-11: the first bad batch is the end of the log, whatever follows it."""
    patch.setattr(recovery, "find_headers", lambda *_: iter(()))
    original = _Recovery.__init__

    def init(self: _Recovery, disk: Disk, manifest: Any, verdict: Verdict) -> None:
        original(self, disk, evolve(manifest, durable=0), verdict)

    patch.setattr(_Recovery, "__init__", init)
    segment = _Scan.segment

    def stop(self: _Scan, listed: Any) -> None:
        if not self._ended:
            segment(self, listed)

    patch.setattr(_Scan, "segment", stop)


def torn_tail_is_damage(patch: Patch) -> None:
    """P-11: every bad batch is taken for corruption. (After a power cut everywhere no voter would be left.)"""
    original = _Scan._stumble

    def stumble(self: _Scan, what: str) -> None:
        original(self, what)
        self._damage = self._damage or what

    patch.setattr(_Scan, "_stumble", stumble)


def records_of_a_torn_batch_are_saved(patch: Patch) -> None:
    """P-11: of a batch without a valid end, what seems whole is kept. (An append is then neither there nor not.)"""
    original = _Scan.judge

    def judge(self: _Scan, verdict: Verdict) -> None:
        original(self, verdict)
        if verdict.unvouched:
            verdict.unvouched = verdict.unvouched[:1]
            verdict.zxid, verdict.chain = verdict.unvouched[-1].zxid, verdict.unvouched[-1].chain

    patch.setattr(_Scan, "judge", judge)


def damaged_mark_in_memory_only(patch: Patch) -> None:
    """P-12: a start that finds damage says so, and writes no mark."""
    original = opening.mark_damaged

    def mark(disk: Disk, found: Any, run: Any) -> Epochs:
        with pytest.MonkeyPatch.context() as unmarked:
            unmarked.setattr(opening, "save_epochs", lambda *_: None)
            return original(disk, found, run)

    patch.setattr(engine, "mark_damaged", mark)


def mark_goes_with_the_install(patch: Patch) -> None:
    """P-12: the DAMAGED mark is cleared as soon as the log was replaced, before the epoch is current."""
    original = LogEngine._switch

    def switch(self: LogEngine, install: Install) -> None:
        original(self, install)
        self._epochs = evolve(self._epochs, damaged=False)
        save_epochs(self._disk, self._epochs)

    patch.setattr(LogEngine, "_switch", switch)


def damage_empties_the_directory(patch: Patch) -> None:
    """P-12: a damaged log is of no use, so it goes, before the mark is there."""
    original = opening.mark_damaged

    def mark(disk: Disk, found: Any, run: Any) -> Epochs:
        for name in disk.names():
            if name.startswith("log-"):
                disk.unlink(name)
        disk.sync_directory()
        return original(disk, found, run)

    patch.setattr(engine, "mark_damaged", mark)


def last_batch_is_not_written_again(patch: Patch) -> None:
    """P-10: what a start reads is taken for durable. (After a kill it may be in the cache only.)"""
    patch.setattr(_Scan, "_set_aside", lambda self, verdict: None)


def seal_at_the_end_is_listed(patch: Patch) -> None:
    """P-10: a seal that may be in the cache only is part of the log that the manifest lists."""
    patch.setattr(_Scan, "_drop_seal", lambda self: None)


def epochs_are_not_written_again(patch: Patch) -> None:
    """P-10: the promises that a start reads may be in the cache only, and are reported."""
    patch.setattr(LogEngine, "_begin", _blind_to("save_epochs", LogEngine._begin))


def manifest_is_not_written_at_a_start(patch: Patch) -> None:
    """P-10: nothing notes where the old log ends."""
    patch.setattr(LogEngine, "_begin", _blind_to("save_manifest", LogEngine._begin))


def incarnation_in_memory_only(patch: Patch) -> None:
    """I-6: the incarnation is raised, and not written."""

    def save(disk: Disk, run: Any) -> None:
        if IDENTITY not in disk.names():
            save_identity(disk, run)

    patch.setattr(engine, "save_identity", save)


def lost_promises_keep_the_identity(patch: Patch) -> None:
    """I-3: a node whose epochs file is unreadable comes back as the voter that it was."""
    patch.setattr(opening.Found, "identity_is_new", property(lambda self: self.run is None))


def identity_goes_first(patch: Patch) -> None:
    """I-5: a directory that must not be believed is emptied from the identity on; what a crash leaves of it looks like damage."""
    original = opening.empty

    def empty(disk: Disk) -> None:
        disk.unlink(IDENTITY)
        disk.sync_directory(always=True)
        original(disk)

    patch.setattr(opening, "empty", empty)


def boot_without_fsync_is_believed(patch: Patch) -> None:
    """I-5: a log written without fsync is read behind a boot."""
    patch.setattr(LastRun, "may_have_lost", lambda self, boot_id: False)


def error_is_survived(patch: Patch) -> None:
    """P-13, DU-8: after a failed write the log takes the next one."""
    patch.setattr(LogEngine, "_failed", property(lambda self: None, lambda self, error: None), raising=False)


def _blind_to(call: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for which one call of its module does nothing where a start finds something."""

    def begin(self: LogEngine, found: Any, run: Any) -> Any:
        if found.fresh:
            return original(self, found, run)
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr(engine, call, lambda *_: None)
            return original(self, found, run)

    return begin
