"""One direction of one connection through the proxy: bytes come in at one socket and leave at the other, when the path lets them.

What has arrived waits in a bounded queue; behind that TCP itself makes the sender wait. The end of the stream travels like a byte: a
cut holds it back too, as a cut cable holds back a FIN. Nothing is ever reordered, doubled or changed: that is TCP's promise to
both ends, and the faults that break it are tried on the framing elsewhere.
"""

from __future__ import annotations

import math
from collections import deque

import trio
from attrs import frozen

CHUNK_BYTES = 16 * 1024
"""Read at once; small, so that a throttled path lets single chunks through."""

QUEUE_BYTES_MAX = 256 * 1024
"""What a path holds of one connection, like the buffers of routers and kernels; then the sender has to wait."""


@frozen
class Condition:
    """held: nothing passes.  delay: seconds that each byte is under way.  rate: bytes a second."""

    held: bool = False
    delay: float = 0.0
    rate: float = math.inf


class Path:
    """The way from one member to another, for all connections that use it; its condition may change at any moment."""

    def __init__(self) -> None:
        self.condition = Condition()
        self.changed = trio.Event()
        self.bytes_passed = 0

    def become(self, condition: Condition) -> None:
        """Plain. What waits goes by the new condition."""
        if condition != self.condition:
            self.condition = condition
            self.changed.set()
            self.changed = trio.Event()


class Direction:
    """source to sink along ``path``. ``run`` ends at the stream's end, which has been passed on, or raises trio.BrokenResourceError."""

    def __init__(self, source: trio.SocketStream, sink: trio.SocketStream, path: Path) -> None:
        self._source = source
        self._sink = sink
        self._path = path
        self._queue: deque[tuple[float, bytes]] = deque()  # (arrived, bytes); b"": the end of the stream
        self._queued_bytes = 0
        self._moved = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take)
            nursery.start_soon(self._give)

    async def _take(self) -> None:
        data = b"more"
        while data:
            while self._queued_bytes >= QUEUE_BYTES_MAX:
                await self._moved.wait()
            try:
                data = await self._source.receive_some(CHUNK_BYTES)
            except trio.BrokenResourceError:
                # A reset travels too. It is passed on as the end of the stream: to either protocol above it is a lost link.
                data = b""
            self._queue.append((trio.current_time(), data))
            self._queued_bytes += len(data)
            self._move()

    async def _give(self) -> None:
        while True:
            while not self._queue:
                await self._moved.wait()
            arrived, data = self._queue[0]
            await self._wait_passage(arrived, len(data))
            self._queue.popleft()
            self._queued_bytes -= len(data)
            self._move()
            if not data:
                await self._sink.send_eof()
                return
            self._path.bytes_passed += len(data)
            await self._sink.send_all(data)

    async def _wait_passage(self, arrived: float, size: int) -> None:
        """Until the path lets this chunk through, by the condition that it has then."""
        began = trio.current_time()
        while True:
            condition, changed = self._path.condition, self._path.changed
            due = math.inf if condition.held else max(arrived + condition.delay, began + size / condition.rate)
            if due <= trio.current_time():
                return
            with trio.move_on_at(due):
                await changed.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
