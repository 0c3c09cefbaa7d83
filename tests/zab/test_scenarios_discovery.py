"""Discovery and founding stories, DI-n of the scenario list."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.zab.helpers import followers, founded, give_logs, log_of, make_log, sent, z
from zkembed.durable import Epochs
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.attempt import LeaderPhase
from zkembed.zab.effects import Effect, Purpose, Role, Send, SetEpochs
from zkembed.zab.messages import AckEpoch, FollowerInfo, LeaderInfo
from zkembed.zab.settings import Settings

BOUND = 4 * Settings().notify_max + Settings().init_limit


def counted_promises(found: list[tuple[int, AckEpoch]], leaders: list[tuple[int, int, int]]) -> None:
    """Each (node, epoch) has promised to one leader at most. leaders: (node, epoch, leader) at the time of each counted promise."""
    chosen: dict[tuple[int, int], int] = {}
    for node_id, epoch, leader in leaders:
        assert chosen.setdefault((node_id, epoch), leader) == leader, f"node {node_id} promised epoch {epoch} twice"
    assert found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("moment", ["before storing", "after storing", "before ackepoch", "after ackepoch"])
def test_di_1_crash_around_promise(seed: int, moment: str) -> None:
    """DI-1 (D-3): B dies around its promise; it never acknowledges two leaders for one epoch."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    cluster.wait_serving()
    cluster.write(b"x")
    cluster.crash(*cluster.nodes)
    promises: list[tuple[int, int, int]] = []
    found = sent(cluster, AckEpoch)
    b = followers(cluster, a)[0]
    killed: list[bool] = []

    def store_and_die() -> None:
        cluster.step_disk(b, tell=False)
        cluster.crash(b)

    def watch(node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, AckEpoch) and effect.message.counts:
            assert node.peer.leader_id is not None
            promises.append((node.id, effect.message.epoch, node.peer.leader_id))
        if node.id != b or killed:
            return
        storing = isinstance(effect, SetEpochs) and effect.epochs.accepted > node.disk.epochs.accepted
        acking = isinstance(effect, Send) and isinstance(effect.message, AckEpoch)
        if moment == "before storing" and storing:
            killed.append(True)
            cluster.crash(b)
        elif moment == "after storing" and storing:
            killed.append(True)
            node.disk.hold = True
            cluster.at(0.01, store_and_die)
        elif moment == "before ackepoch" and acking:
            killed.append(True)
            cluster.crash(b)
        elif moment == "after ackepoch" and acking:
            killed.append(True)
            cluster.at(0.0, lambda: cluster.crash(b))

    cluster.watchers.append(watch)
    cluster.restart(*cluster.nodes)
    cluster.run(0.5)
    assert killed or cluster[b].peer.role is Role.LEADING
    if not cluster[b].up:
        cluster.start(b)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    counted_promises(found, promises)


@pytest.mark.parametrize("seed", range(5))
def test_di_2_same_epoch_two_candidates(seed: int) -> None:
    """DI-2 (D-3, D-7): B alone promised epoch 2 to itself and died; A opens the same epoch with C; B joins it, uncounted."""
    cluster = Cluster(3, seed=seed, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2"), {2: Epochs(2, 2, 1)})
    found = sent(cluster, AckEpoch, 2)
    cluster.start(1)
    cluster.start(3)
    assert cluster.wait_leader() == 3
    assert cluster[3].peer.epoch == 2
    cluster.start(2)
    cluster.wait_serving()
    assert [(message.epoch, message.counts) for _, message in found] == [(2, False)]
    assert cluster.judge.established == {2: 3}
    cluster.crash(1)
    cluster.write(b"B's acks count by now")


PHASES = [LeaderPhase.COLLECTING, LeaderPhase.PROMISING, LeaderPhase.DISCOVERY, LeaderPhase.FIXING, LeaderPhase.SYNC]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.value)
@pytest.mark.parametrize("silent", [False, True])
def test_di_3_early_abandonment(phase: LeaderPhase, silent: bool) -> None:
    """DI-3 (E-11): the followers leave while the leader waits in each phase; it goes back to LOOKING and nothing is stuck."""
    cluster = Cluster(3)
    cluster.wait_serving()
    cluster.crash(*cluster.nodes)
    leading: list[int] = []

    def there() -> bool:
        leading[:] = [node.id for node in cluster if node.up and node.peer.phase == phase.value]
        return bool(leading)

    for node in cluster:
        node.disk.delay = 0.02
    cluster.restart(*cluster.nodes)
    cluster.run_until(there)
    leader = leading[0]
    cluster.crash(*followers(cluster, leader), silent=silent)
    took = cluster.run_until(lambda: cluster[leader].peer.role is Role.LOOKING, 2 * Settings().init_limit)
    if not silent and phase is not LeaderPhase.SYNC and phase is not LeaderPhase.FIXING:
        assert took < 0.1, "links show that they are gone"
    cluster.restart(*followers(cluster, leader))
    cluster.wait_serving(limit=BOUND)
    cluster.write(b"goes on")


def test_di_5_locked_out_voter() -> None:
    """DI-5 (D-8): B alone has promised epoch 7; the leader opens a higher epoch after ``reepoch_interval``, once, and B joins."""
    settings = Settings(reepoch_interval=8.0)
    cluster = Cluster(3, settings=settings, start=False)
    give_logs(cluster, dict.fromkeys((1, 2, 3), "1.1 1.2"), {2: Epochs(7, 9, 1)})
    cluster.start(1)
    cluster.start(3)
    cluster.wait_leader()
    established = cluster.now
    cluster.start(2)
    cluster.run(5.0)
    assert (cluster.leader(), cluster[3].peer.epoch) == (3, 2)
    assert not cluster[2].peer.serving
    cluster.wait_serving(limit=BOUND)
    assert cluster.now - established >= settings.reepoch_interval
    assert cluster[2].peer.epoch == 8
    cluster.run(30.0)
    assert cluster[2].peer.epoch == 8


@pytest.mark.parametrize(
    "epochs",
    [Epochs(1, 1, 0), Epochs(1, 1, 1), Epochs(2, 3, 1), Epochs(2, 3, 2), Epochs(5, 2, 1), Epochs(5, 2, 3)],
    ids=lambda epochs: f"{epochs.accepted}-{epochs.current}",
)
def test_di_6_every_reachable_epoch_pair_starts(epochs: Epochs) -> None:
    """DI-6 (P-2, P-3): whatever pair a crash leaves, also an entry of a higher epoch than current: the node starts and joins."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2", 2: "1.1 1.2 2.1", 3: "1.1 1.2 2.1"}, {1: epochs, 2: epochs})
    for node_id in cluster.nodes:
        cluster.start(node_id)
    cluster.wait_serving(limit=BOUND)
    cluster.write(b"x")
    cluster.wait_equal()


@pytest.mark.parametrize("seed", range(5))
def test_di_7_amnesia(seed: int) -> None:
    """DI-7 (I-1 to I-4): the write was on A and B; B's disk is replaced and A is down: B and C must not lead. With A the write is there;
    then B is readmitted by the leader's own CONFIG, and the write outlives A."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_equal()
    cluster.crash(c)
    cluster.write(b"acked by A and B")
    cluster.crash(a, b)
    cluster.wipe(b)
    cluster.restart(b, c)
    cluster.run(30.0)
    assert cluster.leader() is None
    assert "its disk is new" in cluster[b].peer.vote_reason
    cluster.start(a)
    cluster.wait_serving(limit=BOUND)
    assert cluster.leader() == a
    cluster.wait_equal()
    assert all(state == [b"acked by A and B"] for state in cluster.states().values())
    cluster.run_until(lambda: cluster[b].peer.has_vote and cluster[a].peer.configuration.names_voter(b, cluster[b].disk.storage_id))
    cluster.run(1.0)
    cluster.crash(a)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"acked by B and C")
    cluster.wait_equal(b, c)
    assert all(state == [b"acked by A and B", b"acked by B and C"] for state in cluster.states().values())


def test_di_7_no_vote_keeps_no_leader_in_office() -> None:
    """DI-7, I-2, B-9: B serves on its new disk and has no vote yet: it is not readmitted without C, and A with B alone is no quorum."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_equal()
    cluster.crash(b)
    cluster.wipe(b)
    cluster.start(b)
    cluster.run_until(lambda: cluster[b].peer.serving)
    cluster.crash(c)
    cluster.run(3.0)
    assert cluster.leader() is None
    assert not cluster[b].peer.has_vote


HOLDERS = [held for size in range(4) for held in combinations((1, 2, 3), size)]


@pytest.mark.parametrize("wiped", [None, 1, 3])
@pytest.mark.parametrize("away", [None, 1, 2, 3])
@pytest.mark.parametrize("holders", HOLDERS, ids=str)
def test_di_9_founding_interrupted(holders: tuple[int, ...], away: int | None, wiped: int | None) -> None:
    """DI-9 (I-4): all died with v1 on any subset of disks; one stays away, one disk may be replaced. A majority of v1 with one holder of it
    goes on; nobody else founds; there is never a second v1 while a disk holds the first."""
    cluster = Cluster(3, start=False)
    config = founded(cluster)
    for node in cluster:
        leader = node.id == 3
        node.disk.epochs = Epochs(1, 3, 1 if leader or node.id in holders else 0)
        if node.id in holders:
            node.disk.live.records = make_log(config, "1.1")
    if wiped is not None:
        cluster.wipe(wiped)
    holding = set(holders) - {wiped}
    present = {1, 2, 3} - {away}
    for node_id in sorted(present):
        cluster.start(node_id)
    cluster.run(20.0)
    voters = present - {wiped} if holding else present
    may_go_on = bool(holding & present) and len(voters) >= 2
    may_found = not holding and away is None
    assert (cluster.leader() is not None) == (may_go_on or may_found)
    if away is not None and (may_go_on or not holding):
        cluster.start(away)
        cluster.wait_serving(limit=BOUND)
    foundings = {node.disk.live.records[0].encoded for node in cluster if node.disk.live.records}
    assert len(foundings) <= 1
    if holding:
        assert all(encoded == make_log(config, "1.1")[0].encoded for encoded in foundings)


def test_d_5_a_more_recent_voter_is_not_counted() -> None:
    """D-5: a leader that was elected without the most recent node drops it, and goes back to LOOKING if it needs it."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2", 2: "1.1", 3: "1.1"})
    for node_id in cluster.nodes:
        cluster.start(node_id)
    assert cluster.wait_leader() == 1
    cluster.wait_equal()
    assert log_of(cluster[3]).startswith("1.1 1.2")


def test_d_9_a_newer_committed_configuration_wins() -> None:
    """D-9: a leader whose log lacks a configuration that a learner knows committed gives way."""
    cluster = Cluster(3)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    follower = followers(cluster, leader)[0]
    node = cluster[leader]
    storage = cluster[follower].disk.storage_id
    cluster.step(
        node,
        lambda machine: machine.link_up(9001, follower, storage, 1, Purpose.ZAB, False),
        lambda machine: machine.receive(9001, FollowerInfo(1, z("1.9"), False, False)),
    )
    assert node.peer.role is Role.LOOKING
    assert "configuration" in node.ended[-1]


def test_HX_11_Z_2_an_epoch_out_of_reach_is_refused() -> None:
    """Z-2, HX-11: a member that claims an accepted epoch near the limit is refused; the cluster keeps its leader and its epoch."""
    cluster = Cluster(3)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    follower = followers(cluster, leader)[0]
    cluster.crash(follower)
    cluster[follower].disk.epochs = Epochs(2**31 - 1, follower, 1)
    cluster.start(follower)
    cluster.run(20.0)
    assert cluster.leader() == leader
    assert cluster[leader].peer.epochs.accepted < 10
    assert any("refused" in report.text for report in cluster[leader].reports)


def test_leaderinfo_only_after_the_promise_is_durable() -> None:
    """D-2, section 14: LEADERINFO(e) leaves after accepted = e is on the leader's disk."""
    cluster = Cluster(3)
    infos = sent(cluster, LeaderInfo)
    for node in cluster:
        node.disk.hold = True
    cluster.run(5.0)
    assert infos == []
    for node in cluster:
        cluster.release_disk(node.id)
    cluster.wait_serving(limit=BOUND)
    assert {message.epoch for _, message in infos} == {1}
