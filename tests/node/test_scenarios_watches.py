"""Readers that are slower than what they watch (WA-6, rows C8 and C12, rule 5 of the house: everything that queues is bounded)."""

from __future__ import annotations

import pytest
import trio

import zkembed
from zkembed import EventKind

from .members import Members, all_up

BOUND = 16


async def test_WA_6_a_stream_that_nobody_reads_stays_bounded_and_says_what_it_lost(autojump_clock: trio.testing.MockClock) -> None:
    """WA-6: the queue never holds more than ``max_events``; what it lost it says with one OVERFLOW, and what comes behind its zxid is
    complete, so a reader that re-reads ends with the truth."""
    async with all_up(Members(3)) as running:
        writer, reader = running[1].zk, running[2].zk
        await writer.create("/a", b"0")
        await reader.sync()
        async with reader.watch("/a", max_events=BOUND) as events:
            for number in range(1, 10 * BOUND):
                await writer.set("/a", b"%d" % number)
                assert events.statistics().queued <= BOUND
            await reader.sync()
            assert events.statistics().overflows >= 1
            seen = [await events.__anext__() for _ in range(events.statistics().queued)]
            assert seen[0].kind is EventKind.OVERFLOW
            assert all(event.kind is EventKind.DATA_CHANGED for event in seen[1:])
            znode = await reader.get("/a")
            assert seen[-1].zxid == znode.stat.mzxid, "nothing newer was lost"
            assert [int(event.data or b"") for event in seen[1:]] == list(range(10 * BOUND - len(seen) + 1, 10 * BOUND))
            await writer.set("/a", b"last")
            assert (await events.__anext__()).data == b"last"
            assert events.statistics().queued == 0


@pytest.mark.parametrize("bound", [1, 2, 3, 200])
async def test_WA_6_whoever_reads_anew_at_each_overflow_misses_nothing(bound: int, autojump_clock: trio.testing.MockClock) -> None:
    """WA-6, W1: a reader that sleeps between its events keeps a mirror of a subtree: it re-reads at OVERFLOW and GAP, and takes each event
    behind that. In the end the mirror is the subtree, with every bound."""
    async with all_up(Members(3)) as running:
        writer, reader = running[1].zk, running[3].zk
        await writer.create("/m")
        mirror: dict[str, bytes] = {}
        overflows = 0

        async def read_anew() -> None:
            mirror.clear()
            for name in await reader.children("/m"):
                mirror[f"/m/{name}"] = (await reader.get(f"/m/{name}")).data

        async def keep(task_status: trio.TaskStatus[zkembed.EventStream] = trio.TASK_STATUS_IGNORED) -> None:
            nonlocal overflows
            async with reader.watch("/m", recursive=True, max_events=bound) as events:
                task_status.started(events)
                async for event in events:
                    if event.kind in (EventKind.OVERFLOW, EventKind.GAP):
                        overflows += 1
                        await read_anew()
                    elif event.kind is EventKind.DELETED:
                        mirror.pop(event.path, None)
                    elif event.path != "/m" and event.data is not None:
                        mirror[event.path] = event.data
                    await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            events: zkembed.EventStream = await nursery.start(keep)
            for number in range(120):
                path = f"/m/{number % 7}"
                if number % 11 == 5 and await writer.exists(path) is not None:
                    await writer.delete(path)
                elif await writer.exists(path) is None:
                    await writer.create(path, b"%d" % number)
                else:
                    await writer.set(path, b"%d" % number)
                await trio.sleep(0.01)
            await reader.sync()
            await trio.sleep(20)
            assert events.statistics().queued == 0
            nursery.cancel_scope.cancel()
        names = reader.replica.children("/m")
        assert mirror == {f"/m/{name}": reader.replica.get(f"/m/{name}").data for name in names}
        assert (overflows > 0) is (bound < 200)


async def test_WA_6_a_one_shot_watch_that_nobody_asks_holds_one_event(autojump_clock: trio.testing.MockClock) -> None:
    """WA-6, W2: it is told once, however much happens before somebody looks."""
    async with all_up(Members(1)) as running:
        zk = running[1].zk
        await zk.create("/a", b"0")
        watch = zkembed.Watch()
        await zk.get("/a", watch=watch)
        for number in range(1, 100):
            await zk.set("/a", b"%d" % number)
        assert (await watch.wait()).data == b"1"
        assert zk.node.statistics().watches == 0
