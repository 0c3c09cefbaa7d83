"""What stories about recipes share: looking into the queue, cancelling at any step, and holding on until told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, frozen
from trio.testing import MockClock

from zkembed import Client, Election, Held, Lock
from zkembed.testing import Ensemble

LOCK = "/locks/a"
STEPS_MAX = 2000


async def queue(zk: Client, path: str = LOCK) -> tuple[str, ...]:
    """The znodes below ``path`` as of now, everywhere."""
    await zk.sync()
    return () if await zk.exists(path) is None else await zk.children(path)


async def settled(ensemble: Ensemble, *ids: int) -> None:
    """These members have applied all that was answered or abandoned before."""
    for id in ids:
        await ensemble.zk(id).sync()


def follower(ensemble: Ensemble) -> int:
    """A member that does not lead."""
    return 1 if ensemble.leader() != 1 else 2


# --- tasks that hold -------------------------------------------------------------------------------------------------


@define
class Holder:
    """A task that has, wants or had a lock. ended: how its block ended, None while it has not."""

    let_go: trio.Event
    held: Held | None = None
    began_at: float = -1.0
    ended: BaseException | str | None = None
    ended_at: float = -1.0

    def waits(self) -> bool:
        """It has not been inside yet, and has not given up."""
        return self.held is None and self.ended is None


def hold(nursery: trio.Nursery, block: Lock | Election, name: str = "holder") -> Holder:
    """Start a task that enters the block and stays until ``let_go`` is set."""
    holder = Holder(trio.Event())

    async def run() -> None:
        try:
            async with block as held:
                holder.held = held
                holder.began_at = trio.current_time()
                await holder.let_go.wait()
        except Exception as error:
            holder.ended = error
        else:
            holder.ended = "normally"
        holder.ended_at = trio.current_time()

    nursery.start_soon(run, name=name)
    return holder


async def quiet() -> None:
    """Virtual time enough for what was asked to be answered; far less than any timeout."""
    await trio.sleep(0.05)


# --- cancelling at every step ----------------------------------------------------------------------------------------


class CancelAt(trio.abc.Instrument):
    """Cancels ``scope`` after that many steps of the whole run, whoever made them."""

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self._left = step

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left == 0:
            self.scope.cancel()
        self._left -= 1


class JumpAt(trio.abc.Instrument):
    """Lets time jump after that many steps of the whole run."""

    def __init__(self, step: int, clock: MockClock, seconds: float) -> None:
        self.done = False
        self._left = step
        self._clock = clock
        self._seconds = seconds

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left == 0:
            self._clock.jump(self._seconds)
            self.done = True
        self._left -= 1


@asynccontextmanager
async def cancelled_at(step: int) -> AsyncIterator[trio.CancelScope]:
    """The block is cancelled after so many steps of the run, if it lasts that long."""
    instrument = CancelAt(step)
    with instrument.scope:
        trio.lowlevel.add_instrument(instrument)
        try:
            yield instrument.scope
        finally:
            trio.lowlevel.remove_instrument(instrument)


@frozen
class Sweep:
    """cancelled: runs that were cancelled.  whole: the last one, that was not, took fewer steps than its cancellation."""

    cancelled: int


async def at_every_step(run: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[object]]) -> Sweep:
    """``run`` cancelled after 0, 1, 2... steps until it gets through, each time followed by ``after``."""
    cancelled = 0
    for step in range(STEPS_MAX):
        async with cancelled_at(step) as scope:
            await run()
        await after()
        cancelled += scope.cancelled_caught
        if not scope.cancel_called:
            return Sweep(cancelled)
    raise AssertionError(f"not through after {STEPS_MAX} steps")


class Steps(trio.abc.Instrument):
    """Counts the steps of each task by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.by_name[task.name] = self.by_name.get(task.name, 0) + 1
