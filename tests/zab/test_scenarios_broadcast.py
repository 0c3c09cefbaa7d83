"""Broadcast stories, BR-n of the scenario list; barrier reads, rounds, hand-over, the watches of a leader over itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.zab.helpers import followers, record_after, sent, z
from zkembed.record import Kind
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import (
    Append,
    Effect,
    LearnerServing,
    ProposalsDone,
    Purpose,
    RequestRejected,
    Role,
    Seal,
    Send,
    SessionsTouched,
    SetEpochs,
)
from zkembed.zab.messages import Ack, Commit, Goodbye, Message, Notify, Ping, Proposal, RejectCode, SyncOk, SyncRequest
from zkembed.zab.peer import Peer
from zkembed.zab.settings import Settings

SETTINGS = Settings()
BOUND = 4 * SETTINGS.notify_max + SETTINGS.init_limit
AT_ONCE = 0.15


def started(n: int = 3, seed: int = 0, settings: Settings = SETTINGS) -> tuple[Cluster, int, list[int]]:
    cluster = Cluster(n, seed=seed, settings=settings)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.wait_equal()
    return cluster, leader, followers(cluster, leader)


@pytest.mark.parametrize("seed", range(5))
def test_br_1_late_acks_to_old_leader(seed: int) -> None:
    """BR-1: z is acked by B, the ack is held up; A is cut off, B and C elect; A then reads the ack and answers: z is in the new history."""
    cluster, a, (b, c) = started(seed=seed)
    cluster.cut(b, a, both=False)
    cluster.cut(c, a, both=False)
    cluster.cut(a, c, both=False)
    acks = sent(cluster, Ack, b)
    zxid = cluster.propose(a, b"z")
    cluster.run_until(lambda: any(message.zxid == zxid for _, message in acks), 1.0)
    cluster.pause(a, 10.0)
    cluster.crash(c)
    cluster.start(c)
    cluster.cut(a, b)
    cluster.cut(a, c)
    cluster.wait_leader(b, c, limit=BOUND)
    assert zxid in {record.zxid for record in cluster[b].disk.live.records}
    cluster.heal_all()
    cluster.run(10.0)
    cluster.wait_equal(limit=BOUND)
    assert all(state == [b"one", b"z"] for state in cluster.states().values())


def test_br_2_slow_own_disk() -> None:
    """BR-2 (B-4, B-14): the leader's disk hangs, the followers are quick: commits go on without it; it applies nothing
    early, then abdicates."""
    cluster, a, (b, _) = started()
    cluster[a].disk.hold = True
    points = [cluster.propose(a, b"w%d" % number) for number in range(5)]
    cluster.run_until(lambda: cluster[b].peer.history.committed >= points[-1], 1.0)
    app = cluster[a].app
    assert app is not None
    assert cluster[a].peer.history.committed == points[-1]
    assert app.applied < points[0], "not durable here, so not applied here (X-4)"
    took = cluster.run_until(lambda: cluster[a].peer.role is not Role.LEADING, 3 * SETTINGS.lag_limit)
    assert SETTINGS.lag_limit - 1 < took < SETTINGS.lag_limit + 1
    cluster.wait_leader(*followers(cluster, a), limit=BOUND)
    cluster.release_disk(a)
    cluster.wait_equal(limit=BOUND)


def test_br_3_counter_overflow() -> None:
    """BR-3 (Z-1): near the counter's end the leader takes no more, lets all commit, and a new epoch begins; nothing is lost."""
    cluster, a, _ = started(settings=Settings(counter_limit=20))
    number = 0
    while cluster[a].peer.can_propose:
        number += 1
        cluster.propose(a, b"%d" % number)
    end = cluster[a].peer.history.end
    assert end & 0xFFFF_FFFF == 20
    epoch = cluster[a].peer.epoch
    cluster.run_until(lambda: cluster.leader() is not None and cluster[cluster.leader() or a].peer.epoch > epoch, BOUND)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal()
    assert cluster.states()[a] == [b"one", *(b"%d" % count for count in range(1, number + 1))]


def proposal_link(cluster: Cluster, follower: int) -> int:
    """The link on which this follower hears its leader."""
    link = next(link for link in cluster[follower].peer._core.links if link.outbound and link.purpose is Purpose.ZAB)
    return link.id


def gap(epoch: int, node: SimNode) -> Message:
    last = node.disk.live.records[-1]
    return Proposal(epoch, (record_after(record_after(last, last.zxid + 1), last.zxid + 2),), 0)


def repetition(epoch: int, node: SimNode) -> Message:
    return Proposal(epoch, (node.disk.live.records[-1],), 0)


def other_chain(epoch: int, node: SimNode) -> Message:
    last = node.disk.live.records[-1]
    record = record_after(last, last.zxid + 1)
    record.chain ^= 1
    return Proposal(epoch, (record,), 0)


def other_epoch(epoch: int, node: SimNode) -> Message:
    return Proposal(epoch, (record_after(node.disk.live.records[-1], (epoch + 1) << 32 | 1),), 0)


def commit_beyond(epoch: int, node: SimNode) -> Message:
    return Commit(epoch, node.disk.live.end + 1)


def foreign_attempt(epoch: int, node: SimNode) -> Message:
    return Commit(epoch + 1, node.disk.live.end)


def out_of_place(epoch: int, node: SimNode) -> Message:
    return SyncRequest(epoch, 1)


BAD = [gap, repetition, other_chain, other_epoch, commit_beyond, foreign_attempt, out_of_place]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.__name__)
def test_br_4_gap_or_regression(bad: Callable[[int, SimNode], Message]) -> None:
    """BR-4 (B-3, B-6, N-3, N-9): the link closes, the follower resyncs; nothing of it is logged and nothing escapes."""
    cluster, a, (b, _) = started()
    node = cluster[b]
    log = [record.encoded for record in node.disk.live.records]
    message = bad(cluster[a].peer.epoch, node)
    link = proposal_link(cluster, b)
    cluster.step(node, lambda machine: machine.receive(link, message))
    assert node.peer.role is Role.LOOKING
    cluster.wait_serving()
    cluster.wait_equal()
    assert [record.encoded for record in node.disk.live.records][: len(log)] == log
    assert cluster.leader() == a, "the leader lost nothing"
    assert any(report.text.startswith("link with node") for report in node.reports)


@pytest.mark.parametrize("blocked", [0.5, 3.0, 30.0])
def test_br_6_blocked_loop(blocked: float) -> None:
    """BR-6 (B-12): the leader's loop blocks with requests waiting. After 3 s and more it abdicates before it looks at
    them: no stale answer."""
    cluster, a, (b, c) = started()
    app = cluster[a].app
    assert app is not None
    cluster.call(a, lambda peer: peer.request_sync(1))
    cluster.pause(a, blocked)
    cluster.call(b, lambda peer: peer.request_sync(2))
    answers = sent(cluster, SyncOk, a)
    cluster.run(blocked + 0.001)
    if blocked < SETTINGS.sync_limit:
        cluster.run(0.1)
        assert cluster.leader() == a
        assert app.syncs == {1: cluster[a].peer.history.committed}
        return
    assert cluster.leader() in (b, c)
    assert cluster[a].peer.role is not Role.LEADING
    assert (app.syncs, answers) == ({}, [])
    assert "stood still" in cluster[a].ended[-1]
    cluster.wait_equal(limit=BOUND)


def test_br_6_blocked_follower_reconnects() -> None:
    """B-12: a follower whose loop stood still for ``sync_limit`` takes its link for dead, whatever waits on it."""
    cluster, a, (b, _) = started()
    epoch = cluster[a].peer.epoch
    cluster.pause(b, 5.0)
    cluster.run(5.001)
    assert "stood still" in cluster[b].ended[-1]
    cluster.wait_serving()
    assert (cluster.leader(), cluster[a].peer.epoch) == (a, epoch)


def test_br_12_leader_applies_late() -> None:
    """BR-12, core part (B-4, S-2): B and C commit without the leader's disk; requests that B sends meanwhile are still proposed
    in order."""
    cluster, a, (b, c) = started()
    cluster[a].disk.hold = True
    for number in range(5):
        cluster.call(b, partial(Peer.send_requests, entries=(b"r%d" % number,)))
        cluster.run(0.05)
    app_b, app_a = cluster[b].app, cluster[a].app
    assert app_a is not None
    assert app_b is not None
    assert app_b.state == [b"one", *(b"r%d" % number for number in range(5))]
    assert app_a.state == [b"one"]
    cluster.release_disk(a)
    cluster.wait_equal()
    assert cluster.states()[c] == app_a.state == app_b.state


@pytest.mark.parametrize("seed", range(10))
def test_br_13_hand_over(seed: int) -> None:
    """BR-13, core part (B-16): the leader leaves under load: everything it proposed is committed, the others elect without waiting."""
    cluster, a, rest = started(seed=seed)
    cluster.propose(a, b"last words")
    goodbyes = sent(cluster, Goodbye, a)
    cluster.call(a, lambda peer: peer.leave())
    assert not cluster[a].peer.can_propose
    cluster.run_until(lambda: cluster[a].peer.left, 2.0)
    successor = goodbyes[0][1].successor.leader
    took = cluster.run_until(lambda: cluster.leader() in rest, BOUND)
    assert took < AT_ONCE
    assert cluster.leader() == successor
    cluster.crash(a)
    cluster.wait_equal()
    assert all(state == [b"one", b"last words"] for state in cluster.states().values())


def test_br_13_hand_over_to_a_named_successor() -> None:
    """B-16, E-5: the successor named by the leader stands, although another would win by its id."""
    cluster, a, rest = started()
    wanted = min(rest)
    cluster.call(a, lambda peer: peer.leave(wanted))
    took = cluster.run_until(lambda: cluster.leader() in rest, BOUND)
    assert took < AT_ONCE
    assert cluster.leader() == wanted


def test_br_13_successor_dies_half_way() -> None:
    """BR-13 (B-16): a hint only: when the successor dies at once the other two of five elect without it."""
    cluster, a, rest = started(5)
    wanted = max(rest)
    cluster.call(a, lambda peer: peer.leave(wanted))
    cluster.run_until(lambda: cluster[a].peer.left, 2.0)
    cluster.crash(a, wanted)
    assert cluster.run_until(lambda: cluster.leader() is not None, BOUND) < AT_ONCE + SETTINGS.finalize_wait


def test_b_16_lagging_successor_is_waited_for_in_bounds() -> None:
    """B-16: a named successor that does not catch up is waited for ``leave_wait`` at most."""
    cluster, a, rest = started()
    wanted = min(rest)
    cluster[wanted].disk.hold = True
    cluster.propose(a, b"x")
    cluster.call(a, lambda peer: peer.leave(wanted))
    took = cluster.run_until(lambda: cluster[a].peer.left, 5.0)
    assert took <= SETTINGS.leave_wait + SETTINGS.tick
    assert cluster.judge.end == cluster[max(rest)].disk.live.end


def test_b_16_follower_leaves() -> None:
    """An orderly leave of a follower closes its links and is done at once; the leader stays."""
    cluster, a, (b, _) = started()
    cluster.call(b, lambda peer: peer.leave())
    assert cluster[b].peer.left
    cluster.run(5.0)
    assert cluster.leader() == a


# --- barrier reads and rounds ----------------------------------------------------------------------------------------


def test_r_1_barrier_at_leader_and_follower() -> None:
    """R-1, R-2: the barrier is the commit point at receipt, answered after a round that was sent later."""
    cluster, a, (b, _) = started()
    end = cluster.judge.end
    for node_id in (a, b):
        cluster.call(node_id, lambda peer: peer.request_sync(7))
    cluster.run(0.05)
    for node_id in (a, b):
        app = cluster[node_id].app
        assert app is not None
        assert app.syncs == {7: end}


def test_r_2_a_deposed_leader_answers_nothing() -> None:
    """R-2: a leader that is cut off confirms no barrier, though it still believes in itself."""
    cluster, a, (b, c) = started()
    cluster.partition([a], [b, c])
    cluster.run(0.5)
    assert cluster.leader() == a
    cluster.call(a, lambda peer: peer.request_sync(1))
    cluster.run(BOUND)
    app = cluster[a].app
    assert app is not None
    assert app.syncs == {}


def test_r_2_many_requests_share_a_round() -> None:
    """R-2: one PING round confirms all requests that came before it was sent."""
    cluster, a, (b, _) = started()
    cluster.run(1.0)
    cluster.network.together = 1.0
    pings = sent(cluster, Ping, a)

    def ask(peer: Peer) -> None:
        for number in range(50):
            peer.request_sync(number)

    cluster.call(b, ask)
    cluster.run(0.02)
    app = cluster[b].app
    assert app is not None
    assert len(app.syncs) == 50
    assert len(pings) / 2 <= 4


def test_single_voter_answers_itself() -> None:
    """A voter alone is an ensemble: its rounds, commits and barriers need nobody else."""
    cluster = Cluster(1)
    cluster.wait_serving()
    zxid = cluster.write(b"alone")
    cluster.call(1, lambda peer: peer.request_sync(1))
    cluster.run(0.01)
    app = cluster[1].app
    assert app is not None
    assert app.syncs == {1: zxid}
    assert app.rounds
    cluster.call(1, lambda peer: peer.leave())
    assert cluster[1].peer.left


def test_s_4_echo_is_confirmed_by_a_later_round() -> None:
    """S-4: a PONG is echoed only after a round that was sent after it was received has a quorum's answer."""
    cluster, a, (b, _) = started()
    app = cluster[b].app
    assert app is not None
    app.lists_sessions = (5,)
    seqs: list[int] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == b and isinstance(effect, Send) and type(effect.message).__name__ == "Pong":
            seqs.append(effect.message.seq)  # type: ignore[union-attr]

    cluster.watchers.append(watch)
    cluster.run(3.0)
    assert 0 < app.echo <= seqs[-1] - 2
    leader_app = cluster[a].app
    assert leader_app is not None
    assert SessionsTouched in {type(effect) for effect in leader_app.touched}
    assert LearnerServing in {type(effect) for effect in leader_app.touched}


def test_b_15_a_quorum_with_another_digest_halts_the_leader() -> None:
    """B-15: one learner that differs is its own trouble, a quorum that differs is the leader's."""
    cluster, a, (b, c) = started()
    for node_id in (b, c):
        app = cluster[node_id].app
        assert app is not None
        app.mismatch = z("1.2")
        cluster.run(1.0)
        assert (cluster[a].halted is None) == (node_id == b)


def test_requests_are_rejected_by_code() -> None:
    """Q-2: the leader's refusal reaches the origin."""
    cluster, a, (b, _) = started()
    app = cluster[a].app
    origin = cluster[b].app
    assert app is not None
    assert origin is not None
    link = next(effect.link for effect in app.touched if isinstance(effect, LearnerServing) and effect.node_id == b)
    cluster.call(a, lambda peer: peer.reject(link, 17, 4, RejectCode.TOO_LARGE))
    cluster.run(0.01)
    assert RequestRejected(17, 4, RejectCode.TOO_LARGE) in origin.touched


# --- watches over itself, windows, batches ---------------------------------------------------------------------------


def test_b_9_no_quorum_heard() -> None:
    """B-9: a leader that hears no quorum for ``sync_limit`` abdicates; ServingEnded says so."""
    cluster, a, (b, c) = started()
    cluster.cut(b, a, both=False)
    cluster.cut(c, a, both=False)
    took = cluster.run_until(lambda: cluster[a].peer.role is not Role.LEADING, 5.0)
    assert SETTINGS.sync_limit - 0.1 < took <= SETTINGS.sync_limit + 2 * SETTINGS.tick
    assert "quorum" in cluster[a].ended[-1]


def test_b_11_silent_leader_is_left() -> None:
    """B-11: a follower that hears nothing for ``sync_limit`` goes LOOKING."""
    cluster, a, (b, c) = started()
    cluster.cut(a, b, both=False)
    took = cluster.run_until(lambda: cluster[b].peer.leader_id != a, 5.0)
    assert took <= SETTINGS.sync_limit + SETTINGS.tick
    assert cluster[c].peer.leader_id == a


def test_b_2_what_was_proposed_together_leaves_together() -> None:
    """B-2, B-6: one Append, one Proposal a learner, one Ack back, the commit point riding on the next; no COMMIT of its own while busy."""
    cluster, a, _ = started()
    effects: list[Effect] = []
    cluster.watchers.append(lambda node, effect: effects.append(effect) if node.id == a else None)
    cluster.propose(a, *[b"%d" % number for number in range(100)])
    appends = [effect for effect in effects if isinstance(effect, Append)]
    proposals = [effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, Proposal)]
    assert [len(effect.records) for effect in appends] == [100]
    assert len(proposals) == 2
    acks = sent(cluster, Ack)
    commits = sent(cluster, Commit, a)
    cluster.run(0.05)
    assert len(acks) == 2
    assert len(commits) == 2
    assert any(isinstance(effect, ProposalsDone) for effect in effects)


def test_window_closes_and_opens() -> None:
    """B-2: ``outstanding_max`` bounds what is in flight; ProposalsDone says when there is room."""
    cluster, a, _ = started(settings=Settings(outstanding_max=10))
    count = 0
    while cluster[a].peer.can_propose:
        cluster.propose(a, b"%d" % count)
        count += 1
    assert count == 10
    app = cluster[a].app
    assert app is not None
    app.touched.clear()
    cluster.run(0.05)
    assert ProposalsDone() in app.touched
    assert cluster[a].peer.can_propose


def test_p_4_an_idle_log_is_sealed_once() -> None:
    """P-4: a tick after the last batch one seal is written, and no more until the next batch."""
    cluster, a, _ = started()
    cluster.run(2.0)
    seals: list[int] = []
    cluster.watchers.append(lambda node, effect: seals.append(node.id) if isinstance(effect, Seal) else None)
    cluster.run(5.0)
    assert seals == []
    cluster.write(b"x")
    cluster.run(2.0)
    assert sorted(seals) == sorted(cluster.nodes)
    assert a in seals


def test_i_6_a_newer_incarnation_takes_the_place_of_the_older() -> None:
    """I-6, N-7: of two connections from one storage id the higher incarnation stays, the lower is refused; strangers and the own id too."""
    cluster, a, (b, _) = started()
    node, storage, incarnation = cluster[a], cluster[b].disk.storage_id, cluster[b].disk.incarnation
    closed: list[str] = []
    cluster.watchers.append(lambda n, effect: closed.append(effect.reason) if n.id == a and type(effect).__name__ == "CloseLink" else None)  # type: ignore[union-attr]
    cluster.step(node, lambda machine: machine.link_up(7001, b, storage, incarnation - 1, Purpose.ELECTION, False))
    cluster.step(node, lambda machine: machine.link_up(7003, 77, storage, 1, Purpose.ELECTION, False))
    cluster.step(node, lambda machine: machine.link_up(7005, a, storage, 1, Purpose.ELECTION, False))
    cluster.step(node, lambda machine: machine.link_up(7007, b, b"another disk 123", 1, Purpose.ELECTION, False))
    assert ["older than" in closed[0], "no member" in closed[1], "own id" in closed[2], "configuration names" in closed[3]] == [True] * 4
    cluster.step(node, lambda machine: machine.link_up(7009, b, storage, incarnation + 1, Purpose.ELECTION, False))
    assert "newer connection" in closed[4]
    assert cluster.leader() == a


def test_x_2_nothing_is_acked_while_the_disk_holds() -> None:
    """X-2, B-4: an ACK is made when the disk says done, never before."""
    cluster, a, (b, _) = started()
    cluster[b].disk.hold = True
    acks = sent(cluster, Ack, b)
    cluster.propose(a, b"x")
    cluster.run(1.0)
    assert acks == []
    cluster.step_disk(b)
    assert len(acks) == 1


def test_x_4_delivered_only_when_durable_and_committed() -> None:
    """X-4: B has the record committed by the others, but not on its own disk: it does not apply it."""
    cluster, a, (b, c) = started()
    cluster[b].disk.hold = True
    cluster.write(b"x")
    cluster.run(0.5)
    states = cluster.states()
    assert (states[a], states[b], states[c]) == ([b"one", b"x"], [b"one"], [b"one", b"x"])
    cluster.release_disk(b)
    cluster.wait_equal()


def test_e_10_notifications_are_repeated_with_back_off() -> None:
    """E-10: a settled cluster says little: each peer is told again at most once in ``notify_max`` (with jitter, once in 5 s or so)."""
    cluster, _, _ = started()
    cluster.run(30.0)
    notes = sent(cluster, Notify)
    cluster.run(60.0)
    assert 0 < len(notes) <= 6 * (60 / SETTINGS.notify_max + 1)


def test_y_8_current_epoch_and_opening_entry() -> None:
    """Y-8, B-1: the first entry of an epoch is EPOCH by its leader, CONFIG v1 at the founding."""
    cluster, a, (b, c) = started()
    cluster.crash(a)
    leader = cluster.wait_leader(b, c)
    cluster.write(b"x")
    kinds = [(record.zxid >> 32, record.zxid & 0xFFFF_FFFF, record.kind) for record in cluster[leader].disk.live.records]
    assert kinds == [(1, 1, Kind.CONFIG), (1, 2, Kind.REQUEST), (2, 1, Kind.EPOCH), (2, 2, Kind.REQUEST)]
    assert cluster[leader].disk.epochs.current == 2


def test_p_10_start_delivers_what_the_log_says_is_committed() -> None:
    """P-10: a restarted node applies up to the highest commit_hint before it has a leader."""
    cluster, a, (b, c) = started()
    for number in range(3):
        cluster.write(b"%d" % number)
        cluster.wait_equal()
    cluster.crash(a, b, c)
    cluster.start(b)
    assert cluster.states()[b] == [b"one", b"0", b"1"]
    assert cluster[b].peer.role is Role.LOOKING


def test_section_18_promises_may_not_fall() -> None:
    """Section 18.1: the disk refuses to lower an epoch; the error is ours."""
    from attrs import evolve

    from zkembed.errors import InternalError

    cluster, a, _ = started()
    disk = cluster[a].peer._core.disk
    with pytest.raises(InternalError, match="epochs may not go"):
        disk.set_epochs(evolve(disk.epochs, accepted=0, current=0), None)
    assert not any(isinstance(op, SetEpochs) and op.epochs.accepted == 0 for op in cluster[a].disk.done_ops)


def test_section_18_a_broken_invariant_halts() -> None:
    """Section 18: a completion out of order is a defect: the node halts, closes its links, and the others go on."""
    cluster, a, rest = started()
    cluster.step(cluster[a], lambda machine: machine.disk_done(999_999))
    assert cluster[a].halted is not None
    cluster.wait_leader(*rest, limit=BOUND)
    assert cluster[a].peer.role is Role.LOOKING
