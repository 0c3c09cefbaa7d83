"""Rules that no scenario is about, and the corners of others; each title names its rule."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve

from tests.zab.helpers import followers, founded, give_logs, make_log, record_after, sent, z
from zkembed.durable import Epochs
from zkembed.errors import InternalError
from zkembed.record import Kind
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import Dial, Effect, Purpose, Role, Send, Serving, SetEpochs
from zkembed.zab.messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    FollowerInfo,
    LeaderInfo,
    Message,
    NewLeader,
    NodeState,
    Notify,
    Pong,
    SnapChunk,
    Sync,
    SyncMode,
    Vote,
)
from zkembed.zab.quorum import Configuration, Member
from zkembed.zab.settings import Settings

SETTINGS = Settings()
BOUND = 4 * SETTINGS.notify_max + SETTINGS.init_limit


def started(n: int = 3, **options: Any) -> tuple[Cluster, int, list[int]]:
    cluster = Cluster(n, **options)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.wait_equal()
    return cluster, leader, followers(cluster, leader)


def inbound(cluster: Cluster, node_id: int, other: int, purpose: Purpose) -> int:
    """The link on which ``node_id`` hears ``other``."""
    links = cluster[node_id].peer._core.links
    return next(link.id for link in links if link.node_id == other and link.purpose is purpose and not link.outbound)


# --- the machine -----------------------------------------------------------------------------------------------------


def test_x_1_start_is_the_first_input() -> None:
    """X-1, P-10: a tick before it would let a single voter lead before it has delivered what its log says is committed."""
    cluster = Cluster(1, start=False)
    node = cluster[1]
    node.disk.incarnation = 1
    peer = cluster.factory(node).peer
    with pytest.raises(InternalError, match="start"):
        peer.tick(100.0)


# --- election --------------------------------------------------------------------------------------------------------


def test_e_9_no_notification_makes_a_node_leave_a_leader_that_lives() -> None:
    """E-9: neither its round nor its vote matters; the sender is told at once who leads."""
    cluster, leader, (b, c) = started()
    cluster.run(20.0)
    for node_id in (leader, b):
        answers = sent(cluster, Notify, node_id)
        roles = len(cluster[node_id].roles)
        best = Vote(9, z("9.9"), c)
        notify = Notify(NodeState.LOOKING, True, 1000, best, 0, z("1.1"), True, founded(cluster).encode())
        link = inbound(cluster, node_id, c, Purpose.ELECTION)
        cluster.step(cluster[node_id], lambda machine, link=link, notify=notify: machine.receive(link, notify))
        assert len(cluster[node_id].roles) == roles
        assert [(message.vote.leader, message.established) for _, message in answers] == [(leader, 1)]
        cluster.watchers.clear()
    cluster.run(5.0)
    assert cluster.leader() == leader


def test_e_12_a_closed_link_is_dialled_at_once_and_one_that_fails_ever_more_rarely() -> None:
    """E-12, E-10: a link that lived is redialled in the same step, by the end that had dialled it; then with growing intervals up to
    ``dial_max`` and jitter; a dead peer delays no dial to another."""
    cluster, leader, (b, c) = started()
    cluster.run(10.0)
    dials: list[tuple[float, int]] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == b and isinstance(effect, Dial) and effect.purpose is Purpose.ELECTION:
            dials.append((cluster.now, effect.node_id))

    cluster.watchers.append(watch)
    cluster.drop_links(b, leader, Purpose.ELECTION)
    began = cluster.now
    cluster.run(0.01)
    assert dials == [(began, leader)]
    dials.clear()
    cluster.crash(c)
    cluster.run(20.0)
    times = [time for time, node_id in dials if node_id == c]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] - began < 0.1
    assert gaps[0] < 2 * SETTINGS.dial_min
    assert all(SETTINGS.dial_max <= gap < SETTINGS.dial_max * 1.3 + 0.2 for gap in gaps[-5:])
    assert len(set(gaps[-5:])) == 5, "jitter"


# --- discovery -------------------------------------------------------------------------------------------------------


def test_d_1_an_accepted_epoch_is_remembered_also_from_a_follower_info_that_came_too_early() -> None:
    """D-1: node 1 told node 4, which was LOOKING then and followed another, that it has promised 9. Node 4 leads later: in epoch 10."""
    cluster = Cluster(5, start=False)
    give_logs(cluster, dict.fromkeys(range(1, 6), "1.1 1.2"))
    for node_id in (1, 2, 3, 5):
        cluster.start(node_id)
    cluster.wait_serving()
    cluster.partition([4], [1, 2, 3, 5])
    cluster.start(4)
    storage = cluster[1].disk.storage_id
    cluster.step(
        cluster[4],
        lambda machine: machine.link_up(9001, 1, storage, 2, Purpose.ZAB, False),
        lambda machine: machine.receive(9001, FollowerInfo(9, z("1.1"), False, False)),
    )
    cluster.heal_all()
    cluster.wait_serving()
    assert cluster.leader() == 5
    cluster.crash(1, 5)
    assert cluster.wait_leader() == 4
    assert cluster[4].peer.epoch == 10


def test_d_4_nothing_of_an_older_epoch_is_acknowledged_behind_a_promise() -> None:
    """D-4, K-3, N-9: A's proposals arrive after B and C have promised a later epoch: no ack, and A commits none of them."""
    cluster, a, (b, c) = started()
    cluster.cut(a, b, both=False)
    cluster.cut(a, c, both=False)
    lost = cluster.propose(a, b"never")
    cluster.wait_leader(b, c, limit=BOUND)
    acks = [sent(cluster, kind) for kind in (Ack, AckNewLeader, AckEpoch)]
    cluster.heal_all()
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal(limit=BOUND)
    epoch = cluster[b].peer.epoch
    assert {message.epoch for found in acks for _, message in found} == {epoch}
    assert all(lost not in {record.zxid for record in node.disk.live.records} for node in cluster)


def test_d_5_a_more_recent_history_is_not_counted_and_the_leader_goes_on_with_others() -> None:
    """D-5: a leader was elected without node 1, which has more. Its ACKEPOCH comes first: it must not help to fix the epoch."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2 1.3", 2: "1.1 1.2", 3: "1.1 1.2"})
    cluster[2].disk.hold = True
    cluster.start(2)
    cluster.start(3)
    cluster.run_until(lambda: cluster[3].peer.phase == "discovery")
    storage, closed = cluster[1].disk.storage_id, sent(cluster, Sync, 3)
    cluster.step(
        cluster[3],
        lambda machine: machine.link_up(9001, 1, storage, 1, Purpose.ZAB, False),
        lambda machine: machine.receive(9001, FollowerInfo(1, z("1.1"), False, False)),
        lambda machine: machine.receive(9001, AckEpoch(2, True, 1, z("1.3"), 0, False)),
    )
    cluster.run(0.1)
    assert cluster[3].peer.phase == "discovery"
    assert 9001 not in {link.id for link in cluster[3].peer._core.links}
    assert closed == []
    cluster.release_disk(2)
    cluster.wait_serving(2, 3)
    assert cluster.leader() == 3


def test_d_6_who_answers_when_the_epoch_is_being_fixed_needs_no_recency_test() -> None:
    """D-5, D-6: a quorum has promised; the third has a tail that is more recent and not committed. It is cut, not sent away."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2 1.3", 2: "1.1 1.2", 3: "1.1 1.2"})
    cluster[3].disk.hold = lambda op: isinstance(op, SetEpochs) and op.epochs.current == 2
    cluster.start(2)
    cluster.start(3)
    cluster.run_until(lambda: cluster[3].peer.phase == "fixing")
    infos = sent(cluster, FollowerInfo, 1)
    cluster.start(1)
    cluster.run(1.0)
    cluster.release_disk(3)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    assert len(infos) == 1, "it keeps its link"
    assert cluster[1].disk.live.records[2].zxid == z("2.1")


# --- synchronization -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(SyncMode), ids=lambda mode: mode.name)
def test_y_5_what_the_head_and_the_end_of_a_stream_say(mode: SyncMode) -> None:
    """Y-5: mode, T and its chain, s and its chain, the cut; at the end the epoch, the cut with its chain, the configurations."""
    cluster = Cluster(3, start=False)
    log = {SyncMode.DIFF: "1.1 1.2", SyncMode.TRUNC: "1.1 1.2 1.3", SyncMode.SNAP: "1.1"}[mode]
    give_logs(cluster, {1: log, 2: "1.1 1.2 2.1", 3: "1.1 1.2 2.1"})
    for node_id in (2, 3):
        cluster.start(node_id)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    cluster.wait_equal()
    app = cluster[leader].app
    assert app is not None
    base = app.take_snapshot() if mode is SyncMode.SNAP else 0
    cluster.write(b"behind it")
    heads, ends = sent(cluster, Sync, leader), sent(cluster, NewLeader, leader)
    cluster.start(1)
    cluster.wait_serving()
    [(_, head)], [(_, end)] = heads, ends
    chains = {record.zxid: record.chain for record in make_log(founded(cluster), "1.1 1.2 2.1")}
    live = cluster[leader].disk.live
    common = 0 if mode is SyncMode.SNAP else z("1.2")
    assert (head.epoch, head.mode, head.common, head.common_chain) == (cluster[1].peer.epoch, mode, common, chains.get(common, 0))
    assert (head.base, head.base_chain) == (base, live.chain_at(base) if base else 0)
    assert (end.epoch, end.cut, end.cut_chain) == (head.epoch, head.cut, live.chain_at(head.cut))
    assert [Configuration.decode(config) for config in end.configs] == [founded(cluster)]


def stall(cluster: Cluster, leader: int, learner: int) -> list[tuple[SimNode, int, list[Message]]]:
    """From its first snapshot chunk on, nothing more goes out on the leader's link to ``learner``: a slow disk or line."""
    held: list[tuple[SimNode, int, list[Message]]] = []
    send = cluster.network.send

    def slow(node: SimNode, link: int, messages: list[Message]) -> None:
        connection = cluster.network.connection(node.id, link)
        there = connection is not None and node.id == leader and learner in connection.links and connection.purpose is Purpose.ZAB
        if there and (held or any(isinstance(message, SnapChunk) for message in messages)):
            held.append((node, link, messages))
        else:
            send(node, link, messages)

    cluster.network.send = slow  # type: ignore[method-assign]
    return held


def goes_on(cluster: Cluster, held: list[tuple[SimNode, int, list[Message]]]) -> None:
    del cluster.network.send  # type: ignore[method-assign]
    for item in held:
        cluster.network.send(*item)


def test_y_11_a_slow_stream_is_waited_for_while_the_leader_is_heard() -> None:
    """Y-11, E-11: between two pieces of the stream more than ``sync_limit`` passes, with PINGs queued behind them. The leader is alive,
    its election link says so: the learner waits up to ``init_limit``, or a big snapshot would never get through."""
    cluster, leader, (b, _) = started()
    app = cluster[leader].app
    assert app is not None
    app.take_snapshot()
    infos = sent(cluster, FollowerInfo, b)
    held = stall(cluster, leader, b)
    cluster.call(b, lambda peer: peer.resync())
    cluster.run(SETTINGS.init_limit - 1.0)
    assert cluster[b].peer.phase == "sync"
    goes_on(cluster, held)
    cluster.wait_serving()
    assert len(infos) == 1


def test_y_11_a_stream_that_stops_for_good_is_given_up() -> None:
    """Y-11: ``init_limit`` bounds silence."""
    cluster, leader, (b, _) = started()
    app = cluster[leader].app
    assert app is not None
    app.take_snapshot()
    infos = sent(cluster, FollowerInfo, b)
    held = stall(cluster, leader, b)
    cluster.call(b, lambda peer: peer.resync())
    cluster.run_until(lambda: cluster[b].peer.phase == "sync")
    took = cluster.run_until(lambda: cluster[b].peer.phase != "sync", BOUND)
    assert took == pytest.approx(SETTINGS.init_limit, abs=0.5)
    held.clear()
    goes_on(cluster, held)
    cluster.wait_serving(limit=BOUND)
    assert len(infos) >= 2


def test_y_11_a_leader_that_dies_in_the_middle_of_a_stream_is_not_waited_for() -> None:
    """Y-11, E-11: silence on both links for ``sync_limit`` is a dead leader, however far the stream is."""
    cluster, leader, (b, c) = started()
    app = cluster[leader].app
    assert app is not None
    app.take_snapshot()
    stall(cluster, leader, b)
    cluster.call(b, lambda peer: peer.resync())
    cluster.run_until(lambda: cluster[b].peer.phase == "sync")
    cluster.crash(leader, silent=True)
    took = cluster.run_until(lambda: cluster[b].peer.leader_id != leader, BOUND)
    assert took <= SETTINGS.sync_limit + 2 * SETTINGS.tick
    cluster.wait_leader(b, c, limit=BOUND)


# --- commit of earlier epochs ----------------------------------------------------------------------------------------


def test_k_2_nothing_rests_on_the_initial_history_before_a_quorum_has_it() -> None:
    """K-1, K-2, Y-7: all three have 1.2, nobody knows it committed; until NEWLEADER is acknowledged by a quorum nobody applies,
    serves, proposes or answers."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2"))
    for node in cluster:
        node.disk.hold = lambda op: isinstance(op, SetEpochs) and op.epochs.current == 2
        cluster.start(node.id)
    cluster.run_until(lambda: cluster[3].peer.phase == "fixing")
    cluster.release_disk(3)
    cluster.run_until(lambda: cluster[3].peer.phase == "sync")
    cluster.call(3, lambda peer: peer.request_sync(1))
    cluster.run(1.2)
    apps = [node.app for node in cluster if node.app is not None]
    assert cluster[3].peer.phase == "sync"
    assert not cluster[3].peer.can_propose
    assert [(app.applied, app.servings, app.syncs, app.rounds) for app in apps] == [(0, [], {}, [])] * 3
    cluster.release_disk(1)
    cluster.wait_serving(1, 3)
    assert [app.applied >= z("1.2") for app in apps] == [True, False, True]


def test_k_3_a_late_establishment_commits_nothing_of_its_own() -> None:
    """K-3, R-2: the NEWLEADER acks reach A when B and C are already in a later epoch. A is established, applies what it had, which is
    committed; but no proposal of it is ever committed, and it answers no barrier."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2"))

    def hold_the_acks(node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, AckNewLeader) and node.id != 3:
            for other in (1, 2):
                cluster.cut(3, other)

    cluster.watchers.append(hold_the_acks)
    for node_id in cluster.nodes:
        cluster.start(node_id)
    cluster.run_until(lambda: cluster[3].peer.phase == "sync")
    cluster.wait_leader(1, 2, limit=BOUND)
    cluster.watchers.clear()
    assert (cluster[3].peer.phase, cluster.judge.established) == ("sync", {3: 2})
    servings: list[tuple[int, int]] = []
    cluster.watchers.append(lambda node, effect: servings.append((node.id, effect.epoch)) if isinstance(effect, Serving) else None)
    cluster.heal_all()
    cluster.run_until(lambda: cluster[3].peer.serving, 1.0)
    assert servings == [(3, 2)]
    late = cluster.propose(3, b"late")
    cluster.call(3, lambda peer: peer.request_sync(1))
    app = cluster[3].app
    assert app is not None
    cluster.run_until(lambda: cluster[3].peer.role is not Role.LEADING, 3.0)
    assert app.applied == z("1.2")
    assert app.syncs == {}
    cluster.wait_equal(limit=BOUND)
    assert all(late not in {record.zxid for record in node.disk.live.records} for node in cluster)


def test_r_2_a_round_sent_before_the_request_confirms_nothing() -> None:
    """R-2: the answers to A's last PING are on their way when B and C elect and commit a write. Then A is asked for a barrier, and then the
    answers arrive: they say what was true when that PING was sent."""
    cluster, a, (b, c) = started()
    cluster.run(1.0)
    pongs = sent(cluster, Pong)
    for node_id in (b, c):
        cluster.cut(node_id, a, both=False)
    cluster.run_until(lambda: {node_id for node_id, _ in pongs} == {b, c})
    for node_id in (b, c):
        cluster.crash(node_id, silent=True)
        cluster.cut(a, node_id)
        cluster.start(node_id)
    cluster.wait_leader(b, c, limit=1.0)
    cluster.run(0.05)
    assert cluster[a].peer.serving
    cluster.call(a, lambda peer: peer.request_sync(1))
    for node_id in (b, c):
        cluster.heal(node_id, a)
    cluster.run(3.0)
    app = cluster[a].app
    assert app is not None
    assert app.syncs == {}


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("present", "enough"), [((2, 3), False), ((3, 4, 5), False), ((2, 3, 4), True)], ids=str)
def test_c_8_an_uncommitted_configuration_needs_both_quorums(present: tuple[int, ...], enough: bool) -> None:
    """C-3, C-8: v1 is {1, 2, 3}; the log ends with {3, 4, 5}, not known committed. Election, discovery and NEWLEADER need a majority
    of each."""
    cluster = Cluster(5, start=False)

    def configuration(version: int, *node_ids: int) -> Configuration:
        return Configuration(version, tuple(Member(i, f"node-{i}", storage_id=cluster[i].disk.storage_id) for i in node_ids))

    first = record_after(None, z("1.1"), payload=configuration(z("1.1"), 1, 2, 3).encode(), kind=Kind.CONFIG)
    second = record_after(first, z("1.2"), payload=configuration(z("1.2"), 3, 4, 5).encode(), kind=Kind.CONFIG)
    for node in cluster:
        node.disk.live.records = [first, second]
        node.disk.epochs = Epochs(1, 3, 1)
    for node_id in present:
        cluster.start(node_id)
    cluster.run(BOUND)
    assert (cluster.leader() is not None) == enough
    assert (cluster.judge.end >= z("1.2")) == enough


def test_b_10_what_an_abdicating_leader_has_proposed_is_left_to_the_next() -> None:
    """B-10: its proposals end neither as done nor as failed; they are on its disk, and the next leader's history decides."""
    cluster, a, (b, c) = started()
    cluster.partition([a], [b, c])
    zxid = cluster.propose(a, b"perhaps")
    cluster.run_until(lambda: cluster[a].peer.role is not Role.LEADING, 5.0)
    app = cluster[a].app
    assert app is not None
    assert cluster[a].peer.history.end == cluster[a].disk.live.end == zxid
    assert app.state == [b"one"]
    assert not any(link.purpose is Purpose.ZAB for link in cluster[a].peer._core.links)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.heal_all()
    cluster.wait_equal(limit=BOUND)
    assert app.state == [b"one"]


def test_leaderinfo_of_an_epoch_already_promised_to_another_does_not_count() -> None:
    """D-3: e == a, another leader: it goes on, but that promise was given away."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2"), {1: Epochs(2, 2, 1), 2: Epochs(1, 1, 1), 3: Epochs(1, 1, 1)})
    found, infos = sent(cluster, AckEpoch, 1), sent(cluster, LeaderInfo)
    cluster.start(2)
    cluster.start(3)
    cluster.wait_leader()
    cluster.start(1)
    cluster.wait_serving(limit=BOUND)
    assert {message.epoch for _, message in infos} == {2}
    assert [message.counts for _, message in found] == [False]
    assert evolve(cluster[1].disk.epochs, damaged=False) == Epochs(2, 2, 2)
