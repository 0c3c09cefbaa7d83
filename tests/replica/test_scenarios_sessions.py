"""Sessions and watches across failures (rules S-1 to S-9, Q-7, B-12, B-15; invariants E1 to E5, W1 to W3)."""

from __future__ import annotations

from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.errors import SessionExpiredError
from zkembed.tree.ops import CloseSession
from zkembed.tree.watches import WatchMode
from zkembed.tree.znode import TreeNode
from zkembed.zab import messages as m
from zkembed.zab.effects import Append, Send
from zkembed.zab.settings import Settings

from .world import World, create, data, put

EXPIRED, SUSPENDED, CONNECTED, CLOSED = SessionState.EXPIRED, SessionState.SUSPENDED, SessionState.CONNECTED, SessionState.CLOSED


def up(n: int = 3, **options: Any) -> tuple[World, int, list[int]]:
    """A world that serves; its leader, and the followers."""
    world = World(n, **options)
    leader = world.wait_leader()
    world.wait_serving()
    return world, leader, [id for id in world.nodes if id != leader]


def others(world: World, *ids: int) -> set[int]:
    return set(world.nodes) - set(ids)


def closes(world: World, session: int) -> list[tuple[float, int]]:
    """(time, node) of every proposal of this session's close, from now on."""
    seen: list[tuple[float, int]] = []

    def watch(node: Any, effect: Any) -> None:
        if isinstance(effect, Append):
            for record in effect.records:
                op = getattr(record.decoded, "op", None)
                if isinstance(op, CloseSession) and op.session == session:
                    seen.append((world.now, node.id))

    world.watchers.append(watch)
    return seen


def suspended_at(world: World, node: int, session: int) -> float:
    return max(time for time, id, state in world.app(node).states if id == session and state is SUSPENDED)


# --- expiry ----------------------------------------------------------------------------------------------------------


def test_a_session_whose_owner_is_gone_expires_after_its_timeout_with_all_its_ephemerals_in_one_entry() -> None:
    """S-3, S-5, S-6, E2, B3."""
    world, leader, (follower, _) = up()
    session = world.open(follower)
    for n in range(3):
        world.write(follower, session, create(f"/e{n}", ephemeral=True))
    seen = closes(world, session.id)
    touched = world.now
    world.crash(follower)
    world.run_until(lambda: session.id not in world.tree(leader).sessions, 20)
    assert 5.9 <= seen[0][0] - touched <= 6.5
    assert [data(world.tree(leader), f"/e{n}") for n in range(3)] == [None] * 3
    owned = [event for event in world.tree(leader).items() if event[1].ephemeral_owner == session.id]
    assert owned == []


def test_E4_a_session_is_not_expired_while_its_owner_answers() -> None:
    world, _leader, (follower, _) = up()
    session = world.open(follower, timeout=3.2)
    seen = closes(world, session.id)
    world.run(30.0)
    assert seen == []
    assert session.state is CONNECTED
    assert [state for _, id, state in world.app(follower).states if id == session.id] == [CONNECTED]


def test_E5_an_owner_that_is_cut_off_is_suspended_before_anybody_closes_its_session() -> None:
    """S-7: by its own clock, at timeout * (1 - margin) behind the newest confirmed touch."""
    world, _leader, (follower, _) = up()
    session = world.open(follower)
    seen = closes(world, session.id)
    cut_at = world.now
    world.partition({follower}, others(world, follower))
    world.run_until(lambda: session.state is SUSPENDED)
    assert not seen
    assert world.now - cut_at <= 6.0 * 0.8
    world.run_until(lambda: bool(seen), 20)
    assert suspended_at(world, follower, session.id) < seen[0][0]
    world.heal_all()
    world.run_until(lambda: session.state is EXPIRED)
    states = [state for _, id, state in world.app(follower).states if id == session.id]
    assert states == [CONNECTED, SUSPENDED, EXPIRED]


@pytest.mark.parametrize("seed", range(4))
def test_SE_13_a_deposed_leader_confirms_no_touch_that_its_successor_does_not_know_of(seed: int) -> None:
    """S-4: owner and leader are cut off together, at the smallest timeout; the other three elect at once."""
    world, leader, followers = up(5, seed=seed)
    owner = followers[0]
    session = world.open(owner, timeout=3.2)
    majority = others(world, leader, owner)
    world.partition({leader, owner}, majority)
    for id in majority:  # No time passes unused: they find out at once.
        world.drop_links(leader, id)
    seen = closes(world, session.id)
    world.run_until(lambda: any(node in majority for _, node in seen), 20)
    assert suspended_at(world, owner, session.id) < seen[0][0]
    assert session.state is SUSPENDED


@pytest.mark.parametrize("away", [4.0, 5.2, 5.9, 6.05, 6.3, 7.5])
def test_SE_1_SE_17_a_return_around_the_expiry_has_one_outcome_and_never_two_owners(away: float) -> None:
    """S-4, S-5: it lives on, or it is closed; once the close is proposed it is not CONNECTED again."""
    world, leader, (follower, _) = up()
    session = world.open(follower)
    world.write(follower, session, create("/mine", ephemeral=True))
    seen = closes(world, session.id)
    world.partition({follower}, others(world, follower))
    world.run(away)
    world.heal_all()
    proposed: list[float] = []
    world.run(12.0)
    proposed = [time for time, _ in seen]
    connected_later = [time for time, id, state in world.app(follower).states if id == session.id and state is CONNECTED]
    world.agree()
    if proposed:
        assert session.state is EXPIRED
        assert all(time < proposed[0] for time in connected_later)
        assert data(world.tree(leader), "/mine") is None
    else:
        assert session.state is CONNECTED
        assert data(world.tree(leader), "/mine") == b""
        assert world.write(follower, session, put("/mine", b"still")).version == 1


def test_SE_18_rounds_answered_before_establishment_confirm_nothing() -> None:
    """S-4: a close may lie in another node's log until then."""
    world, leader, (follower, third) = up()
    session = world.open(leader)
    confirmed = session.confirmed
    confirmations: list[float] = []

    def watch(node: Any, effect: Any) -> None:
        if node.id == leader and isinstance(effect, Send) and isinstance(effect.message, m.Ping):
            confirmations.append(effect.message.echo)

    world.partition({leader}, {follower, third})
    world.run_until(lambda: world.replica(leader).peer.leader_id is None)
    frozen = session.confirmed
    world.heal_all()
    # Elected anew or following: between looking and serving nothing moves the lease.
    while not world.replica(leader).serving:
        assert session.confirmed == frozen
        world.run(0.001)
    assert frozen >= confirmed
    world.run(1.0)
    assert session.confirmed > frozen


def full_timeouts(seed: int) -> None:
    """A hundred sessions; some are created while the third node syncs, some while their leader dies. Under the next none expires before
    a full timeout has passed, also with its owner dead, and then all do."""
    world, leader, (follower, third) = up(seed=seed)
    for id in world.nodes:
        world.app(id).honest = False  # To look at everything after every step would be all that this test does.
    sessions = [world.act(follower, lambda replica: replica.open_session(6.0)) for _ in range(60)]
    world.crash(third)
    world.run_until(lambda: all(session.created for session in sessions))
    world[third].disk.delay = 0.004
    world.start(third)
    for _ in range(30):  # While it syncs.
        sessions.append(world.act(follower, lambda replica: replica.open_session(6.0)))
        world.run(world.rng.uniform(0.0, 0.002))
    world.wait_serving()
    world[third].disk.delay = 0.0005
    sessions += [world.act(follower, lambda replica: replica.open_session(6.0)) for _ in range(10)]
    world.run(0.0008)
    world.crash(leader, follower)
    world.start(leader)
    elected = world.wait_leader(leader, third)
    world.wait_serving(leader, third)
    began = world.now
    live = [session for session in sessions if session.id in world.tree(elected).sessions]
    assert len(live) >= 90
    world.run(5.5 - (world.now - began))
    assert all(session.id in world.tree(elected).sessions for session in live)
    world.run(2.0)
    assert not any(session.id in world.tree(elected).sessions for session in live)


def test_SE_2_a_new_leader_gives_every_session_a_full_timeout_those_created_last_too() -> None:
    """S-3, ZK-1367."""
    full_timeouts(seed=0)


@pytest.mark.parametrize("seed", range(1, 5))
def test_SE_2_with_other_seeds(seed: int) -> None:
    """S-3, ZK-1367."""
    full_timeouts(seed)


YEARS = 10 * 365 * 86400 * 1_000_000


@pytest.mark.parametrize("jump_us", [-YEARS, YEARS, -3_600_000_000, 3_600_000_000], ids=["-10 years", "10 years", "-1 hour", "1 hour"])
@pytest.mark.parametrize("where", ["leader", "owner", "everywhere"])
def test_SE_11_a_wall_clock_that_jumps_expires_and_suspends_nobody(where: str, jump_us: int) -> None:
    """S-9, E4: leases know the monotonic clock only; the wall clock is what znodes are stamped with, and nothing else."""
    world, leader, (follower, _) = up()
    sessions = {id: world.open(id) for id in world.nodes}
    world.write(follower, sessions[follower], create("/a"))
    affected = {"leader": [leader], "owner": [follower], "everywhere": [*world.nodes]}[where]
    for id in affected:
        world.app(id)._wall = lambda: max(0, int(world.now * 1_000_000) + YEARS + jump_us)  # type: ignore[method-assign]
    world.run(20.0)
    stamped = world.write(follower, sessions[follower], put("/a", b"1"))
    assert stamped.version == 1
    for id, session in sessions.items():
        assert [state for _, sid, state in world.app(id).states if sid == session.id] == [CONNECTED]
    world.agree()


@pytest.mark.parametrize("halted", [2.0, 30.0])
def test_SE_11_an_owner_whose_monotonic_clock_has_stood_still_is_not_expired_early(halted: float) -> None:
    """S-9, E4: its machine slept and its clock did not count that. The leader closes the session at its own time and not before; the owner
    hears of it when it comes back, or lives on."""
    world, _, (follower, _) = up()
    session = world.open(follower)
    seen = closes(world, session.id)
    asleep_at = world.now
    world.pause(follower, halted)
    world.run(halted)
    world[follower].clock.lose(halted, world.now)
    world.run(5.0)
    assert all(time - asleep_at >= 5.9 for time, _ in seen)
    assert bool(seen) is (halted > 6)
    world.run(10.0)
    assert session.state is (EXPIRED if seen else CONNECTED)


def test_SE_16_a_leader_change_within_the_lease_suspends_nobody() -> None:
    """S-7: it is only delay."""
    world, leader, (follower, third) = up()
    sessions = [world.open(follower), world.open(third)]
    for _ in range(3):
        leader = world.wait_leader()
        if leader in (follower, third):
            world.drop_links(follower, third)
        world.crash(leader)
        world.wait_serving(*others(world, leader))
        world.start(leader)
        world.wait_serving()
    alive = [
        (id, session) for id, session in zip((follower, third), sessions, strict=True) if world.app(id).replica.sessions.get(session.id)
    ]
    for id, session in alive:
        states = [state for _, sid, state in world.app(id).states if sid == session.id]
        assert states == [CONNECTED]


def test_SE_3_SE_4_nothing_of_a_session_happens_behind_its_close() -> None:
    """S-6, E3: what is pipelined behind the own close ends with SessionExpired and makes no node."""
    world, _leader, (follower, _) = up()
    session = world.open(follower)
    world.write(follower, session, create("/e", ephemeral=True))

    def close(replica: Any) -> Any:
        call = replica.submit(session, CloseSession(session.id, False))
        assert session.state is CLOSED  # Ownership ends at the call.
        with pytest.raises(SessionExpiredError):
            replica.submit(session, create("/late", ephemeral=True))
        return call

    call = world.act(follower, close)
    world.result(call)
    world.agree()
    assert session.state is CLOSED
    for id in world.nodes:
        assert data(world.tree(id), "/e") is None
        assert data(world.tree(id), "/late") is None


def test_SE_3_a_close_reaches_every_node_whatever_link_is_lost_meanwhile() -> None:
    for seed in range(12):
        world, leader, (follower, third) = up(seed=seed)
        session = world.open(follower)
        world.write(follower, session, create("/e", ephemeral=True))
        [call] = world.submit(follower, session, CloseSession(session.id, False))
        world.run(world.rng.uniform(0, 0.004))
        world.drop_links(leader, world.rng.choice([follower, third]))
        world.result(call)
        world.wait_serving()
        world.agree()
        assert all(data(world.tree(id), "/e") is None for id in world.nodes)


def test_SE_10_a_quick_restart_closes_the_old_incarnations_sessions_at_once() -> None:
    """S-8: and never those of the new one."""
    world, leader, (follower, _) = up()
    old = world.open(follower)
    world.write(follower, old, create("/old", ephemeral=True))
    world.restart(follower)
    began = world.now
    new = world.open(follower)
    world.write(follower, new, create("/new", ephemeral=True))
    world.run_until(lambda: data(world.tree(leader), "/old") is None)
    assert world.now - began < 2.0
    world.run(10.0)
    world.agree()
    assert data(world.tree(leader), "/new") == b""
    assert new.state is CONNECTED


def test_SE_14_a_creation_whose_answer_is_lost_is_repeated_under_another_id() -> None:
    """S-1: the orphan expires; nothing runs twice."""
    world, leader, (follower, _) = up()
    session = world.open(follower, wait=False)
    first = session.id
    world.run_until(lambda: first in world.tree(leader).sessions or session.created)
    if not session.created:
        world.partition({follower}, others(world, follower))
        world.run(3.0)
        world.heal_all()
    world.run_until(lambda: session.created)
    [call] = world.submit(follower, session, create("/once"))
    world.result(call)
    world.run(8.0)
    world.agree()
    assert set(world.tree(leader).sessions) == {session.id}
    assert data(world.tree(leader), "/once") == b""


@pytest.mark.parametrize("snap", [False, True], ids=["DIFF", "SNAP"])
def test_SE_14_a_session_that_expired_while_its_creation_was_unresolved(snap: bool) -> None:
    """S-1: the owner comes back by DIFF or SNAP, past creation and expiry; its requests run once, in the new session."""
    world, leader, (follower, _third) = up()
    session = world.open(follower, wait=False)
    first = session.id
    # The creation leaves, and its commit never reaches the owner.
    world.run_until(lambda: first in world.tree(leader).sessions)
    assert not session.created
    world.partition({follower}, others(world, follower))
    [call] = world.submit(follower, session, create("/once-", sequential=True))
    world.run(12.0)
    assert first not in world.tree(leader).sessions
    if snap:
        world.call(leader, lambda _: world.app(leader).take_snapshot())
        for n in range(5):
            other = world.open(leader)
            world.write(leader, other, create(f"/{n}"))
        world.call(leader, lambda _: world.app(leader).take_snapshot())
    world.heal_all()
    if snap:  # It finds no trace of its creation, and begins anew.
        world.result(call)
        assert session.id != first
    else:  # It sees its session begin and expire; the call was never handed over.
        with pytest.raises(SessionExpiredError) as caught:
            world.result(call)
        assert caught.value.unknown == ()
    world.agree()
    made = [name for name in world.tree(leader).children("/") if name.startswith("once")]
    assert len(made) == (1 if snap else 0)


def test_SE_20_a_snapshot_older_than_a_session_does_not_end_it() -> None:
    """Q-7, S-7: a base at or below the mark settles nothing; results come in order."""
    world, leader, (follower, _third) = up()
    world.write(leader, world.open(leader), create("/before"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    session = world.open(follower)
    world.write(follower, session, create("/a"))
    calls = world.submit(follower, session, *(put("/a", str(n).encode()) for n in range(4)))
    world.act(follower, lambda replica: replica.peer.resync())  # Its state is to come by SNAP, whose base is older than the session.
    assert [world.result(call).version for call in calls] == [1, 2, 3, 4]
    assert session.state is not EXPIRED
    world.agree()
    assert world.write(follower, session, put("/a", b"on")).version == 5


def test_Q_7_a_replica_that_jumps_by_snapshot_finds_its_results_there() -> None:
    """The requests committed while it was away; their results, and the state, come with the snapshot."""
    world, leader, (follower, _third) = up()
    session = world.open(follower, timeout=30.0)
    world.write(follower, session, create("/a"))
    # What the leader commits no longer reaches the origin, what the origin sends still goes out.
    world.cut(leader, follower, both=False)
    calls = world.submit(follower, session, put("/a", b"1"), create("/a"), put("/a", b"2"))
    world.run_until(lambda: world.tree(leader).sessions[session.id].last_cseq == 4)
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    for n in range(3):
        other = world.open(leader)
        world.write(leader, other, create(f"/{n}"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    world.act(follower, lambda replica: replica.peer.resync())
    world.heal_all()
    assert world.result(calls[0]).version == 1
    with pytest.raises(Exception, match="exists"):
        world.result(calls[1])
    assert world.result(calls[2]).version == 2
    assert session.state is CONNECTED
    world.agree()


def test_BR_12_a_leader_that_applies_late_closes_and_moves_no_session() -> None:
    """S-2: a session that is not in its applied state is no reason to refuse."""
    world, leader, (follower, _) = up()
    world[leader].disk.hold = True
    session = world.open(follower)
    calls = world.submit(follower, session, create("/a"), put("/a", b"1"))
    assert world.result(calls[1]).version == 1
    assert session.state is CONNECTED
    world.release_disk(leader)
    world.agree()


# --- the blocked loop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", [0.5, 3.0, 30.0])
def test_BR_6_a_leader_whose_loop_was_blocked_answers_nothing_before_it_has_abdicated(blocked: float) -> None:
    """B-12, S-7: no stale barrier, no expiry, and its own sessions are SUSPENDED if their lease ran out."""
    world, leader, (follower, third) = up()
    own, foreign = world.open(leader), world.open(follower)
    barrier = world.act(leader, lambda replica: replica.sync(own))
    world.run_until(lambda: barrier.settled)
    seen = closes(world, foreign.id)
    late = world.act(leader, lambda replica: replica.sync(own))
    world.pause(leader, blocked)
    world.run(blocked)
    if blocked > 2:
        new = world.wait_leader(follower, third)
        other = world.open(new)
        answered = world.write(new, other, create("/meanwhile")).stat.czxid
        world.run_until(lambda: late.settled)
        assert new != leader
        if blocked < 6:
            assert late.result >= answered
        else:
            assert isinstance(late.error, SessionExpiredError)
    world.run(2.0)
    world.wait_serving()
    assert all(node != leader for _, node in seen)
    states = [state for _, id, state in world.app(leader).states if id == own.id]
    if blocked == 30.0:
        assert states == [CONNECTED, SUSPENDED, EXPIRED]
    else:
        assert states[-1] is CONNECTED
    world.agree()


# --- watches ---------------------------------------------------------------------------------------------------------


def test_WA_4_one_event_and_before_the_new_state_can_be_read() -> None:
    """W2, W3, C1: also inside one multi."""
    world, _leader, (follower, _) = up()
    session = world.open(follower)
    world.write(follower, session, create("/a"))
    watcher = world.watch(follower, session, "/a", WatchMode.DATA)
    story = world.app(follower).story
    calls = world.submit(follower, session, put("/a", b"1"), put("/a", b"2"))
    world.result(calls[1])
    assert [event.data for event in watcher.events] == [b"1"]
    kinds = [item[0] if item[0] == "event" else item[1] for item in story if item[0] == "event" or item[1] in calls]
    assert kinds == ["event", calls[0], calls[1]]


def test_WA_1_a_watch_outlives_leader_changes_and_sees_the_change_made_meanwhile() -> None:
    world, leader, (follower, third) = up()
    session, writer = world.open(follower, timeout=30.0), world.open(third, timeout=30.0)
    world.write(third, writer, create("/a"))
    world.sync(follower, session)
    watcher = world.watch(follower, session, "/a", WatchMode.DATA)
    world.crash(leader)
    stat = world.write(third, writer, put("/a", b"1"))
    world.run_until(lambda: bool(watcher.events))
    assert [(event.zxid, event.data) for event in watcher.events] == [(stat.mzxid, b"1")]


def test_WA_3_two_watches_are_both_told_though_the_link_is_lost_between() -> None:
    world, leader, (follower, _third) = up()
    session, writer = world.open(follower, timeout=30.0), world.open(leader, timeout=30.0)
    for path in ("/a", "/b"):
        world.write(leader, writer, create(path))
    world.sync(follower, session)
    first, second = (world.watch(follower, session, path, WatchMode.DATA) for path in ("/a", "/b"))
    world.write(leader, writer, put("/a", b"1"))
    world.run_until(lambda: bool(first.events))
    world.drop_links(leader, follower)
    world.write(leader, writer, put("/b", b"1"))
    world.run_until(lambda: bool(second.events))
    assert len(first.events) == len(second.events) == 1


def test_W1_a_snapshot_that_jumps_over_a_change_fires_the_watch_and_tells_streams_of_the_gap() -> None:
    world, leader, (follower, _third) = up()
    session, writer = world.open(follower, timeout=30.0), world.open(leader, timeout=30.0)
    world.write(leader, writer, create("/a"))
    world.sync(follower, session)
    one_shot = world.watch(follower, session, "/a", WatchMode.DATA)
    stream = world.watch(follower, None, "/", WatchMode.RECURSIVE)
    world.cut(leader, follower, both=False)
    world.write(leader, writer, put("/a", b"1"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    world.write(leader, writer, create("/b"))
    world.call(leader, lambda _: world.app(leader).take_snapshot())
    world.act(follower, lambda replica: replica.peer.resync())
    world.heal_all()
    world.run_until(lambda: bool(one_shot.events) and bool(stream.events))
    assert [event.data for event in one_shot.events] == [b"1"]
    assert stream.events[0].kind.name == "GAP"


def test_one_shot_watches_end_with_their_session_and_streams_stay() -> None:
    world, _leader, (follower, _) = up()
    session = world.open(follower)
    watcher = world.watch(follower, session, "/nothing", WatchMode.EXISTS)
    stream = world.watch(follower, None, "/", WatchMode.RECURSIVE)
    [call] = world.submit(follower, session, CloseSession(session.id, False))
    world.result(call)
    assert isinstance(watcher.ended, SessionExpiredError)
    assert stream.ended is None


# --- state -----------------------------------------------------------------------------------------------------------


def test_SN_4_a_snapshot_taken_between_changes_is_exactly_the_state_at_its_zxid() -> None:
    """P-8, D4: sessions open and close, children come and go; a restart from it equals the others."""
    world, leader, (follower, third) = up(seed=5)
    for n in range(30):
        session = world.open(third, timeout=30.0)
        world.write(third, session, create(f"/e{n}", ephemeral=True))
        if n % 3 == 0:
            world.submit(third, session, CloseSession(session.id, False))
        if n % 7 == 3:
            world.call(follower, lambda _: world.app(follower).take_snapshot())
    world.restart(follower)
    world.wait_serving()
    world.agree()
    assert world.tree(follower).digest_now() == world.tree(follower).recompute_digest() == world.tree(leader).digest_now()


def corrupt(world: World, node: int, path: str) -> None:
    """Its memory lies: a value changes by itself."""
    world.app(node).honest = False
    tree = world.tree(node)
    good = tree.get(path)
    assert good is not None
    tree._store._base[path] = evolved(good, b"rotten")


def evolved(node: TreeNode, value: bytes) -> TreeNode:
    return TreeNode(
        value,
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_us,
        node.mtime_us,
        node.version,
        node.aversion,
        node.ephemeral_owner,
        node.created_children,
        node.num_children,
    )


def test_SN_6_a_replica_whose_state_differs_stops_serving_says_so_and_rebuilds_it() -> None:
    """B-15: from its own disk."""
    world, leader, (follower, _third) = up()
    session, victim = world.open(leader, timeout=30.0), world.open(follower, timeout=30.0)
    world.write(leader, session, create("/a"))
    world.write(follower, victim, create("/b"))
    world.sync(follower, victim)
    corrupt(world, follower, "/a")
    world.write(leader, session, put("/a", b"1"))
    world.run_until(lambda: not world.replica(follower).healthy)
    read = world.read(follower, victim, "/a")
    assert not read.settled
    world.run_until(lambda: world.replica(follower).healthy)
    assert read.settled
    assert read.result == b"1"
    assert any("differs from the leader's" in report.text for report in world[follower].reports)
    world.agree()


def test_P_10_what_a_restart_knows_committed_is_served_before_anybody_is_reached() -> None:
    world, leader, (follower, _) = up()
    session = world.open(leader, timeout=30.0)
    for n in range(3):
        world.write(leader, session, create(f"/{n}"))
    world.sync(follower, world.open(follower))
    world.crash(*world.nodes)
    world.start(follower)
    world.run(0.1)
    assert data(world.tree(follower), "/0") == b""


def test_small_windows_and_counters_do_not_lose_requests() -> None:
    """Z-1, BR-3: the counter of an epoch runs out under load; an orderly new epoch, and every request is answered once."""
    world, _leader, (follower, _) = up(settings=Settings(counter_limit=40, outstanding_max=5))
    session = world.open(follower, timeout=30.0)
    world.write(follower, session, create("/q"))
    calls = world.submit(follower, session, *(create("/q/n-", sequential=True) for _ in range(150)))
    paths = [world.result(call).path for call in calls]
    assert paths == [f"/q/n-{n:010d}" for n in range(150)]
    assert world.replica(world.wait_leader()).peer.epoch >= 3
    world.agree()
