"""Requests across failures: order, at-most-once, limits, barriers (rules Q-1 to Q-10, R-1 to R-5, B-8)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from zkembed.errors import DataTooLargeError, NodeExistsError, NoNodeError
from zkembed.tree.ops import Op
from zkembed.tree.results import public
from zkembed.tree.watches import WatchMode
from zkembed.zab import messages as m
from zkembed.zab.effects import Send

from .world import World, create, data, put

LEADERS = pytest.mark.parametrize("origin_leads", [False, True], ids=["origin follows", "origin leads"])


def up(n: int = 3, **options: Any) -> tuple[World, int, int]:
    """A world that serves; its leader, and a follower."""
    world = World(n, **options)
    leader = world.wait_leader()
    world.wait_serving()
    return world, leader, next(id for id in world.nodes if id != leader)


def drop(world: World, kind: type, *, times: int = 1) -> list[Any]:
    """The next ``times`` messages of a kind get lost with their link; what was lost."""
    lost: list[Any] = []

    def watch(node: Any, effect: Any) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, kind) and len(lost) < times:
            lost.append(effect.message)
            world.crash(node.id)

    world.watchers.append(watch)
    return lost


def test_a_write_is_answered_when_the_own_replica_has_applied_it() -> None:
    """B-8, D6: read your writes, at a follower too."""
    world, _, follower = up()
    session = world.open(follower)
    assert world.write(follower, session, create("/a", b"1")).path == "/a"
    assert data(world.tree(follower), "/a") == b"1"
    stat = world.write(follower, session, put("/a", b"2"))
    assert (stat.version, data(world.tree(follower), "/a")) == (1, b"2")


@pytest.mark.parametrize("when", ["before proposing", "after proposing", "after commit"])
@pytest.mark.parametrize("op", [create("/x", sequential=True), put("/a", b"2"), create("/a")], ids=["create", "set", "failing"])
def test_SE_7_a_write_whose_leader_dies_takes_effect_once_and_gives_the_first_result(when: str, op: Op) -> None:
    world, leader, follower = up()
    session = world.open(follower)
    world.write(follower, session, create("/a"))
    kind = {"before proposing": m.Request, "after proposing": m.Proposal, "after commit": m.Commit}[when]

    def kill(node: Any, effect: Any) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, kind) and world[leader].up and not done:
            done.append(effect)
            if when != "before proposing":
                # The message itself still leaves: the leader dies behind it.
                world.at(0.0, lambda: world.crash(leader))
            else:
                world.crash(leader)

    done: list[Any] = []
    world.watchers.append(kill)
    [call] = world.submit(follower, session, op)
    if isinstance(op, type(create("/a"))) and op.path == "/a":
        with pytest.raises(NodeExistsError):
            world.result(call)
    else:
        world.result(call)
    assert done
    world.watchers.clear()
    tree = world.tree(follower)
    assert sum(name.startswith("x") for name in tree.children("/")) == (1 if op == create("/x", sequential=True) else 0)
    assert tree.get("/a").version == (1 if isinstance(op, type(put("/a", b""))) else 0)  # type: ignore[union-attr]
    world.restart(leader)
    world.wait_serving()
    world.agree()


@LEADERS
def test_SE_8_a_pipeline_whose_middle_fails_ends_alike_with_and_without_a_leader_change(origin_leads: bool) -> None:
    """Q-6: a failed operation is an executed one."""

    def run(kill: bool) -> list[Any]:
        world, leader, follower = up(seed=3)
        origin = leader if origin_leads else follower
        session = world.open(origin)
        calls = world.submit(origin, session, create("/a"), create("/missing/b"), put("/a", b"1"))
        if kill:
            if origin_leads:
                world.partition({origin}, {id for id in world.nodes if id != origin})
                world.run(3.0)
                world.heal_all()
            else:
                world.restart(leader)
        outcomes = []
        for call in calls:
            try:
                result = world.result(call)
                outcomes.append(getattr(result, "version", getattr(result, "path", None)))
            except NoNodeError:
                outcomes.append("NoNode")
        world.wait_serving()
        world.agree()
        return outcomes

    assert run(kill=False) == run(kill=True) == ["/a", "NoNode", 1]


def test_writes_of_one_session_keep_their_order_over_ten_leader_changes() -> None:
    """D34, Q-4: what was unresolved goes out again first, and in order."""
    world, _, _ = up(seed=11)
    writer = 1
    session = world.open(writer, timeout=20.0)
    world.write(writer, session, create("/log"))
    calls = []
    for n in range(60):
        calls += world.submit(writer, session, create("/log/n-", str(n).encode(), sequential=True))
        if n % 6 == 5:
            leader = world.leader()
            if leader not in (None, writer):
                world.restart(leader)  # type: ignore[arg-type]
            else:
                world.run(0.01)
    results = [world.result(call).path for call in calls]
    world.wait_serving()
    world.agree()
    for id in world.nodes:
        tree = world.tree(id)
        names = tree.children("/log")
        assert [f"/log/{name}" for name in names] == results
        assert [int(data(tree, path) or b"") for path in results] == list(range(60))


@pytest.mark.parametrize("size", [-1, 0, 1])
@LEADERS
def test_BR_7_an_entry_over_the_limit_is_refused_by_the_leader_and_the_stream_goes_on(size: int, origin_leads: bool) -> None:
    """Q-2, SE-15: refused before proposing, answered in its place, and what was behind it runs."""
    world, leader, follower = up()
    origin = leader if origin_leads else follower
    session = world.open(origin)
    calls = world.submit(origin, session, create("/a"), put("/a", bytes(1000 + size)), put("/a", b"end"))
    world.result(calls[0])
    if size > 0:
        with pytest.raises(DataTooLargeError):
            world.result(calls[1])
    else:
        world.result(calls[1])
    assert world.result(calls[2]).version == (1 if size > 0 else 2)
    world.agree()


def test_SE_19_a_rejected_request_that_was_resolved_meanwhile_does_not_stop_the_stream() -> None:
    """Q-2: the empty operation goes out even so, and is a duplicate."""
    world, leader, follower = up()
    session = world.open(follower)
    [call] = world.submit(follower, session, create("/a"))
    world.result(call)
    # The leader says REJECT of what is resolved, and from here on waits for it again.
    intake = world.replica(leader)._leadership._intake  # type: ignore[union-attr]
    link = next(link for link, origin in world.replica(leader)._learners.items() if origin.node_id == follower)
    intake._skipping[link, session.id] = 1
    world.call(leader, lambda peer: peer.reject(link, session.id, 1, m.RejectCode.TOO_LARGE))
    [behind] = world.submit(follower, session, put("/a", b"behind"))
    assert world.result(behind).version == 1
    world.agree()


def test_SE_15_a_call_withdrawn_in_the_queue_leaves_no_gap() -> None:
    world, _leader, follower = up()
    session = world.open(follower)
    world.write(follower, session, create("/a"))
    world.partition({follower}, {id for id in world.nodes if id != follower})
    world.run_until(lambda: not world.replica(follower).serving)
    first, second, third = world.submit(follower, session, *(put("/a", str(n).encode()) for n in range(3)))
    assert world.act(follower, lambda replica: replica.withdraw(second)) is True
    world.heal_all()
    assert [world.result(first).version, world.result(third).version] == [1, 2]
    assert not second.settled
    world.agree()


def test_R_1_a_barrier_sees_every_write_answered_before_it_was_asked_for() -> None:
    """S7: at a follower that lags."""
    world, leader, follower = up()
    session, other = world.open(follower), world.open(leader)
    world.cut(leader, follower, both=False)
    stat = None
    for n in range(3):
        stat = world.write(leader, other, create(f"/{n}")).stat
    assert data(world.tree(follower), "/2") is None
    world.heal_all()
    assert stat is not None
    assert world.sync(follower, session) >= stat.czxid
    assert data(world.tree(follower), "/2") == b""


def test_R_2_a_deposed_leader_answers_no_barrier() -> None:
    """ZK-1675: it does not know that it is deposed, so it must ask a quorum."""
    world, leader, _follower = up()
    session = world.open(leader)
    world.partition({leader}, {id for id in world.nodes if id != leader})
    barrier = world.act(leader, lambda replica: replica.sync(session))
    assert world.replica(leader).peer.role.value == "leading"
    new = world.wait_leader(*(id for id in world.nodes if id != leader))
    other = world.open(new)
    answered = world.write(new, other, create("/new")).stat.czxid
    assert not barrier.settled
    world.heal_all()
    world.run_until(lambda: barrier.settled)  # asked again of the next leader.
    assert barrier.result >= answered
    assert data(world.tree(leader), "/new") == b""


def test_R_3_a_barrier_settles_what_was_cancelled() -> None:
    """Q-8: an orphan stays in the stream; behind the barrier its outcome can be looked at."""
    world, _leader, follower = up()
    session = world.open(follower)
    [call] = world.submit(follower, session, create("/orphan"))
    assert world.act(follower, lambda replica: replica.withdraw(call)) is False
    world.sync(follower, session)
    assert data(world.tree(follower), "/orphan") == b""


def test_BR_10_reads_between_writes_see_exactly_what_was_written_before_them() -> None:
    """Q-9, D2: issued in one step, each read is answered in the step that resolves the write before it."""
    world, _leader, follower = up()
    session = world.open(follower)
    world.write(follower, session, create("/a"))
    reads = []

    def issue(replica: Any) -> None:
        for n in range(5):
            replica.submit(session, put("/a", str(n).encode()))
            reads.append(replica.read(session, lambda: data(world.tree(follower), "/a")))

    world.act(follower, issue)
    world.run_until(lambda: all(read.settled for read in reads))
    assert [read.result for read in reads] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_write_waits_for_a_quorum_and_reads_of_an_idle_session_do_not() -> None:
    """B17, B18."""
    world, _leader, follower = up()
    idle, writing = world.open(follower), world.open(follower)
    world.crash(*(id for id in world.nodes if id != follower))
    world.run(1.0)
    [call] = world.submit(follower, writing, create("/a"))
    world.run(1.0)
    assert not call.settled
    assert world.read(follower, idle, "/zookeeper").settled
    assert not world.read(follower, writing, "/zookeeper").settled
    for id in world.nodes:
        if id != follower:
            world.start(id)
    assert world.result(call).path == "/a"


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
def test_DU_2_after_the_lights_went_out_every_answered_write_is_there_in_whatever_order_they_return(order: tuple[int, ...]) -> None:
    """D1: all die in the same step under load, at ever other moments; unsynced data is lost on each of them."""
    for seed in range(2):
        world, _, _ = up(seed=seed)
        sessions = {id: world.open(id, timeout=30.0) for id in world.nodes}
        calls: list[tuple[Any, bytes]] = []
        for number in range(30):
            for id, session in sessions.items():
                value = f"{id}.{number}".encode()
                calls += [(call, value) for call in world.submit(id, session, create("/w-", value, sequential=True))]
            world.run(world.rng.uniform(0, 0.002))
        answered = {public(call.outcome, call.zxid).path: value for call, value in calls if call.settled}  # type: ignore[union-attr]
        assert answered
        world.crash(*world.nodes, silent=True)
        for id in order:
            world.start(id)
            world.run(world.rng.uniform(0, 0.5))
        world.wait_serving()
        world.agree()
        assert {path: data(world.tree(id), path) for id in world.nodes for path in answered} == answered


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut_off", ["follower", "leader"])
def test_SY_17_a_node_cut_off_works_on_its_own_and_invents_no_zxid(cut_off: str, seed: int) -> None:
    """SY-17 (X-3, S-1, Q-4), ZK-3526: reads go on; new sessions, writes and barriers wait. Nothing of it is in its log, so what it comes
    back with is a place in the others' history: a follower gets DIFF; a leader loses what it alone had proposed. Each call runs once."""
    world, leader, follower = up(seed=seed)
    node = leader if cut_off == "leader" else follower
    rest = [id for id in world.nodes if id != node]
    session, other = world.open(node, timeout=40.0), world.open(rest[0], timeout=40.0)
    world.write(node, session, create("/a", b"before"))
    world.agree()
    known = {record.zxid for record in world[node].disk.live.records}
    headers: list[m.Sync] = []

    def watch(sender: Any, effect: Any) -> None:
        if sender.id != node and isinstance(effect, Send) and isinstance(effect.message, m.Sync):
            headers.append(effect.message)

    world.partition([node], rest)
    calls, opened = [], []
    for number in range(6):
        assert world.read(node, world.open(node, wait=False), "/a").settled is True
        calls += world.submit(node, session, put("/a", b"local %d" % number))
        opened.append(world.open(node, timeout=40.0, wait=False))
        world.watch(node, None, "/a", WatchMode.PERSISTENT)
        world.run(1.0)
    barrier = world.act(node, lambda replica: replica.sync(session))
    new = world.wait_leader(*rest)
    world.write(rest[0], other, create("/meanwhile"))
    assert not barrier.settled
    assert not any(call.settled for call in calls)
    tail = [record.zxid for record in world[node].disk.live.records if record.zxid not in known]
    assert (tail == []) is (cut_off == "follower"), "only what it had proposed as leader"
    assert {zxid >> 32 for zxid in tail} <= {max(known) >> 32}
    world.watchers.append(watch)
    world.heal_all()
    assert [world.result(call).version for call in calls] == [1, 2, 3, 4, 5, 6]
    world.run_until(lambda: barrier.settled and all(each.created for each in opened))
    expected = m.SyncMode.DIFF if cut_off == "follower" else m.SyncMode.TRUNC
    assert [(header.mode, header.common) for header in headers] == [(expected, max(known))]
    world.agree()
    assert not set(tail) & {record.zxid for record in world[new].disk.live.records}
    assert data(world.tree(new), "/a") == b"local 5"
