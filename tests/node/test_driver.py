"""The driver: time, blocked loops, sleep, cancelled callers, Ctrl-C (rules B-12, S-7, S-9, P-14, Q-8; scenarios BR-6, DU-13, SE-11)."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.lowlevel

import zkembed
from zkembed.clock import LeaseClock
from zkembed.node import Node
from zkembed.tree.tree import Tree

from .members import Members, Running, all_up

CONNECTED, SUSPENDED = zkembed.SessionState.CONNECTED, zkembed.SessionState.SUSPENDED


def leader_of(running: dict[int, Running]) -> int:
    return next(id for id, member in running.items() if member.zk.node.role is zkembed.Role.LEADING)


async def test_S_9_time_that_the_machine_sleeps_counts(autojump_clock: trio.testing.MockClock) -> None:
    slept = [1000.0]
    clock = LeaseClock(lambda: slept[0])
    began = clock.now()
    slept[0] += 0.01  # Two clocks are never read at once.
    assert clock.now() == began
    slept[0] += 3600
    assert clock.now() - began == pytest.approx(3600, abs=0.1)
    assert clock.trio_time(clock.now()) == pytest.approx(trio.current_time())


async def test_SE_11_a_suspended_machine_finds_its_session_suspended_on_waking(autojump_clock: trio.testing.MockClock) -> None:
    """The monotonic clock stood still meanwhile; nobody may believe in a lease from before."""
    members = Members(3)
    async with all_up(members) as running:
        other = next(id for id in running if id != leader_of(running))
        member = running[other]
        slept = [0.0]
        assert member.node._driver is not None
        member.node._driver.clock = LeaseClock(lambda: slept[0])
        await trio.sleep(1)
        assert member.zk.session.state is CONNECTED
        slept[0] += 100.0
        assert member.zk.session.state is SUSPENDED
        assert member.zk.session.expires_in() == 0.0
        await member.zk.session.wait_state(CONNECTED)  # The others knew nothing of it, so the session lives.


@pytest.mark.parametrize("blocked", [0.5, 5.0])
async def test_B_12_a_leader_whose_application_blocks_the_loop_is_replaced_and_says_nothing_stale(
    blocked: float, autojump_clock: trio.testing.MockClock
) -> None:
    members = Members(3)
    async with all_up(members) as running:
        leader = leader_of(running)
        old = running[leader]
        other = next(member for id, member in running.items() if id != leader)
        await old.zk.create("/a", b"0")
        driver = old.node._driver
        assert driver is not None
        driver.freeze()
        members.fabric.silence(leader)
        await trio.sleep(blocked)
        if blocked > 2:
            await other.zk.set("/a", b"1")
            assert other.zk.node.leader_id != leader
        members.fabric.unsilence(leader)
        driver.thaw()
        await old.zk.sync()
        assert (await old.zk.get("/a")).data == (b"1" if blocked > 2 else b"0")
        assert (old.zk.node.role is zkembed.Role.LEADING) is (blocked < 1)


async def test_the_replica_goes_on_reading_without_a_quorum_and_says_how_old_it_is(autojump_clock: trio.testing.MockClock) -> None:
    """B18: plain reads go on, writes wait and can be cancelled."""
    members = Members(3)
    async with all_up(members) as running:
        zk = running[1].zk
        await zk.create("/a", b"1")
        await trio.sleep(1)
        assert zk.replica.staleness() < 1
        members.fabric.isolate(1)
        await trio.sleep(60)
        assert zk.replica.get("/a").data == b"1"
        assert 59 <= zk.replica.staleness() <= 61
        with trio.move_on_after(5) as scope:
            await zk.set("/a", b"2")
        assert scope.cancelled_caught


async def test_an_expired_default_session_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    members = Members(3)
    async with all_up(members) as running:
        other = next(id for id in running if id != leader_of(running))
        zk = running[other].zk
        first = zk.session
        await zk.create("/mine", ephemeral=True)
        members.fabric.isolate(other)
        await trio.sleep(20)
        members.fabric.heal()
        await first.wait_state(zkembed.SessionState.EXPIRED)
        assert zk.session is not first
        assert (await zk.create("/mine", ephemeral=True)).path == "/mine"
        assert zk.session.ephemerals() == ("/mine",)
        with pytest.raises(zkembed.SessionExpiredError):
            await first.wait_state(CONNECTED)


async def test_scopes_of_a_session_end_with_it(autojump_clock: trio.testing.MockClock) -> None:
    """B11."""
    members = Members(3)
    async with all_up(members) as running:
        other = next(id for id in running if id != leader_of(running))
        session = running[other].zk.session
        seen: list[zkembed.SessionState] = []

        async def follow_states() -> None:
            seen.extend([state async for state in session.states()])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_states)
            await trio.sleep(0.1)
            members.fabric.isolate(other)
            began = trio.current_time()
            with session.move_on_suspend() as doubt:
                await trio.sleep_forever()
            assert doubt.cancelled_caught
            assert trio.current_time() - began < 5
            nursery.start_soon(heal_later, members)
            with pytest.raises(zkembed.SessionExpiredError), session.fail_on_expiry():
                await trio.sleep_forever()
        assert [state.name for state in seen] == ["CONNECTED", "SUSPENDED", "EXPIRED"]
        with session.move_on_expiry() as over:
            await trio.lowlevel.checkpoint()
        assert over.cancelled_caught


async def heal_later(members: Members) -> None:
    await trio.sleep(10)
    members.fabric.heal()


# --- cancellation ----------------------------------------------------------------------------------------------------


class _CancelAfter(trio.abc.Instrument):
    """Cancels a scope before the k-th step, of whatever task, since the call in it began; 0: before it begins."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.scope = trio.CancelScope()
        self.running = False
        if not steps:
            self.scope.cancel()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.running:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


Call = Callable[[zkembed.Client], Awaitable[object]]


async def _transaction(zk: zkembed.Client) -> None:
    async with zk.transaction() as t:
        t.create("/t")
        t.set("/a", b"t")


async def _stream(zk: zkembed.Client) -> None:
    async with zk.watch("/a") as events:
        await zk.set("/a", b"x")
        await events.__anext__()


async def _one_shot(zk: zkembed.Client) -> None:
    watch = zkembed.Watch()
    await zk.get("/a", watch=watch)
    await zk.set("/a", b"y")
    await watch.wait()


API: dict[str, Call] = {
    "create": lambda zk: zk.create("/c"),
    "set": lambda zk: zk.set("/a", b"s"),
    "delete": lambda zk: zk.delete("/b"),
    "ensure": lambda zk: zk.ensure("/e/f"),
    "get": lambda zk: zk.get("/a"),
    "exists": lambda zk: zk.exists("/a"),
    "children": lambda zk: zk.children("/"),
    "sync": lambda zk: zk.sync(),
    "transaction": _transaction,
    "watch": _stream,
    "one-shot watch": _one_shot,
    "wait_state": lambda zk: zk.session.wait_state(CONNECTED),
    "wait_role": lambda zk: zk.node.wait_role(zkembed.Role.LEADING, zkembed.Role.FOLLOWING),
    "snapshot": lambda zk: zk.node.snapshot(),
}


@pytest.mark.parametrize("name", API)
@pytest.mark.parametrize("member", ["leader", "follower"])
async def test_every_call_can_be_cancelled_at_every_await(name: str, member: str, autojump_clock: trio.testing.MockClock) -> None:
    """Q-8, T4: afterwards nothing is half done, nobody waits, and the session goes on in order."""
    members = Members(3)
    async with all_up(members) as running:
        leader = leader_of(running)
        zk = running[leader if member == "leader" else next(id for id in running if id != leader)].zk
        await zk.create("/a")
        cancelled = 0
        for step in range(1000):
            await zk.ensure("/b")
            instrument = _CancelAfter(step)

            async def call(instrument: _CancelAfter = instrument) -> None:
                with instrument.scope:
                    instrument.running = True
                    await API[name](zk)
                instrument.running = False

            trio.lowlevel.add_instrument(instrument)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call)
            finally:
                trio.lowlevel.remove_instrument(instrument)
            if instrument.scope.cancelled_caught:
                cancelled += 1
            await zk.sync()  # Settles what was unknown.
            for path in ("/c", "/t"):
                if await zk.exists(path) is not None:
                    await zk.delete(path)
            if await zk.exists("/e") is not None:
                await zk.delete("/e", recursive=True)
            statistics = zk.node.statistics()
            assert (statistics.calls_unresolved, statistics.watches) == (0, 0 if name != "one-shot watch" else statistics.watches)
            if not instrument.scope.cancel_called:
                break
        else:
            raise AssertionError("it never ran to its end")
        assert cancelled >= 1
        running_node = running[1].node
        assert running_node._driver is not None
        running_node._driver.replica.check_invariants()


async def test_every_async_call_is_a_checkpoint_also_when_the_answer_is_at_hand(autojump_clock: trio.testing.MockClock) -> None:
    """T1; and what is plain is none."""
    async with Node(Members().config()) as zk:
        await zk.create("/a")
        await zk.create("/b")
        for name, call in API.items():
            if name in ("transaction", "watch", "one-shot watch", "delete"):
                continue
            with trio.testing.assert_checkpoints():
                await call(zk)
        with trio.testing.assert_checkpoints():
            async with zk.transaction():
                pass
        with trio.testing.assert_no_checkpoints():
            zk.replica.get("/a")
            zk.replica.children("/")
            zk.replica.exists("/nothing")
            zk.replica.staleness()
            zk.node.statistics()
            zk.session.expires_in()
            zk.session.ephemerals()


async def test_order_is_taken_at_the_call(autojump_clock: trio.testing.MockClock) -> None:
    """Q-1, D34: a write that waits does not let a later one of its session pass."""
    members = Members(3)
    async with all_up(members) as running:
        zk = running[1].zk
        await zk.create("/q")
        members.fabric.isolate(1)
        await trio.sleep(3)
        made: list[str] = []

        async def create(data: bytes) -> None:
            made.append((await zk.create("/q/n-", data, sequential=True)).path)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(create, str(n).encode())
                await trio.testing.wait_all_tasks_blocked()
            members.fabric.heal()
        order = [int(zk.replica.get(path).data) for path in sorted(made)]
        assert order == list(range(20))


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_T9_ctrl_c_in_the_middle_of_an_apply_does_not_cut_it_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """I17: the entry is applied whole, the block ends with KeyboardInterrupt, and the next start is clean."""
    members = Members()
    genuine = Tree.apply

    def interrupted(tree: Tree, record: object, *rest: object) -> object:
        if tree.get("/a") is not None and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)
        return genuine(tree, record, *rest)  # type: ignore[arg-type]

    sent: list[int] = []

    async def main() -> None:
        async with Node(members.config()) as zk:
            await zk.create("/a")
            monkeypatch.setattr(Tree, "apply", interrupted)
            await zk.create("/b")
            for _ in range(1000):
                await trio.lowlevel.checkpoint()
            raise AssertionError("no interrupt")

    with pytest.raises(BaseException, match=r".*") as caught:
        trio.run(main)
    assert sent
    assert isinstance(caught.value, KeyboardInterrupt) or caught.group_contains(KeyboardInterrupt)  # type: ignore[attr-defined]
    monkeypatch.undo()

    async def again() -> tuple[str, ...]:
        async with Node(members.config()) as zk:
            return zk.replica.children("/")

    assert trio.run(again) == ("a", "b", "zookeeper")
