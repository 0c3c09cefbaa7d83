"""Lock: one holder, in order of arrival, one task woken at a time; what it says when it is taken, and who is in its way."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import MockClock

from zkembed import (
    BadArgumentsError,
    Lock,
    LockBusyError,
    NodeFailedError,
    SessionExpiredError,
    SessionState,
    TransactionError,
    sequence_number,
)
from zkembed.testing import open_ensemble

from .helpers import LOCK, follower, hold, queue, quiet


async def test_L1_one_holder_at_a_time_and_tokens_rise(autojump_clock: MockClock) -> None:
    """L1, H5: nine tasks on three nodes, three acquisitions each; nobody is inside with another, every token is new and higher."""
    entered: list[tuple[int, float, float]] = []
    inside = 0
    async with open_ensemble(3) as ensemble:

        async def contend(id: int, pause: float) -> None:
            nonlocal inside
            for _ in range(3):
                async with Lock(ensemble.zk(id), LOCK) as held:
                    inside += 1
                    assert inside == 1
                    began = trio.current_time()
                    await trio.sleep(pause)
                    entered.append((held.token, began, trio.current_time()))
                    inside -= 1

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(contend, number % 3 + 1, 0.01 * (number + 1))
        assert await queue(ensemble.zk(1)) == ()
    assert len(entered) == 27
    assert entered == sorted(entered)
    assert len({token for token, _, _ in entered}) == 27
    assert all(before[2] <= after[1] for before, after in itertools.pairwise(entered))


async def test_after_the_block_the_lock_is_free(autojump_clock: MockClock) -> None:
    """The normal way out waits for the delete: whoever asks next, anywhere, gets it at once."""
    async with open_ensemble(3) as ensemble:
        async with Lock(ensemble.zk(1), LOCK):
            assert len(await ensemble.zk(1).children(LOCK)) == 1
        assert await ensemble.zk(1).children(LOCK) == ()
        async with Lock(ensemble.zk(2), LOCK, wait=False):
            pass


async def test_the_lock_goes_round_in_the_order_of_arrival(autojump_clock: MockClock) -> None:
    """H2: by sequence number, not by name, which begins with a random id."""
    async with open_ensemble(5) as ensemble, trio.open_nursery() as nursery:
        holders = []
        for id in (3, 1, 5, 2, 4):
            holders.append(hold(nursery, Lock(ensemble.zk(id), LOCK)))
            await quiet()
        names = await ensemble.zk(1).children(LOCK)
        assert [sequence_number(name) for name in sorted(names, key=sequence_number)] == [0, 1, 2, 3, 4]
        for index, holder in enumerate(holders):
            assert [each.held is not None for each in holders] == [place <= index for place in range(5)]
            holder.let_go.set()
            await quiet()
        assert [holder.ended for holder in holders] == ["normally"] * 5


async def test_H9_a_process_contends_with_one_znode_and_others_get_their_turn(autojump_clock: MockClock) -> None:
    """Tasks of one client line up behind each other; each acquisition has a znode of its own."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        tasks = []
        for _ in range(3):
            tasks.append(hold(nursery, Lock(ensemble.zk(1), LOCK)))
            await quiet()
        first, second, third = tasks
        assert len(await queue(ensemble.zk(1))) == 1
        other = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        tokens = []
        for holder, znodes in ((first, 2), (other, 2), (second, 1), (third, 1)):
            assert len(await queue(ensemble.zk(1))) == znodes
            assert holder.held is not None
            tokens.append(holder.held.token)
            holder.let_go.set()
            await quiet()
        assert tokens == sorted(set(tokens))


async def test_wait_false_names_the_holder_and_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        async with Lock(ensemble.zk(1), LOCK):
            with pytest.raises(LockBusyError, match=r"'/locks/a' is held by node 1, task .*, since zxid 0x1[0-9a-f]+"):
                async with Lock(ensemble.zk(2), LOCK, wait=False):
                    raise AssertionError("two holders")
            assert len(await queue(ensemble.zk(2))) == 1
        async with Lock(ensemble.zk(2), LOCK, wait=False) as held:
            assert held.path.startswith(f"{LOCK}/")


async def test_wait_false_is_busy_too_behind_a_task_of_the_same_process(autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble, trio.open_nursery() as nursery:
        holder = hold(nursery, Lock(ensemble.zk(1), LOCK), name="app.charge")
        await quiet()
        with pytest.raises(LockBusyError, match=r"held by node 1, task app\.charge"):
            async with Lock(ensemble.zk(1), LOCK, wait=False):
                raise AssertionError("two holders")
        holder.let_go.set()


async def test_who_has_the_lock_and_who_wants_it(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        looking = Lock(ensemble.zk(1), LOCK)
        assert (await looking.holder(), await looking.contenders()) == (None, ())
        holders = []
        for id in (2, 3, 1):
            holders.append(hold(nursery, Lock(ensemble.zk(id), LOCK), name=f"task-{id}"))
            await quiet()
        await ensemble.zk(1).create(f"{LOCK}/readme", b"not a contender")
        assert await looking.contenders() == ("node 2, task task-2", "node 3, task task-3", "node 1, task task-1")
        assert await looking.holder() == "node 2, task task-2"
        for holder in holders:
            holder.let_go.set()


async def test_H8_a_task_that_would_wait_for_itself_is_told_so(autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble:
        zk = ensemble.zk(1)
        async with Lock(zk, LOCK):
            with pytest.raises(BadArgumentsError, match=r"'/locks/a': this task holds it already"):
                async with Lock(zk, LOCK):
                    raise AssertionError("reentered")
            async with Lock(zk, "/locks/b"):
                pass
        async with Lock(zk, LOCK):
            pass


async def test_an_object_serves_one_block(autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble:
        lock = Lock(ensemble.zk(1), LOCK)
        async with lock:
            pass
        with pytest.raises(BadArgumentsError, match="serves one block"):
            async with lock:
                raise AssertionError("used twice")


@pytest.mark.parametrize("path", ["locks", "/locks/", "/zookeeper/locks", "/" + "x" * 4090, ""])
async def test_a_path_that_cannot_be_a_lock_is_refused_at_the_call(path: str, autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble:
        with pytest.raises(BadArgumentsError):
            Lock(ensemble.zk(1), path)


async def test_guard_lets_a_write_through_only_while_the_lock_is_held(autojump_clock: MockClock) -> None:
    """S-9: the check is part of the entry, so it holds at the moment of the write, whatever the writer believes."""
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(1)
        await zk.create("/account", b"0")
        async with Lock(zk, LOCK) as held, zk.transaction() as t:
            t.guard(held)
            t.set("/account", b"1")

        async def write_late() -> None:
            async with zk.transaction() as t:
                t.guard(held)
                t.set("/account", b"2")

        with pytest.raises(TransactionError):
            await write_late()
        assert (await zk.get("/account")).data == b"1"


async def test_held_says_how_long_nobody_else_can_have_it(autojump_clock: MockClock) -> None:
    """S-7: a lease by the local clock; it is renewed while the session is confirmed, and over with the block."""
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(1)
        async with Lock(zk, LOCK) as held:
            assert 0 < held.expires_in() <= zk.session.timeout * 0.8
            await trio.sleep(15)
            assert 0 < held.expires_in() <= zk.session.timeout * 0.8
            held.check()
        assert held.expires_in() == 0.0
        with pytest.raises(trio.ClosedResourceError):
            held.check()


async def test_a_waiter_whose_znode_somebody_deletes_queues_anew(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        first = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        before = await queue(ensemble.zk(3))
        await ensemble.zk(3).delete(f"{LOCK}/{max(before, key=sequence_number)}")
        await quiet()
        after = await queue(ensemble.zk(3))
        assert [sequence_number(name) for name in sorted(after, key=sequence_number)] == [0, 2]
        first.let_go.set()
        await quiet()
        assert second.held is not None
        second.let_go.set()


async def test_a_waiter_survives_the_loss_of_the_whole_queue(autojump_clock: MockClock) -> None:
    """Somebody deletes the lock's own znode with all below it: the holder has lost it, and waiters queue below a new one."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        first = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        await ensemble.zk(3).delete("/locks", recursive=True)
        await quiet()
        assert "was deleted" in str(first.ended)
        assert second.held is not None
        assert first.held is not None
        assert second.held.token > first.held.token
        second.let_go.set()


async def test_L3_waiters_go_on_when_the_holders_node_crashes(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        holder, waiter = follower(ensemble), ensemble.leader() or 0
        first = hold(nursery, Lock(ensemble.zk(holder), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(waiter), LOCK))
        await quiet()
        ensemble.crash(holder)
        await quiet()
        assert "NodeFailedError" in repr(first.ended) or "LockLostError" in repr(first.ended)
        assert second.waits()
        await trio.sleep(ensemble.zk(waiter).session.timeout + 1)
        assert second.held is not None
        second.let_go.set()


async def test_a_waiter_on_a_node_that_crashes_is_told(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        first = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        ensemble.crash(2)
        await quiet()
        assert isinstance(second.ended, NodeFailedError)
        first.let_go.set()


async def test_a_waiter_whose_session_expires_is_told(autojump_clock: MockClock) -> None:
    """Its place in the queue went with the session; nothing of it is left."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        alone = follower(ensemble)
        others = [id for id in (1, 2, 3) if id != alone]
        first = hold(nursery, Lock(ensemble.zk(others[0]), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(alone), LOCK))
        await quiet()
        session = ensemble.zk(alone).session
        ensemble.partition({alone}, set(others))
        await trio.sleep(20)
        assert (second.ended, session.state) == (None, SessionState.SUSPENDED)
        ensemble.heal()
        await trio.sleep(5)
        assert isinstance(second.ended, SessionExpiredError)
        assert len(await queue(ensemble.zk(alone))) == 1
        first.let_go.set()


async def test_a_waiter_through_a_change_of_leader(autojump_clock: MockClock) -> None:
    """Delay is all that it sees, and its place stays."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        leader = ensemble.leader()
        assert leader is not None
        others = [id for id in (1, 2, 3) if id != leader]
        first = hold(nursery, Lock(ensemble.zk(others[0]), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(others[1]), LOCK))
        await quiet()
        ensemble.crash(leader)
        first.let_go.set()
        await ensemble.wait_leader()
        await trio.sleep(1)
        assert (first.ended, second.ended) == ("normally", None)
        assert second.held is not None
        second.let_go.set()
