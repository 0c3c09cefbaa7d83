"""What a member of the measured ensemble can be told to do. Runs inside the member, on its Client; every method answers with one object.

Times are those of the system-wide monotonic clock, in seconds, so that those of two processes can be compared.
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import trio

import zkembed

DATA = bytes(100)
ECHO_BYTES = 1024
DISK_BYTES = 150
# Plain reads hold the loop: so many are done between two checkpoints, about 2 ms.
PLAIN_READS = 5_000


class LongestStep(trio.abc.Instrument):
    """The longest time that one task has held the loop."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._began is not None:
            self.longest = max(self.longest, perf_counter() - self._began)


class Tasks:
    def __init__(self, zk: zkembed.Client, nursery: trio.Nursery, data_dir: str) -> None:
        self._zk = zk
        self._nursery = nursery
        self._data_dir = Path(data_dir)
        self._watched: dict[bytes, float] = {}
        self._changed = trio.Event()
        self._echo: trio.SocketStream | None = None

    async def run(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await getattr(self, name)(**arguments)
        return answer

    async def status(self) -> dict[str, Any]:
        statistics = self._zk.node.statistics()
        gc.collect()
        return {
            "leader_id": statistics.leader_id,
            "serving": statistics.serving,
            "znodes": statistics.znodes,
            "applied_zxid": statistics.applied_zxid,
            "resident_bytes": resident_bytes(),
        }

    async def snapshot_steps(self, path: str) -> dict[str, Any]:
        """The longest step of any task, seconds, while some writes go on: for half a second, and while a snapshot is written."""
        without = await self._longest_step(path, trio.sleep, 0.5)
        return {"without": without, "with_snapshot": await self._longest_step(path, self._zk.node.snapshot)}

    async def _longest_step(self, path: str, work: Callable[..., Awaitable[object]], *args: object) -> float:
        steps = LongestStep()
        trio.lowlevel.add_instrument(steps)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_for_ever, path)
                await work(*args)
                nursery.cancel_scope.cancel()
        finally:
            trio.lowlevel.remove_instrument(steps)
        return steps.longest

    async def _write_for_ever(self, path: str) -> None:
        while True:
            await self._zk.set(path, DATA)

    # --- writes -------------------------------------------------------------------------------------------------------

    async def create(self, path: str) -> dict[str, Any]:
        await self._zk.ensure(path)
        return {}

    async def fill(self, path: str, count: int, tasks: int) -> dict[str, Any]:
        """``count`` znodes of 100 bytes below ``path``, one entry each, made by ``tasks`` tasks."""
        await self._zk.ensure(path)
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await self._zk.create(f"{path}/node-{number:08d}", DATA)

        began = perf_counter()
        await self._together(work, tasks)
        return {"seconds": perf_counter() - began}

    async def write_one_by_one(self, path: str, count: int) -> dict[str, Any]:
        """Each write awaited before the next. The data begins with a number that no other write has."""
        times = []
        marks = {}
        for _ in range(count):
            mark = os.urandom(8)
            began = perf_counter()
            await self._zk.set(path, mark + DATA[8:])
            times.append(perf_counter() - began)
            marks[mark.hex()] = began
        return {"times": times, "began": marks}

    async def write_together(self, path: str, tasks: int, seconds: float) -> dict[str, Any]:
        """``tasks`` tasks, each writing its own znode again and again for so long."""
        names = itertools.count()
        done = 0
        ending = perf_counter() + seconds

        async def work() -> None:
            nonlocal done
            place = f"{path}/{next(names)}"
            await self._zk.ensure(place)
            while perf_counter() < ending:
                await self._zk.set(place, DATA)
                done += 1

        await self._zk.ensure(path)
        began = perf_counter()
        await self._together(work, tasks)
        return {"count": done, "seconds": perf_counter() - began}

    async def write_until_epoch(self, path: str, above: int) -> dict[str, Any]:
        """One awaited write after the other, until one was made in an epoch above; when that was answered."""
        while True:
            stat = await self._zk.set(path, DATA)
            answered = perf_counter()
            if stat.mzxid >> 32 > above:
                return {"answered": answered}

    async def epoch(self) -> dict[str, Any]:
        return {"epoch": self._zk.node.epoch}

    async def _together(self, work: Any, tasks: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(work)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def read_plain(self, path: str, count: int) -> dict[str, Any]:
        get = self._zk.replica.get
        seconds = 0.0
        for _ in range(count // PLAIN_READS):
            began = perf_counter()
            for _ in range(PLAIN_READS):
                get(path)
            seconds += perf_counter() - began
            await trio.lowlevel.checkpoint()
        return {"count": count // PLAIN_READS * PLAIN_READS, "seconds": seconds}

    async def read_awaited(self, path: str, count: int) -> dict[str, Any]:
        get = self._zk.get
        began = perf_counter()
        for _ in range(count):
            await get(path)
        return {"count": count, "seconds": perf_counter() - began}

    # --- watches ------------------------------------------------------------------------------------------------------

    async def watch(self, path: str) -> dict[str, Any]:
        """Note when each change of the znode arrives, from now on."""
        await self._nursery.start(self._watch, path)
        return {}

    async def _watch(self, path: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._zk.watch(path, max_events=100_000) as events:
            task_status.started()
            async for event in events:
                self._watched[(event.data or b"")[:8]] = perf_counter()
                self._changed.set()

    async def watched(self, count: int) -> dict[str, Any]:
        """When the last ``count`` changes arrived, by the number in their data; waits until there are so many."""
        while len(self._watched) < count:
            self._changed = trio.Event()
            await self._changed.wait()
        arrived = {mark.hex(): time for mark, time in self._watched.items()}
        self._watched.clear()
        return {"arrived": arrived}

    # --- what the machine can do ----------------------------------------------------------------------------------------

    async def sync_disk(self, count: int) -> dict[str, Any]:
        """Append and fdatasync, beside the node's own files, each after the other."""
        times = []
        with (self._data_dir / "scratch").open("ab", buffering=0) as file:
            for _ in range(count):
                began = perf_counter()
                file.write(bytes(DISK_BYTES))
                os.fdatasync(file.fileno())
                times.append(perf_counter() - began)
                await trio.lowlevel.checkpoint()
        return {"times": times}

    async def serve_echo(self) -> dict[str, Any]:
        """Send back whatever comes; the port."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._nursery.start_soon(trio.serve_listeners, _send_back, [listener])
        return {"port": listener.socket.getsockname()[1]}

    async def echo(self, port: int, count: int) -> dict[str, Any]:
        """Round trips of 1 KiB through two trio streams."""
        if self._echo is None:
            self._echo = await trio.open_tcp_stream("127.0.0.1", port)
        times = []
        for _ in range(count):
            began = perf_counter()
            await self._echo.send_all(bytes(ECHO_BYTES))
            missing = ECHO_BYTES
            while missing:
                missing -= len(await self._echo.receive_some(ECHO_BYTES))
            times.append(perf_counter() - began)
        return {"times": times}


async def _send_back(stream: trio.SocketStream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


def resident_bytes() -> int:
    """Of this process. Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
