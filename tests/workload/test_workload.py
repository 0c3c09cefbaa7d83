"""Whole workloads: in a healthy world all that can be asked is asked and ends; under faults what is written down is consistent; and a
seed replays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from random import Random
from zlib import crc32

import pytest

from zkembed.testing.checkers import client_checkers
from zkembed.testing.history import Event, Fault, GuardedWrite, Invoke, LockSeen, Return, SessionSeen, WatchFired, WatchSet, to_row
from zkembed.testing.reference import Reference
from zkembed.testing.workload.client import Client
from zkembed.testing.workload.options import WorkloadOptions, draw_options
from zkembed.tree.ops import Create
from zkembed.tree.path import parent_of

from .trouble import Trouble
from .worlds import WorkedWorld, run

VERBS = {
    "get",
    "exists",
    "children",
    "sync",
    "open",
    "create",
    "set",
    "delete",
    "ensure",
    "transaction",
    "delete own",
    "close session",
}


def watched(seed: int, *, pauses: bool | None) -> tuple[WorkedWorld, Counter[str]]:
    """A run that is judged as it goes, with faults unless ``pauses`` is None; what was judged how often."""
    world = WorkedWorld(seed=seed)
    checkers = client_checkers(Reference())
    for event in world.history:
        for checker in checkers:
            checker.see(event)
    for checker in checkers:
        world.history.listen(checker.see)
    try:
        trouble = None if pauses is None else Trouble(world, seed, pauses=pauses)
        world.workload.start()
        world.run_until(lambda: world.workload.spent, 600.0)
        if trouble is not None:
            trouble.end()
            world.run(10.0)
        world.settle()
        for checker in checkers:
            checker.finish(calm=False)
    except BaseException as error:
        error.add_note(f"workload, seed {seed}, pauses {pauses}\n{world.story()}")
        raise
    return world, sum((checker.judged for checker in checkers), Counter())


def counted(events: list[Event]) -> Counter[object]:
    found: Counter[object] = Counter()
    for event in events:
        match event:
            case Invoke(op=op):
                found[op[0]] += 1
            case Return(status=status):
                found[status] += 1
            case LockSeen(state=state) | SessionSeen(state=state):
                found[state] += 1
            case WatchFired(kind=kind):
                found[kind] += 1
            case WatchSet(mode=mode):
                found[mode] += 1
            case GuardedWrite(accepted=accepted):
                found[accepted] += 1
            case _:
                found[type(event).__name__] += 1
    return found


def test_in_a_healthy_world_everything_is_asked_and_every_call_ends_once() -> None:
    """Invariant S4; each verb, each kind of watch."""
    found: Counter[object] = Counter()
    for seed in range(3):
        events = run(seed, WorkloadOptions(operations=500))
        invoked = [event.id for event in events if type(event) is Invoke]
        returned = [event.id for event in events if type(event) is Return]
        assert invoked == sorted(set(invoked))
        assert sorted(returned) == invoked
        found += counted(events)
    assert found.keys() >= VERBS
    assert found.keys() >= {"ok", "error", "not done"}
    assert found.keys() >= {"DATA", "EXISTS", "CHILDREN", "PERSISTENT", "RECURSIVE"}
    assert found.keys() >= {"CREATED", "DELETED", "DATA_CHANGED", "CHILDREN_CHANGED"}
    assert found.keys() >= {"created", "connected", "closed", "waits", "holds", "released", "gave up"}
    assert found["ok"] > found["error"], "most of it does something"


def test_what_is_written_can_be_told_apart() -> None:
    """So that a history says whose write a reader has seen."""
    values = [event.op[2] for event in run(0) if type(event) is Invoke and event.op[0] in ("create", "set")]
    plain = [value for value in values if value.startswith(b"v")]
    assert len(set(plain)) == len(plain) > 30


@pytest.mark.parametrize("pauses", [None, False, True])
def test_under_faults_the_record_is_what_sessions_are_promised(pauses: bool | None) -> None:
    """Invariants D1, S1 to S8, E1 to E5, W1 to W3, L1: a record that is wrong in one event would break one of them."""
    found: Counter[object] = Counter()
    judged: Counter[str] = Counter()
    for seed in range(2 if pauses is None else 5):
        world, marks = watched(seed, pauses=pauses)
        found += counted(world.history.events)
        judged += marks
    assert judged.keys() >= {"D1", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "E1", "E2", "W1", "W2", "W3", "L1"}
    if pauses is not None:
        assert found.keys() >= {"suspended", "expired", "doubts", "Crashed", "unknown", "not done"}
    if pauses:
        assert found[Fault.__name__]


def test_options_differ_from_seed_to_seed_and_leave_things_out() -> None:
    drawn = [draw_options(Random(f"options {seed}")) for seed in range(200)]
    assert len(set(drawn)) == 200
    for kind, _ in drawn[0].weights:
        weights = [dict(options.weights)[kind] for options in drawn]
        assert 0.0 in weights
        assert max(weights) > 0
    assert all(any(weight for _, weight in options.weights) for options in drawn)
    with_locks = sum(dict(options.weights)["lock"] > 0 for options in drawn)
    assert 60 < with_locks < 160


def test_stop_ends_what_goes_on_and_idle_says_when() -> None:
    world = WorkedWorld(options=WorkloadOptions(operations=10_000, hold=20.0, weights=(("lock", 1.0), ("set", 3.0), ("close", 0.1))))
    workload = world.workload
    assert (workload.idle, workload.waiting()) == (True, ())
    workload.start()
    world.run(5.0)
    assert (workload.idle, len(workload.waiting()) > 0) == (False, True)
    workload.stop()
    world.run_until(lambda: workload.idle, 60.0)
    assert workload.waiting() == ()
    invoked = workload.journal.invoked
    world.run(5.0)
    assert workload.journal.invoked == invoked
    for node in world.hosts.values():
        for path in node.replica.tree.children("/locks"):
            assert not node.replica.tree.children(f"/locks/{path}"), "contenders have released and left"


def test_idle_can_be_asked_of_some_nodes_alone() -> None:
    """Liveness is demanded of a core; a node that is cut off may keep its callers waiting."""
    world = WorkedWorld()
    node = next(id for id in (1, 2, 3) if id != world.leader())
    core = {1, 2, 3} - {node}
    clients = {id: world.workload.open(world.hosts[id], 12.0) for id in (1, 2, 3)}
    world.run_until(lambda: world.workload.idle)
    world.partition({node}, core)
    for client in clients.values():
        write(client)
    world.run(1.0)
    assert world.workload.idle_on(core)
    assert not world.workload.idle_on({node})
    assert not world.workload.idle
    assert [line.startswith(f"node {node}: client {clients[node].number} ") for line in world.workload.waiting()] == [True]


def write(client: Client) -> None:
    client.host.act(lambda _: client.write(Create("/a")))


def digest(seed: int) -> int:
    """Of a history with faults in it."""
    world = WorkedWorld(seed=seed, options=draw_options(Random(f"options {seed}"), operations=120, duration=8.0))
    trouble = Trouble(world, seed, pauses=True)
    world.workload.start()
    world.run_until(lambda: world.workload.spent, 600.0)
    trouble.end()
    world.run(10.0)
    world.settle()
    return crc32(repr([to_row(event) for event in world.history]).encode())


def test_V_7_a_seed_gives_the_same_history_whatever_the_interpreters_hash_seed() -> None:
    here = [digest(seed) for seed in (1, 3)]
    assert here[0] != here[1]
    root = __file__
    for _ in range(3):
        root = parent_of(root)
    program = "from tests.workload.test_workload import digest; print([digest(seed) for seed in (1, 3)])"
    other = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": other}
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == repr(here)
