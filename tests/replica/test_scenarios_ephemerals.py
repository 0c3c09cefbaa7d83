"""Sessions and what they own: creates that meet a close, a session that owns very much, an operator's expiry (rules S-4 to S-7)."""

from __future__ import annotations

from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.errors import SessionExpiredError
from zkembed.record import Record
from zkembed.replica.expiry import Expiry
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import CloseSession, Multi
from zkembed.zab.effects import Append

from .world import World, create, data, put

EXPIRED, SUSPENDED, CONNECTED = SessionState.EXPIRED, SessionState.SUSPENDED, SessionState.CONNECTED
SEEDS = range(5)


def up(seed: int = 0) -> tuple[World, int, list[int]]:
    """A world that serves; its leader, and the followers."""
    world = World(3, seed=seed)
    leader = world.wait_leader()
    world.wait_serving()
    return world, leader, [id for id in world.nodes if id != leader]


def closes(world: World, session: int) -> list[tuple[float, int, Record]]:
    """(time, node, record) of each append that holds this session's close, from now on, on whatever node."""
    seen: list[tuple[float, int, Record]] = []

    def watch(node: Any, effect: Any) -> None:
        for record in effect.records if isinstance(effect, Append) else ():
            op = getattr(record.decoded, "op", None)
            if isinstance(op, CloseSession) and op.session == session:
                seen.append((world.now, node.id, record))

    world.watchers.append(watch)
    return seen


# --- SE-4 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("origin", ["leader", "follower"])
def test_SE_4_an_ephemeral_pipelined_behind_the_close_is_never_made(origin: str, seed: int) -> None:
    """SE-4 (S-6, E3): the origin refuses it; and what one that does not refuse sends, close and creates in one message, makes no node."""
    world, leader, (follower, _) = up(seed)
    node = leader if origin == "leader" else follower
    session = world.open(node)
    world.write(node, session, create("/e", ephemeral=True))
    number = world.tree(node).sessions[session.id].last_cseq
    close = encode_entry(session.id, number + 1, number + 1, CloseSession(session.id, False))
    late = [encode_entry(session.id, number + n, number + 1, create(f"/late{n}", ephemeral=True)) for n in (2, 3)]
    world.act(node, lambda replica: replica._send((close, *late)))
    world.run_until(lambda: session.state is EXPIRED)
    with pytest.raises(SessionExpiredError):
        world.submit(node, session, create("/later", ephemeral=True))
    world.run(1.0)
    world.agree()
    assert [world.tree(id).children("/") for id in world.nodes] == [("zookeeper",)] * 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("arrives", ["before the close is proposed", "before the close is committed", "behind the close"])
def test_SE_4_an_ephemeral_in_flight_while_the_session_expires(arrives: str, seed: int) -> None:
    """SE-4 (S-5, S-6): the create hangs on the line from its owner while the leader's patience ends. Too late, it leaves neither session
    nor node, and its caller is told so; in time it is the session's touch, and both live."""
    world, leader, (follower, third) = up(seed)
    session = world.open(follower)
    seen = closes(world, session.id)
    world.cut(follower, leader, both=False)
    [call] = world.submit(follower, session, create("/e", ephemeral=True))
    if arrives == "before the close is proposed":
        world.run(world.rng.uniform(0.0, 1.0))
    else:
        if arrives == "before the close is committed":
            world.cut(third, leader, both=False)
            world[leader].disk.hold = True
            world.replica(leader)._leadership.expiry._deadlines[session.id] = world.now  # type: ignore[union-attr]
            world.replica(leader)._leadership.expiry._bound = 0.0  # type: ignore[union-attr]
        world.run_until(lambda: bool(seen), 20.0)
        if arrives == "behind the close":
            world.run_until(lambda: session.id not in world.tree(leader).sessions)
    world.heal_all()
    if world[leader].disk.hold:
        world.run(0.05)
        world.release_disk(leader)
    if arrives == "before the close is proposed":
        assert world.result(call).path == "/e"
    else:
        with pytest.raises(SessionExpiredError):
            world.result(call)
    world.run(10.0)
    world.agree()
    lives = arrives == "before the close is proposed"
    assert (session.state, bool(seen)) == ((CONNECTED, False) if lives else (EXPIRED, True))
    assert {data(world.tree(id), "/e") for id in world.nodes} == {b"" if lives else None}


# --- SE-5 ------------------------------------------------------------------------------------------------------------

OWNED, TOGETHER = 4000, 80


@pytest.mark.parametrize("dies", [None, "as it proposes the close", "when a follower has it"])
def test_SE_5_a_session_that_owns_very_much_closes_by_one_small_entry_everywhere(dies: str | None) -> None:
    """SE-5 (S-6, E2), ZK-4306: its close is as small as any, is applied in one entry on each node, and nobody loses the leader over it; nor
    does a change of leader under it leave anything behind. (Its time: ``tests/tree/test_huge_session.py``.)"""
    world, leader, (follower, third) = up()
    for id in world.nodes:
        world.app(id).honest = False  # To look at everything after every step would be all that this test does.
    session = world.open(follower)
    for start in range(0, OWNED, TOGETHER):
        ops = tuple(create(f"/e{number:05d}", ephemeral=True) for number in range(start, start + TOGETHER))
        world.write(follower, session, Multi(ops))
    keeper = world.open(third, timeout=30.0)
    world.write(third, keeper, create("/kept", ephemeral=True))
    world.agree()
    epoch = world[leader].peer.epoch
    seen = closes(world, session.id)
    if dies is not None:
        watch_and_kill(world, leader, session.id, when_held=dies == "when a follower has it")
    world.crash(follower)
    left = [third] if dies else [leader, third]
    world.run_until(lambda: bool(seen), 20.0)
    if dies is not None:
        world.run_until(lambda: not world[leader].up)
        world.start(follower)
    world.run_until(lambda: all(session.id not in world.tree(id).sessions for id in left), 40.0)
    assert all(len(record.encoded) < 100 for _, _, record in seen)
    for id in left:
        assert world.tree(id).children("/") == ("kept", "zookeeper")
        world.app(id).honest = True
    if dies is None:
        assert (world.leader(), world[leader].peer.epoch) == (leader, epoch)
        assert len({record.zxid for _, _, record in seen}) == 1
        world.start(follower)
    else:
        world.start(leader)
    world.wait_serving()
    world.agree()


def watch_and_kill(world: World, leader: int, session: int, *, when_held: bool) -> None:
    """Kill the leader at its own append of the close, or at a follower's."""

    def watch(node: Any, effect: Any) -> None:
        if isinstance(effect, Append) and world[leader].up and (node.id != leader) == when_held:
            ops = [getattr(record.decoded, "op", None) for record in effect.records]
            if when_held or any(isinstance(op, CloseSession) and op.session == session for op in ops):
                world.at(0.0, lambda: world.crash(leader) if world[leader].up else None)

    world.watchers.append(watch)


# --- SE-21 -----------------------------------------------------------------------------------------------------------


def condemn(world: World, session: int) -> None:
    """What an operator's command will do at the leader."""
    leadership = world.replica(world.wait_leader())._leadership
    assert leadership is not None
    expiry: Expiry = leadership.expiry
    assert expiry.condemn(session)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("timeout", [3.2, 9.0])
@pytest.mark.parametrize("holder", ["leader", "follower"])
def test_SE_21_operators_expiry(holder: str, timeout: float, seed: int) -> None:
    """SE-21 (S-5, S-7): an operator expires the session of a connected, busy owner. Its touches are confirmed no more: it is SUSPENDED in
    time, before the close is even proposed, and never CONNECTED again; what it owned goes with it, on every node."""
    world, leader, (follower, third) = up(seed)
    node = leader if holder == "leader" else follower
    session = world.open(node, timeout=timeout)
    other = world.open(third, timeout=timeout)
    world.write(node, session, create("/lock", ephemeral=True))
    world.run(world.rng.uniform(0.5, 3.0))
    assert session.state is CONNECTED
    seen = closes(world, session.id)
    condemn(world, session.id)
    began = world.now
    while not seen and world.now < began + 2 * timeout:
        if session.state is CONNECTED:
            world.submit(node, session, put("/lock", b"at work"))
        world.run(0.2)
    world.run_until(lambda: session.state is EXPIRED)
    states = [(time, state) for time, id, state in world.app(node).states if id == session.id]
    assert [state for _, state in states] == [CONNECTED, SUSPENDED, EXPIRED]
    assert states[1][0] < seen[0][0], "suspended only behind the close"
    assert seen[0][0] <= began + timeout + 0.3
    world.agree()
    assert {data(world.tree(id), "/lock") for id in world.nodes} == {None}
    assert other.state is CONNECTED


def test_SE_21_a_change_of_leader_forgets_it() -> None:
    """SE-21 (S-5): if leadership is lost before the close commits, the session simply lives on."""
    world, leader, (follower, _) = up()
    session = world.open(follower, timeout=6.0)
    condemn(world, session.id)
    world.run(1.0)
    world.restart(leader)
    world.wait_serving()
    world.run(20.0)
    assert session.state is CONNECTED
    assert world.write(follower, session, create("/on")).path == "/on"
