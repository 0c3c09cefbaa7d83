"""Synchronization stories, SY-n of the scenario list, and the table of rule Y-3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.zab.helpers import followers, give_logs, log_of, sent, z
from zkembed.durable import Epochs
from zkembed.record import Kind
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import App, SimNode
from zkembed.zab.effects import AbortInstall, Effect, InstallChunk, Purpose, Role, Send, SetEpochs, Truncate
from zkembed.zab.messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Entries,
    Message,
    SnapChunk,
    Sync,
    SyncMode,
    SyncReject,
    UpToDate,
)
from zkembed.zab.peer import Peer
from zkembed.zab.settings import Settings

BOUND = 4 * Settings().notify_max + Settings().init_limit
LEADERS_LOG = "1.1 1.2 1.3 2.1 2.2 4.1"


def learner_joins(learner_log: str, current: int, *, base: str | None = None) -> tuple[Cluster, Sync]:
    """Nodes 2 and 3 have the log of rule Y-3 and lead; node 1 comes with its own. base: they keep a snapshot there and no log before."""
    cluster = Cluster(3, start=False)
    logs = {2: LEADERS_LOG, 3: LEADERS_LOG}
    if learner_log:
        logs[1] = learner_log
    give_logs(cluster, logs, {1: Epochs(max(current, 4) if current else 4, 2, current)})
    cluster.start(2)
    cluster.start(3)
    assert cluster.wait_leader() == 3
    assert cluster[3].peer.epoch == 5
    if base is not None:
        for node_id in (2, 3):
            keep_from(cluster, node_id, z(base))
    headers = sent(cluster, Sync, 3)
    cluster.start(1)
    cluster.wait_serving()
    cluster.wait_equal()
    return cluster, headers[0][1]


def keep_from(cluster: Cluster, node_id: int, zxid: int) -> None:
    """An own snapshot at ``zxid``, and the log behind it only."""
    node = cluster[node_id]
    assert node.app is not None
    chain = node.peer.history.chain(zxid)
    assert chain is not None
    app = node.app
    applied, state = app.applied, app.state
    count = sum(record.kind is Kind.REQUEST and record.zxid <= zxid for record in node.disk.live.records)
    app.applied, app.state = zxid, state[:count]
    app.take_snapshot()
    app.applied, app.state = applied, state


@pytest.mark.parametrize(
    ("log", "current", "base", "mode", "common"),
    [
        ("1.1 1.2 1.3 2.1 2.2 4.1", 4, None, SyncMode.DIFF, "4.1"),
        ("1.1 1.2 1.3 2.1", 2, None, SyncMode.DIFF, "2.1"),
        ("1.1 1.2 1.3 2.1 2.2 4.1 4.2 4.3", 4, None, SyncMode.TRUNC, "4.1"),
        ("1.1 1.2 1.3 2.1 2.2 2.3 2.4", 2, None, SyncMode.TRUNC, "2.2"),
        ("1.1 1.2 1.3 2.1 2.2 3.1 3.2", 3, None, SyncMode.TRUNC, "2.2"),
        ("1.1", 1, None, SyncMode.DIFF, "1.1"),
        ("1.1", 1, "1.2", SyncMode.SNAP, "0.0"),
        ("", 0, "1.2", SyncMode.SNAP, "0.0"),
        ("", 0, None, SyncMode.DIFF, "0.0"),
    ],
)
def test_y_3_examples(log: str, current: int, base: str | None, mode: SyncMode, common: str) -> None:
    """Y-2, Y-3: what each learner is sent, and that it ends with the leader's log."""
    cluster, header = learner_joins(log, current, base=base)
    assert (header.mode, header.common) == (mode, z(common))
    assert header.base == (z(base) if base else 0)
    assert log_of(cluster[1]).endswith("2.1 2.2 4.1 5.1")


def test_y_3_a_history_that_cannot_arise() -> None:
    """Y-3, Y-6.1, SY-15: the learner has no 2.2 although its log goes beyond: it rejects, raises an alarm and gets a snapshot."""
    cluster = Cluster(3, start=False)
    give_logs(cluster, {1: "1.1 1.2 1.3 3.1", 2: LEADERS_LOG, 3: LEADERS_LOG}, {1: Epochs(4, 2, 3)})
    rejects = sent(cluster, SyncReject)
    for node_id in cluster.nodes:
        cluster.start(node_id)
    cluster.wait_serving()
    cluster.wait_equal()
    assert [who for who, _ in rejects] == [1]
    assert cluster[1].app is not None
    assert cluster[1].app.loads == [0]
    assert any("history differs" in report.text for report in cluster[1].reports)


def old_and_new(seed: int = 0) -> tuple[Cluster, int, int, int]:
    """A leads and B, C follow; C was away while two writes were committed. C is down."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(c)
    cluster.write(b"two")
    cluster.write(b"three")
    return cluster, a, b, c


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("victim", ["A", "B"])
def test_sy_1_2_die_at_each_step_of_a_sync(step: int, told: bool, victim: str) -> None:
    """SY-1, SY-2 (Y-6): C lacks entries and dies after each of its disk operations; another dies with it; nothing answered is lost, and no
    epoch is ever durable before its history (judged from the disk)."""
    cluster, a, b, c = old_and_new()
    cluster[c].disk.hold = True
    cluster.start(c)
    for _ in range(step):
        cluster.run(0.02)
        if cluster[c].disk.queue:
            cluster.step_disk(c, tell=told)
    if told:
        cluster.run(0.02)
    cluster.crash(c)
    cluster.crash(a if victim == "A" else b)
    cluster.start(c)
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"four")
    cluster.restart(*[node.id for node in cluster if not node.up])
    cluster.wait_equal(limit=BOUND)
    assert all(state == [b"one", b"two", b"three", b"four"] for state in cluster.states().values())


def test_sy_3_partial_diff() -> None:
    """SY-3 (Y-6, E-1): half of the DIFF is durable when C dies; it votes with its old epoch and loses to a node with the new one."""
    cluster = Cluster(3, settings=Settings(proposal_bytes_max=1))
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(c)
    cluster.restart(a, b)
    cluster.wait_leader()
    for number in range(4):
        cluster.write(b"%d" % number)
    before = cluster[c].disk.live.end
    cluster[c].disk.hold = True
    cluster.start(c)
    cluster.run(0.05)
    while not isinstance(cluster[c].disk.queue[0], SetEpochs) or cluster[c].disk.queue[0].epochs.current == cluster[c].disk.epochs.current:
        effect = cluster.step_disk(c)
        cluster.run(0.01)
        if cluster[c].disk.live.end > cluster[c].disk.epochs.current << 33 or isinstance(effect, Truncate):
            break
    epochs, end = cluster[c].disk.epochs, cluster[c].disk.live.end
    assert epochs.current < epochs.accepted
    assert before < end < cluster[b].disk.live.end, "half of it"
    cluster.crash(a, b, c)
    cluster.restart(b, c)
    assert cluster.wait_leader() == b
    assert end <= cluster[b].disk.live.end
    cluster.start(a)
    cluster.wait_equal()


@pytest.mark.parametrize("seed", range(15))
def test_sy_4_early_proposal_ack(seed: int) -> None:
    """SY-4 (Y-7, Y-9): proposals and commits arrive while C's disk completes its sync in any order of steps: no ACK before ACK_NEWLEADER,
    the leader stays, C ends equal."""
    cluster, a, _, c = old_and_new(seed)
    epoch = cluster[a].peer.epoch
    said: list[Message] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == c and isinstance(effect, Send) and isinstance(effect.message, Ack | AckNewLeader):
            said.append(effect.message)

    cluster.watchers.append(watch)
    cluster[c].disk.hold = True
    cluster.start(c)
    for number in range(12):
        cluster.run(cluster.rng.uniform(0, 0.02))
        if cluster.rng.random() < 0.5:
            cluster.propose(a, b"n%d" % number)
        elif cluster[c].disk.queue:
            cluster.step_disk(c)
    cluster.release_disk(c)
    cluster.wait_serving()
    cluster.wait_equal()
    assert isinstance(said[0], AckNewLeader)
    assert [type(message) for message in said].count(AckNewLeader) == 1
    assert cluster[a].peer.epoch == epoch


@pytest.mark.parametrize("seed", range(8))
def test_sy_5_interrupted_snap(seed: int) -> None:
    """SY-5 (X-3, Y-10): the link breaks in the snapshot, before NEWLEADER; another leader sends DIFF; then C restarts: no hole."""
    cluster, a, b, c = old_and_new(seed)
    cluster.wait_equal(a, b)
    before = cluster[c].disk.live.end
    app = cluster[a].app
    assert app is not None
    app.take_snapshot()
    for number in range(5):
        cluster.write(b"tail %d" % number)
    cluster.network.delay, cluster.network.together = (0.001, 0.02), 0.0
    broken: list[int] = []

    def break_off() -> None:
        cluster.drop_links(a, c)
        cluster.crash(a)

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == c and isinstance(effect, InstallChunk) and not broken:
            broken.append(effect.op)
            cluster.at(0.0, break_off)

    cluster.watchers.append(watch)
    headers = sent(cluster, Sync)
    cluster.start(c)
    cluster.run_until(lambda: bool(broken), 5.0)
    cluster.run(0.02)
    assert cluster[c].disk.live.end == before, "the old log is what it has"
    cluster.wait_serving(b, c, limit=BOUND)
    assert [header.mode for who, header in headers if (who, header.cut) == (a, headers[0][1].cut)] == [SyncMode.SNAP]
    assert all(header.mode is SyncMode.DIFF for who, header in headers if who != a)
    assert any(isinstance(effect, AbortInstall) for effect in cluster[c].disk.done_ops)
    cluster.restart(c)
    cluster.wait_serving(b, c, limit=BOUND)
    cluster.wait_equal(b, c)
    assert cluster.states()[c] == cluster.states()[b]
    assert len(cluster.states()[c]) == 8


@pytest.mark.parametrize("seed", range(5))
def test_sy_7_retained_memory(seed: int) -> None:
    """SY-7 (X-4, X-3): A proposed z alone and lived on; B and C moved on; A rejoins and leads later: z is nowhere."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"kept")
    cluster.wait_equal()
    cluster.partition([a], [b, c])
    cluster.propose(a, b"z")
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"moved on")
    cluster.heal_all()
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    leader = cluster.leader()
    assert leader is not None
    cluster.call(leader, lambda peer: peer.leave(a))
    cluster.wait_leader(a, limit=BOUND)
    cluster.write(b"later")
    assert all(b"z" not in state for state in cluster.states().values())
    assert all(record.payload != b"z" for record in cluster[a].disk.live.records)


def test_sy_8_snapshot_ahead_of_trunc() -> None:
    """SY-8 (P-8, Y-6): a node about to be truncated took a snapshot just before: it holds committed state only, below the cut."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"kept")
    cluster.wait_equal()
    cluster.partition([a], [b, c])
    cluster.propose(a, b"tail")
    cluster.run(0.1)
    app = cluster[a].app
    assert app is not None
    snapshot = app.take_snapshot()
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"new")
    headers = sent(cluster, Sync)
    cluster.heal_all()
    cluster.wait_equal(limit=BOUND)
    assert headers[0][1].mode is SyncMode.TRUNC
    assert headers[0][1].common >= snapshot
    cluster.restart(a)
    cluster.wait_equal(limit=BOUND)
    assert cluster.states()[a] == [b"kept", b"new"]


def test_sy_8_a_cut_below_applied_halts() -> None:
    """SY-8 (Y-6.1): a leader that would cut what this node has applied: it halts and keeps its data."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    c = followers(cluster, a)[0]
    cluster.write(b"one")
    cluster.wait_equal()
    log = log_of(cluster[c])
    cluster.crash(a)
    on = cluster[c]
    cluster.run_until(lambda: on.peer.phase == "sync" or on.peer.role is Role.LEADING, 5.0)
    cluster.crash(*[node.id for node in cluster if node.up and node.id != c])
    cluster.run(BOUND)
    lying_leader(cluster, c, lambda epoch: Sync(epoch, SyncMode.TRUNC, z("1.1"), 0, 0, 0, b"", z("1.1")))
    assert on.halted is not None
    assert "committed history" in str(on.halted.error)
    assert log_of(on) == log


def lying_leader(cluster: Cluster, victim: int, header: Callable[[int], Sync]) -> None:
    """Let a made-up established leader, with the storage id of a member, take ``victim`` to the head of a sync stream."""
    from zkembed.zab.messages import LeaderInfo, NodeState, Notify, Vote

    node = cluster[victim]
    liar = next(other for other in cluster.nodes if other != victim)
    storage = cluster[liar].disk.storage_id
    shown = node.peer.configuration
    epoch = node.disk.epochs.accepted + 1
    notify = Notify(NodeState.LEADING, True, 99, Vote(epoch, z("1.1"), liar), epoch, shown.version, True, shown.encode())
    cluster.step(
        node,
        lambda machine: machine.link_up(9001, liar, storage, 50, Purpose.ELECTION, False),
        lambda machine: machine.receive(9001, notify),
    )
    cluster.step(node, lambda machine: machine.link_up(9003, liar, storage, 50, Purpose.ZAB, True))
    cluster.step(node, lambda machine: machine.receive(9003, LeaderInfo(epoch)))
    cluster.run(0.01)
    cluster.step(node, lambda machine: machine.receive(9003, header(epoch)))


@pytest.mark.parametrize("done", [False, True])
def test_sy_9_truncate_crash(done: bool) -> None:
    """SY-9 (P-6): A dies before or after its truncation is durable: it has the whole old or the whole new log, and ends equal."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"kept")
    cluster.wait_equal()
    cluster.partition([a], [b, c])
    cluster.propose(a, *[b"tail %d" % number for number in range(5)])
    cluster.run(0.1)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster[a].disk.hold = lambda effect: isinstance(effect, Truncate)
    cluster.heal_all()
    cluster.run_until(lambda: bool(cluster[a].disk.queue) and isinstance(cluster[a].disk.queue[0], Truncate), BOUND)
    old = log_of(cluster[a])
    if done:
        cluster.step_disk(a, tell=False)
    assert (log_of(cluster[a]) == old) is not done
    cluster.restart(a)
    cluster.wait_equal(limit=BOUND)
    assert cluster.states()[a] == [b"kept"]


@pytest.mark.parametrize("seed", range(15))
def test_sy_11_commit_during_sync(seed: int) -> None:
    """SY-11 (Y-1, Y-9): commits land between cut, NEWLEADER, ack and UPTODATE in every order of delays; the learner ends equal."""
    cluster, _, _, c = old_and_new(seed)
    cluster.network.delay = (0.0001, 0.03)
    cluster[c].disk.delay = cluster.rng.choice([0.0001, 0.01, 0.04])
    cluster.start(c)
    for number in range(20):
        leader = cluster.leader()
        if leader is not None:
            cluster.propose(leader, b"w%d" % number)
        cluster.run(cluster.rng.uniform(0.0, 0.02))
    cluster.wait_serving()
    cluster.wait_equal()
    assert len(cluster.states()[c]) == 23


class Proposing(Peer):
    """A core whose application proposes in the very step in which an ACKEPOCH arrives."""

    def receive(self, link: int, message: Message) -> None:
        at_cut = isinstance(message, AckEpoch) and self.can_propose
        if at_cut:
            self.propose(Kind.REQUEST, b"right before the cut", 0)
        super().receive(link, message)
        if at_cut:
            self.propose(Kind.REQUEST, b"right behind the cut", 0)


class ProposingApp(App):
    peer_class = Proposing


def test_sy_12_duplicate_at_cut() -> None:
    """SY-12 (Y-1): requests proposed in the step of the cut, just before and just behind it, are sent once."""
    cluster = Cluster(3, factory=ProposingApp)
    cluster.wait_serving()
    a = cluster.wait_leader()
    c = followers(cluster, a)[0]
    received: list[int] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == a and isinstance(effect, Send):
            link_target = target_of(cluster, a, effect.link)
            if link_target == c:
                received.extend(record.zxid for record in getattr(effect.message, "records", ()))

    cluster.crash(c)
    cluster.watchers.append(watch)
    cluster.start(c)
    cluster.wait_serving()
    cluster.wait_equal()
    assert received == sorted(set(received))
    assert cluster.states()[c][-2:] == [b"right before the cut", b"right behind the cut"]


def target_of(cluster: Cluster, node_id: int, link: int) -> int | None:
    connection = cluster.network.connection(node_id, link)
    return None if connection is None else next(other for other in connection.links if other != node_id)


@pytest.mark.parametrize("seed", range(5))
def test_sy_16_shutdown_with_fsync_in_flight(seed: int) -> None:
    """SY-16 (X-3, N-9): B's role ends while a batch is being written; no new role begins before it is done, and it acks nothing then."""
    cluster = Cluster(3, seed=seed)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster[b].disk.hold = True
    cluster.propose(a, b"in flight")
    cluster.run(0.05)
    cluster.drop_links(a, b, Purpose.ZAB)
    cluster.run(1.0)
    assert cluster[b].peer.phase == "settling"
    acks: list[Any] = sent(cluster, Ack, b)
    cluster.step_disk(b)
    cluster.run(0.0001)
    assert acks == []
    assert cluster[b].peer.phase != "settling"
    cluster.release_disk(b)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    assert cluster[c].up


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("step", range(9))
def test_sy_19_snap_below_last(step: int, told: bool) -> None:
    """SY-19 (P-7, Y-10): z is acked by A and B only; B asks SNAP and the newest snapshot is below z; B dies at each step of the sync,
    A dies, B and C elect: z is there."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    app = cluster[a].app
    assert app is not None
    app.take_snapshot()
    cluster.crash(c)
    cluster.write(b"z")
    cluster.wait_equal(a, b)
    cluster.call(b, lambda peer: peer.resync())
    cluster[b].disk.hold = True
    for _ in range(step):
        cluster.run(0.02)
        if cluster[b].disk.queue:
            cluster.step_disk(b, tell=told or step < 3)
    cluster.run(0.02)
    cluster.crash(a, b)
    cluster.restart(b, c)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.wait_equal(b, c)
    assert cluster.states()[b] == cluster.states()[c] == [b"one", b"z"]


def test_resync_by_snap_below_applied_serves_again() -> None:
    """B-15, Q-7, Y-6.3: a node whose state is wrong rebuilds it from a snapshot below what it had applied, and catches up."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b = followers(cluster, a)[0]
    cluster.write(b"one")
    cluster.wait_equal()
    app, wrong = cluster[a].app, cluster[b].app
    assert app is not None
    assert wrong is not None
    base = app.take_snapshot()
    cluster.write(b"two")
    cluster.wait_equal()
    wrong.state = [b"something else"]
    cluster.call(b, lambda peer: peer.resync())
    cluster.wait_serving()
    cluster.wait_equal()
    assert wrong.loads == [base]
    assert wrong.state == [b"one", b"two"]


def test_y_1_long_log_comes_from_disk_and_cache() -> None:
    """Y-4: what the cache no longer has is read from the log, the rest from the cache; both join."""
    cluster = Cluster(3, cache_bytes_max=1500, settings=Settings(proposal_bytes_max=100))
    a = cluster.wait_leader()
    c = followers(cluster, a)[0]
    cluster.wait_equal()
    cluster.crash(c)
    for number in range(30):
        cluster.write(b"%d" % number)
    assert cluster[a].peer.history.cached_after() > z("1.2")
    parts = sent(cluster, Entries, a)
    cluster.start(c)
    cluster.wait_equal()
    assert len(cluster.states()[c]) == 30
    assert parts, "some of it came from the cache"


def test_y_2_a_costly_diff_becomes_a_snap() -> None:
    """Y-2: when DIFF would cost more than the limit and a snapshot lies ahead, SNAP is sent; in chunks, loaded once."""
    cluster = Cluster(3, settings=Settings(diff_bytes_max=500))
    a = cluster.wait_leader()
    c = followers(cluster, a)[0]
    cluster.wait_equal()
    cluster.crash(c)
    for number in range(60):
        cluster.write(b"%030d" % number)
    app = cluster[a].app
    assert app is not None
    base = app.take_snapshot(purge=False)
    cluster.write(b"tail")
    chunks = sent(cluster, SnapChunk)
    done = sent(cluster, UpToDate, a)
    cluster.start(c)
    cluster.wait_serving()
    cluster.wait_equal()
    joined = cluster[c].app
    assert joined is not None
    assert joined.loads == [base]
    assert joined.state == app.state
    assert chunks == [], "chunks are the driver's"
    assert len(done) == 1


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("step", range(7))
def test_du_14_damaged_then_interrupted(step: int, told: bool) -> None:
    """DU-14 (P-12): B's log is damaged; its resync breaks and B restarts at every step: no vote before it is whole."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(b)
    cluster.damage(b)
    cluster[b].disk.hold = True
    cluster.start(b)
    for _ in range(step):
        cluster.run(0.02)
        if cluster[b].disk.queue:
            cluster.step_disk(b, tell=told)
    whole = not cluster[b].disk.epochs.damaged
    cluster.crash(b, a)
    cluster.start(b)
    cluster.run(10.0)
    assert (cluster.leader() is not None) == whole
    assert cluster[b].peer.has_vote == whole
    cluster.start(a)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    assert cluster[b].peer.has_vote
    assert cluster.states()[b] == cluster.states()[c] == [b"one"]


def test_b_15_a_wrong_state_never_leads() -> None:
    """B-15: a node that waits for a snapshot votes but does not stand, and halts when nobody can help it; a leader halts at once."""
    cluster = Cluster(3)
    a = cluster.wait_leader()
    b, c = followers(cluster, a)
    cluster.write(b"one")
    cluster.wait_equal()
    cluster.crash(a, c)
    cluster.call(b, lambda peer: peer.resync())
    cluster.run(1.0)
    cluster.start(c)
    assert cluster.wait_leader(limit=5.0) == c
    cluster.wait_serving(b, c)
    cluster.call(c, lambda peer: peer.resync())
    assert cluster[c].halted is not None
    cluster.call(b, lambda peer: peer.resync())
    cluster.run(2 * Settings().init_limit)
    assert cluster[b].halted is not None
