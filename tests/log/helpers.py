"""Records, logs and questions to them, for the tests of the data directory."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from zkembed.durable import SnapshotInfo
from zkembed.log.base import Log, Recovered
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Kind, Record
from zkembed.zxid import EMPTY, make

CLUSTER = "cluster"
NODE_ID = 3


def history(
    count: int, *, epoch: int = 1, first: int = 1, prev_zxid: int = EMPTY, prev_chain: int = 0, payload: bytes = b"payload"
) -> list[Record]:
    """``count`` records of one epoch that stand behind each other and behind ``prev_zxid``."""
    records = []
    for counter in range(first, first + count):
        zxid = make(epoch, counter)
        body = payload + b" %d" % counter
        record = Record.make(zxid, prev_zxid, 1_000_000 * counter, Kind.REQUEST, prev_zxid, body, prev_chain)
        records.append(record)
        prev_zxid, prev_chain = zxid, record.chain
    return records


def behind(record: Record, count: int, *, epoch: int | None = None, payload: bytes = b"payload") -> list[Record]:
    """``count`` records behind this one; in its epoch, or in a later one."""
    same = epoch is None or epoch == record.zxid >> 32
    first = (record.zxid & 0xFFFFFFFF) + 1 if same else 1
    return history(
        count,
        epoch=record.zxid >> 32 if epoch is None else epoch,
        first=first,
        prev_zxid=record.zxid,
        prev_chain=record.chain,
        payload=payload,
    )


def state_at(record: Record, *, meta: bytes = b"meta") -> SnapshotInfo:
    """What a snapshot of the state after this record says of itself."""
    return SnapshotInfo(record.zxid, record.chain, meta)


def chunks_at(record: Record) -> list[bytes]:
    """The chunks of that snapshot: anything, but different for each record."""
    return [b"chunk %d of %x;" % (i, record.zxid) * (40 * i) for i in range(4)]


def write_snapshot(log: Log, record: Record) -> None:
    writer = log.snapshot_writer(state_at(record))
    for chunk in chunks_at(record):
        writer.write(chunk)
    writer.finish()


def install(log: Log, base: Record, records: Iterable[Record]) -> None:
    """A whole install: the snapshot at ``base`` and the records behind it."""
    log.begin_install(state_at(base))
    for chunk in chunks_at(base):
        log.install_chunk(chunk)
    log.install_records(list(records))
    log.commit_install()


def open_log(log: Log) -> Recovered:
    return log.open(CLUSTER, NODE_ID)


def read_all(log: Log, after: int, upto: int, *, bytes_max: int = 1000) -> list[Record]:
    reader = log.read_records(after, upto)
    found: list[Record] = []
    try:
        while records := reader.read(bytes_max):
            found += records
    finally:
        reader.close()
    return found


def everything(log: Log, recovered: Recovered) -> list[Record]:
    """All records behind the snapshot that the log recovered from."""
    return read_all(log, recovered.snapshot.zxid, recovered.last_zxid)


def small(disk: SimulatedDisk | None = None, *, durable: bool = True) -> MemoryLog:
    """A log whose limits are so low that a few records meet all of them."""
    return MemoryLog(disk, durable, segment_bytes=700, reserve_bytes=1024, extend_bytes=256, random_bytes=Bytes(disk))


class Bytes:
    """Random bytes without luck: each call differs from all others on the same disk, and from all others where none is named.

    Two copies of a disk that go the same way draw the same.
    """

    _count = 0

    def __init__(self, disk: SimulatedDisk | None = None) -> None:
        self._disk = disk
        self._drawn = 0

    def __call__(self, length: int) -> bytes:
        if self._disk is None:
            Bytes._count += 1
            return Bytes._count.to_bytes(length, "big")
        self._drawn += 1
        # Each log draws three times at most, and no two logs that write begin at the same step.
        return blake2b(b"%d %d %d" % (self._disk.boots, self._disk.steps, self._drawn), digest_size=length).digest()
