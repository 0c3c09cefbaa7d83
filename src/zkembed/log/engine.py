"""The log engine: the whole of the Log contract over a Disk. ``file.py`` and ``memory.py`` only choose the disk.

One generation is live at a time: a Tail (segments, and the end of the log) and the snapshots. Whatever changes what is live goes
through the manifest. The lock guards which files are live, for the snapshot writer and the readers in other threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

from attrs import evolve, frozen

from ..durable import STORAGE_ID_BYTES, Epochs, Identity, SnapshotInfo
from ..errors import CorruptLogError, InternalError, StorageError
from ..record import Record
from ..zxid import EMPTY, to_hex
from .base import Log, LogStatistics, RecordReader, Recovered, SnapshotReader, SnapshotWriter
from .disk import Disk, DiskFullError
from .epochs import save_epochs
from .identity import LastRun, save_identity
from .install import Install
from .manifest import OPEN_END, ListedSegment, ListedSnapshot, Manifest, save_manifest
from .opening import Found, look, mark_damaged, next_run, sweep, sweep_newer, sync_everything
from .own_snapshot import OwnSnapshotWriter, PinnedSnapshotReader
from .pins import Pins
from .reader import SegmentsReader
from .reserve import Reserve
from .retention import plan_purge
from .segments import Segment
from .snapshots import TEMPORARY, SnapshotFileReader, SnapshotFileWriter, snapshot_name
from .tail import Tail
from .truncation import find_cut

OWN_SNAPSHOT = "snapshot" + TEMPORARY
SALT_BYTES = 7
GENERATIONS_OF_A_START = 1 << 20
"""Each start goes on in the next block of this many, so that no number of the process before it is used again. That one may have deleted
files of a generation that never was live: none of them is seen, but until the directory is synced a loss of power can bring them back,
and if the manifest that this start writes had their number, they would be taken for the log."""


@frozen
class LogOptions:
    """segment_bytes: a segment that has reached this gets no more batches.  extend_bytes: space reserved ahead of the log's end.
    reserve_bytes: set aside for P-13.  snapshots_kept: at least 2 (P-9).  random_bytes: n fresh random bytes, for ids."""

    segment_bytes: int
    extend_bytes: int
    reserve_bytes: int
    snapshots_kept: int = 2
    random_bytes: Callable[[int], bytes] = os.urandom


@frozen
class _Snapshot:
    """A live snapshot: the generation in its name, and its size."""

    generation: int
    bytes: int


class LogEngine(Log):
    """See the contract in ``base.py``."""

    def __init__(self, disk: Disk, options: LogOptions, *, inline: bool, durable: bool, fsync: bool) -> None:
        self.inline = inline
        self.durable = durable
        self._disk = disk
        self._options = options
        self._fsync = fsync
        self._lock = RLock()
        self._pins = Pins(disk)
        self._reserve = Reserve(disk, options.reserve_bytes)
        self._opened = self._closed = False
        self._failed: StorageError | None = None
        self._damaged = False
        self._salt = 0
        self._last_generation = 0
        self._installs = 0
        self._records_from = EMPTY
        self._tail = self._new_tail()
        self._snapshots: dict[int, _Snapshot] = {}
        self._epochs = Epochs()
        self._run: LastRun | None = None
        self._install: Install | None = None
        self._own: OwnSnapshotWriter | None = None

    # --- start and end ---

    def open(self, cluster: str, node_id: int) -> Recovered:
        if self._opened:
            raise InternalError("the log was opened before; make a new one")
        self._disk.lock()
        try:
            found = look(self._disk, cluster, node_id, volatile=not self.durable)
            run = next_run(self._disk, found, cluster, node_id, fsync=self._fsync, random_bytes=self._options.random_bytes)
            base = self._begin(found, run)
        except BaseException:
            self._tail.abandon()
            self._disk.unlock()
            raise
        self._run = run
        self._opened = True
        return Recovered(
            identity=run.identity,
            epochs=self._epochs,
            snapshot=base,
            last_zxid=self._tail.zxid,
            last_chain=self._tail.chain,
            fresh=found.fresh,
            notes=tuple(found.verdict.notes),
            damage=found.damage,
        )

    def _begin(self, found: Found, run: LastRun) -> SnapshotInfo:
        """Write what a start has to write; see ``opening.py`` for the orders."""
        self._last_generation = found.generation // GENERATIONS_OF_A_START * GENERATIONS_OF_A_START + GENERATIONS_OF_A_START
        self._salt = found.manifest.salt if found.manifest else int.from_bytes(self._options.random_bytes(SALT_BYTES), "big")
        if found.damage:
            return self._begin_damaged(found, run)
        if found.run is not None and not found.run.synced and not found.run.orderly and self._fsync:
            sync_everything(self._disk)
        self._reserve.fill()
        verdict = found.verdict
        self._tail = self._new_tail()
        self._tail.segments = verdict.segments
        self._tail.start_at(verdict.zxid, verdict.chain)
        self._records_from = verdict.records_from
        if verdict.unvouched:
            self._tail.start_at(verdict.unvouched[0].prev_zxid, verdict.unvouched_chain)
            self._tail.append(verdict.unvouched)
            self._tail.close()
            verdict.notes.append(f"wrote the last batch again, up to {to_hex(verdict.zxid)}: nothing vouched for it")
        self._snapshots = {
            zxid: _Snapshot(generation, self._size(snapshot_name(generation, zxid))) for zxid, generation in verdict.snapshots.items()
        }
        self._save_manifest(self._tail, self._snapshots)
        sweep(self._disk, self._manifest(self._tail, self._snapshots))
        # Written again even if unchanged: the value just read may have been in the cache only.
        self._epochs = found.epochs or Epochs()
        save_epochs(self._disk, self._epochs)
        save_identity(self._disk, run)
        return verdict.base

    def _begin_damaged(self, found: Found, run: LastRun) -> SnapshotInfo:
        """Nothing is offered, the promises are kept, and the old files stay until an install replaces them (P-12)."""
        self._damaged = True
        self._epochs = mark_damaged(self._disk, found, run)
        if found.manifest is None:
            save_manifest(self._disk, Manifest(found.generation, self._salt, durable=EMPTY, next_number=0))
        else:
            sweep_newer(self._disk, found.manifest.generation)
        self._reserve.fill()
        save_identity(self._disk, run)
        return SnapshotInfo()

    def close(self, *, orderly: bool = True) -> None:
        if self._closed or not self._opened:
            return
        self._closed = True
        try:
            if self._own is not None:
                self._own.abort()
            if self._failed is None:
                self._drop_install()
                if orderly:
                    self._leave_orderly()
        finally:
            self._tail.abandon()
            if self._install is not None:
                self._install.close()
            self._pins.clear()
            self._disk.unlock()

    def _leave_orderly(self) -> None:
        if not self._damaged:
            self._tail.seal()
        if not self._fsync and self._run is not None:
            sync_everything(self._disk)
            save_identity(self._disk, evolve(self._run, orderly=True))

    # --- the log's end ---

    def append(self, records: Sequence[Record]) -> None:
        with self._fatal():
            if self._damaged:
                raise InternalError("append to a damaged log; it must be replaced by an install (P-12)")
            self._tail.append(records)

    def seal(self) -> None:
        with self._fatal():
            if not self._damaged:
                self._tail.seal()

    def truncate(self, zxid: int) -> None:
        with self._fatal(), self._lock:
            newest = max(self._snapshots, default=self._records_from)
            if not newest <= zxid <= self._tail.zxid:
                raise InternalError(
                    f"truncate to {to_hex(zxid)}: the log ends at {to_hex(self._tail.zxid)}, its newest snapshot is at {to_hex(newest)}"
                )
            if zxid < self._tail.zxid:
                self._tail.close()
                self._even_on_full_disk(lambda: self._truncate(zxid))

    def _truncate(self, zxid: int) -> None:
        """A new generation that shares the segments which stay. Only the part of a batch that stays is copied: the manifest
        can cut the old segment before it."""
        old = self._tail
        cut = find_cut(self._disk, old.segments, zxid)
        tail = self._new_tail()
        tail.segments = old.segments[: cut.segments]
        if cut.offset:
            tail.segments[-1] = tail.segments[-1].cut(cut.offset, cut.last)
        tail.start_at(cut.last, cut.chain)
        tail.append(cut.records)
        tail.close()
        tail.batches += old.batches
        self._save_manifest(tail, self._snapshots)
        self._tail = tail
        kept = {segment.name for segment in tail.segments}
        for segment in old.segments:
            if segment.name not in kept:
                self._pins.unlink(segment.name)

    # --- epochs ---

    def set_epochs(self, epochs: Epochs) -> None:
        with self._fatal():
            old = self._epochs
            if epochs.accepted < old.accepted or epochs.current < old.current or epochs.current > epochs.accepted:
                raise InternalError(f"epochs must not fall, nor current pass accepted: from {old} to {epochs}")
            if self._damaged and not epochs.damaged:
                raise InternalError("the DAMAGED mark cannot go before an install has replaced the log (P-12)")
            self._even_on_full_disk(lambda: save_epochs(self._disk, epochs))
            self._epochs = epochs

    # --- identity ---

    def renew_storage(self) -> Identity:
        assert self._run is not None
        with self._fatal():
            identity = evolve(self._run.identity, storage_id=self._options.random_bytes(STORAGE_ID_BYTES), incarnation=1)
            run = evolve(self._run, identity=identity)
            self._even_on_full_disk(lambda: save_identity(self._disk, run))
            self._run = run
        return identity

    # --- a received snapshot ---

    def begin_install(self, info: SnapshotInfo) -> None:
        with self._fatal():
            self._drop_install()
            self._install = Install(self._disk, info, self._new_tail())

    def install_chunk(self, chunk: bytes) -> None:
        with self._fatal():
            self._begun().write(chunk)

    def install_records(self, records: Sequence[Record]) -> None:
        with self._fatal():
            self._begun().append(records)

    def commit_install(self) -> None:
        with self._fatal():
            install = self._begun()
            install.finish()
            with self._lock:
                self._switch(install)

    def abort_install(self) -> None:
        if self._failed is not None:
            self._install = None
            return
        with self._fatal():
            self._drop_install()

    def _switch(self, install: Install) -> None:
        tail, zxid = install.tail, install.info.zxid
        snapshots = {zxid: _Snapshot(tail.generation, install.snapshot_bytes)} if zxid != EMPTY else {}
        self._even_on_full_disk(lambda: self._save_manifest(tail, snapshots))
        self._tail.abandon()
        self._tail, self._snapshots, self._install = tail, snapshots, None
        self._records_from = zxid
        self._damaged = False
        self._installs += 1
        sweep(self._disk, self._manifest(tail, snapshots), keep=(OWN_SNAPSHOT,), unlink=self._pins.unlink)

    def _begun(self) -> Install:
        if self._install is None:
            raise InternalError("no install was begun")
        return self._install

    def _drop_install(self) -> None:
        install, self._install = self._install, None
        if install is not None:
            install.abort()

    # --- own snapshots ---

    def snapshot_writer(self, info: SnapshotInfo) -> SnapshotWriter:
        self._check_usable()
        if self._own is not None:
            raise InternalError("a snapshot is being written already")
        if self._damaged or not EMPTY < info.zxid <= self._tail.zxid:
            raise InternalError(f"a snapshot at {to_hex(info.zxid)}, and the log ends at {to_hex(self._tail.zxid)}")
        installs = self._installs
        file = SnapshotFileWriter(self._disk, OWN_SNAPSHOT, info)
        self._own = OwnSnapshotWriter(file, lambda done: self._adopt(done, installs), self._own_over)
        return self._own

    def _adopt(self, file: SnapshotFileWriter, installs: int) -> None:
        """The finished file becomes a live snapshot, unless the log was replaced, or has a newer one, since it was begun."""
        with self._lock:
            self._check_usable()
            zxid = file.info.zxid
            newest = max(self._snapshots, default=EMPTY)
            if installs != self._installs or zxid < newest:
                raise StorageError(f"the snapshot at {to_hex(zxid)} is not needed any more: the log was replaced", file.name)
            if zxid == newest:
                self._disk.unlink(file.name)
                return
            self._disk.rename(file.name, snapshot_name(self._tail.generation, zxid))
            self._disk.sync_directory()
            self._snapshots = {**self._snapshots, zxid: _Snapshot(self._tail.generation, file.bytes)}

    def _own_over(self) -> None:
        self._own = None

    # --- retention ---

    def purge(self) -> int:
        with self._fatal(), self._lock:
            tail, snapshots = self._tail, self._snapshots
            plan = plan_purge(
                tail.segments,
                snapshots,
                records_from=self._records_from,
                kept=self._options.snapshots_kept,
                may_go=lambda segment: not tail.is_open(segment) and not self._pins.is_pinned(segment.name),
                snapshot_may_go=lambda zxid: not self._pins.is_pinned(snapshot_name(snapshots[zxid].generation, zxid)),
            )
            if plan:
                gone = [segment.name for segment in tail.segments[: plan.segments]]
                gone += [snapshot_name(snapshots[zxid].generation, zxid) for zxid in plan.snapshots]
                if plan.segments:
                    self._records_from = max(self._records_from, tail.segments[plan.segments - 1].last)
                tail.segments = tail.segments[plan.segments :]
                self._snapshots = {zxid: snapshot for zxid, snapshot in snapshots.items() if zxid not in plan.snapshots}
                self._save_manifest(tail, self._snapshots)
                for name in gone:
                    self._disk.unlink(name)
            return self._records_from

    # --- reading ---

    def read_snapshot(self, zxid: int) -> SnapshotReader:
        with self._lock:
            snapshot = self._snapshots.get(zxid)
            if snapshot is None:
                raise CorruptLogError(f"there is no snapshot at {to_hex(zxid)}", self._disk.place)
            name = snapshot_name(snapshot.generation, zxid)
            self._pins.pin([name])
        try:
            return PinnedSnapshotReader(SnapshotFileReader(self._disk, name), lambda: self._pins.unpin([name]))
        except BaseException:
            self._pins.unpin([name])
            raise

    def read_records(self, after: int, upto: int) -> RecordReader:
        with self._lock:
            if not self._records_from <= after <= upto <= self._tail.durable:
                raise CorruptLogError(
                    f"the log has records behind {to_hex(self._records_from)} up to {to_hex(self._tail.durable)}, "
                    f"not ({to_hex(after)}, {to_hex(upto)}]",
                    self._disk.place,
                )
            needed = [segment for segment in self._tail.segments if segment.last > after and segment.start < upto]
            names = [segment.name for segment in needed]
            self._pins.pin(names)
        return SegmentsReader(self._disk, needed, after, upto, lambda: self._pins.unpin(names))

    def statistics(self) -> LogStatistics:
        # Without the lock, which may be held for as long as an fsync takes: both are replaced, never emptied.
        tail, snapshots = self._tail, self._snapshots
        segments = tuple(tail.segments)
        return LogStatistics(
            records_from=self._records_from,
            durable_zxid=tail.durable,
            segments=len(segments),
            snapshots=tuple(sorted(snapshots)),
            bytes_log=sum(segment.end for segment in segments),
            bytes_snapshots=sum(snapshot.bytes for snapshot in snapshots.values()),
            fsyncs=self._disk.syncs,
            batches=tail.batches,
        )

    # --- what all of them need ---

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Around whatever writes: after a failure nothing more is written, since what is on disk is unknown (P-13)."""
        self._check_usable()
        try:
            yield
        except StorageError as error:
            self._failed = error
            raise

    def _check_usable(self) -> None:
        if not self._opened or self._closed:
            raise InternalError("the log is not open")
        if self._failed is not None:
            raise StorageError(f"the log takes no more writes since an earlier failure: {self._failed}; open it anew") from self._failed

    def _even_on_full_disk(self, step: Callable[[], None]) -> None:
        """Finish the step, which may be done again from its beginning, on the reserved space; then the log takes no more writes (P-13)."""
        try:
            step()
        except DiskFullError as error:
            if not self._reserve.release():
                raise
            step()
            self._failed = error

    def _new_tail(self) -> Tail:
        """Of a generation that no other has, or had in the process before."""
        self._last_generation += 1
        options = self._options
        return Tail(self._disk, self._last_generation, self._salt, segment_bytes=options.segment_bytes, extend_bytes=options.extend_bytes)

    def _manifest(self, tail: Tail, snapshots: dict[int, _Snapshot]) -> Manifest:
        return Manifest(
            generation=tail.generation,
            salt=tail.salt,
            durable=tail.durable,
            next_number=tail.next_number,
            segments=tuple(_listed(segment, is_open=tail.is_open(segment)) for segment in tail.segments),
            snapshots=tuple(ListedSnapshot(snapshot.generation, zxid) for zxid, snapshot in sorted(snapshots.items())),
        )

    def _save_manifest(self, tail: Tail, snapshots: dict[int, _Snapshot]) -> None:
        """From its return on, these files are the live log, all of it durable."""
        save_manifest(self._disk, self._manifest(tail, snapshots))

    def _size(self, name: str) -> int:
        if name not in self._disk.names():
            return 0
        file = self._disk.open(name)
        try:
            return file.size()
        finally:
            file.close()


def _listed(segment: Segment, *, is_open: bool) -> ListedSegment:
    return ListedSegment(segment.generation, segment.number, segment.start, OPEN_END if is_open else segment.end)
