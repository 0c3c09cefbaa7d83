"""Watches around a change of leader, in every order with changes, and very many of them (W1 to W3)."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from zkembed.replica.pipeline import Call
from zkembed.replica.replica import Replica
from zkembed.testing.simulated.node import SimNode
from zkembed.tree.events import WatchedEvent
from zkembed.tree.ops import Multi, Op
from zkembed.tree.watches import WatchMode
from zkembed.zab.effects import Effect, Send
from zkembed.zab.messages import Sync, SyncMode
from zkembed.zab.settings import Settings

from .world import World, create, data, put

MANY = 100_000
PATHS = [f"/a/{number}" for number in range(10)]
CHANGED = PATHS[::3]


class Counted:
    """A watcher that only counts: a hundred thousand of them."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: list[WatchedEvent] = []

    def deliver(self, event: WatchedEvent) -> None:
        self.told.append(event)

    def end(self, error: BaseException) -> None:
        raise AssertionError(error)


def run(seed: int, watchers: int, jump: bool) -> tuple[list[Counted], Counter[Any], float, World, int]:
    """A follower with so many watches, ten of them on znodes and the rest beside, loses its leader and comes to the next, by DIFF or SNAP
    (``jump``), behind changes that it has not seen. The watchers, the messages that it sent meanwhile, its longest step in seconds."""
    world = World(3, seed=seed)
    leader = world.wait_leader()
    world.wait_serving()
    follower, third = (id for id in world.nodes if id != leader)
    session, writer = world.open(follower, timeout=60.0), world.open(third, timeout=60.0)
    world.write(third, writer, create("/a"))
    for path in PATHS:
        world.write(third, writer, create(path))
    world.sync(follower, session)
    counted = [Counted() for _ in range(watchers)]
    for number, watcher in enumerate(counted):
        path = PATHS[number] if number < len(PATHS) else f"/b/{number}"
        world.replica(follower).watch(session, watcher, path, WatchMode.EXISTS)
    messages: Counter[Any] = Counter()
    modes: list[SyncMode] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == follower and isinstance(effect, Send):
            messages[type(effect.message).__name__] += 1
        elif isinstance(effect, Send) and isinstance(effect.message, Sync):
            modes.append(effect.message.mode)

    world.watchers.append(watch)
    longest = measured(world, follower)
    world.partition({follower}, {leader, third})
    world.crash(leader)
    world.start(leader)
    world.wait_serving(leader, third)
    now_leads = world.wait_leader(leader, third)
    for path in CHANGED:
        world.write(third, writer, put(path, b"1"))
    if jump:
        world.agree(leader, third)
        world.call(now_leads, lambda _: world.app(now_leads).take_snapshot())
    world.heal_all()
    world.wait_serving()
    world.agree()
    assert modes[-1] is (SyncMode.SNAP if jump else SyncMode.DIFF)
    assert data(world.tree(follower), CHANGED[0]) == b"1"
    return counted, messages, max(longest), world, follower


def measured(world: World, node_id: int) -> list[float]:
    """The processor time of whatever may take long in a step of the node, from now on."""
    replica, took = world.app(node_id).replica, [0.0]

    def timed(name: str) -> None:
        original = getattr(replica, name)

        def run(*args: Any) -> Any:
            began = time.process_time()
            result = original(*args)
            took.append(time.process_time() - began)
            return result

        setattr(replica, name, run)

    for name in ("tick", "drain", "state_loaded"):
        timed(name)
    return took


@pytest.mark.parametrize(("seed", "jump"), [(4, False), (5, True)], ids=["DIFF", "SNAP"])
def test_WA_5_many_watches(seed: int, jump: bool) -> None:
    """WA-5 (W1), ZK-706: 100,000 watches cost a change of leader not one message, since they are known to their own replica alone; no step
    stands still over them; whoever watches what has changed meanwhile is told, once, and the others stay."""
    few, messages_few, _, _, _ = run(seed, len(PATHS), jump)
    many, messages_many, longest, world, follower = run(seed, MANY, jump)
    assert messages_many == messages_few
    assert longest < 2 * Settings().stall_limit, "twice the limit: the machine of a test may be busy"
    for watchers in (few, many):
        assert told(watchers) == [[b"1"] if path in CHANGED else [] for path in PATHS]
        assert all(not watcher.told for watcher in watchers[len(PATHS) :])
    watches = world.replica(follower).watches
    watches.check_invariants()
    assert len(watches) == MANY - len(CHANGED)
    session = next(iter(world.replica(follower).sessions.values()))
    for path in PATHS:
        world.write(follower, session, put(path, b"2"))
    assert told(many) == [[b"1"] if path in CHANGED else [b"2"] for path in PATHS]


def told(watchers: list[Counted]) -> list[list[bytes | None]]:
    """What those on PATHS were told."""
    return [[event.data for event in watcher.told] for watcher in watchers[: len(PATHS)]]


# --- WA-1, WA-4 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("when", ["before", "as the leader dies", "while there is none", "behind it"])
@pytest.mark.parametrize("mode", [WatchMode.DATA, WatchMode.EXISTS, WatchMode.CHILDREN])
def test_WA_1_a_change_around_a_change_of_leader_is_told_once(mode: WatchMode, when: str, seed: int) -> None:
    """WA-1 (W1, W3), ZK-1667: the watch is set at a follower; the leader dies; the change is made before, during or after that. One event,
    with the zxid of the change."""
    world = World(3, seed=seed)
    leader = world.wait_leader()
    world.wait_serving()
    follower, third = (id for id in world.nodes if id != leader)
    session, writer = world.open(follower, timeout=30.0), world.open(third, timeout=30.0)
    world.write(third, writer, create("/a", b"0"))
    world.sync(follower, session)
    watcher = world.watch(follower, session, "/a", mode)
    change = create("/a/child") if mode is WatchMode.CHILDREN else put("/a", b"1")
    if when == "behind it":
        world.crash(leader)
        world.wait_serving()
    elif when == "while there is none":
        world.crash(leader)
        world.run(0.001)
    [call] = world.submit(third, writer, change)
    if when == "before":
        world.run(world.rng.uniform(0.0005, 0.002))
    if world[leader].up:
        world.crash(leader)
    world.result(call)
    world.run_until(lambda: bool(watcher.events))
    world.start(leader)
    world.wait_serving()
    world.run(1.0)
    assert [event.zxid for event in watcher.events] == [call.zxid]


ORDERS = [
    "watch, change",
    "watch and change in one step",
    "change under way, watch",
    "watch, two changes in one transaction",
    "change, watch",
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_WA_4_a_watch_and_a_change_in_every_order(order: str, seed: int) -> None:
    """WA-4 (W2, W3): exactly one event for whatever comes first behind the watch, and none for what was there when it was set."""
    world = World(3, seed=seed)
    leader = world.wait_leader()
    world.wait_serving()
    follower = next(id for id in world.nodes if id != leader)
    session = world.open(follower)
    world.write(follower, session, create("/a", b"0"))
    change: Op = put("/a", b"1")
    if order.endswith("transaction"):
        change = Multi((put("/a", b"1"), put("/a", b"2")))
    watcher, calls = Counted(), list[Call]()

    def watch(replica: Replica) -> None:
        replica.watch(session, watcher, "/a", WatchMode.DATA)

    def watch_and_change(replica: Replica) -> None:
        watch(replica)
        calls.append(replica.submit(session, change))

    if order.startswith("change under way"):
        [call] = world.submit(follower, session, change)
        world.run(world.rng.uniform(0.0, 0.001))
        assert not call.settled
        world.act(follower, watch)
    elif order == "change, watch":
        world.write(follower, session, change)
        world.act(follower, watch)
        [call] = world.submit(follower, session, put("/a", b"behind it"))
    elif order == "watch and change in one step":
        world.act(follower, watch_and_change)
        [call] = calls
    else:
        world.act(follower, watch)
        world.run(world.rng.uniform(0.0, 1.0))
        [call] = world.submit(follower, session, change)
    world.result(call)
    world.write(follower, session, put("/a", b"later"))
    expected = b"behind it" if order == "change, watch" else b"1"
    assert [(event.zxid, event.data) for event in watcher.told] == [(call.zxid, expected)]
