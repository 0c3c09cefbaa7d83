"""What a member that has gone wrong can do to the others: end its own links, and nothing else (rules N-3, N-4, N-9, B-13, Z-2).

Scenarios HX-3, HX-10, HX-11, BR-5, BR-11, with a member whose place is taken by this test.
"""

from __future__ import annotations

import random

import pytest
import trio

import zkembed
from zkembed import outbox
from zkembed.transport.base import Hello, Link, LinkError
from zkembed.zab import messages as m
from zkembed.zab.codec import encode_frame

from .members import Members, Running, all_up

EPOCH_MAX = 2**31 - 1


def digest(member: Running) -> tuple[object, ...]:
    """What must not change by anything a peer sends before it leads or follows: epochs, log, state."""
    assert member.node._driver is not None
    replica = member.node._driver.replica
    return replica.peer.epochs, replica.peer.history.durable, replica.tree.digest_now(), replica.peer.role


async def impostor(members: Members, running: dict[int, Running], purpose: str, target: int, *, as_id: int) -> Link:
    """A link to ``target`` in the name of ``as_id``, whose process has been killed."""
    driver = running[as_id].node._driver
    assert driver is not None
    identity = driver.identity
    hello = Hello(identity.cluster, as_id, identity.storage_id, identity.incarnation + 1, purpose)
    return await members.fabric.transport(as_id).dial(target, hello)


def frames() -> list[bytes]:
    chance = random.Random(7)
    notify = m.Notify(m.NodeState.LEADING, True, 5, m.Vote(EPOCH_MAX, 2**62, 3), EPOCH_MAX, 0, False, b"\x82\x00\x80")
    valid = encode_frame([notify])
    mutated = []
    for _ in range(200):
        data = bytearray(valid)
        data[chance.randrange(len(data))] = chance.randrange(256)
        mutated.append(bytes(data))
    return [
        b"\x80",
        b"\xff" * 100,
        b"\x81" * 5000,
        encode_frame([m.LeaderInfo(EPOCH_MAX)]),
        encode_frame([m.FollowerInfo(EPOCH_MAX, 2**62, False, False)]),
        encode_frame([m.Proposal(EPOCH_MAX, (), 2**62)]),
        encode_frame([m.Commit(1, 2**62)]),
        encode_frame([m.UpToDate(EPOCH_MAX, 0)]),
        encode_frame([m.Request(1, (b"rubbish",))]),
        encode_frame([m.Ack(1, 2**62)]),
        encode_frame([m.Pong(1, 2**40, 2**40, (1, 2, 3), 0, True, 0)]),
        encode_frame([m.Goodbye(m.GoodbyeCode.LEAVING, m.Vote(EPOCH_MAX, 2**62, 3))]),
        *mutated,
    ]


@pytest.mark.parametrize("purpose", ["election", "zab"])
async def test_a_member_that_talks_rubbish_loses_its_link_and_nobody_else_anything(
    purpose: str, autojump_clock: trio.testing.MockClock
) -> None:
    members = Members(3)
    async with all_up(members) as running:
        leader = next(id for id, member in running.items() if member.zk.node.role is zkembed.Role.LEADING)
        bad, other = (id for id in running if id != leader)
        await running[other].zk.create("/a", b"1")
        running[bad].node.abort("killed")
        members.fabric.crash(bad)
        await trio.sleep(10)  # Its session has expired: what follows changes nothing.
        before = {id: digest(running[id]) for id in (leader, other)}
        for frame in frames():
            for target in (leader, other):
                try:
                    link = await impostor(members, running, purpose, target, as_id=bad)
                    with trio.move_on_after(0.5):
                        await link.send(frame)
                        while True:
                            await link.receive()
                except LinkError:
                    continue
                link.close()
        assert {id: digest(running[id]) for id in (leader, other)} == before
        assert (await running[other].zk.set("/a", b"2")).version == 1
        assert not any(running[id].ended for id in (leader, other))


async def test_BR_5_a_learner_that_does_not_keep_up_is_dropped_and_syncs_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """BR-5 (B-13): the quorum is as quick as before, what is queued for the learner is bounded, and it comes back by itself."""
    monkeypatch.setattr(outbox, "QUEUED_BYTES_MAX", 1_000_000)
    members = Members(3)
    async with all_up(members) as running:
        leader = next(id for id, member in running.items() if member.zk.node.role is zkembed.Role.LEADING)
        slow = next(id for id in running if id != leader)
        zk = running[leader].zk
        driver = running[leader].node._driver
        assert driver is not None
        await zk.create("/a")

        async def write(count: int) -> float:
            """Seconds for each."""
            began = trio.current_time()
            for _ in range(count):
                await zk.set("/a", bytes(60_000))
                assert all(link.outbox._bytes <= 1_100_000 for link in driver.links.values())
            return (trio.current_time() - began) / count

        before = await write(20)
        members.fabric.cut(leader, slow, one_way=True)
        assert await write(100) == pytest.approx(before, rel=0.05)
        assert any("does not keep up" in record.message for record in caplog.records)
        members.fabric.heal()
        await running[slow].zk.sync()
        assert running[slow].zk.replica.get("/a").stat.version == 120


async def test_BR_11_a_flood_of_calls_waits_at_its_origin(autojump_clock: trio.testing.MockClock) -> None:
    """D30: 3,000 calls at once; a thousand at most are with the ensemble, the leader stays, and all are answered."""
    members = Members(3)
    async with all_up(members) as running:
        leader = next(id for id, member in running.items() if member.zk.node.role is zkembed.Role.LEADING)
        origin = next(id for id in running if id != leader)
        zk = running[origin].zk
        await zk.create("/n")
        driver = running[origin].node._driver
        assert driver is not None
        most = 0

        async def write() -> None:
            nonlocal most
            await zk.set("/n", b"")
            most = max(most, *(len(session.handed) for session in driver.replica.sessions.values()))

        async with trio.open_nursery() as nursery:
            for _ in range(3000):
                nursery.start_soon(write)
        assert zk.replica.get("/n").stat.version == 3000
        assert 0 < most <= 1000
        assert running[leader].zk.node.epoch == 1
