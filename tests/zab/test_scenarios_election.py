"""Election stories, EL-n of the scenario list. A, B, C are nodes; which of them leads is chosen by their logs and ids."""

from __future__ import annotations

import pytest

from tests.zab.helpers import followers, founded, give_logs, log_of, sent, z
from zkembed.durable import Epochs
from zkembed.testing.simulated.cluster import Cluster
from zkembed.zab.effects import Purpose, Role
from zkembed.zab.messages import LeaderInfo, Message, NodeState, Notify, Proposal, Vote
from zkembed.zab.settings import Settings

SEEDS = range(5)
BOUND = 4 * Settings().notify_max + Settings().init_limit
AT_ONCE = 0.15
"""Less than any timer of the election."""


@pytest.mark.parametrize("seed", SEEDS)
def test_el_1_highest_zxid_absent(seed: int) -> None:
    """EL-1 (Y-2): what the dead leader alone had logged is cut when it returns, and seen nowhere."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"kept")
    cluster.wait_equal()
    cluster.partition([a], [b, c])
    cluster.propose(a, b"lost")
    cluster.run(0.1)
    assert cluster[a].disk.live.records[-1].payload == b"lost"
    cluster.crash(a, b, c)
    cluster.heal_all()
    cluster.restart(b, c)
    cluster.wait_leader()
    cluster.write(b"new")
    cluster.start(a)
    cluster.wait_equal()
    assert set(map(tuple, cluster.states().values())) == {(b"kept", b"new")}


@pytest.mark.parametrize("seed", SEEDS)
def test_el_2_dead_leader_advertised(seed: int) -> None:
    """EL-2 (E-7): a node does not join a leader on a follower's word."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_serving()
    cluster.crash(c)
    cluster.crash(a, silent=True)
    cluster.start(c)
    cluster.run(0.5)
    assert cluster[b].peer.leader_id == a, "B still believes in the dead leader"
    cluster.wait_leader(b, c, limit=BOUND)
    born = cluster[c].roles[0][0] if cluster[c].roles else 0.0
    assert all(leader != a for at, _, leader in cluster[c].roles if at > born and at > cluster.now - 3)


@pytest.mark.parametrize("seed", range(20))
def test_el_3_never_settles(seed: int) -> None:
    """EL-3 (E-1, E-5): five different histories and slow, unordered notifications; it ends, with the greatest of some quorum."""
    cluster = Cluster(5, seed=seed, start=False)
    logs = {1: "1.1 1.2 1.3", 2: "1.1 1.2 2.1", 3: "1.1", 4: "1.1 1.2 2.1 2.2", 5: "1.1 1.2"}
    give_logs(cluster, logs)
    votes = {node_id: Vote(node.disk.epochs.current, node.disk.live.end, node_id) for node_id, node in cluster.nodes.items()}
    cluster.network.delay = (0.0001, 0.15)
    for node_id in cluster.rng.sample(sorted(cluster.nodes), 5):
        cluster.run(cluster.rng.uniform(0, 0.1))
        cluster.start(node_id)
    leader = cluster.wait_leader(limit=BOUND)
    assert sum(votes[other] <= votes[leader] for other in votes) >= 3
    assert votes[leader] >= votes[2], "1.2 alone was on a quorum, and 2.1 on two of the others"


@pytest.mark.parametrize("seed", SEEDS)
def test_el_4_rejoin_established(seed: int) -> None:
    """EL-4 (E-8): rounds and first votes of the others differ; the third joins the established leader without an election."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_serving()
    cluster.crash(c)
    cluster.restart(b)
    cluster.run(3.0)
    cluster.restart(a)
    cluster.run(3.0)
    leader = cluster.wait_leader()
    epoch = cluster[leader].peer.epoch
    cluster.start(c)
    took = cluster.run_until(lambda: cluster[c].peer.serving, 5.0)
    assert took < AT_ONCE
    assert (cluster.leader(), cluster[leader].peer.epoch) == (leader, epoch)


def says(cluster: Cluster, target: int, sender: int, state: NodeState, round: int, vote: Vote) -> None:
    """The process of ``sender``, which is not running, is played here: one notification over an election link of its own."""
    link, shown = 9000 + sender, founded(cluster)
    notify = Notify(state, True, round, vote, 0, shown.version, True, shown.encode())
    storage = cluster[sender].disk.storage_id
    if link not in {known.id for known in cluster[target].peer._core.links}:
        cluster.step(cluster[target], lambda machine: machine.link_up(link, sender, storage, 1, Purpose.ELECTION, False))
    cluster.step(cluster[target], lambda machine: machine.receive(link, notify))


A, B, C = 3, 2, 1
CHANGES_OF_MIND: dict[str, list[tuple[NodeState, Vote]]] = {
    "looks for another": [(NodeState.LOOKING, Vote(1, z("1.3"), C))],
    "looks on for A in a new round": [(NodeState.LOOKING, Vote(1, z("1.3"), A))],
    "follows another": [(NodeState.LOOKING, Vote(1, z("1.3"), C)), (NodeState.FOLLOWING, Vote(1, z("1.3"), C))],
}
"""What B says after it elected A, a tenth of a second apart, the last of it again and again."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", CHANGES_OF_MIND)
def test_el_5_disloyal_voter(change: str, seed: int) -> None:
    """EL-5 (E-11), ZK-3109: B elects A, then changes its mind before connecting. A gives up within ``disloyal_wait``, not after
    ``init_limit``; and not at once, since B might come back."""
    cluster = Cluster(3, seed=seed, start=False)
    give_logs(cluster, {A: "1.1 1.2 1.3", B: "1.1 1.2", C: "1.1 1.2"})
    cluster.start(A)
    best = Vote(1, z("1.3"), A)
    says(cluster, A, B, NodeState.LOOKING, cluster[A].peer._election.round, best)
    cluster.run_until(lambda: cluster[A].peer.role is Role.LEADING, 1.0)
    round = cluster[A].peer._election.round
    says(cluster, A, B, NodeState.FOLLOWING, round, best)
    cluster.run(cluster.rng.uniform(0.0, 1.0))
    began = cluster.now
    words = iter(CHANGES_OF_MIND[change])
    said = next(words)
    while cluster.now < began + 2 * Settings().disloyal_wait:
        says(cluster, A, B, said[0], round + 1, said[1])
        cluster.run(0.1)
        said = next(words, said)
    gave_up = [time for time, role, _ in cluster[A].roles if role is Role.LOOKING and time > began]
    assert gave_up, "it still waits"
    assert gave_up[0] - began == pytest.approx(Settings().disloyal_wait, abs=0.15)


@pytest.mark.parametrize("down", [False, True], ids=["C is up", "C is down"])
@pytest.mark.parametrize("seed", SEEDS)
def test_el_6_unreachable_peer(seed: int, down: bool) -> None:
    """EL-6 (E-10), ZK-2164: C's address swallows packets, so that each dial to it takes a second. A and B elect fifteen times: it never
    takes longer, and never waits for C."""
    cluster = Cluster(3, seed=seed)
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.wait_equal()
    pair, c = (1, 2), 3
    cluster.partition(pair, [c])
    if down:
        cluster.crash(c, silent=True)
    cluster.wait_leader(*pair, limit=BOUND)
    took = []
    for _ in range(15):
        cluster.run(cluster.rng.uniform(1.1, 8.0))  # Sooner, and E-11 makes a node wait that returns from the same leader.
        cluster.restart(cluster.leader() or cluster.wait_leader(*pair))
        took.append(cluster.run_until(lambda: cluster.leader() in pair, BOUND))
    assert max(took) < AT_ONCE, took


def misplaced(cluster: Cluster, source: int, target: int) -> None:
    """What no node could mean, on the link on which ``target`` hears ``source``, if that is up."""
    shown = founded(cluster)
    unreadable = Notify(NodeState.LOOKING, True, 1, None, 0, shown.version, True, b"\xff\xff")
    messages: list[Message] = [LeaderInfo(7), Proposal(1, (), 0), unreadable]
    message = cluster.rng.choice(messages)
    links = [each.id for each in cluster[target].peer._core.links if each.node_id == source and each.purpose is Purpose.ELECTION]
    if links:
        cluster.step(cluster[target], lambda machine: machine.receive(links[-1], message))


@pytest.mark.parametrize("seed", range(15))
def test_el_7_garbage_notification(seed: int) -> None:
    """EL-7 (N-3, N-4), ZK-3769, ZK-2186: short, long and random bytes, and messages out of place, reach every node while they elect and
    after: the connection is closed, nobody halts, the election ends in bound and its leader stays."""
    cluster = Cluster(3, seed=seed)
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.restart(*cluster.nodes)
    pairs = [(one, other) for one in cluster.nodes for other in cluster.nodes if one != other]
    for _ in range(30):
        cluster.run(cluster.rng.uniform(0.0, 0.01))
        source, target = cluster.rng.choice(pairs)
        if cluster.rng.random() < 0.6:
            cluster.network.garble(source, target, cluster.rng)
        else:
            misplaced(cluster, source, target)
    cluster.wait_serving(limit=BOUND)
    leader = cluster.wait_leader()
    assert all(node.halted is None for node in cluster)
    epoch = cluster[leader].peer.epoch
    for one, other in pairs:
        misplaced(cluster, one, other)
    cluster.run(5.0)
    assert (cluster.leader(), cluster[leader].peer.epoch) == (leader, epoch), "election links carry no leadership"
    assert all(state == [b"one"] for state in cluster.states().values())


@pytest.mark.parametrize("seed", SEEDS)
def test_el_9_non_voters(seed: int) -> None:
    """EL-9 (E-4, I-1, I-2): a replaced disk with a very high history is never counted and never elected."""
    cluster = Cluster(3, seed=seed, start=False)
    give_logs(cluster, {1: "1.1 1.2", 2: "1.1 1.2", 3: "1.1 1.2 2.1 3.1 3.2"}, {3: Epochs(9, 0, 9)})
    cluster[3].disk.storage_id = b"another disk 123"
    cluster.start(2)
    cluster.start(3)
    cluster.run(20.0)
    assert not cluster[3].peer.has_vote
    assert [cluster[node_id].peer.role for node_id in (2, 3)] == [Role.LOOKING, Role.LOOKING]
    cluster.start(1)
    assert cluster.wait_leader(limit=BOUND) == 2
    assert all(role is not Role.LEADING for _, role, _ in cluster[3].roles)


@pytest.mark.parametrize("seed", SEEDS)
def test_el_9_damaged_node_has_no_vote(seed: int) -> None:
    """EL-9, DU-14 (P-12): it counts in no quorum until a leader elected without it has made it whole; then it does again."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(a, b, c)
    cluster.damage(b)
    cluster.restart(b, c)
    cluster.run(15.0)
    assert cluster.leader() is None
    assert "damaged" in cluster[b].peer.vote_reason
    cluster.start(a)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    assert cluster[b].peer.has_vote
    assert not cluster[b].disk.epochs.damaged
    assert cluster.app(b).loads == [0], "a damaged node asks SNAP"
    other = c if cluster.leader() == a else a
    cluster.crash(other)
    cluster.run(1.0)
    cluster.write(b"two", limit=5.0)


@pytest.mark.parametrize("seed", range(10))
def test_el_11_restart_mid_round(seed: int) -> None:
    """EL-11 (E-7): the chosen leader restarts after B decided for it; it leads only by votes of a round of its new life."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    cluster.wait_serving()
    cluster.crash(*cluster.nodes)
    cluster.restart(*cluster.nodes)
    b, _ = followers(cluster, a)
    cluster.run_until(lambda: cluster[b].peer.role is not Role.LOOKING)
    chosen = cluster[b].peer.leader_id
    assert chosen is not None
    cluster.crash(chosen)
    notes = sent(cluster, Notify, chosen)
    cluster.start(chosen)
    took = cluster.run_until(lambda: cluster.leader() is not None, BOUND)
    assert took < 2 * Settings().disloyal_wait
    leading = [message for _, message in notes if message.state is NodeState.LEADING]
    assert all(message.round >= 1 and message.vote.leader == chosen for message in leading)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [3, 5])
def test_el_12_no_needless_wait(seed: int, n: int) -> None:
    """EL-12 (E-6, E-11, D-1): links show who is gone, so no timer is spent when the leader is killed."""
    cluster = Cluster(n, seed=seed)
    a = cluster.wait_leader()
    cluster.wait_serving()
    cluster.run(2.0)
    cluster.crash(a)
    assert cluster.run_until(lambda: cluster.leader() is not None, BOUND) < AT_ONCE


@pytest.mark.parametrize("seed", range(10))
def test_el_12_deciding_at_different_moments(seed: int) -> None:
    """EL-12 (D-1): one of the two hears of the death late; the early FOLLOWERINFO is kept and nothing is waited for afterwards."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_serving()
    cluster.run(2.0)
    cluster.pause(cluster.rng.choice([b, c]), 0.05)
    cluster.crash(a)
    assert cluster.run_until(lambda: cluster.leader() is not None, BOUND) < 0.05 + AT_ONCE


@pytest.mark.parametrize("seed", range(10))
def test_el_12_elected_dies_before_leaderinfo(seed: int) -> None:
    """EL-12 (E-11): the one just elected dies before LEADERINFO; with three of five left the next stands at once."""
    cluster = Cluster(5, seed=seed)
    a = cluster.wait_leader()
    cluster.wait_serving()
    cluster.run(2.0)
    cluster.crash(a)
    cluster.run_until(lambda: any(node.up and node.peer.role is Role.LEADING for node in cluster))
    elected = next(node.id for node in cluster if node.up and node.peer.role is Role.LEADING)
    cluster.crash(elected)
    took = cluster.run_until(lambda: cluster.leader() is not None, BOUND)
    assert took < AT_ONCE + Settings().finalize_wait


@pytest.mark.parametrize("seed", SEEDS)
def test_el_13_broken_triangle(seed: int) -> None:
    """EL-13 (E-7): with the third side cut the restarted node joins the leader on its own word."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_serving()
    cluster.cut(b, c)
    cluster.run(3.0)
    epoch = cluster[a].peer.epoch
    cluster.restart(c)
    assert cluster.run_until(lambda: cluster[c].peer.serving, BOUND) < 1.0
    assert (cluster.leader(), cluster[a].peer.epoch) == (a, epoch)


@pytest.mark.parametrize("seed", SEEDS)
def test_el_14_outsider_with_the_best_vote(seed: int) -> None:
    """EL-14 (E-2, E-5): a node that hears only one of the core has the greatest vote; the core elects and stays."""
    cluster = Cluster(5, seed=seed, start=False)
    give_logs(cluster, {1: "1.1 1.2", 2: "1.1 1.2 1.3", 3: "1.1 1.2", 4: "1.1", 5: "1.1 1.2 1.3 1.4"})
    for inner in (1, 2, 4):
        cluster.cut(inner, 5)
    for node_id in (5, 3, 1, 2):
        cluster.start(node_id)
    assert cluster.wait_leader(limit=2.0) == 2
    epoch = cluster[2].peer.epoch
    cluster.run(30.0)
    assert (cluster.leader(), cluster[2].peer.epoch) == (2, epoch)


@pytest.mark.parametrize("seed", SEEDS)
def test_el_15_candidate_back_wiped(seed: int) -> None:
    """EL-15 (E-4, E-5): the candidate dies after others voted for it and comes back wiped: nobody keeps that vote."""
    cluster = Cluster(3, seed=seed, start=False)
    give_logs(cluster, {1: "1.1 1.2", 2: "1.1 1.2", 3: "1.1 1.2 1.3"})
    for node_id in cluster.nodes:
        cluster.start(node_id)
    votes = sent(cluster, Notify)
    cluster.run_until(lambda: any(who != 3 and message.vote is not None and message.vote.leader == 3 for who, message in votes))
    cluster.crash(3)
    cluster.wipe(3)
    cluster.start(3)
    leader = cluster.wait_leader(limit=BOUND)
    assert leader == 2
    cluster.wait_serving(1, 2, 3)
    assert not cluster[3].peer.has_vote
    assert "storage id" in cluster[3].peer.vote_reason
    assert cluster[1].peer.has_vote


@pytest.mark.parametrize("seed", range(10))
def test_el_16_leader_and_successor_die(seed: int) -> None:
    """EL-16 (E-11): the successor dies just after it was established; the next stands without disloyal_wait or init_limit."""
    cluster = Cluster(5, seed=seed)
    a = cluster.wait_leader()
    cluster.wait_serving()
    cluster.run(2.0)
    cluster.crash(a)
    cluster.run_until(lambda: cluster.leader() is not None)
    successor = cluster.leader()
    assert successor is not None
    cluster.crash(successor)
    assert cluster.run_until(lambda: cluster.leader() is not None, BOUND) < AT_ONCE + Settings().finalize_wait


@pytest.mark.parametrize("seed", range(10))
def test_el_17_early_notification(seed: int) -> None:
    """EL-17 (E-3): C's notification arrives while B still settles its disk; it counts once B looks, without a resend."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.wait_serving()
    cluster[b].disk.hold = True
    cluster.propose(a, b"in flight at B")
    cluster.run(0.05)
    cluster.crash(a)
    cluster.run_until(lambda: cluster[c].peer.role is Role.LOOKING)
    cluster.run(0.05)
    assert cluster[b].peer.phase == "settling"
    cluster.release_disk(b)
    assert cluster.run_until(lambda: cluster.leader() is not None, BOUND) < Settings().notify_min / 2


def test_two_wiped_nodes_of_three_found_nothing() -> None:
    """I-4: an ensemble is founded by all its members with empty disks, or not at all."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2"})
    cluster.start(2)
    cluster.start(3)
    cluster.run(20.0)
    assert cluster.leader() is None
    cluster.start(1)
    cluster.run(20.0)
    assert cluster.leader() is not None, "their storage ids are in v1, so with its holder they go on"
    assert log_of(cluster[2]).startswith("1.1 1.2")


def test_founding_needs_the_same_list() -> None:
    """I-4: members that were started with differing lists found nothing."""
    cluster = Cluster(3, start=False)
    cluster[3].peers = {**cluster.addresses, 4: "node-4"}
    for node_id in cluster.nodes:
        cluster.start(node_id)
    cluster.run(20.0)
    assert cluster.leader() is None
    assert all(node.disk.live.end == 0 for node in cluster)
    assert any("another member list" in report.text for report in cluster[1].reports)


def test_empty_directory_without_bootstrap_joins() -> None:
    """I-4: without ``bootstrap`` it waits for an ensemble and has no vote."""
    cluster = Cluster(3, start=False)
    cluster[3].bootstrap = False
    for node_id in cluster.nodes:
        cluster.start(node_id)
    cluster.run(15.0)
    assert cluster.leader() is None
    assert "bootstrap" in cluster[3].peer.vote_reason


def test_missing_names_who_is_not_heard() -> None:
    """A node without a quorum can say whom it lacks."""
    cluster = Cluster(3, start=False)
    cluster.cut(1, 3)
    cluster.start(1)
    cluster.run(3.0)
    assert cluster[1].peer.missing() == "1 of 3 voters reachable: 2 refused, 3 no answer"
    assert cluster[1].peer.history.end < z("1.1")
