"""Very many watches across a change of leader and a jump (WA-5, W1)."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from zkembed.testing.simulated.node import SimNode
from zkembed.tree.events import WatchedEvent
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


def run(watchers: int, jump: bool) -> tuple[list[Counted], Counter[Any], float, World, int]:
    """A follower with so many watches, ten of them on znodes and the rest beside, loses its leader and comes to the next, by DIFF or SNAP
    (``jump``), behind changes that it has not seen. The watchers, the messages that it sent meanwhile, its longest step in seconds."""
    world = World(3, seed=4)
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


@pytest.mark.parametrize("jump", [False, True], ids=["DIFF", "SNAP"])
def test_WA_5_many_watches(jump: bool) -> None:
    """WA-5 (W1), ZK-706: 100,000 watches cost a change of leader not one message, since they are known to their own replica alone; no step
    stands still over them; whoever watches what has changed meanwhile is told, once, and the others stay."""
    few, messages_few, _, _, _ = run(len(PATHS), jump)
    many, messages_many, longest, world, follower = run(MANY, jump)
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
