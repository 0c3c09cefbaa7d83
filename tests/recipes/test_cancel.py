"""Cancelled anywhere, with a quorum or without: nothing is left behind, nobody is stuck, and nobody waited."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from zkembed import Election, Lock, sequence_number
from zkembed.testing import open_ensemble

from .helpers import LOCK, CancelAt, at_every_step, cancelled_at, follower, hold, queue, quiet


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_RE_7_cancelled_at_every_step_of_a_free_lock(role: str, autojump_clock: MockClock) -> None:
    """RE-7, L2: acquire, body and release. Afterwards no contender, and the lock can be had at once."""
    async with open_ensemble(3) as ensemble:
        id = ensemble.leader() if role == "leader" else follower(ensemble)
        assert id is not None
        zk = ensemble.zk(id)

        async def run() -> None:
            async with Lock(zk, LOCK):
                await trio.sleep(0.01)

        async def after() -> None:
            assert await queue(zk) == ()
            async with Lock(ensemble.zk(3 if id != 3 else 1), LOCK, wait=False):
                pass
            statistics = zk.node.statistics()
            assert (statistics.calls_unresolved, statistics.watches) == (0, 0)

        sweep = await at_every_step(run, after)
    assert sweep.cancelled > 10


async def test_RE_7_cancelled_at_every_step_of_a_wait(autojump_clock: MockClock) -> None:
    """The lock comes free while we wait; whoever waits behind us is never stuck, whenever we go (L3)."""
    async with open_ensemble(3) as ensemble:
        id = follower(ensemble)
        first, last = (each for each in (1, 2, 3) if each != id)

        async def run() -> None:
            async with Lock(ensemble.zk(id), LOCK):
                await trio.lowlevel.checkpoint()

        async def once(step: int) -> bool:
            async with trio.open_nursery() as nursery:
                ahead = hold(nursery, Lock(ensemble.zk(first), LOCK))
                await trio.sleep(0.01)
                async with cancelled_at(step) as scope, trio.open_nursery() as middle:
                    middle.start_soon(run)
                    await trio.sleep(0.02)
                    ahead.let_go.set()
                ahead.let_go.set()
                async with Lock(ensemble.zk(last), LOCK):
                    pass
            assert ahead.ended == "normally"
            assert await queue(ensemble.zk(id)) == ()
            assert ensemble.zk(id).node.statistics().watches == 0
            return scope.cancel_called

        steps = 0
        while await once(steps):
            steps += 1
    assert steps > 20


async def one_ahead_goes(first: Lock | Election, second: Lock | Election, step: int) -> bool:
    """The first is cancelled at a step of the second's arrival; the second gets it all the same. False: it had arrived before."""
    cancel = CancelAt(step)

    async def ahead() -> None:
        with cancel.scope:
            async with first:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead)
        await quiet()
        trio.lowlevel.add_instrument(cancel)
        behind = hold(nursery, second)
        await quiet()
        trio.lowlevel.remove_instrument(cancel)
        cancelled = cancel.scope.cancel_called
        cancel.scope.cancel()
        await quiet()
        assert behind.held is not None
        behind.let_go.set()
    return cancelled


async def test_RE_6_the_one_before_goes_at_every_step_of_our_arrival(autojump_clock: MockClock) -> None:
    """RE-6: also between our reading the queue and our watch on it. No hang."""
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(follower(ensemble))
        other = ensemble.zk(ensemble.leader() or 0)

        steps = 0
        while await one_ahead_goes(Lock(other, LOCK), Lock(zk, LOCK), steps):
            steps += 1
    assert steps > 20


async def test_RE_6_the_one_before_goes_between_the_list_and_the_watch(autojump_clock: MockClock) -> None:
    """RE-6 where the steps are closest: two candidates of one session, on the only node.

    Each step eight times: which of two tasks that are due trio runs first is a matter of chance.
    """
    async with open_ensemble(1) as ensemble:
        zk = ensemble.zk(1)

        steps = 0
        while all([await one_ahead_goes(Election(zk, LOCK), Election(zk, LOCK), steps) for _ in range(8)]):
            steps += 1
    assert steps > 5


async def test_RE_2_an_attempt_that_gives_up_without_a_quorum_leaves_no_contender(autojump_clock: MockClock) -> None:
    """RE-2: a try, and a wait with a deadline, on a node that is cut off. When the link returns, nothing of them comes."""
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        await zk.ensure(LOCK)
        async with ensemble.zk(ensemble.leader() or 0).watch(LOCK, recursive=True) as stream:
            ensemble.partition({alone}, {1, 2, 3} - {alone})
            for wait in (False, True):
                before = trio.current_time()
                with trio.move_on_after(0.5) as patience:
                    async with Lock(zk, LOCK, wait=wait):
                        raise AssertionError("held without a quorum")
                assert patience.cancelled_caught
                assert trio.current_time() == before + 0.5
            ensemble.heal()
            await trio.sleep(5)
            events = [(await anext(stream)).kind.name for _ in range(stream.statistics().queued)]
        # What was on its way to the old connection may have come; then it was taken back, in this order.
        assert events in ([], ["CREATED", "DELETED"], ["CREATED", "DELETED"] * 2)
        assert await queue(zk) == ()


async def test_attempts_without_a_quorum_do_not_pile_up(autojump_clock: MockClock) -> None:
    """What was never handed over is withdrawn and needs no undoing: a hundred attempts leave no hundred requests."""
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        ensemble.partition({alone}, {1, 2, 3} - {alone})
        await trio.sleep(3)  # The leader is given up.
        for _ in range(100):
            with trio.move_on_after(0.01):
                async with Lock(zk, LOCK):
                    raise AssertionError("held without a quorum")
        assert zk.node.statistics().calls_unresolved == 0


@pytest.mark.parametrize("patient", [True, False])
async def test_RE_3_the_answer_to_the_create_is_lost(patient: bool, autojump_clock: MockClock) -> None:
    """RE-3, Q-5: the request arrives, nothing comes back. Whoever waits gets one contender, whoever goes leaves none."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        leader = ensemble.leader()
        assert leader is not None
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        ensemble.cut(leader, alone, one_way=True)
        scope = trio.CancelScope()

        async def attempt() -> None:
            with scope:
                async with Lock(zk, LOCK):
                    await trio.sleep_forever()

        nursery.start_soon(attempt)
        await trio.sleep(0.5)
        made = await ensemble.zk(leader).children(LOCK)
        assert len(made) == 1
        if not patient:
            scope.cancel()
        await trio.sleep(0.5)
        ensemble.heal()
        await trio.sleep(1)
        assert await queue(zk) == (made if patient else ())
        scope.cancel()
        await quiet()
        assert await queue(zk) == ()


async def test_RE_3_the_leader_dies_with_the_answer(autojump_clock: MockClock) -> None:
    """The create is sent again to the next leader, and makes one contender; the undo behind it takes that one back."""
    async with open_ensemble(3) as ensemble:
        leader = ensemble.leader()
        assert leader is not None
        zk = ensemble.zk(follower(ensemble))
        async with trio.open_nursery() as nursery:
            for step in range(0, 60, 3):
                async with cancelled_at(step), Lock(zk, LOCK):
                    pass
                if step == 30:
                    ensemble.crash(leader)
            keep = hold(nursery, Lock(zk, LOCK))
            await ensemble.wait_leader()
            await trio.sleep(1)
            assert keep.held is not None
            assert len(await queue(zk)) == 1
            keep.let_go.set()


async def test_leaving_takes_no_time_whatever_the_network_does(autojump_clock: MockClock) -> None:
    """No shield, no timeout: cancelled in the body, as a waiter and in release, all without a quorum."""
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        for path in ("/l/body", "/l/release"):
            with trio.CancelScope() as scope:
                async with Lock(zk, path):
                    ensemble.partition({alone}, {1, 2, 3} - {alone})
                    before = trio.current_time()
                    scope.cancel()
                    if path == "/l/body":
                        await trio.sleep_forever()
            assert trio.current_time() == before
            ensemble.heal()
            await quiet()
            assert await queue(zk, path) == ()


async def test_the_numbers_of_those_who_gave_up_are_not_used_again(autojump_clock: MockClock) -> None:
    """A contender taken back is one create and one delete, whoever looks on."""
    async with open_ensemble(1) as ensemble:
        zk = ensemble.zk(1)
        for step in (3, 6, 9, 12):
            async with cancelled_at(step), Lock(zk, LOCK):
                await trio.sleep_forever()
        async with Lock(zk, LOCK) as held:
            stat = await zk.exists(LOCK)
            assert stat is not None
            created = (stat.cversion + stat.num_children) // 2
            assert sequence_number(held.path) == created - 1
