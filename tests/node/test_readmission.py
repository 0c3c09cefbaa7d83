"""Nodes in memory that lose their disk, or get an old copy of it: rules I-3 and I-6 with the driver, the log and the transport."""

from __future__ import annotations

from copy import deepcopy

import pytest
import trio
from trio.testing import MockClock

from zkembed import SessionState
from zkembed.testing import Ensemble, open_ensemble


async def can_write(ensemble: Ensemble, id: int) -> bool:
    with trio.move_on_after(10) as patience:
        await ensemble.zk(id).create("/probe-", sequential=True)
    return not patience.cancelled_caught


async def put_back(ensemble: Ensemble, id: int, starts: int) -> bytes:
    """The member crashes; its disk is as it was that many starts ago; it has not been started yet. The storage id on it."""
    ensemble.crash(id)
    backup = deepcopy(ensemble._member(id)._disk)
    for _ in range(starts):
        await ensemble.restart(id)
    storage_id = ensemble._member(id).driver.identity.storage_id
    ensemble.crash(id)
    ensemble._member(id)._disk = backup
    return storage_id


@pytest.mark.parametrize("leads", [False, True])
async def test_i_6_an_old_copy_of_a_disk_becomes_another_storage_and_gets_its_vote_back(autojump_clock: MockClock, leads: bool) -> None:
    """I-6, I-3: the others' transports refuse its handshakes; it takes a new storage id, joins, is readmitted, and counts."""
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        id = leader if leads else min({1, 2, 3} - {leader})
        one, other = sorted({1, 2, 3} - {id})
        old = await put_back(ensemble, id, starts=3)
        await ensemble.zk(one).create("/since", b"1")
        async with ensemble.zk(one).watch("/zookeeper/config") as changes:
            await ensemble.restart(id)
            with trio.fail_after(10):
                await anext(changes)
        statistics = ensemble.zk(id).node.statistics()
        assert (statistics.has_vote, statistics.vote_reason) == (True, "")
        assert ensemble._member(id).driver.identity.storage_id != old
        assert (await ensemble.zk(id).get("/since")).data == b"1"
        ensemble.crash(other)
        assert await can_write(ensemble, id)
        await ensemble.restart(id)
        assert ensemble._member(id).driver.identity.incarnation == 2, "its second start as this storage"
        assert await can_write(ensemble, id)


async def test_i_6_the_sessions_name_later_starts_when_everybody_was_restarted(autojump_clock: MockClock) -> None:
    """I-6, S-1: nobody who runs now has seen the later start; but its session is in the state that all of them read back."""
    async with open_ensemble(3, session_timeout=60.0) as ensemble:
        await ensemble.wait_leader()
        old = await put_back(ensemble, 3, starts=3)
        await ensemble.zk(1).sync()
        ensemble.crash(1)
        ensemble.crash(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ensemble.restart, 1)
            nursery.start_soon(ensemble.restart, 2)
        await ensemble.restart(3)
        with trio.fail_after(10):
            while not ensemble.zk(3).node.statistics().has_vote:
                await ensemble.zk(3).sync()
        assert ensemble._member(3).driver.identity.storage_id != old


async def test_i_6_sessions_opened_as_the_old_storage_expire(autojump_clock: MockClock) -> None:
    """I-6, S-2, S-7: a node that served before anybody remembered: what it had opened belongs to the old storage for ever."""
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        id = min({1, 2, 3} - {leader})
        zk = ensemble.zk(id)
        await zk.create("/mine", ephemeral=True)
        driver = ensemble._member(id).driver
        old = driver.identity
        driver._input(driver.replica.outdated)
        with trio.fail_after(30):
            async for state in zk.session.states():
                if state is SessionState.EXPIRED:
                    break
        assert driver.identity.storage_id != old.storage_id
        assert await ensemble.zk(leader).exists("/mine") is None
        await zk.create("/again", ephemeral=True)  # In a new session, of the new storage.
        assert await ensemble.zk(leader).exists("/again") is not None
