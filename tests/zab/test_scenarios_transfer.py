"""Synchronization stories, SY-n of the scenario list, about what a sync is made of: the order of its steps, the sources of its stream, a
slow line, a history that differs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.zab.helpers import followers, give_logs, log_of, record_after, sent, trickle
from tests.zab.test_mutants import epoch_before_history
from zkembed.errors import InternalError
from zkembed.record import Record
from zkembed.testing.checkers import Violation
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import InstallChunk, Role
from zkembed.zab.messages import Entries, FollowerInfo, Sync, SyncMode, SyncReject
from zkembed.zab.settings import Settings

SETTINGS = Settings()
BOUND = 4 * SETTINGS.notify_max + SETTINGS.init_limit
SEEDS = range(5)


def away(seed: int = 0, *, writes: int = 4, **options: Any) -> tuple[Cluster, int, int, int]:
    """A leads and B follows; C is down. It has missed an epoch and ``writes`` entries, half of them before, half of them in that epoch."""
    cluster = Cluster(3, seed=seed, **options)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(c)
    for number in range(writes):
        if number == writes // 2:
            cluster.wait_equal(a, b)
            cluster.restart(a, b)
            cluster.wait_serving(a, b)
            a = cluster.wait_leader()
            b = next(node.id for node in cluster if node.id not in (a, c))
        cluster.write(b"%d" % number)
    cluster.wait_equal(a, b)
    return cluster, a, b, c


# --- SY-2 ------------------------------------------------------------------------------------------------------------


def sync_by_steps(seed: int, stop_after: int) -> list[tuple[int, int]]:
    """C syncs, its disk one operation at a time; it dies after so many, with A. The pairs (current epoch, last zxid) that its disk held."""
    cluster, a, b, c = away(seed, settings=Settings(proposal_bytes_max=1))
    disk = cluster[c].disk
    disk.hold = True
    cluster.start(c)
    held = [(disk.epochs.current, disk.live.end)]
    for _ in range(stop_after):
        cluster.run(0.02)
        if disk.queue:
            cluster.step_disk(c)
            held.append((disk.epochs.current, disk.live.end))
    cluster.crash(a, c)
    cluster.restart(c)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"behind it")
    cluster.start(a)
    cluster.wait_equal(limit=BOUND)
    assert all(state == [b"one", b"0", b"1", b"2", b"3", b"behind it"] for state in cluster.states().values())
    return held


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("stop_after", range(9))
def test_sy_2_epoch_before_history(stop_after: int, seed: int) -> None:
    """SY-2 (Y-6), ZK-4643: C dies between any two steps of its sync: its disk never holds the new epoch without the whole history of it."""
    held = sync_by_steps(seed, stop_after)
    new = held[0][0] + 1
    assert all(end == held[-1][1] for current, end in held if current == new)
    if stop_after >= 8:
        assert held[-1][0] == new, "it came to the end"


def test_sy_2_the_swapped_order_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """SY-2, as a mutant: the epoch first, the entries behind it. The judge sees it at the step itself, no crash is needed."""
    epoch_before_history(monkeypatch)
    with pytest.raises(Violation, match="without its initial history"):
        sync_by_steps(0, 8)


# --- SY-10 -----------------------------------------------------------------------------------------------------------


def streams(cluster: Cluster, leader: int) -> list[tuple[Sync, list[Record]]]:
    """Each sync stream that this leader sends from now on: its head and its records, whether they came from the disk or the cache."""
    found: list[tuple[Sync, list[Record]]] = []
    send = cluster.network.send

    def watch(node: SimNode, link: int, messages: list[Any]) -> None:
        for message in messages if node.id == leader else ():
            if isinstance(message, Sync):
                found.append((message, []))
            elif isinstance(message, Entries):
                found[-1][1].extend(message.records)
        send(node, link, messages)

    cluster.network.send = watch  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("cache_bytes", [1, 700, 1500, 2**20], ids=lambda size: f"cache {size}")
@pytest.mark.parametrize("snapshot", [None, 0, 10, 29], ids=lambda at: f"snapshot {at}")
@pytest.mark.parametrize("behind", [1, 12, 30], ids=lambda count: f"{count} behind")
def test_sy_10_joined_sources_gap(behind: int, snapshot: int | None, cache_bytes: int) -> None:
    """SY-10 (Y-4), ZK-2418, ZK-2846: C lacks entries of which the cache has the newer, the disk the older ones, and the log perhaps not
    all. What it is sent is contiguous from the common point or from a snapshot to the cut, whatever the boundary between the two."""
    cluster = Cluster(3, cache_bytes_max=cache_bytes, settings=Settings(proposal_bytes_max=100))
    a = cluster.wait_leader()
    c = followers(cluster, a)[0]
    for number in range(30):
        cluster.write(b"%d" % number)
        if number == 30 - behind - 1 or (number == 0 and behind == 30):
            cluster.wait_equal()
            cluster.crash(c)
        if number == snapshot:
            cluster.run(0.05)
            cluster.app(a).take_snapshot()
    cluster.run(0.5)
    found = streams(cluster, a)
    cluster.start(c)
    cluster.wait_serving()
    cluster.wait_equal()
    [(head, records)] = found
    start = head.base if head.mode is SyncMode.SNAP else head.common
    assert [record.prev_zxid for record in records] == [start, *(record.zxid for record in records)][: len(records)]
    assert (records[-1].zxid if records else start) == head.cut
    assert cluster.states()[c] == [b"%d" % number for number in range(30)]


@pytest.mark.parametrize("lost", range(3, 12))
def test_sy_10_a_hole_in_what_the_leader_reads_spreads_to_nobody(lost: int) -> None:
    """SY-10 (Y-4, B-3), ZK-4925, ZK-4352: the leader's disk gives its log without one record. C takes nothing from behind the hole: it
    breaks off, as often as it is tried, and is whole once another leads."""
    cluster, a, b, c = away(writes=12, cache_bytes_max=1)
    cluster.run(0.5)
    disk, whole = cluster[a].disk, cluster[a].disk.read_records
    missing = disk.live.records[lost].zxid
    before = log_of(cluster[c])
    disk.read_records = lambda after, upto: (record for record in whole(after, upto) if record.zxid != missing)  # type: ignore[method-assign]
    infos = sent(cluster, FollowerInfo, c)
    cluster.start(c)
    cluster.run(10.0)
    assert len(infos) >= 2, "it tries again"
    held = [record.zxid for record in cluster[c].disk.live.records]
    assert all(zxid < missing for zxid in held)
    assert log_of(cluster[c]).startswith(before)
    assert cluster.leader() == a
    cluster.crash(a)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.wait_equal(b, c)
    assert cluster.states()[c] == cluster.states()[b]


def test_sy_10_a_log_with_a_hole_does_not_start() -> None:
    """SY-10 (section 18.2): nor can a follower whose own log has one ever lead with it."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2 1.3 1.4"))
    del cluster[2].disk.live.records[2]
    with pytest.raises(InternalError, match="append of"):
        cluster.start(2)


# --- SY-14 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_sy_14_large_transfer(seed: int) -> None:
    """SY-14 (Y-11), ZK-1697, ZK-2678: a snapshot needs more than twice ``init_limit`` on a line of 1 KB/s, but it moves. It arrives in one
    attempt, with all that was written meanwhile; the leader stays, nobody looks for another."""
    cluster, a, b, c = away(seed, settings=Settings(diff_bytes_max=500))
    for number in range(60):
        cluster.write(b"%0400d" % number)
    cluster.app(a).take_snapshot()
    epoch = cluster[a].peer.epoch
    infos = sent(cluster, FollowerInfo, c)
    cluster.start(c)
    cluster.run_until(lambda: bool(infos))
    trickle(cluster, a, c, 1000.0)
    began, moving = cluster.now, []
    cluster.watchers.append(lambda node, effect: moving.append(cluster.now) if isinstance(effect, InstallChunk) else None)
    roles = {node.id: len(node.roles) for node in cluster}
    number = 0
    while not cluster[c].peer.serving and cluster.now < began + 10 * SETTINGS.init_limit:
        cluster.write(b"meanwhile %d" % number)
        cluster.run(2.0)
        number += 1
    assert moving[-1] - moving[0] > 2 * SETTINGS.init_limit
    assert len(infos) == 1
    assert {node.id: len(node.roles) - roles[node.id] for node in cluster} == {a: 0, b: 0, c: 0}
    assert (cluster.leader(), cluster[a].peer.epoch) == (a, epoch)
    cluster.wait_equal(limit=60.0)
    assert cluster.states()[c] == cluster.states()[a]


# --- SY-15 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshot", [False, True], ids=["no snapshot", "snapshot"])
@pytest.mark.parametrize("seed", SEEDS)
def test_sy_15_diverged_chain(seed: int, snapshot: bool) -> None:
    """SY-15 (Y-6): an entry that B has applied is another one in its log when it restarts, checksum and all (a bad disk, a restored
    copy). The chain at the common point gives it away: B rejects the stream, raises an alarm, gets a snapshot and is whole."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, _ = followers(cluster, a)
    for number in range(5):
        cluster.write(b"%d" % number)
    cluster.wait_equal()
    if snapshot:
        cluster.app(a).take_snapshot(purge=False)
    cluster.crash(b)
    records = cluster[b].disk.live.records
    flipped = records[-1]
    records[-1] = record_after(records[-2], flipped.zxid, payload=b"another", hint=flipped.commit_hint)
    assert records[-1].chain != flipped.chain
    rejects, headers = sent(cluster, SyncReject), sent(cluster, Sync, a)
    cluster.start(b)
    cluster.wait_serving()
    cluster.wait_equal()
    assert [who for who, _ in rejects] == [b]
    assert [header.mode for _, header in headers] == [SyncMode.DIFF, SyncMode.SNAP]
    assert any("history differs" in report.text for report in cluster[b].reports)
    assert cluster[b].disk.live.end_chain == cluster[a].disk.live.end_chain
    assert cluster.states()[b] == [b"%d" % number for number in range(5)]
    assert cluster[a].peer.role is Role.LEADING
