"""Tells a story to an ensemble of three zkembed nodes in memory, through the public API alone.

Session ``a`` is node 1's, ``b`` node 2's, ``c`` node 3's. Before a session speaks after another one it syncs: one ZooKeeper
server shows everybody the newest state, replicas promise that only behind a sync. Runs in virtual time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import assert_never

import trio

import zkembed
from zkembed.testing import open_ensemble

from .story import (
    Check,
    Children,
    Close,
    Create,
    Delete,
    Exists,
    Get,
    Multi,
    Op,
    Set,
    StopWatching,
    Story,
    Stream,
    Sync,
    TransactionOp,
    Vanish,
)
from .transcript import Absent, Answer, Done, Event, Failed, Heard, Line, Made, Named, Names, RawStat, Several, Value, render

ROOT = "/story"
# In virtual time: an ensemble that gets nowhere fails at once instead of being watched at it.
STORY_TIMEOUT = 120.0
NODES = {"a": 1, "b": 2, "c": 3}


class ZkembedSession:
    """One node of the ensemble and the watches that its session holds."""

    def __init__(self, zk: zkembed.Client, close: Callable[[], Awaitable[None]], vanish: Callable[[], Awaitable[None]]) -> None:
        self.id = zk.session.id
        self._zk = zk
        self._close = close
        self._vanish = vanish
        # Until they have fired, with the path they were set on.
        self._watches: list[tuple[str, zkembed.Watch]] = []
        self._streams: list[tuple[str, zkembed.EventStream, AsyncExitStack]] = []

    async def hear(self, op: Op, root: str) -> Heard:
        try:
            answer = await self._answer(op, root)
        except zkembed.TransactionError as error:
            answer = Failed(_name(error.error), error.index)
        except zkembed.ZkError as error:
            answer = Failed(_name(error))
        return Heard(answer, await self._events())

    async def sync(self) -> None:
        await self._zk.sync()

    async def leave_streams(self) -> None:
        for _, _, stack in self._streams:
            await stack.aclose()

    async def _answer(self, op: Op, root: str) -> Answer:
        zk = self._zk
        match op:
            case Multi(ops):
                return await self._transaction(ops, root)
            case Sync():
                await zk.sync()
                return Done()
            case Close():
                await self._close()
                return Done()
            case Vanish():
                await self._vanish()
                return Done()
        path = _place(op.path, root)
        match op:
            case Create(_, data, ephemeral, sequential):
                made = await zk.create(path, data, ephemeral=ephemeral, sequential=sequential)  # type: ignore[arg-type]
                return Made(made.path, _stat(made.stat))
            case Set(_, data, version):
                return _stat(await zk.set(path, data, version=version))  # type: ignore[arg-type]
            case Delete(_, version):
                await zk.delete(path, version=version)
                return Done()
            case Get(_, watch):
                data, stat = await zk.get(path, watch=self._watch(path) if watch else None)
                return Value(data, _stat(stat))
            case Exists(_, watch):
                found = await zk.exists(path, watch=self._watch(path) if watch else None)
                return Absent() if found is None else _stat(found)
            case Children(_, watch):
                return Names(await zk.children(path, watch=self._watch(path) if watch else None))
            case Stream(_, recursive):
                stack = AsyncExitStack()
                self._streams.append((path, await stack.enter_async_context(zk.watch(path, recursive=recursive)), stack))
                return Done()
            case StopWatching():
                await self._stop_watching(path)
                return Done()
            case _:
                assert_never(op)

    async def _transaction(self, ops: tuple[TransactionOp, ...], root: str) -> Answer:
        async with self._zk.transaction() as t:
            for op in ops:
                path = _place(op.path, root)
                match op:
                    case Create(_, data, ephemeral, sequential):
                        t.create(path, data, ephemeral=ephemeral, sequential=sequential)  # type: ignore[arg-type]
                    case Set(_, data, version):
                        t.set(path, data, version=version)  # type: ignore[arg-type]
                    case Delete(_, version):
                        t.delete(path, version=version)
                    case Check(_, version):
                        t.check(path, version=version)
        return Several(tuple(map(_result, t.results)))

    def _watch(self, path: str) -> zkembed.Watch:
        watch = zkembed.Watch()
        self._watches.append((path, watch))
        return watch

    async def _stop_watching(self, path: str) -> None:
        for place, watch in self._watches:
            if place == path:
                watch.remove()
        self._watches = [each for each in self._watches if each[0] != path]
        for place, _, stack in self._streams:
            if place == path:
                await stack.aclose()
        self._streams = [each for each in self._streams if each[0] != path]

    async def _events(self) -> tuple[Event, ...]:
        """What the session was told since it was last asked, as one connection would have been: two watches on one znode are told
        the same thing, and ZooKeeper says it once. In order where one watch was told everything.
        """
        heard: list[list[Event]] = [[_event(watch.event)] for _, watch in self._watches if watch.event is not None]
        self._watches = [each for each in self._watches if each[1].event is None]
        for _, stream, _ in self._streams:
            heard.append([_event(await anext(stream)) for _ in range(stream.statistics().queued)])
        union: Counter[Event] = Counter()
        for events in heard:
            union |= Counter(events)
        longest = max(heard, key=len, default=[])
        return tuple(longest) if Counter(longest) == union else tuple(union.elements())


async def tell(story: Story) -> list[Line]:
    """The story's transcript."""
    root = "" if story.fresh else ROOT
    with trio.fail_after(STORY_TIMEOUT):
        return await _tell(story, root)


async def _tell(story: Story, root: str) -> list[Line]:
    async with _sessions() as sessions:
        names = {session.id: name for name, session in sessions.items()}
        if root:
            await sessions["a"].hear(Create(root), "")
        heard = []
        speaker = "a"
        for step in story.steps:
            if step.session != speaker:
                await sessions[step.session].sync()
                speaker = step.session
            heard.append(await sessions[step.session].hear(step.op, root))
        for session in sessions.values():
            await session.leave_streams()
    return render(story, heard, names, root)


@asynccontextmanager
async def _sessions() -> AsyncIterator[dict[str, ZkembedSession]]:
    """``a`` and ``c`` are the ensemble's own; ``b`` is an application's node, which can leave and be crashed."""
    async with open_ensemble(len(NODES), run={NODES["a"], NODES["c"]}) as ensemble, trio.open_nursery() as nursery:
        closing, closed = trio.Event(), trio.Event()

        async def run(*, task_status: trio.TaskStatus[zkembed.Client]) -> None:
            try:
                async with zkembed.Node(ensemble.config(NODES["b"])) as zk:
                    task_status.started(zk)
                    await closing.wait()
            except zkembed.NodeFailedError:
                if not closing.is_set():
                    raise
            closed.set()

        async def close() -> None:
            closing.set()
            await closed.wait()

        async def vanish() -> None:
            closing.set()
            ensemble.crash(NODES["b"])
            await closed.wait()
            await _wait_expired(ensemble.zk(NODES["a"]), sessions["b"].id)

        clients = {"a": ensemble.zk(NODES["a"]), "b": await nursery.start(run), "c": ensemble.zk(NODES["c"])}
        sessions = {name: ZkembedSession(zk, close, vanish) for name, zk in clients.items()}
        yield sessions
        closing.set()


async def _wait_expired(zk: zkembed.Client, session: int) -> None:
    """Open sessions are listed below /zookeeper/sessions."""
    gone = zkembed.Watch()
    if await zk.exists(f"/zookeeper/sessions/{session:#x}", watch=gone) is not None:
        await gone.wait()


def _place(path: str, root: str) -> str:
    return root + path[1:] if path.startswith("~") else path


def _result(value: object) -> Answer:
    if isinstance(value, zkembed.Created):
        return Named(value.path)
    return _stat(value) if isinstance(value, zkembed.Stat) else Done()


def _stat(stat: zkembed.Stat) -> RawStat:
    return RawStat(
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner or 0,
        stat.data_length,
        stat.num_children,
        stat.ctime,
        stat.mtime,
    )


def _event(event: zkembed.WatchedEvent) -> Event:
    return Event(event.kind.name, event.path)


def _name(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")
