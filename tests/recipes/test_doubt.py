"""The body stops when ownership is in doubt, before anybody else can have it; and what leaves the block then."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from zkembed import Lock, LockLostError, Node, NodeFailedError, SessionExpiredError, SessionState
from zkembed.testing import Ensemble, open_ensemble

from .helpers import LOCK, JumpAt, follower, hold, queue, quiet


class Boom(Exception):
    """The body's own."""


def boom() -> None:
    raise Boom


def cut_off(ensemble: Ensemble, id: int) -> None:
    ensemble.partition({id}, {1, 2, 3} - {id})


# --- the body --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_RE_1_the_body_is_cancelled_before_anybody_else_can_have_the_lock(role: str, autojump_clock: MockClock) -> None:
    """RE-1, L1, S-7: cut off, the holder stops at SUSPENDED; the next one begins only after that."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        alone = ensemble.leader() if role == "leader" else follower(ensemble)
        assert alone is not None
        other = next(id for id in (1, 2, 3) if id != alone)
        session = ensemble.zk(alone).session
        first = hold(nursery, Lock(ensemble.zk(alone), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(other), LOCK))
        await quiet()
        cut_off(ensemble, alone)
        began = trio.current_time()
        await session.wait_state(SessionState.SUSPENDED)
        await quiet()
        assert first.held is not None
        assert isinstance(first.ended, LockLostError)
        assert f"session {session.id:#x} is SUSPENDED" in str(first.ended)
        assert first.ended_at - began <= session.timeout * 0.8
        assert second.waits()
        await trio.sleep(3 * session.timeout)
        assert second.held is not None
        assert second.began_at > first.ended_at
        assert second.held.token > first.held.token
        assert (first.held.expires_in(), second.held.expires_in() > 0) == (0.0, True)
        second.let_go.set()
        await quiet()
        ensemble.heal()
        await trio.sleep(5)
        assert await queue(ensemble.zk(alone)) == ()


async def test_the_body_is_cancelled_when_somebody_deletes_the_znode(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        first = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        assert first.held is not None
        await ensemble.zk(3).delete(first.held.path)
        await quiet()
        assert isinstance(first.ended, LockLostError)
        assert "its znode was deleted at 0x1" in str(first.ended)
        assert second.held is not None
        second.let_go.set()


async def test_new_data_in_the_znode_is_no_loss(autojump_clock: MockClock) -> None:
    """Neither holder nor waiter minds what somebody writes into their znodes, and the watch is not used up by it."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        first = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(2), LOCK))
        await quiet()
        assert first.held is not None
        await ensemble.zk(3).set(first.held.path, b"seen")
        await quiet()
        assert (first.ended, second.held) == (None, None)
        await ensemble.zk(3).delete(first.held.path)
        await quiet()
        assert isinstance(first.ended, LockLostError)
        assert second.held is not None
        second.let_go.set()


async def test_a_change_of_leader_alone_costs_nobody_a_lock(autojump_clock: MockClock) -> None:
    """S-7: delay is no doubt."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        leader = ensemble.leader()
        assert leader is not None
        holder = hold(nursery, Lock(ensemble.zk(follower(ensemble)), LOCK))
        await quiet()
        ensemble.crash(leader)
        await trio.sleep(30)
        assert holder.ended is None
        holder.let_go.set()
        await trio.sleep(1)
        assert holder.ended == "normally"


async def test_a_holder_whose_node_crashes_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        holder = hold(nursery, Lock(ensemble.zk(1), LOCK))
        await quiet()
        ensemble.crash(1)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(holder.ended, LockLostError)
        assert "node 1 has failed" in str(holder.ended)


async def test_RE_11_a_paused_holder_cannot_write_with_its_old_token(autojump_clock: MockClock) -> None:
    """RE-11, L1, S-9: what stands still cannot be cancelled. The register compares tokens, the ensemble compares znodes."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        paused = follower(ensemble)
        other = next(id for id in (1, 2, 3) if id not in (paused, ensemble.leader()))
        zk, session = ensemble.zk(paused), ensemble.zk(paused).session
        register: list[tuple[int, str]] = []

        def write(token: int, text: str) -> bool:
            if register and token < register[-1][0]:
                return False
            register.append((token, text))
            return True

        first = hold(nursery, Lock(zk, LOCK))
        await quiet()
        second = hold(nursery, Lock(ensemble.zk(other), LOCK))
        await quiet()
        assert first.held is not None
        assert write(first.held.token, "first")
        ensemble.pause(paused)
        await trio.sleep(2 * session.timeout)
        assert not isinstance(first.ended, LockLostError)
        assert second.held is not None
        assert write(second.held.token, "second")
        assert not write(first.held.token, "first, late")
        with pytest.raises(LockLostError):
            first.held.check()  # The clock tells it, though nobody else could.
        ensemble.resume(paused)
        await trio.sleep(5)
        assert isinstance(first.ended, LockLostError)
        second.let_go.set()
        assert [text for _, text in register] == ["first", "second"]


# --- what leaves the block -------------------------------------------------------------------------------------------

BODIES = ("returns", "waits", "waits in a shield", "raises", "raises when cancelled", "raises in a group")


@pytest.mark.parametrize(("lost", "body"), list(itertools.product(("", "suspended", "deleted"), BODIES)))
async def test_what_leaves_the_block(lost: str, body: str, autojump_clock: MockClock) -> None:
    """The way out of the body x whether the lock was lost in it. Own exceptions win, the loss is then a note."""
    async with open_ensemble(3, session_timeout=3.2) as ensemble, trio.open_nursery() as nursery:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        caught: BaseException | None = None

        async def lose(path: str) -> None:
            if lost == "suspended":
                cut_off(ensemble, alone)
                await trio.sleep(zk.session.timeout)
                ensemble.heal()
            elif lost == "deleted":
                await ensemble.zk(ensemble.leader() or 0).delete(path)

        try:
            async with Lock(zk, LOCK) as held:
                nursery.start_soon(lose, held.path)
                if body == "waits":
                    await trio.sleep(6)
                    assert not lost
                    boom()
                if body == "raises when cancelled":
                    try:
                        await trio.sleep(6)
                    finally:
                        raise Boom
                with trio.CancelScope(shield=True):
                    await trio.sleep(6)
                if body == "raises":
                    boom()
                if body == "raises in a group":
                    async with trio.open_nursery() as inner:
                        inner.start_soon(trio.sleep_forever)
                        boom()
                if body == "waits in a shield":
                    await trio.lowlevel.checkpoint()
                    assert not lost
        except BaseException as error:
            caught = error
        own = body.startswith("raises") or (body == "waits" and not lost)
        if own:
            assert caught is not None
            noted = "".join(getattr(caught, "__notes__", ()))
            assert ("is lost: " in noted) is bool(lost)
            assert isinstance(caught.exceptions[0] if isinstance(caught, BaseExceptionGroup) else caught, Boom)
            assert isinstance(caught, BaseExceptionGroup) is (body == "raises in a group")
        else:
            assert type(caught) is (LockLostError if lost else type(None))
        await trio.sleep(2)
        assert await queue(zk) == ()


@pytest.mark.parametrize("lost", [False, True])
async def test_an_outer_cancellation_wins_over_the_loss(lost: bool, autojump_clock: MockClock) -> None:
    """T7's table: both cancelled in the same step; the outer scope gets its Cancelled, and no LockLostError is in its way."""
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(1)
        with trio.CancelScope() as outer:
            async with Lock(zk, LOCK) as held:
                if lost:
                    ensemble.crash(1)
                    assert held.expires_in() == 0.0
                outer.cancel()
                await trio.sleep_forever()
        assert outer.cancelled_caught


async def test_doubt_that_has_passed_is_a_loss_all_the_same(autojump_clock: MockClock) -> None:
    """SUSPENDED for a moment, felt by nobody in a shield, then CONNECTED again: others could not know that it would come back."""
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)

        async def work() -> None:
            async with Lock(zk, LOCK) as held:
                with trio.CancelScope(shield=True):
                    cut_off(ensemble, alone)
                    await zk.session.wait_state(SessionState.SUSPENDED)
                    ensemble.heal()
                    await zk.session.wait_state(SessionState.CONNECTED)
                with pytest.raises(LockLostError, match="was SUSPENDED meanwhile"):
                    held.check()
                assert held.expires_in() == 0.0

        with pytest.raises(LockLostError, match="was SUSPENDED meanwhile"):
            await work()
        assert await queue(zk) == ()


async def test_a_body_that_holds_the_loop_past_its_lease_is_told_at_the_exit(autojump_clock: MockClock) -> None:
    """S-7 by the clock: nobody could cancel a body that never paused, and it returned; the exit says so all the same."""
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(follower(ensemble))

        async def compute() -> None:
            async with Lock(zk, LOCK) as held:
                autojump_clock.jump(zk.session.timeout)
                with pytest.raises(LockLostError):
                    held.check()

        with pytest.raises(LockLostError, match="is SUSPENDED"):
            await compute()


async def test_release_through_a_lost_quorum_waits_and_is_cancellable(autojump_clock: MockClock) -> None:
    """The body ended well, so there is no LockLostError; the delete waits for a quorum, its caller as long as it likes."""
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        with trio.move_on_after(1) as patience:
            async with Lock(zk, LOCK):
                cut_off(ensemble, alone)
        assert patience.cancelled_caught
        ensemble.heal()
        assert await queue(zk) == ()


async def test_a_body_with_an_error_does_not_wait_for_a_quorum(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        alone = follower(ensemble)
        zk = ensemble.zk(alone)
        cut_at = 0.0

        async def fail() -> None:
            nonlocal cut_at
            async with Lock(zk, LOCK):
                cut_off(ensemble, alone)
                cut_at = trio.current_time()
                boom()

        with pytest.raises(Boom):
            await fail()
        assert trio.current_time() == cut_at
        ensemble.heal()
        assert await queue(zk) == ()


async def test_when_the_node_fails_around_the_lock_its_own_error_leaves_the_nodes_block(autojump_clock: MockClock) -> None:
    """T7: the node's cancellation of its block is one from outside to the lock in it, and wins; the node says why."""
    async with open_ensemble(3, run={1, 2}) as ensemble:

        async def application() -> None:
            async with Node(ensemble.config(3)) as zk, Lock(zk, LOCK):
                ensemble.crash(3)
                await trio.sleep_forever()

        with pytest.raises(NodeFailedError, match="crashed by the test"):
            await application()


async def test_S_7_ownership_begins_only_while_the_session_is_connected(autojump_clock: MockClock) -> None:
    """Time jumps past every lease at every step of a hand-over: whoever begins then has a session that is CONNECTED again."""
    began: list[tuple[SessionState, float]] = []
    async with open_ensemble(3, session_timeout=3.2) as ensemble:
        zk, other = ensemble.zk(follower(ensemble)), ensemble.zk(ensemble.leader() or 0)

        async def contend() -> None:
            with suppress(SessionExpiredError, LockLostError):
                async with Lock(zk, LOCK) as held:
                    began.append((zk.session.state, held.expires_in()))

        async def once(step: int) -> bool:
            jump = JumpAt(step, autojump_clock, 3.0)
            async with trio.open_nursery() as nursery:
                ahead = hold(nursery, Lock(other, LOCK))
                await quiet()
                nursery.start_soon(contend)
                await quiet()
                trio.lowlevel.add_instrument(jump)
                ahead.let_go.set()
                await quiet()
                trio.lowlevel.remove_instrument(jump)
            await trio.sleep(4)
            return jump.done

        steps = 0
        while await once(steps):
            steps += 2
    assert steps > 20
    assert len(began) > 10
    assert all(state is SessionState.CONNECTED and expires_in > 0 for state, expires_in in began)
