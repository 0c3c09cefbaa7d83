"""The committed sequence as the disks have it: read from data directories, by the library's own log, after the processes are gone.

A log is purged behind its snapshots. So that all of C can still be read, each member keeps what its log is about to let go in an
archive beside its data directory, which survives a wipe: all of it is committed, being covered by a snapshot of applied state.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from zkembed.errors import DecodeError
from zkembed.log.file import FileLog
from zkembed.record import CHAIN_EMPTY, Record, verify_run
from zkembed.testing.history import Committed
from zkembed.zxid import EMPTY, to_hex

READ_BYTES = 2**20
LENGTH_BYTES = 4


class ArchivingLog(FileLog):
    """archive: a file that gets what the log lets go."""

    def __init__(self, path: Path, archive: Path, *, fsync: bool = True) -> None:
        super().__init__(path, fsync=fsync)
        self._archive = archive
        self._archived: int | None = None

    def purge(self) -> int:
        statistics = self.statistics()
        upto = max(statistics.snapshots, default=EMPTY)
        if self._archived is None:
            self._archived = max((record.zxid for record in read_archive(self._archive)), default=EMPTY)
        after = max(self._archived, statistics.records_from)
        if upto > after:
            with self._archive.open("ab") as file:
                for record in read_all(self, after, upto):
                    file.write(len(record.encoded).to_bytes(LENGTH_BYTES, "big") + record.encoded)
            self._archived = upto
        return super().purge()


def read_all(log: FileLog, after: int, upto: int) -> Iterator[Record]:
    reader = log.read_records(after, upto)
    try:
        while records := reader.read(READ_BYTES):
            yield from records
    finally:
        reader.close()


def read_archive(path: Path) -> Iterator[Record]:
    """In order; a torn end is left out. Raises DecodeError."""
    data = path.read_bytes() if path.exists() else b""
    place = 0
    while (start := place + LENGTH_BYTES) <= len(data):
        place = start + int.from_bytes(data[place:start], "big")
        if place <= len(data):
            yield Record.decode(data[start:place])


@frozen
class DiskLog:
    """What one data directory holds. base: the log begins behind this zxid.  epoch: its current one.  damage: why it holds nothing."""

    node: int
    base: int
    epoch: int
    records: tuple[Record, ...]
    damage: str

    @property
    def end(self) -> int:
        return self.records[-1].zxid if self.records else self.base


def read_directory(node: int, directory: Path, scratch: Path, cluster: str = "zkembed") -> DiskLog:
    """Opens a copy: opening writes, and what the run left behind shall stay as it is."""
    copy = scratch / f"copy-of-{directory.name}"
    shutil.copytree(directory, copy)
    log = FileLog(copy)
    try:
        found = log.open(cluster, node)
        base = log.statistics().records_from
        records = () if found.damage else tuple(read_all(log, base, found.last_zxid))
        return DiskLog(node, base, found.epochs.current, records, found.damage)
    finally:
        log.close()
        shutil.rmtree(copy)


class IncompleteError(Exception):
    """C cannot be put together from what is there."""


class DisagreementError(Exception):
    """Two disks hold different entries where they must hold the same one (A1, A2)."""


def put_together(logs: Iterable[DiskLog], archives: Iterable[Iterable[Record]], upto: int) -> list[Record]:
    """C up to ``upto``, from its first entry on: the log that would win an election, what it lacks at its beginning from the others.

    Raises IncompleteError, DisagreementError.
    """
    usable = [log for log in logs if not log.damage]
    best = max(usable, key=lambda log: (log.epoch, log.end), default=None)
    if best is None:
        raise IncompleteError("no data directory is left that can be read")
    known = {record.zxid: record for record in best.records if record.zxid <= upto}
    others = [record for records in archives for record in records] + [record for log in usable for record in log.records]
    for record in others:
        if record.zxid <= best.base:
            mine = known.setdefault(record.zxid, record)
            if mine != record:
                raise DisagreementError(f"two disks hold different entries {to_hex(record.zxid)}")
    sequence = [record for _, record in sorted(known.items())]
    try:
        verify_run(sequence, EMPTY, CHAIN_EMPTY)
    except DecodeError as error:
        raise IncompleteError(f"the committed sequence has a gap: {error}") from error
    return sequence


def compare(logs: Iterable[DiskLog], sequence: list[Record]) -> Iterator[str]:
    """A2: where a disk's log, up to the end of C, is no part of C without gap; one line for each such disk."""
    at = {record.zxid: number for number, record in enumerate(sequence)}
    end = sequence[-1].zxid if sequence else EMPTY
    for log in logs:
        mine = [record for record in log.records if record.zxid <= end]
        if log.damage or not mine:
            continue
        first = at.get(mine[0].zxid)
        theirs = [] if first is None else sequence[first : first + len(mine)]
        for record, other in zip(mine, theirs, strict=False):
            if record != other:
                yield f"the disk of member {log.node} holds {to_hex(record.zxid)}, which differs from C's {to_hex(other.zxid)}"
                break
        else:
            if len(mine) != len(theirs):
                yield f"the disk of member {log.node} holds {to_hex(mine[len(theirs)].zxid)}, which is not in C"


def committed(sequence: Iterable[Record]) -> Iterator[Committed]:
    """As events, to stand before all others of the history."""
    for record in sequence:
        yield Committed(0.0, 0, 0, record.zxid, record.chain, record.kind.name, record.time, record.payload)
