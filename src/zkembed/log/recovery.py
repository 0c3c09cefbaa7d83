"""What a start makes of the files it finds: reads only, changes nothing (rules P-10, P-11).

The verdict is one of: a verified log; a verified log whose torn tail is cut; damage. Damage is told from a torn tail by
evidence: something valid that says that more had once been durable than can be read now. A valid header's ``synced``, the
manifest, a snapshot's name, or a later segment can say so.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import Factory, define

from ..durable import SnapshotInfo
from ..errors import DecodeError, StorageError
from ..record import Record
from ..zxid import EMPTY, to_hex
from .disk import Disk
from .manifest import OPEN_END, ListedSegment, Manifest
from .records import BatchHeader, decode_body
from .segments import Segment, Window, batch_at, find_headers, is_clean_end, parse_segment_name, segment_name
from .snapshots import parse_snapshot_name, snapshot_name, verify_snapshot


@define
class Verdict:
    """What the live files amount to.

    base: the snapshot recovered from.  zxid, chain: the log's verified end.  records_from: the log is unbroken from behind this
    zxid on.  segments: the live ones, cut to what is verified.  snapshots: zxid to generation, without those found unreadable.
    unvouched: the records of the last batch, if nothing vouches for them, and the chain before them; the last segment is cut there.
    damage: "" or what, in which file, at which offset; then nothing else here counts.
    """

    base: SnapshotInfo = SnapshotInfo()
    zxid: int = EMPTY
    chain: int = 0
    records_from: int = EMPTY
    segments: list[Segment] = Factory(list)
    snapshots: dict[int, int] = Factory(dict)
    unvouched: list[Record] = Factory(list)
    unvouched_chain: int = 0
    notes: list[str] = Factory(list)
    damage: str = ""


def recover(disk: Disk, manifest: Manifest) -> Verdict:
    """Judge the live files. Raises nothing for whatever they hold; a device that cannot read counts as damage."""
    verdict = Verdict()
    try:
        _Recovery(disk, manifest, verdict).run()
    except StorageError as error:
        verdict.damage = str(error)
    return verdict


class _Recovery:
    def __init__(self, disk: Disk, manifest: Manifest, verdict: Verdict) -> None:
        self._disk = disk
        self._manifest = manifest
        self._verdict = verdict
        names = disk.names()
        self._names = frozenset(names)
        self._segments = _live_segments(names, manifest)
        verdict.snapshots = _live_snapshots(names, manifest)
        self._unreadable: list[int] = []

    def run(self) -> None:
        verdict = self._verdict
        base = self._newest_snapshot()
        if base is None:
            return
        # Evidence of what was durable, from outside the segments. Snapshots that do not read back count: their names do.
        reach = max([self._manifest.durable, *verdict.snapshots])
        scan = _Scan(self._disk, self._names, self._manifest.salt, base, reach)
        for listed in self._segments:
            scan.segment(listed)
        scan.judge(verdict)
        verdict.base = base
        self._miss_older_snapshots(base)
        for zxid in self._unreadable:
            del verdict.snapshots[zxid]

    def _newest_snapshot(self) -> SnapshotInfo | None:
        """The newest that reads back; an empty one if the log begins at the beginning; None, and damage, if there is no route."""
        verdict = self._verdict
        trouble = ""
        for zxid in sorted(verdict.snapshots, reverse=True):
            name = snapshot_name(verdict.snapshots[zxid], zxid)
            try:
                info = verify_snapshot(self._disk, name)
            except StorageError as error:
                trouble = trouble or str(error)
            else:
                if info.zxid == zxid:
                    verdict.notes += [f"went back to the snapshot at {to_hex(zxid)}: {trouble}"] if trouble else []
                    return info
                trouble = trouble or f"snapshot {name} is one of {to_hex(info.zxid)}"
            self._unreadable.append(zxid)
        if trouble:
            verdict.notes.append(f"read the log from its beginning: {trouble}")
        if self._segments and self._segments[0].start != EMPTY:
            verdict.damage = f"no way to the log leads past an unreadable or missing snapshot: {trouble or 'none is there'}"
            return None
        return SnapshotInfo()

    def _miss_older_snapshots(self, base: SnapshotInfo) -> None:
        """Purge relies on the older one of two (P-9), so one that is not there must not be counted."""
        for zxid, generation in self._verdict.snapshots.items():
            if zxid < base.zxid and snapshot_name(generation, zxid) not in self._names:
                self._verdict.notes.append(f"snapshot {snapshot_name(generation, zxid)} is missing")
                self._unreadable.append(zxid)


def _live_segments(names: Iterable[str], manifest: Manifest) -> list[ListedSegment]:
    """In the log's order. Of those not listed the start is not known: as if it were the beginning.

    Their numbers have no gaps, so a file that is not there but has to be, since a later one is, counts as live too.
    """
    numbers = sorted(
        number
        for generation, number in filter(None, map(parse_segment_name, names))
        if generation == manifest.generation and number >= manifest.next_number
    )
    due = [before + 1 for before in (manifest.next_number - 1, *numbers[:-1])]
    missing = {number for number, present in zip(due, numbers, strict=False) if number != present}
    added = [ListedSegment(manifest.generation, number, EMPTY, OPEN_END) for number in sorted({*numbers, *missing})]
    return [*manifest.segments, *added]


def _live_snapshots(names: Iterable[str], manifest: Manifest) -> dict[int, int]:
    """zxid to generation; also of listed ones whose file is gone."""
    found = {zxid: generation for generation, zxid in filter(None, map(parse_snapshot_name, names)) if manifest.keeps(generation, zxid)}
    return {**{listed.zxid: listed.generation for listed in manifest.snapshots}, **found}


class _Scan:
    """One walk over the live segments, in order.

    Below the snapshot only checksums and contiguity matter, and damage there only means that less log can be offered
    to learners. From the snapshot on each batch is decoded and must fit to the one before; the first that does not ends the walk.
    """

    def __init__(self, disk: Disk, names: frozenset[str], salt: int, base: SnapshotInfo, reach: int) -> None:
        self._disk = disk
        self._names = names
        self._salt = salt
        self._base = base
        # The walk's position; below the base the chain is not followed. None: at the beginning of the log, wherever that is.
        self._zxid: int | None = EMPTY if base.zxid == EMPTY else None
        self._chain = base.chain
        self._records_from = EMPTY
        # Evidence: something valid says that all up to here was durable.
        self._vouched = reach
        self._bad = ""
        self._damage = ""
        self._notes: list[str] = []
        self._segments: list[Segment] = []
        self._last: tuple[Segment, int, BatchHeader, list[Record]] | None = None
        # The seal that ends the log, and where; None: it ends with records.
        self._seal: tuple[Segment, int, BatchHeader] | None = None

    # --- walking ---

    def segment(self, listed: ListedSegment) -> None:
        name = segment_name(listed.generation, listed.number)
        if self._ended:
            # A later segment is made only after all of the one before was durable.
            self._damage = self._damage or f"{self._bad}, and segment {name} follows it"
            return
        if name not in self._names:
            self._stumble(f"segment {name} is missing")
            return
        file = self._disk.open(name)
        try:
            window = Window(file)
            segment = Segment(listed.generation, listed.number, listed.start, self._salt)
            end = file.size() if listed.end == OPEN_END else listed.end
            self._walk(segment, window, end, cut=listed.end != OPEN_END)
        finally:
            file.close()

    @property
    def _ended(self) -> bool:
        return self._bad != "" and not self._below

    @property
    def _below(self) -> bool:
        return self._zxid is None or self._zxid < self._base.zxid

    def _walk(self, segment: Segment, window: Window, end: int, *, cut: bool) -> None:
        self._segments.append(segment)
        offset = 0
        while offset < end and not self._ended:
            found = batch_at(window, segment.seed, offset, end)
            if found is None:
                if not cut and is_clean_end(window, offset, end):
                    return
                self._stumble(f"bad bytes in {segment.name} at offset {offset} of {end}")
                offset = self._get_over(segment, window, offset + 1, end)
            elif self._take(segment, offset, *found):
                offset += found[0].batch_bytes

    def _stumble(self, what: str) -> None:
        self._bad = self._bad or what

    def _get_over(self, segment: Segment, window: Window, offset: int, end: int) -> int:
        """Search all that follows for headers: evidence always, and below the snapshot also a batch to go on from."""
        for at, header in find_headers(window, segment.seed, offset, end):
            self._vouched = max(self._vouched, header.synced)
            if self._below and header.prev_zxid <= self._base.zxid and batch_at(window, segment.seed, at, end):
                self._notes.append(f"the log below the snapshot at {to_hex(self._base.zxid)} is not whole: {self._bad}")
                self._bad = ""
                self._zxid = None
                # The part before the gap is of no use to anybody.
                self._segments[:-1] = []
                segment.restart(at, header.prev_zxid)
                return at
        return end

    # --- one batch ---

    def _take(self, segment: Segment, offset: int, header: BatchHeader, rest: bytes) -> bool:
        """Add an undamaged batch, if it fits to what stands before it. Else: damage, since whole batches are no torn tail."""
        self._vouched = max(self._vouched, header.synced)
        fits = header.prev_zxid == self._zxid if self._zxid is not None else header.prev_zxid <= self._base.zxid
        if not fits and self._below and header.prev_zxid <= self._base.zxid:
            # A gap between segments, below the snapshot.
            self._notes.append(f"the log below the snapshot at {to_hex(self._base.zxid)} is not whole before {to_hex(header.prev_zxid)}")
            self._segments[:] = [segment]
            self._zxid, fits = None, True
        if not fits:
            here = "the beginning" if self._zxid is None else to_hex(self._zxid)
            self._fail(segment, offset, f"a batch follows {to_hex(header.prev_zxid)}, and the log before it ends at {here}")
            return False
        records: list[Record] = []
        if header.last >= self._base.zxid:
            try:
                records = decode_body(header, rest)
            except DecodeError as error:
                self._fail(segment, offset, str(error))
                return False
            if not self._joins(header, records):
                self._fail(segment, offset, "the chain does not go on from what stands before it")
                return False
            self._chain = records[-1].chain if records else self._chain
        if self._zxid is None:
            self._records_from = header.prev_zxid
        if segment.end == 0:
            segment.start = header.prev_zxid
        # Whatever was bad before this batch, the log goes on behind it (only below the snapshot can that be).
        self._bad = ""
        self._zxid = header.last
        if header.is_seal:
            self._seal = (segment, offset, header)
        else:
            self._last, self._seal = (segment, offset, header, records), None
        segment.add(header.prev_zxid, header.last, header.batch_bytes)
        return True

    def _joins(self, header: BatchHeader, records: list[Record]) -> bool:
        """Whether the chain fits: to the snapshot, for the batch that begins at its zxid or goes beyond it; then to the batch before."""
        if header.prev_zxid >= self._base.zxid:
            return header.prev_chain == self._chain
        return any(record.zxid == self._base.zxid and record.chain == self._base.chain for record in records)

    def _fail(self, segment: Segment, offset: int, why: str) -> None:
        self._stumble(f"{segment.name} at offset {offset}: {why}")
        self._damage = self._damage or self._bad
        self._zxid = max(self._zxid or EMPTY, self._base.zxid)

    # --- the verdict ---

    def judge(self, verdict: Verdict) -> None:
        zxid = self._base.zxid if self._zxid is None else self._zxid
        if self._below:
            if self._zxid is not None:
                self._notes.append(f"the log ends at {to_hex(zxid)}, before the snapshot at {to_hex(self._base.zxid)}; it is not used")
            self._segments.clear()
            self._last = self._seal = None
            self._records_from = zxid = self._base.zxid
        verdict.damage = self._damage
        if self._vouched > zxid and not verdict.damage:
            where = self._bad or (
                f"{self._segments[-1].name} ends at offset {self._segments[-1].end}" if self._segments else "no log is there"
            )
            verdict.damage = f"{where}; readable up to {to_hex(zxid)}, but up to {to_hex(self._vouched)} was durable"
        verdict.notes += self._notes
        if verdict.damage:
            return
        verdict.zxid, verdict.chain, verdict.records_from = zxid, self._chain, self._records_from
        if self._bad:
            verdict.notes.append(f"cut a torn batch: {self._bad}")
        self._drop_seal()
        self._set_aside(verdict)
        verdict.segments = [segment for segment in self._segments if segment.end]

    def _drop_seal(self) -> None:
        """Nothing vouches for a seal at the end, so it may be in the cache only. It must not be listed as part of the log: in a segment
        that others follow, its loss would look like corruption. What it vouches for the manifest of this start will vouch for."""
        if self._seal is not None:
            segment, offset, header = self._seal
            # Later segments are empty: their first batch would have vouched.
            self._segments[self._segments.index(segment) :] = [segment.cut(offset, header.prev_zxid)]

    def _set_aside(self, verdict: Verdict) -> None:
        """What nothing vouches for, one batch at most, has to be written again (P-10)."""
        if self._last is None or self._last[2].last <= self._vouched:
            return
        segment, offset, header, records = self._last
        # Later segments are empty: their first batch would have vouched.
        del self._segments[self._segments.index(segment) + 1 :]
        verdict.unvouched, verdict.unvouched_chain = records, header.prev_chain
        self._segments[-1] = segment.cut(offset, header.prev_zxid)
