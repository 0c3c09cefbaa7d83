"""What every Log must do, whatever it stands on: one function, one story after the other, no knowledge of any file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkembed.durable import Epochs, SnapshotInfo
from zkembed.errors import CorruptLogError, InternalError, StorageError
from zkembed.log.base import Log
from zkembed.record import Record
from zkembed.zxid import EMPTY

from .helpers import CLUSTER, NODE_ID, behind, chunks_at, everything, history, install, open_log, read_all, state_at, write_snapshot

Place = Callable[[], Log]
"""Makes Logs of one and the same directory."""


def check_log(make_log: Callable[[], Place]) -> None:
    """``make_log`` gives a new, empty place at each call. Every log is durable."""
    for story in STORIES:
        story(make_log())


def starts_empty(place: Place) -> None:
    log = place()
    found = open_log(log)
    assert found.fresh
    assert (found.last_zxid, found.last_chain, found.snapshot, found.epochs) == (EMPTY, 0, SnapshotInfo(), Epochs())
    assert (found.identity.cluster, found.identity.node_id, found.identity.incarnation) == (CLUSTER, NODE_ID, 1)
    assert len(found.identity.storage_id) == 16
    assert not found.damage
    assert read_all(log, EMPTY, EMPTY) == []
    assert log.statistics().durable_zxid == EMPTY
    log.close()


def raises_the_incarnation_at_each_start(place: Place) -> None:
    """I-6"""
    storage_ids = set()
    for start in (1, 2, 3):
        log = place()
        identity = open_log(log).identity
        assert identity.incarnation == start
        storage_ids.add(identity.storage_id)
        log.close(orderly=start % 2 == 0)
    assert len(storage_ids) == 1


def gives_records_back_after_a_restart(place: Place) -> None:
    """P-5"""
    records = history(300)
    log = place()
    open_log(log)
    for start in range(0, 300, 7):
        log.append(records[start : start + 7])
        assert log.statistics().durable_zxid == records[min(start + 6, 299)].zxid
    assert read_all(log, EMPTY, records[-1].zxid) == records
    log.close()
    log = place()
    found = open_log(log)
    assert not found.fresh
    assert (found.last_zxid, found.last_chain) == (records[-1].zxid, records[-1].chain)
    assert everything(log, found) == records
    more = behind(records[-1], 5, epoch=4)
    log.append(more)
    log.close(orderly=False)
    log = place()
    assert everything(log, open_log(log)) == records + more
    log.close()


def reads_any_range(place: Place) -> None:
    records = history(60)
    log = place()
    open_log(log)
    for record in records[:30]:
        log.append([record])
    log.append(records[30:])
    for after in (0, 1, 17, 29, 30, 31, 59):
        for upto in (after, after + 1, 30, 45, 60):
            if after <= upto <= 60:
                start = records[after - 1].zxid if after else EMPTY
                end = records[upto - 1].zxid if upto else EMPTY
                assert read_all(log, start, end, bytes_max=1) == records[after:upto]
    reader = log.read_records(EMPTY, records[-1].zxid)
    first = reader.read(1)
    assert list(first) == records[:1], "at least one, however little was asked for"
    size = sum(len(record.encoded) for record in records[1:11])
    assert list(reader.read(size)) == records[1:11]
    reader.close()
    reader.close()
    for after, upto in ((EMPTY, records[-1].zxid + 1), (records[3].zxid, records[1].zxid)):
        with pytest.raises(CorruptLogError):
            log.read_records(after, upto)
    log.close()


def refuses_records_that_do_not_follow(place: Place) -> None:
    """zab.md 18.2: nothing is written, and the log goes on."""
    records = history(10)
    log = place()
    open_log(log)
    log.append(records[:3])
    stranger = history(4, payload=b"another history")
    for wrong in (records[4:5], records[2:3], stranger[3:]):
        with pytest.raises(InternalError, match="append to a log that ends at 0x100000003"):
            log.append(wrong)
    log.append(records[3:])
    assert read_all(log, EMPTY, records[-1].zxid) == records
    log.close()


def keeps_epochs(place: Place) -> None:
    """P-2, P-3: also ahead of the log and behind it; never falling."""
    log = place()
    open_log(log)
    log.set_epochs(Epochs(accepted=5, accepted_leader=2, current=0))
    log.set_epochs(Epochs(accepted=5, accepted_leader=2, current=5))
    log.set_epochs(Epochs(accepted=9, accepted_leader=1, current=5))
    for wrong in (Epochs(8, 1, 5), Epochs(9, 1, 4), Epochs(9, 1, 10)):
        with pytest.raises(InternalError, match="epochs must not fall"):
            log.set_epochs(wrong)
    log.close(orderly=False)
    log = place()
    assert open_log(log).epochs == Epochs(9, 1, 5)
    log.append(history(2, epoch=11))
    log.close()
    log = place()
    found = open_log(log)
    assert (found.epochs, found.last_zxid) == (Epochs(9, 1, 5), 11 << 32 | 2), "an epoch of the log above current is legal (P-3)"
    log.close()


def seals(place: Place) -> None:
    """P-4: a seal is a batch, but only where something is not vouched for yet."""
    records = history(4)
    log = place()
    open_log(log)
    log.seal()
    assert log.statistics().batches == 0
    log.append(records[:2])
    log.seal()
    assert log.statistics().batches == 2
    log.seal()
    assert log.statistics().batches == 2
    log.append(records[2:])
    assert read_all(log, EMPTY, records[-1].zxid, bytes_max=10**6) == records
    log.close()
    log = place()
    assert everything(log, open_log(log)) == records
    log.close()


def truncates_to_each_record(place: Place) -> None:
    """P-6: in and between batches, in this segment and in earlier ones, and writes on from there."""
    records = history(40)
    log = place()
    open_log(log)
    for start in range(0, 40, 8):
        log.append(records[start : start + 8])
    for keep in (39, 33, 32, 31, 17, 16, 8, 3, 1):
        log.truncate(records[keep - 1].zxid)
        assert read_all(log, EMPTY, records[keep - 1].zxid) == records[:keep]
        assert log.statistics().durable_zxid == records[keep - 1].zxid
        fork = behind(records[keep - 1], 3, epoch=50 - keep)
        log.append(fork)
        log.close(orderly=keep % 2 == 0)
        log = place()
        found = open_log(log)
        assert everything(log, found) == records[:keep] + fork
        log.truncate(records[keep - 1].zxid)
    log.truncate(EMPTY)
    assert log.statistics().durable_zxid == EMPTY
    other = history(3, epoch=60)
    log.append(other)
    log.close()
    log = place()
    assert everything(log, open_log(log)) == other
    log.close()


def refuses_to_truncate_elsewhere(place: Place) -> None:
    """zab.md 18.4 at the port: not beyond the end, not between records, not below a snapshot."""
    records = history(3) + behind(history(3)[-1], 3, epoch=5)
    log = place()
    open_log(log)
    log.append(records)
    write_snapshot(log, records[1])
    for zxid in (records[-1].zxid + 1, records[2].zxid + 1, records[0].zxid):
        with pytest.raises(InternalError, match="truncate to"):
            log.truncate(zxid)
    log.truncate(records[1].zxid)
    log.close()
    log = place()
    found = open_log(log)
    assert (found.snapshot.zxid, found.last_zxid) == (records[1].zxid, records[1].zxid)
    log.close()


def recovers_from_its_newest_snapshot(place: Place) -> None:
    """P-8, P-10"""
    records = history(30)
    log = place()
    open_log(log)
    log.append(records[:20])
    write_snapshot(log, records[9])
    write_snapshot(log, records[15])
    log.append(records[20:])
    assert list(log.chunks(records[15].zxid)) == chunks_at(records[15])
    log.close()
    log = place()
    found = open_log(log)
    assert found.snapshot == state_at(records[15])
    assert everything(log, found) == records[16:]
    assert log.statistics().snapshots == (records[9].zxid, records[15].zxid)
    assert list(log.chunks(records[9].zxid)) == chunks_at(records[9])
    assert read_all(log, records[9].zxid, records[-1].zxid) == records[10:]
    with pytest.raises(CorruptLogError):
        log.read_snapshot(records[3].zxid)
    log.close()


def drops_an_aborted_snapshot(place: Place) -> None:
    records = history(5)
    log = place()
    open_log(log)
    log.append(records)
    writer = log.snapshot_writer(state_at(records[2]))
    writer.write(b"half")
    with pytest.raises(InternalError, match="already"):
        log.snapshot_writer(state_at(records[3]))
    writer.abort()
    writer.abort()
    assert log.statistics().snapshots == ()
    writer = log.snapshot_writer(state_at(records[3]))
    log.append(behind(records[-1], 1))  # Writes do not wait for it.
    writer.finish()
    assert log.statistics().snapshots == (records[3].zxid,)
    with pytest.raises(InternalError, match="a snapshot at"):
        log.snapshot_writer(state_at(behind(records[-1], 2)[-1]))
    log.close()


def installs_a_received_generation(place: Place) -> None:
    """P-7: until the switch the old log is what is there; then all of it is gone."""
    old = history(10)
    other = history(30, epoch=7)
    log = place()
    open_log(log)
    log.append(old)
    write_snapshot(log, old[3])
    log.begin_install(state_at(other[4]))
    log.install_chunk(b"of an install that is dropped")
    log.begin_install(state_at(other[9]))
    for chunk in chunks_at(other[9]):
        log.install_chunk(chunk)
    log.install_records(other[10:15])
    log.install_records(other[15:20])
    assert read_all(log, EMPTY, old[-1].zxid) == old
    log.append(behind(old[-1], 1))
    log.commit_install()
    assert log.statistics().snapshots == (other[9].zxid,)
    assert read_all(log, other[9].zxid, other[19].zxid) == other[10:20]
    assert list(log.chunks(other[9].zxid)) == chunks_at(other[9])
    log.append(other[20:])
    log.close(orderly=False)
    log = place()
    found = open_log(log)
    assert found.snapshot == state_at(other[9])
    assert everything(log, found) == other[10:]
    with pytest.raises(CorruptLogError):
        log.read_records(EMPTY, other[-1].zxid)
    log.close()


def forgets_an_install_that_is_not_committed(place: Place) -> None:
    """P-7: aborted, or cut short by the end of the process."""
    old = history(10)
    other = history(30, epoch=7)
    log = place()
    open_log(log)
    log.append(old)
    for _ in range(2):
        log.begin_install(state_at(other[9]))
        log.install_chunk(b"chunk")
        log.install_records(other[10:])
        log.abort_install()
        log.abort_install()
    with pytest.raises(InternalError, match="no install"):
        log.install_chunk(b"chunk")
    log.begin_install(state_at(other[9]))
    log.install_records(other[10:])
    log.close(orderly=False)
    log = place()
    assert everything(log, open_log(log)) == old
    log.close()


def installs_without_records_or_without_a_snapshot(place: Place) -> None:
    """P-7 with p == s, and from a leader that has no snapshot yet: the records are the whole log."""
    other = history(12, epoch=7)
    log = place()
    open_log(log)
    log.append(history(3))
    install(log, other[4], [])
    assert log.statistics().durable_zxid == other[4].zxid
    log.append(other[5:7])
    log.close()
    log = place()
    found = open_log(log)
    assert (found.snapshot.zxid, everything(log, found)) == (other[4].zxid, other[5:7])
    log.begin_install(SnapshotInfo())
    log.install_records(other[:3])
    log.commit_install()
    log.close()
    log = place()
    found = open_log(log)
    assert (found.snapshot, everything(log, found)) == (SnapshotInfo(), other[:3])
    log.close()


def purges_behind_the_second_newest_snapshot(place: Place) -> None:
    """P-9: with one snapshot nothing goes; with more, two stay and the log behind the older of them."""
    records = history(200)
    log = place()
    open_log(log)
    for start in range(0, 200, 5):
        log.append(records[start : start + 5])
    write_snapshot(log, records[99])
    assert log.purge() == EMPTY
    write_snapshot(log, records[149])
    write_snapshot(log, records[179])
    records_from = log.purge()
    assert records_from <= records[149].zxid
    assert log.statistics().snapshots == (records[149].zxid, records[179].zxid)
    assert log.statistics().records_from == records_from
    rest = [record for record in records if record.zxid > records_from]
    assert read_all(log, records_from, records[-1].zxid) == rest
    log.close()
    log = place()
    found = open_log(log)
    assert (found.snapshot.zxid, found.last_zxid) == (records[179].zxid, records[-1].zxid)
    assert read_all(log, records[149].zxid, records[-1].zxid) == records[150:]
    log.close()


def keeps_what_a_reader_needs(place: Place) -> None:
    """Y-4: purge, truncation and install take nothing away from an open reader."""
    records = history(200)
    log = place()
    open_log(log)
    for start in range(0, 200, 5):
        log.append(records[start : start + 5])
    reader = log.read_records(EMPTY, records[189].zxid)
    assert list(reader.read(1)) == records[:1]
    write_snapshot(log, records[99])
    snapshot = log.read_snapshot(records[99].zxid)
    write_snapshot(log, records[149])
    write_snapshot(log, records[159])
    log.purge()
    log.truncate(records[180].zxid)
    install(log, history(8, epoch=9)[5], history(8, epoch=9)[6:])
    rest: list[Record] = []
    while found := reader.read(500):
        rest += found
    assert rest == records[1:190]
    chunks = []
    while (chunk := snapshot.read()) is not None:
        chunks.append(chunk)
    assert chunks == chunks_at(records[99])
    reader.close()
    snapshot.close()
    snapshot.close()
    log.close()
    log = place()
    assert open_log(log).last_zxid == history(8, epoch=9)[7].zxid
    log.close()


def belongs_to_one_node_of_one_cluster(place: Place) -> None:
    log = place()
    open_log(log)
    log.close()
    for cluster, node_id in ((CLUSTER, 4), ("other", NODE_ID)):
        with pytest.raises(StorageError, match="belongs to node 3 of cluster 'cluster'"):
            place().open(cluster, node_id)
    log = place()
    assert open_log(log).identity.incarnation == 2, "a refused start changes nothing"
    log.close()


def is_used_by_one_at_a_time(place: Place) -> None:
    """DU-11 within the process."""
    log = place()
    open_log(log)
    with pytest.raises(StorageError, match="another process uses it"):
        open_log(place())
    log.close()
    log.close()
    log = place()
    assert open_log(log).identity.incarnation == 2
    log.close()


def is_of_no_use_before_open_and_after_close(place: Place) -> None:
    log = place()
    log.close()
    with pytest.raises(InternalError, match="not open"):
        log.append(history(1))
    log = place()
    open_log(log)
    log.close()
    for use in (lambda: log.append(history(1)), log.seal, lambda: log.set_epochs(Epochs()), log.purge, lambda: open_log(log)):
        with pytest.raises(InternalError):
            use()


STORIES = (
    starts_empty,
    raises_the_incarnation_at_each_start,
    gives_records_back_after_a_restart,
    reads_any_range,
    refuses_records_that_do_not_follow,
    keeps_epochs,
    seals,
    truncates_to_each_record,
    refuses_to_truncate_elsewhere,
    recovers_from_its_newest_snapshot,
    drops_an_aborted_snapshot,
    installs_a_received_generation,
    forgets_an_install_that_is_not_committed,
    installs_without_records_or_without_a_snapshot,
    purges_behind_the_second_newest_snapshot,
    keeps_what_a_reader_needs,
    belongs_to_one_node_of_one_cluster,
    is_used_by_one_at_a_time,
    is_of_no_use_before_open_and_after_close,
)
