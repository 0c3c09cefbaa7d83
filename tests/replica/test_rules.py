"""Corners of the rules of sessions, requests and digests, on whole replicas in the simulated world; each title names the rule."""

from __future__ import annotations

from typing import Any

import pytest

from zkembed.durable import SnapshotInfo
from zkembed.endpoint import SessionState
from zkembed.replica.config_text import config_text
from zkembed.replica.effects import LoadState
from zkembed.testing.simulated.replica_app import load_tree
from zkembed.tree.ops import CloseSession
from zkembed.tree.results import Failure, public
from zkembed.tree.tree import Tree
from zkembed.tree.watches import WatchMode
from zkembed.zab import effects as zab
from zkembed.zab.effects import Purpose
from zkembed.zab.settings import Settings

from .test_scenarios_sessions import closes, corrupt, up
from .world import World, create, data, put

CONNECTED, EXPIRED = SessionState.CONNECTED, SessionState.EXPIRED


class SlowLoads:
    """LoadState of one node is read at once, as from a disk that others go on to change, and answered when the test says so."""

    def __init__(self, world: World, node_id: int) -> None:
        self._world = world
        self._node_id = node_id
        self.read: list[tuple[LoadState, Tree, int]] = []
        world.app(node_id).answer_load = self._keep  # type: ignore[method-assign]

    def _keep(self, effect: LoadState) -> None:
        disk = self._world[self._node_id].disk
        info, chunks = disk.live.snapshots[effect.base] if effect.base else (SnapshotInfo(), ())
        tree, chain = load_tree(chunks), info.chain
        for record in disk.live.records:
            if effect.base < record.zxid <= effect.upto:
                tree.apply(record, config_text(record))
                chain = record.chain
        self.read.append((effect, tree, chain))

    def answer(self, index: int) -> None:
        self._world.act(self._node_id, lambda replica: replica.state_loaded(*self.read[index]))

    def fail(self, index: int) -> None:
        self._world.act(self._node_id, lambda replica: replica.state_unreadable(self.read[index][0], "the disk says no"))


def differing(world: World, leader: int, follower: int, *, path: str = "/a") -> None:
    """The follower's memory rots, and it finds out."""
    session = world.open(leader, timeout=30.0)
    world.write(leader, session, create(path, b"0"))
    world.agree()
    corrupt(world, follower, path)
    world.write(leader, session, put(path, b"1"))
    world.run_until(lambda: not world.replica(follower).healthy)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_s_4_a_touch_that_is_confirmed_has_moved_the_deadline_also_while_its_owner_syncs() -> None:
    """S-4, S-7: the owner's sync takes longer than its session's timeout, and PINGs and PONGs go on meanwhile. What the leader
    confirms it must have counted, or it closes a session whose owner believes in it."""
    world, leader, (follower, _) = up()
    session = world.open(follower)
    world.write(follower, session, create("/mine", ephemeral=True))
    seen = closes(world, session.id)
    states_at_close: list[SessionState] = []
    world[follower].disk.hold = lambda op: isinstance(op, zab.SetEpochs)
    world.drop_links(leader, follower, Purpose.ZAB)
    for _ in range(150):
        world.run(0.1)
        if seen and not states_at_close:
            states_at_close.append(session.state)
    assert world.replica(follower).peer.phase == "acking"
    assert CONNECTED not in states_at_close
    assert seen == [], "it answers every PING, so it is not gone"
    world.release_disk(follower)
    world.wait_serving()
    assert session.state is CONNECTED
    assert data(world.tree(leader), "/mine") == b""


def test_s_4_a_leader_that_does_not_know_it_is_deposed_confirms_no_touch() -> None:
    """S-4, SE-13, S-7: owner and leader are cut off together; the other three begin anew in the same moment and elect, while the old
    leader goes on answering its PONGs for up to ``sync_limit``. At the smallest timeout that is longer than the lease's margin."""
    world, leader, followers = up(5)
    owner = followers[0]
    session = world.open(owner, timeout=3.2)
    world.run(2.0)
    majority = [id for id in followers if id != owner]
    seen = closes(world, session.id)
    world.partition({leader, owner}, majority)
    for id in majority:
        world.crash(id, silent=True)
        world.start(id)
    world.wait_leader(*majority)
    world.run_until(lambda: any(node in majority for _, node in seen), 20)
    assert session.state is SessionState.SUSPENDED


def test_s_7_the_lease_counts_from_when_the_touch_was_sent_and_not_from_its_confirmation() -> None:
    """S-7: on a slow network a confirmation arrives seconds after its touch; from some moment on no touch gets through."""
    world, leader, (follower, _) = up()
    session = world.open(follower)
    world.network.delay = (0.5, 0.6)
    world.run(10.0)
    assert session.state is CONNECTED
    seen = closes(world, session.id)
    world.cut(follower, leader, both=False)
    world.run_until(lambda: bool(seen), 20)
    assert session.state is SessionState.SUSPENDED


def test_s_4_rounds_answered_before_establishment_confirm_nothing() -> None:
    """S-4, SE-18, R-2: the leader is elected again and PINGs its learners, which answer while their sync is under way. Until it is
    established another log may still win, with a close of its session in it."""
    world, leader, followers = up()
    session = world.open(leader, timeout=30.0)
    world.crash(*followers)
    world.run_until(lambda: not world.replica(leader).serving)
    for id in followers:
        world[id].disk.hold = lambda op: isinstance(op, zab.SetEpochs) and op.epochs.current == 2
        world.start(id)
    world.run_until(lambda: world.replica(leader).peer.phase == "sync")
    confirmed, seen = session.confirmed, world.replica(leader).quorum_seen
    world.run(1.2)
    assert world.replica(leader).peer.phase == "sync"
    assert (session.confirmed, world.replica(leader).quorum_seen) == (confirmed, seen)
    for id in followers:
        world.release_disk(id)
    world.run_until(lambda: session.confirmed > confirmed)


def test_s_4_s_5_a_session_whose_close_is_proposed_and_not_committed_is_not_connected_again() -> None:
    """S-4, S-5, SE-17: the owner comes back while the close waits for disks; its touches are answered, and confirm nothing."""
    world, leader, (follower, third) = up()
    session = world.open(follower)
    seen = closes(world, session.id)
    world.partition({follower}, {leader, third})
    world.run(5.0)
    for id in (leader, third):
        world[id].disk.hold = True
    world.run_until(lambda: bool(seen))
    world.heal_all()
    world.run_until(lambda: world.replica(follower).serving)
    for _ in range(20):
        world.run(0.1)
        assert session.state is SessionState.SUSPENDED
    for id in (leader, third):
        world.release_disk(id)
    world.run_until(lambda: session.state is EXPIRED)


# --- requests --------------------------------------------------------------------------------------------------------


def test_q_3_requests_are_proposed_in_their_sessions_order_whatever_waits() -> None:
    """Q-3, D30: four sessions on two nodes, a window of three entries, a limit hit in the middle: each session's requests are in the log
    in the order of the calls, one entry each."""
    world, leader, (follower, _) = up(settings=Settings(outstanding_max=3))
    sessions = [(node, world.open(node, timeout=30.0)) for node in (leader, follower) for _ in range(2)]
    for number, (node, session) in enumerate(sessions):
        world.write(node, session, create(f"/{number}"))
    calls = []
    for n in range(20):
        for number, (node, session) in enumerate(sessions):
            calls += world.submit(node, session, put(f"/{number}", bytes(2000) if n == 7 else str(n).encode()))
    world.run_until(lambda: all(call.settled for call in calls))
    world.agree()
    for _, session in sessions:
        mine = [call for call in calls if call.session is session]
        assert [call.cseq for call in mine] == list(range(2, 22))
        zxids = [call.zxid for call in mine]
        assert zxids == sorted(set(zxids))
        assert [public_version(call) for call in mine] == [1, 2, 3, 4, 5, 6, 7, None, *range(8, 20)]


def public_version(call: Any) -> int | None:
    """The version that the write made; None if it was refused."""
    return None if isinstance(call.outcome, Failure) else int(public(call.outcome, call.zxid).version)  # type: ignore[attr-defined]


def test_b_10_a_request_at_a_leader_that_abdicates_is_neither_done_nor_failed() -> None:
    """B-10, Q-4, Q-8: its caller sees delay and nothing else; the next leader, here the same node or another, resolves it once."""
    world, leader, followers = up()
    session = world.open(leader, timeout=30.0)
    world.partition({leader}, set(followers))
    [call] = world.submit(leader, session, create("/n-", sequential=True))
    world.run_until(lambda: not world.replica(leader).serving)
    world.run(1.0)
    assert not call.settled
    world.heal_all()
    assert world.result(call).path == "/n-0000000000"
    world.agree()
    assert [name for name in world.tree(leader).children("/") if name.startswith("n-")] == ["n-0000000000"]


def test_q_5_a_request_sent_again_while_its_first_copy_waits_runs_once() -> None:
    """Q-5, Q-4: the link to the leader breaks while the request is proposed and not committed; the origin is back with the same leader,
    and its UPTODATE does not cover it yet. Both copies end in the log, the second changes nothing."""
    world, leader, (follower, third) = up()
    session = world.open(follower, timeout=30.0)
    for id in (leader, third):
        world[id].disk.hold = True
    calls = world.submit(follower, session, create("/n-", sequential=True), create("/n-", b"2", sequential=True))
    world.run(0.05)
    world.drop_links(leader, follower, Purpose.ZAB)
    world.run(0.5)
    assert world.replica(follower).serving
    assert not calls[0].settled
    for id in (leader, third):
        world.release_disk(id)
    assert [world.result(call).path for call in calls] == ["/n-0000000000", "/n-0000000001"]
    world.agree()
    tree = world.tree(leader)
    assert [name for name in tree.children("/") if name.startswith("n-")] == ["n-0000000000", "n-0000000001"]
    entries = [record for record in world[leader].disk.live.records if b"/n-" in record.payload]
    assert len(entries) == 4, "the story is about a second copy"


def test_r_3_a_barrier_waits_for_an_orphan_that_is_not_committed_yet() -> None:
    """R-3, Q-8: rounds need no disk, so the barrier is answered while what its session had handed over before hangs; the caller of that
    has given up, and wants to look at what became of it."""
    world, leader, (follower, third) = up()
    session = world.open(follower, timeout=30.0)
    for id in (leader, third):
        world[id].disk.hold = True
    [call] = world.submit(follower, session, create("/orphan"))
    assert world.act(follower, lambda replica: replica.withdraw(call)) is False
    barrier = world.act(follower, lambda replica: replica.sync(session))
    world.run(1.0)
    assert barrier.zxid is not None
    assert not barrier.settled
    world.release_disk(third)
    world.run_until(lambda: barrier.settled)
    assert data(world.tree(follower), "/orphan") == b""
    world.release_disk(leader)
    world.agree()


# --- reads and states ------------------------------------------------------------------------------------------------


def test_q_9_a_read_held_back_by_a_rebuild_still_waits_for_the_sessions_earlier_write() -> None:
    """Q-9, B-15: the state is loaded again while a write and a read behind it are under way."""
    world, leader, (follower, _) = up()
    loads = SlowLoads(world, follower)
    session = world.open(follower, timeout=30.0)
    differing(world, leader, follower)

    def issue(replica: Any) -> Any:
        call = replica.submit(session, put("/a", b"mine"))
        return call, replica.read(session, lambda: data(world.tree(follower), "/a"))

    call, read = world.act(follower, issue)
    world.run_until(lambda: data(world.tree(leader), "/a") == b"mine")
    world.run(0.1)
    assert not read.settled
    loads.answer(0)
    world.run_until(lambda: read.settled)
    assert call.settled
    assert read.result == b"mine"


def test_q_9_a_read_behind_a_call_that_is_withdrawn_during_a_rebuild_sees_the_rebuilt_state() -> None:
    """Q-9, Q-1, B-15: nothing is read of a state that is known to be wrong."""
    world, leader, (follower, third) = up()
    loads = SlowLoads(world, follower)
    session = world.open(follower, timeout=30.0)
    differing(world, leader, follower)
    world.partition({follower}, {leader, third})
    world.run_until(lambda: not world.replica(follower).serving)

    def issue(replica: Any) -> Any:
        call = replica.submit(session, put("/a", b"never"))
        return call, replica.read(session, lambda: data(world.tree(follower), "/a"))

    call, read = world.act(follower, issue)
    assert world.act(follower, lambda replica: replica.withdraw(call)) is True
    assert not read.settled
    loads.answer(0)
    assert read.settled
    assert read.result == b"1"


def test_r_5_reads_never_go_back_while_the_state_comes_anew_from_below() -> None:
    """R-5, Q-7, Y-6: a received snapshot is older than what this node has shown; it shows that until it is as far again."""
    world, leader, (follower, _) = up()
    session, reader = world.open(leader, timeout=30.0), world.open(follower, timeout=30.0)
    world.write(leader, session, create("/a", b"0"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    for n in range(1, 4):
        world.write(leader, session, put("/a", str(n).encode()))
    world.agree()
    loads = SlowLoads(world, follower)
    stream = world.watch(follower, None, "/", WatchMode.RECURSIVE)
    world.act(follower, lambda replica: replica.peer.resync())
    world.write(leader, session, put("/a", b"4"))
    seen: list[tuple[int, object]] = []

    def look() -> bool:
        seen.append((world.tree(follower).applied, world.read(follower, reader, "/a").result))
        return False

    world.run_until(lambda: look() or bool(loads.read))
    assert loads.read[0][1].applied < seen[0][0]
    loads.answer(0)
    world.run_until(lambda: look() or seen[-1][1] == b"4")
    assert seen == sorted(seen, key=lambda pair: pair[0])
    assert {value for _, value in seen} == {b"3", b"4"}
    assert [(event.kind.name, event.data) for event in stream.events] == [("DATA_CHANGED", b"4")], "nor does anybody hear of a gap"


def test_b_15_a_load_overtaken_by_a_snapshot_is_not_taken_for_it() -> None:
    """B-15, Q-7: a rebuild from the own disk is under way when a received snapshot replaces the state; its answer comes first."""
    world, leader, (follower, _) = up()
    session = world.open(leader, timeout=30.0)
    loads = SlowLoads(world, follower)
    differing(world, leader, follower)
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    for n in range(3):
        world.write(leader, session, create(f"/{n}"))
    world.act(follower, lambda replica: replica.peer.resync())
    world.run_until(lambda: len(loads.read) == 2)
    loads.answer(0)
    world.run(0.5)
    assert not world.replica(follower).healthy
    loads.answer(1)
    world.run_until(lambda: world.replica(follower).healthy)
    world.write(leader, session, create("/on"))
    world.agree()
    assert world[follower].halted is None


def test_b_15_a_snapshot_that_cannot_be_loaded_is_asked_for_again() -> None:
    """B-15, P-7: what was installed does not read back; nothing behind it may be applied to the old state."""
    world, leader, (follower, _) = up()
    session = world.open(leader, timeout=30.0)
    for n in range(3):
        world.write(leader, session, create(f"/{n}"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    world.agree()
    loads = SlowLoads(world, follower)
    world.act(follower, lambda replica: replica.peer.resync())
    world.write(leader, session, create("/meanwhile"))
    world.run_until(lambda: len(loads.read) == 1)
    loads.fail(0)
    world.write(leader, session, create("/later"))
    world.run_until(lambda: len(loads.read) == 2)
    loads.answer(1)
    world.agree()
    assert world[follower].halted is None


def test_b_15_a_difference_found_late_is_told_to_the_leader_too() -> None:
    """B-15: both followers differ from a leader whose memory rotted, one finds out only when it has caught up with the PING's
    boundary. That is a quorum: the leader halts, and nobody takes its state for better."""
    world, leader, (follower, late) = up()
    session = world.open(follower, timeout=30.0)
    world.write(follower, session, create("/a", b"0"))
    world.agree()
    corrupt(world, leader, "/a")
    world[late].disk.hold = True
    world.write(follower, session, put("/a", b"1"))
    world.run_until(lambda: not world.replica(follower).healthy)
    world.run(0.3)
    assert world[leader].halted is None
    world.release_disk(late)
    world.run_until(lambda: world[leader].halted is not None, 5.0)
    world.wait_leader(follower, late)
    world.agree(follower, late)
    assert data(world.tree(follower), "/a") == b"1"


def test_b_15_a_node_that_cannot_read_its_state_back_does_not_lead_with_it() -> None:
    """B-15: only another node can give it the state. If it is the one to lead it stops, with its data, and the others go on."""
    world, leader, (third, follower) = up()
    loads = SlowLoads(world, follower)
    session = world.open(leader, timeout=30.0)
    world.write(leader, session, create("/b"))
    differing(world, leader, follower)
    world.crash(third)
    world.write(leader, session, put("/b", b"known to the two alone"))
    world.crash(leader)
    loads.fail(0)
    world.start(third)
    world.run_until(lambda: world[follower].halted is not None)
    assert "the state of this node is wrong" in str(world[follower].halted)
    world.start(leader)
    world.wait_leader(leader, third)
    world.restart(follower)
    world.wait_serving()
    world.agree()
    assert data(world.tree(third), "/b") == b"known to the two alone"


@pytest.mark.parametrize("timeout", [3.2, 6.0])
def test_s_7_nobody_is_suspended_while_the_ensemble_is_whole(timeout: float) -> None:
    """S-7, S-4: leases of the leader's own sessions and of others' are confirmed in time, at the smallest timeout too."""
    world, leader, (follower, _) = up()
    own, other = world.open(leader, timeout=timeout), world.open(follower, timeout=timeout)
    world.run(20.0)
    for node, session in ((leader, own), (follower, other)):
        assert [state for _, id, state in world.app(node).states if id == session.id] == [CONNECTED]


@pytest.mark.parametrize("seed", range(4))
def test_s_1_a_session_closed_before_its_creation_is_answered_closes_under_whatever_id_it_gets(seed: int) -> None:
    """S-1: the leader dies with the creation; it goes out again under a fresh id, and its close, asked for before, must mean that one."""
    world = World(seed=seed)
    world.wait_serving()
    leader = world.wait_leader()
    origin = next(node for node in world.nodes if node != leader)
    session = world.open(origin, wait=False)
    first = session.id
    world.submit(origin, session, CloseSession(session.id, False))
    world.crash(leader)
    world.run_until(lambda: session.gone, 40.0)
    assert session.state is SessionState.CLOSED
    assert session.id != first
    world.wait_serving(*[node for node in world.nodes if node != leader])
    assert not world[origin].halted


def test_w_2_a_session_that_has_ended_leaves_no_watch_behind() -> None:
    """W2: nobody is told anything behind his end, and the table does not grow with sessions that come and go."""
    world = World()
    leader = world.wait_leader()
    world.wait_serving()
    session, other = world.open(leader), world.open(leader)
    world.write(leader, other, create("/a"))
    watcher = world.watch(leader, session, "/a", WatchMode.DATA)
    [call] = world.submit(leader, session, CloseSession(session.id, False))
    world.run_until(lambda: call.settled)
    assert watcher.ended is not None
    assert len(world.replica(leader).watches) == 0
    world.write(leader, other, put("/a", b"later"))
    assert watcher.events == []
