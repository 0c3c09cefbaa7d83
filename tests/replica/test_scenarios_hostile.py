"""Scenario HX-8: everything that was said on every link is said once more, on other links.

There is no MAC yet (N-6), so who has got through a handshake in a member's name is that member: its link takes the place of the
genuine one, which dials again. What must hold all the same, by the attempt's epoch and by the state of a link that ends with it (N-9):
nobody stops, no promise, commit point or state moves, and what does not fit ends that link.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from random import Random
from typing import Any

import pytest

from tests.replica.world import World, create, put
from zkembed.testing.simulated.node import SimNode
from zkembed.testing.simulated.replica_app import ReplicaApp
from zkembed.zab.effects import CloseLink, Halt, Purpose, Role
from zkembed.zab.messages import Message

Way = tuple[int, int, Purpose]
NEW_LINK = 9001


def recorded() -> tuple[World, dict[Way, list[Message]]]:
    """Founding, writes, a lost leader, another one, more writes; and all messages, by (sender, receiver, purpose)."""
    world = World(3, seed=8, start=False)
    said: dict[Way, list[Message]] = defaultdict(list)
    started = world.started

    def listen(node: SimNode) -> None:
        started(node)
        app = node.app
        assert isinstance(app, ReplicaApp)
        genuine = app.receive

        def receive(link: int, message: Message) -> None:
            found = app.peer._core.links.get(link)
            if found is not None:
                said[found.node_id, node.id, found.purpose].append(message)
            genuine(link, message)

        app.receive = receive  # type: ignore[method-assign]

    world.started = listen  # type: ignore[method-assign]
    for node_id in world.nodes:
        world.start(node_id)
    serve(world)
    session = world.open(1)
    world.write(1, session, create("/a", b"1"))
    leader = next(node.id for node in world if node.peer.role is Role.LEADING)
    world.crash(leader)
    world.run_until(lambda: any(node.up and node.peer.role is Role.LEADING and node.peer.serving for node in world))
    world.start(leader)
    serve(world)
    writer = next(node.id for node in world if node.peer.role is Role.FOLLOWING)
    session = world.open(writer)
    for number in range(5):
        world.write(writer, session, put("/a", b"%d" % number))
    world.run(2.0)
    serve(world)
    return world, said


def serve(world: World) -> None:
    world.run_until(lambda: all(node.up and node.peer.serving for node in world))


def kept(app: ReplicaApp) -> tuple[object, ...]:
    history, replica = app.peer.history, app.replica
    return app.peer.epochs, history.durable, history.committed, replica.tree.applied, replica.tree.digest_now(), app.peer.configuration


def replay(world: World, target: int, source: int, purpose: Purpose, messages: list[Message]) -> int:
    """Say all this to a copy of ``target`` on a new link in the name of ``source``; how many were said until it was closed."""
    victim = copy.deepcopy(world[target].app)
    assert isinstance(victim, ReplicaApp)
    victim.peer.drain = victim._drain_core  # type: ignore[method-assign]
    replica = victim.replica
    replica.drain()
    before = kept(victim)
    disk = world[source].disk
    replica.link_up(NEW_LINK, source, disk.storage_id, disk.incarnation, purpose, False)
    effects, count = replica.drain(), 0
    for message in messages:
        if is_closed(effects):
            break
        replica.receive(NEW_LINK, message)
        effects += replica.drain()
        count += 1
        if getattr(message, "epoch", replica.peer.epoch) != replica.peer.epoch:
            assert is_closed(effects), f"{message} in epoch {replica.peer.epoch}"
    assert not [effect for effect in effects if isinstance(effect, Halt)]
    assert kept(victim) == before
    return count


def is_closed(effects: list[Any]) -> bool:
    return any(isinstance(effect, CloseLink) and effect.link == NEW_LINK for effect in effects)


def orders(messages: list[Message]) -> dict[str, list[Message]]:
    shuffled = [*messages]
    Random(8).shuffle(shuffled)
    return {"as it was": messages, "doubled": [message for each in messages for message in (each, each)], "shuffled": shuffled}


@pytest.mark.timeout(120)
def test_HX_8_a_recorded_session_played_again_moves_nothing() -> None:
    """To the node it was said to, and to the others; as it was, doubled, shuffled."""
    world, said = recorded()
    ended = heard = 0
    for (source, _, purpose), messages in sorted(said.items(), key=lambda item: (item[0][0], item[0][1], item[0][2].value)):
        for target in world.nodes:
            if target != source:
                for order in orders(messages).values():
                    count = replay(world, target, source, purpose, order)
                    heard += count
                    ended += count < len(order)
    assert heard > 100
    assert ended > 10
