"""What a session has under way, through leaders that die or leave at every moment, with every operation, beside others, and beyond limits
(rules Q-1 to Q-10, B-16)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.errors import DataTooLargeError, NodeExistsError, NoNodeError, TransactionError, ZkError
from zkembed.replica.pipeline import WINDOW, Call
from zkembed.testing.simulated.replica_app import LIMITS
from zkembed.tree.ops import OP_OVERHEAD_BYTES, Create, Delete, DeleteOwn, Ensure, Multi, Op, SetData
from zkembed.zab.settings import Settings

from .world import World, create, data, put


def up(n: int = 3, **options: Any) -> tuple[World, int, list[int]]:
    """A world that serves; its leader, and the followers."""
    world = World(n, **options)
    leader = world.wait_leader()
    world.wait_serving()
    return world, leader, [id for id in world.nodes if id != leader]


def unwatched(world: World) -> None:
    """Do not look at each replica's invariants after every step: under load that would be all that a test does. The judge still looks."""
    for id in world.nodes:
        world.app(id).honest = False


def ending(world: World, call: Call) -> str:
    """What a call ends with, in a word."""
    try:
        return repr(type(world.result(call)).__name__)
    except ZkError as error:
        return type(error).__name__


def what_is(world: World, node: int) -> dict[str, tuple[bytes, int]]:
    """The tree without the system's own znodes."""
    return {path: (znode.data, znode.version) for path, znode in world.tree(node).items() if not path.startswith("/zookeeper")}


# --- SE-7, SE-8 ------------------------------------------------------------------------------------------------------

BEFORE = (create("/a"), create("/gone"), create("/e-", ephemeral=True, sequential=True))
OPERATIONS: dict[str, tuple[Op, str]] = {
    "create": (create("/new", b"1"), "Created"),
    "create sequential": (create("/s-", sequential=True), "Created"),
    "create ephemeral": (create("/eph", ephemeral=True), "Created"),
    "create with parents": (Create("/p/q/r", b"", parents=True), "Created"),
    "create what exists": (create("/a"), NodeExistsError.__name__),
    "ensure": (Ensure("/x/y"), "NoneType"),
    "set": (put("/a", b"2"), "Stat"),
    "set at a version": (SetData("/a", b"2", 0), "Stat"),
    "set nothing": (put("/missing", b""), NoNodeError.__name__),
    "delete": (Delete("/gone"), "NoneType"),
    "delete nothing": (Delete("/missing"), NoNodeError.__name__),
    "delete own": (DeleteOwn("/e-"), "NoneType"),
    "transaction": (Multi((put("/a", b"t"), create("/t-", sequential=True))), "tuple"),
    "transaction that fails": (Multi((put("/a", b"t"), create("/a"))), TransactionError.__name__),
}
MOMENTS = (0.0, 0.0004, 0.0009, 0.0014, 0.0019, 0.0025, 0.0035, 0.005)
"""Seconds behind the call: from the queue at the origin, over the leader's log and the followers', to the answer."""


def one_call(op: Op, dies_after: float | None, seed: int) -> tuple[str, dict[str, tuple[bytes, int]]]:
    """The end of one call and the state behind it; the leader dies so long behind the call and comes back."""
    world, leader, (follower, _) = up(seed=seed)
    session = world.open(follower, timeout=20.0)
    for each in BEFORE:
        world.write(follower, session, each)
    [call] = world.submit(follower, session, op)
    if dies_after is not None:
        world.run(dies_after)
        world.crash(leader)
    end = ending(world, call)
    if dies_after is not None:
        world.start(leader)
    world.wait_serving()
    world.agree()
    return end, what_is(world, leader)


@pytest.mark.parametrize("name", OPERATIONS)
def test_SE_7_an_operation_of_any_kind_runs_once_whenever_the_leader_dies(name: str) -> None:
    """SE-7 (Q-4, Q-5): result and state are those of a run without a fault, at each of the moments."""
    op, expected = OPERATIONS[name]
    end, state = one_call(op, None, 0)
    assert expected in end
    for seed, moment in enumerate(MOMENTS):
        assert one_call(op, moment, seed) == (end, state), f"the leader died {moment} s behind the call, seed {seed}"


def pipeline(dies_after: float | None, seed: int) -> tuple[list[str], dict[str, tuple[bytes, int]]]:
    """Nine calls in one step, every third of which fails."""
    world, leader, (follower, _) = up(seed=seed)
    session = world.open(follower, timeout=20.0)
    world.write(follower, session, create("/a"))
    calls = world.submit(
        follower,
        session,
        *(op for n in range(3) for op in (create(f"/a/{n}"), create("/missing/x"), SetData("/a", b"%d" % n, n))),
    )
    if dies_after is not None:
        world.run(dies_after)
        world.crash(leader)
    ends = [ending(world, call) for call in calls]
    if dies_after is not None:
        world.start(leader)
    world.wait_serving()
    world.agree()
    return ends, what_is(world, leader)


@pytest.mark.parametrize("moment", MOMENTS)
def test_SE_8_a_pipeline_with_failures_ends_alike_wherever_the_leader_dies(moment: float) -> None:
    """SE-8 (Q-6): a failed call is an executed one, so what is behind it neither moves up nor is tried against another state."""
    expected = pipeline(None, 0)
    assert expected[0] == ["'Created'", "NoNodeError", "'Stat'"] * 3
    for seed in range(3):
        assert pipeline(moment, seed) == expected


# --- BR-7 ------------------------------------------------------------------------------------------------------------


def multi_of(size: int) -> Multi:
    """A transaction whose size, as limits count it, is exactly this."""
    ops: list[Create] = []
    left = size - OP_OVERHEAD_BYTES
    while left:
        own = min(left, 900) if left >= 2 * 900 or left <= 900 else left // 2
        path = f"/m{len(ops)}"
        ops.append(create(path, bytes(own - OP_OVERHEAD_BYTES - len(path))))
        left -= own
    multi = Multi(tuple(ops))
    assert multi.size() == size
    return multi


def path_of(length: int) -> str:
    return "/" + "p" * (length - 1)


LONGEST = LIMITS.txn_bytes_max - OP_OVERHEAD_BYTES
AT_THE_LIMIT: dict[str, tuple[Op, Op]] = {
    "data": (create("/d", bytes(LIMITS.data_bytes_max)), create("/d", bytes(LIMITS.data_bytes_max + 1))),
    "transaction": (multi_of(LIMITS.txn_bytes_max), multi_of(LIMITS.txn_bytes_max + 1)),
    "path": (create(path_of(LONGEST)), create(path_of(LONGEST + 1))),
}
"""What is just within, and what is just beyond."""


@pytest.mark.parametrize("origin", ["leader", "follower"])
@pytest.mark.parametrize("limit", AT_THE_LIMIT)
def test_BR_7_what_is_within_the_limits_is_readable_everywhere_and_what_is_beyond_is_nowhere(limit: str, origin: str) -> None:
    """BR-7 (Q-2), ZK-2101, ZK-3496: data, transactions and long paths, past an origin that checks nothing; also after a restart from the
    log, and by a sync. The stream goes on behind a refusal."""
    world, leader, (follower, third) = up()
    node = leader if origin == "leader" else follower
    session = world.open(node, timeout=60.0)
    within, beyond = AT_THE_LIMIT[limit]
    world.crash(third)
    calls = world.submit(node, session, beyond, within, create("/end"))
    with pytest.raises(DataTooLargeError):
        world.result(calls[0])
    for call in calls[1:]:
        world.result(call)
    state = what_is(world, leader)
    world.start(third)
    world.wait_serving()
    world.agree()
    world.restart(*world.nodes)
    world.wait_serving()
    world.agree()
    assert [what_is(world, id) for id in world.nodes] == [state] * 3


# --- BR-10, BR-11 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_BR_10_reads_and_writes_interleaved_with_commits_of_others(seed: int) -> None:
    """BR-10 (Q-9), ZK-1863: each read sees the own write before it; what it sees of the others' only grows; answers come in order."""
    world, leader, (follower, third) = up(seed=seed)
    session, other = world.open(follower, timeout=30.0), world.open(third, timeout=30.0)
    world.write(follower, session, create("/own", b"-1"))
    world.write(third, other, create("/other", b"0"))
    world.sync(follower, session)
    items: list[Any] = []

    def look() -> tuple[int, int]:
        tree = world.tree(follower)
        return int(data(tree, "/own") or b""), int(data(tree, "/other") or b"")

    def issue(number: int, replica: Any) -> None:
        items.append(replica.submit(session, put("/own", b"%d" % number)))
        items.append(replica.read(session, look))

    for number in range(40):
        world.act(follower, partial(issue, number))
        world.submit(third, other, put("/other", b"%d" % (number + 1)))
        world.run(world.rng.uniform(0.0, 0.002))
        if number == 20:
            world.drop_links(leader, follower)
        settled = [item.settled for item in items]
        assert settled == sorted(settled, reverse=True), "in order"
    world.run_until(lambda: all(item.settled for item in items))
    seen = [item.result for item in items[1::2]]
    assert [own for own, _ in seen] == list(range(40))
    assert [others for _, others in seen] == sorted(others for _, others in seen)


def test_BR_11_a_hundred_sessions_that_read_no_answers() -> None:
    """BR-11 (D30): what cannot go out waits at its origin, in order; what is proposed and not committed stays within the window, whoever
    pushes; the leader stays, and every call is done once."""
    settings = Settings(outstanding_max=50)
    world, leader, (follower, third) = up(settings=settings)
    unwatched(world)
    opened = [(id, world.act(id, lambda replica: replica.open_session(30.0))) for id in (leader, follower, third) for _ in range(34)]
    world.run_until(lambda: all(session.state is SessionState.CONNECTED for _, session in opened))
    roots = [create(f"/{session.id:x}") for _, session in opened]
    calls = [
        (session, world.submit(id, session, root, *[put(root.path, b"")] * 60)) for (id, session), root in zip(opened, roots, strict=True)
    ]
    epoch, most = world[leader].peer.epoch, 0
    while not all(call.settled for _, each in calls for call in each):
        world.run(0.001)
        history = world[leader].peer.history
        most = max(most, (history.end - history.committed) & 0xFFFF_FFFF)
        assert all(len(session.handed) <= WINDOW for session, _ in calls)
    assert 0 < most <= settings.outstanding_max + 1
    world.agree()
    assert (world.leader(), world[leader].peer.epoch) == (leader, epoch)
    for (_, session), root in zip(opened, roots, strict=True):
        znode = world.tree(third).get(root.path)
        assert znode is not None
        assert znode.version == 60, session
        assert session.state is SessionState.CONNECTED


# --- BR-13 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["anyone", "named", "lagging", "dying"])
@pytest.mark.parametrize("seed", range(3))
def test_BR_13_a_hand_over_under_load_loses_and_doubles_nothing(to: str, seed: int) -> None:
    """BR-13 (B-16): the leader of five leaves while every node writes: to anyone, to a named node, to one whose disk lags, to one that dies
    as it is told. Each call is done once, with its result; no session is suspended, and no gap in the answers is as long as
    ``disloyal_wait``."""
    world, leader, others = up(5, seed=seed)
    unwatched(world)
    sessions = {id: world.open(id, timeout=6.0) for id in others}
    world.write(others[0], sessions[others[0]], create("/q"))
    calls: dict[int, list[Call]] = {id: [] for id in others}
    heir = None if to == "anyone" else others[0]
    if to == "lagging" and heir is not None:
        world[heir].disk.delay = 0.05
    longest, quiet_since, done = 0.0, world.now, 0
    for step in range(400):
        for id in others:
            if world[id].up and step % 4 == 0 and step < 300:
                calls[id] += world.submit(id, sessions[id], create("/q/n-", f"{id}.{len(calls[id])}".encode(), sequential=True))
        if step == 100:
            world.call(leader, lambda peer: peer.leave(heir))
        if to == "dying" and heir is not None and step == 101:
            world.crash(heir)
        world.run(0.002)
        now_done = sum(call.settled for each in calls.values() for call in each)
        if now_done > done:
            longest, quiet_since, done = max(longest, world.now - quiet_since), world.now, now_done
    alive = [id for id in others if world[id].up]
    world.run_until(lambda: all(call.settled for id in alive for call in calls[id]))
    assert longest < Settings().disloyal_wait * 0.6
    world.crash(leader)
    world.agree(*alive)
    tree = world.tree(alive[0])
    made = {f"/q/{name}": data(tree, f"/q/{name}") for name in tree.children("/q")}
    for id in alive:
        assert [made[world.result(call).path] for call in calls[id]] == [f"{id}.{number}".encode() for number in range(len(calls[id]))]
        states = [state for _, session, state in world.app(id).states if session == sessions[id].id]
        assert states == [SessionState.CONNECTED]
    assert len(set(made.values())) == len(made), "nothing twice"
    if to == "named":
        assert world.leader() == heir
