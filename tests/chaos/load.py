"""What the application in each process does all the time: a few tasks that read, write, watch, sync, lock and elect, on few znodes.

All goes through a recorded client, so nothing is told here: the history has it. Data is unique, so a history can be matched; names are few,
so tasks and processes meet. What fails because another one was faster is part of it; a session that ends, too: the next one goes
on. Some calls are given up half way, and stay in doubt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from types import TracebackType

import trio
from attrs import frozen

import zkembed
from zkembed import Client, Election, Held, Lock, Watch

from .contenders import Contenders
from .diary import Diary
from .endpoint import RecordingEndpoint
from .resource import FencedOffError, Visitor

REGISTERS = tuple(f"/registers/{name}" for name in "abcd")
QUEUE = "/queue"
QUEUE_LENGTH = 8
PRESENCE = "/presence"
LOCK = "/locks/resource"
ELECTION = "/locks/leader"
SHARED = "/shared"
CALLS_GIVEN_UP = 0.04
GIVE_UP_AFTER = 0.03
WATCH_PATIENCE = 2.0

_ANSWERS = (
    zkembed.NoNodeError,
    zkembed.NodeExistsError,
    zkembed.BadVersionError,
    zkembed.NotEmptyError,
    zkembed.TransactionError,
)


@frozen
class Pace:
    """think: the longest pause between two calls of a task.  hold: of a lock, at most; ``long_share`` of them ``long_hold``."""

    think: float = 0.04
    hold: float = 0.05
    long_hold: float = 6.0
    long_share: float = 0.1


class Load:
    """resource: where the guarded resource is.  working: False: it does nothing."""

    def __init__(
        self, zk: Client, endpoint: RecordingEndpoint, diary: Diary, chance: Random, resource: str, pace: Pace, *, working: bool
    ) -> None:
        self._zk = zk
        self._endpoint = endpoint
        self._diary = diary
        self._chance = chance
        self._visitor = Visitor(resource, LOCK)
        self._pace = pace
        self._values = count(1)
        self._stopping = not working
        self._asked_to_stop = trio.Event()
        self._stopped = trio.Event()

    async def run(self) -> None:
        """Until ``stop``, or an error that is none of an application's everyday life."""
        turns: tuple[Callable[[Random], Awaitable[None]], ...] = (
            self._write_register,
            self._write_register,
            self._compare_and_set,
            self._read_current,
            self._read_around,
            self._use_queue,
            self._transact,
            self._be_present,
            self._watch_once,
            self._use_lock,
            self._use_lock,
            self._lead,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prepare)
            nursery.start_soon(self._watch_all)
            nursery.start_soon(self._settle)
            async with trio.open_nursery() as working:
                for turn in turns:
                    working.start_soon(self._repeat, turn, Random(self._chance.random()))
            await self._settle_all()
            nursery.cancel_scope.cancel(reason="the load is stopped")
        self._stopped.set()

    async def stop(self) -> None:
        """No new rounds; returns when every call has ended."""
        self._stopping = True
        self._asked_to_stop.set()
        await self._stopped.wait()

    async def _repeat(self, turn: Callable[[Random], Awaitable[None]], chance: Random) -> None:
        while not self._stopping:
            try:
                with trio.CancelScope() as scope:
                    if chance.random() < CALLS_GIVEN_UP:
                        scope.deadline = trio.current_time() + chance.uniform(0, GIVE_UP_AFTER)
                    await turn(chance)
            except (*_ANSWERS, zkembed.SessionExpiredError, zkembed.LockLostError):
                pass
            await trio.sleep(chance.uniform(0, self._pace.think))

    def _data(self) -> bytes:
        """Never written before, by anybody."""
        return b"%d.%d.%d" % (self._diary.node, self._diary.life, next(self._values))

    # --- to begin and to end with ----------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        for path in (*REGISTERS, QUEUE, PRESENCE, SHARED):
            while not self._stopping:
                try:
                    await self._zk.create(path, b"0", parents=True)
                except zkembed.NodeExistsError:
                    break
                except zkembed.SessionExpiredError:
                    continue

    async def _settle(self) -> None:
        while True:
            await trio.sleep(0.1)
            self._endpoint.settle()

    async def _settle_all(self) -> None:
        """Behind a sync no earlier call of the session is open (R-3)."""
        while self._endpoint.calls_open:
            try:
                await self._zk.sync()
            except zkembed.SessionExpiredError:
                continue
            self._endpoint.settle()

    # --- registers ----------------------------------------------------------------------------------------------------

    async def _write_register(self, chance: Random) -> None:
        await self._zk.set(chance.choice(REGISTERS), self._data())

    async def _compare_and_set(self, chance: Random) -> None:
        path = chance.choice(REGISTERS)
        _, stat = await self._zk.get(path)
        await self._zk.set(path, self._data(), version=stat.version)

    async def _read_current(self, chance: Random) -> None:
        await self._zk.sync()
        await self._zk.get(chance.choice(REGISTERS))

    async def _read_around(self, chance: Random) -> None:
        for path in chance.sample(REGISTERS, 2):
            await self._zk.get(path)
            await self._zk.exists(path)
        await self._zk.children(chance.choice((QUEUE, "/registers")))
        for name in (await self._zk.children(PRESENCE))[:3]:
            await self._zk.exists(f"{PRESENCE}/{name}")

    # --- znodes that come and go --------------------------------------------------------------------------------------

    async def _use_queue(self, chance: Random) -> None:
        names = await self._zk.children(QUEUE)
        if names and chance.random() < len(names) / QUEUE_LENGTH:
            await self._zk.delete(f"{QUEUE}/{chance.choice(names[:3])}")
        else:
            await self._zk.create(f"{QUEUE}/item-", self._data(), sequential=True)

    async def _transact(self, chance: Random) -> None:
        one, other = chance.sample(REGISTERS, 2)
        _, stat = await self._zk.get(one)
        async with self._zk.transaction() as t:
            t.check(one, version=stat.version)
            t.set(other, self._data())
            t.create(f"{QUEUE}/moved-", self._data(), sequential=True)

    async def _be_present(self, chance: Random) -> None:
        created = await self._zk.create(f"{PRESENCE}/{self._diary.node}-", self._data(), ephemeral=True, sequential=True)
        await trio.sleep(chance.uniform(0, 10 * self._pace.think))
        if chance.random() < 0.7:
            await self._zk.delete(created.path)
        elif (names := await self._zk.children(PRESENCE)) and len(names) > QUEUE_LENGTH:
            await self._zk.delete(f"{PRESENCE}/{names[0]}")

    # --- watches ------------------------------------------------------------------------------------------------------

    async def _watch_once(self, chance: Random) -> None:
        watch = Watch()
        kind = chance.randrange(3)
        if kind == 0:
            await self._zk.get(chance.choice(REGISTERS), watch=watch)
        elif kind == 1:
            await self._zk.exists(f"{QUEUE}/wanted", watch=watch)
        else:
            await self._zk.children(chance.choice((QUEUE, PRESENCE)), watch=watch)
        with trio.move_on_after(WATCH_PATIENCE) as patience:
            if kind == 1:
                await self._zk.create(f"{QUEUE}/wanted", self._data())
                await self._zk.delete(f"{QUEUE}/wanted")
            await watch.wait()
        if patience.cancelled_caught:
            watch.remove()

    async def _watch_all(self) -> None:
        async with self._zk.watch(QUEUE, recursive=True) as events:
            async for _ in events:
                pass

    # --- locks --------------------------------------------------------------------------------------------------------

    async def _use_lock(self, chance: Random) -> None:
        """The number behind the lock goes up, and so does one of the ensemble's own, each guarded by the token alone."""
        async with _Noted(Lock(self._zk, LOCK), self._endpoint.contenders) as held:
            deadline = trio.current_time() + self._hold_for(chance)
            while True:
                await self._raise_guarded(held, chance)
                await self._raise_shared(held)
                if self._stopping or trio.current_time() >= deadline:
                    break

    async def _lead(self, chance: Random) -> None:
        async with _Noted(Election(self._zk, ELECTION), self._endpoint.contenders) as held:
            with trio.move_on_after(self._hold_for(chance)):
                await self._asked_to_stop.wait()
            held.check()

    def _hold_for(self, chance: Random) -> float:
        """Mostly short; now and then longer than a session that nobody hears of lives."""
        return chance.uniform(0, self._pace.long_hold if chance.random() < self._pace.long_share else self._pace.hold)

    async def _raise_guarded(self, held: Held, chance: Random) -> None:
        who = (self._diary.node, self._diary.life, self._endpoint.client)
        try:
            value = await self._visitor.read(held.token, who)
            await trio.sleep(chance.uniform(0, self._pace.hold))
            await self._visitor.write(held.token, value + 1, who)
        except (FencedOffError, OSError, trio.BrokenResourceError):
            await trio.lowlevel.checkpoint()

    async def _raise_shared(self, held: Held) -> None:
        shared = int((await self._zk.get(SHARED)).data)
        async with self._zk.transaction() as t:
            t.guard(held)
            t.set(SHARED, b"%d" % (shared + 1))

    async def contend(self) -> None:
        """For the lock, without end: whoever gets it keeps it."""
        async with _Noted(Lock(self._zk, LOCK), self._endpoint.contenders):
            await trio.sleep_forever()


class _Noted:
    """A lock or an election, with what its holder believes as events. From the end of the body on the holder does not act any more."""

    def __init__(self, lock: Lock | Election, contenders: Contenders) -> None:
        self._lock = lock
        self._contenders = contenders

    async def __aenter__(self) -> Held:
        self._held = await self._lock.__aenter__()
        self._contenders.holds(self._held)
        return self._held

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        self._contenders.doubts(self._held)
        return await self._lock.__aexit__(kind, error, trace)
