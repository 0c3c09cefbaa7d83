"""Contenders of a workload go the recipe's way, and the history says where they are."""

from __future__ import annotations

from zkembed.testing.history import Fault, GuardedWrite, Invoke, LockSeen
from zkembed.testing.workload.client import Client
from zkembed.testing.workload.contender import CONTENDER
from zkembed.testing.workload.line import Line
from zkembed.testing.workload.tenure import Plan, Tenure
from zkembed.tree.ops import Delete

from .worlds import WorkedWorld

PATH = "/locks/l0"


def opened(world: WorkedWorld, node: int, timeout: float = 4.0) -> Client:
    client = world.workload.open(world.hosts[node], timeout)
    world.run_until(lambda: client.session.created)
    return client


def contend(world: WorkedWorld, client: Client, plan: Plan, line: Line | None = None, path: str = PATH) -> Tenure:
    return client.host.act(lambda _: world.workload.contend(client, path, line or Line(), plan))


def states(world: WorkedWorld, client: Client) -> list[str]:
    return [event.state for event in world.seen(LockSeen) if event.client == client.number]


def wait_state(world: WorkedWorld, client: Client, state: str, limit: float = 30.0) -> LockSeen:
    world.run_until(lambda: state in states(world, client), limit)
    seen: LockSeen = next(event for event in world.seen(LockSeen) if event.client == client.number and event.state == state)
    return seen


def rests(world: WorkedWorld) -> None:
    """Nothing is left of any contender, and every node knows."""
    world.settle()
    world.run(1.0)
    assert all(not world.hosts[node].replica.tree.children(PATH) for node in world.hosts)


def test_two_take_turns_in_the_order_of_their_znodes_and_tokens_rise() -> None:
    """Invariant L1."""
    world = WorkedWorld()
    one, two = opened(world, 1), opened(world, 2)
    contend(world, one, Plan(hold=0.5))
    held = wait_state(world, one, "holds")
    assert CONTENDER.fullmatch(held.znode.removeprefix(PATH + "/"))
    znode = one.replica.tree.get(held.znode)
    assert znode is not None
    assert held.token == znode.stat().czxid
    contend(world, two, Plan(hold=0.5))
    wait_state(world, two, "waits")
    assert states(world, one) == ["waits", "holds"]
    next_held = wait_state(world, two, "holds")
    assert states(world, one) == ["waits", "holds", "released"]
    assert next_held.token > held.token
    rests(world)
    assert states(world, two) == ["waits", "holds", "released"]
    assert all(event.accepted for event in world.seen(GuardedWrite))


def test_whoever_does_not_want_to_wait_is_refused_and_leaves_nothing() -> None:
    world = WorkedWorld()
    one, two = opened(world, 1), opened(world, 2)
    contend(world, one, Plan(hold=1.0))
    wait_state(world, one, "holds")
    contender = contend(world, two, Plan(wait=False))
    world.run_until(lambda: contender.over)
    assert states(world, two) == ["waits", "gave up"]
    rests(world)


def test_RE_7_a_contender_that_gives_up_leaves_nothing_at_whatever_step_it_is() -> None:
    """Every half millisecond from the first step to the body; first of a queue and second."""
    for behind in (False, True):
        world = WorkedWorld()
        one, two = opened(world, 1), opened(world, 2)
        seen: set[tuple[str, ...]] = set()
        for step in range(16):
            if behind:
                contend(world, one, Plan(hold=0.03, pace=0.01))
                world.run(0.008)
            contender = contend(world, two, Plan(hold=0.02, pace=0.01))
            before = len(states(world, two))
            world.at(step * 0.0005, contender.give_up)
            world.run(0.3)
            assert contender.over
            assert not world.hosts[2].replica.tree.children(PATH)
            seen.add(tuple(states(world, two)[before:]))
        expected = {(), ("waits", "gave up")} if behind else {(), ("waits", "gave up"), ("waits", "holds", "released")}
        assert seen == expected


def test_H_9_tasks_of_one_session_queue_with_one_znode_but_each_candidate_with_its_own() -> None:
    world = WorkedWorld()
    client = opened(world, 1)
    line = Line()
    for _ in range(3):
        contend(world, client, Plan(hold=0.3), line)
    world.run(0.01)
    busy = contend(world, client, Plan(wait=False), line)
    world.run(0.1)
    assert busy.over
    assert len(client.replica.tree.children(PATH)) == 1
    for _ in range(3):
        contend(world, client, Plan(hold=0.3, single=False), path="/elections/e0")
    world.run(0.1)
    assert len(client.replica.tree.children("/elections/e0")) == 3
    world.run_until(lambda: states(world, client).count("released") == 6)
    rests(world)
    holds = [event.token for event in world.seen(LockSeen) if event.state == "holds"]
    assert len(holds) == 6


def test_stop_is_the_end_of_a_hold_and_of_a_line() -> None:
    world = WorkedWorld()
    client, other = opened(world, 1), opened(world, 2)
    line = Line()
    tenures = [contend(world, client, Plan(hold=60.0, pace=30.0), line) for _ in range(3)]
    wait_state(world, client, "holds")
    tenures.append(contend(world, other, Plan(hold=60.0, pace=30.0)))
    wait_state(world, other, "waits")
    world.workload.stop()
    world.run(0.5)
    assert all(tenure.over for tenure in tenures)
    assert states(world, client) == states(world, other) == ["waits", "holds", "released"]
    rests(world)


def test_a_waiting_contender_whose_znode_was_deleted_queues_anew_and_a_holder_doubts() -> None:
    world = WorkedWorld()
    one, two = opened(world, 1), opened(world, 2)
    contend(world, one, Plan(hold=60.0, pace=1.0))
    held = wait_state(world, one, "holds")
    contend(world, two, Plan(hold=0.1))
    waiting = wait_state(world, two, "waits")
    world.hosts[1].act(lambda _: one.write(Delete(waiting.znode)))
    world.run(0.2)
    assert states(world, two) == ["waits", "gave up", "waits"]
    world.hosts[2].act(lambda _: two.write(Delete(held.znode)))
    world.run(0.5)
    assert states(world, one) == ["waits", "holds", "doubts", "released"]
    assert states(world, two)[3:] == ["holds", "released"]
    rests(world)


def test_a_holder_stops_when_its_session_is_suspended_and_a_candidate_stands_again() -> None:
    """Rule S-7: the body ends in the step in which doubt begins."""
    world = WorkedWorld()
    node = next(id for id in (1, 2, 3) if id != world.leader())
    client = opened(world, node, 12.0)
    contend(world, client, Plan(single=False, hold=60.0, pace=0.5, terms=2))
    held = wait_state(world, client, "holds")
    world.partition({node}, {1, 2, 3} - {node})
    doubt = wait_state(world, client, "doubts")
    assert doubt.token == held.token
    world.run(0.5)
    world.heal_all()
    again = 2 * ["waits", "holds"]
    world.run_until(lambda: states(world, client)[4:] == again[:2], 20.0)
    assert states(world, client)[:4] == ["waits", "holds", "doubts", "released"]
    writes = [event for event in world.seen(GuardedWrite) if doubt.t <= event.t and event.token == held.token]
    assert not writes
    rests(world)


def test_S_9_a_frozen_holder_writes_before_it_notices_and_the_resource_refuses_its_token() -> None:
    world = WorkedWorld()
    node = next(id for id in (1, 2, 3) if id != world.leader())
    other = next(id for id in (1, 2, 3) if id not in (node, world.leader()))
    frozen, next_one = opened(world, node), opened(world, other)
    contend(world, frozen, Plan(hold=60.0, pace=0.3, careless=True))
    old = wait_state(world, frozen, "holds")
    world.run(1.0)
    world.history.record(Fault(world.now, node, world[node].life, "pause", "12 s"))
    world.pause(node, 12.0)
    contend(world, next_one, Plan(hold=60.0, pace=0.3))
    new = wait_state(world, next_one, "holds")
    assert new.token > old.token
    world.run(12.0)
    end = [event for event in world.history if event.t > new.t and type(event) in (GuardedWrite, LockSeen) and event.node == node]
    late, doubt, released = end
    assert type(late) is GuardedWrite
    assert (late.token, late.accepted) == (old.token, False)
    assert [event.state for event in (doubt, released) if type(event) is LockSeen] == ["doubts", "released"]
    rests(world)


def test_a_term_that_was_lost_as_its_body_ended_does_not_cancel_the_next_one() -> None:
    """The body's pause ends while its loop is blocked, and so does its lease: it ends by itself, and doubt must not reach beyond it."""
    world = WorkedWorld()
    node = next(id for id in (1, 2, 3) if id != world.leader())
    client = opened(world, node, 12.0)
    contend(world, client, Plan(single=False, hold=5.0, pace=1000.0, terms=2))
    wait_state(world, client, "holds")
    world.pause(node, 11.0)
    world.run(13.0)
    assert states(world, client) == ["waits", "holds", "doubts", "released", "waits", "holds"]
    rests(world)


def test_L_3_waiters_get_their_turn_when_the_holders_process_dies() -> None:
    world = WorkedWorld()
    clients = [opened(world, node, 3.2) for node in (1, 2, 3)]
    for client in clients:
        contend(world, client, Plan(hold=0.2))
        world.run(0.01)
    wait_state(world, clients[0], "holds")
    world.kill(1)
    wait_state(world, clients[1], "holds")
    world.start(1)
    rests(world)
    assert states(world, clients[0]) == ["waits", "holds"], "of a process that died nothing more is heard"
    assert states(world, clients[2]) == ["waits", "holds", "released"]


def test_a_name_is_looked_at_by_the_recipes_own_rule() -> None:
    """The contenders of a workload and those of the recipe could share a queue."""
    from zkembed.recipes.contender import _CONTENDER, new_stem

    world = WorkedWorld()
    client = opened(world, 1)
    contend(world, client, Plan())
    znode = wait_state(world, client, "holds").znode
    assert _CONTENDER.fullmatch(znode.removeprefix(PATH + "/"))
    assert CONTENDER.fullmatch(new_stem(PATH).removeprefix(PATH + "/") + "0000000007")
    creates = [event.op for event in world.seen(Invoke) if event.op[0] == "create"]
    assert [op[3:] for op in creates] == [(True, True, True)]
    rests(world)
