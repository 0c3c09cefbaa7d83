"""Inputs that once did what they must not, each with what it did."""

from __future__ import annotations

import pytest

from tests.replica.world import World, create
from zkembed.codec import encode
from zkembed.errors import DecodeError
from zkembed.record import Kind, Record
from zkembed.zab import messages as m
from zkembed.zab.codec import decode_frame
from zkembed.zab.effects import CloseLink, Effect, Halt, Purpose, Role


@pytest.mark.parametrize("value", [[1] * 5_000, "x" * 50_000, b"\xff" * 50_000])
def test_what_a_peer_sent_in_the_place_of_a_code_was_written_to_the_log_at_any_length(value: object) -> None:
    """A GOODBYE with an odd code: the refusal quoted it whole, so one frame was megabytes of log (N-4)."""
    with pytest.raises(DecodeError) as caught:
        decode_frame(encode([[22, value, None]]))
    assert len(str(caught.value)) < 100


def served() -> World:
    """Three replicas with an answered write; node 3 leads or not, whatever the election says."""
    world = World(3)
    session = world.open(2)
    world.write(2, session, create("/a", b"1"))
    world.run_until(lambda: all(node.peer.serving for node in world))
    return world


def link_of(world: World, node_id: int, *, outbound: bool) -> int:
    links = world[node_id].peer._core.links
    return next(link.id for link in links if link.purpose is Purpose.ZAB and link.outbound is outbound)


def give(world: World, node_id: int, link: int, message: m.Message) -> list[Effect]:
    """What the node does about this message, outside of the world: nothing of it is executed."""
    peer = world[node_id].peer
    peer.drain()
    peer.receive(link, message)
    return peer.drain()


@pytest.mark.parametrize("zxid", [(1 << 32) - 1, 1 << 31, 1])
def test_an_ack_of_no_entry_stopped_the_leader(zxid: int) -> None:
    """B-4, V6: a zxid that no entry has was believed, and the first look at how far behind the learner is was an InternalError."""
    world = served()
    leader = next(node.id for node in world if node.peer.role is Role.LEADING)
    handlers = world[leader].peer._roles.leader
    assert handlers is not None
    link = link_of(world, leader, outbound=False)
    handlers.handlers[link].acked = 0
    effects = give(world, leader, link, m.Ack(world[leader].peer.epoch, zxid))
    assert not [effect for effect in effects if isinstance(effect, Halt)]
    assert [effect.link for effect in effects if isinstance(effect, CloseLink)] == [link]
    assert handlers.handlers.get(link) is None


def test_a_proposal_with_an_impossible_commit_point_was_taken_before_it_was_refused() -> None:
    """B-6, V6: its records went to the disk, and then the message was refused."""
    world = served()
    follower = next(node.id for node in world if node.peer.role is Role.FOLLOWING)
    history = world[follower].peer.history
    before = history.end
    record = Record.make(before + 1, before, history.end_time, Kind.REQUEST, 0, b"payload", history.end_chain)
    link = link_of(world, follower, outbound=True)
    give(world, follower, link, m.Proposal(world[follower].peer.epoch, (record,), before + 2))
    assert world[follower].peer.role is Role.LOOKING
    assert history.end == before
