"""One connection over a simulated network: two pipes of frames, each with a delay, and able to go dark.

Nothing here runs by itself: a frame gets its time of arrival when it is sent, and whoever receives sleeps until then. Which directions
are dark, and how long frames travel, the ``Network`` tells (``memory.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import trio

from .base import Hello, Limits, LinkError
from .framing import encode_frame
from .wire import Wire

# What one direction holds unread, in bytes, before its sender waits: as the buffers of two sockets do.
WINDOW_BYTES = 4 * 2**20


class Network(Protocol):
    """What a connection asks of the network between its ends."""

    def dark(self, source: int, target: int) -> bool:
        """Whether frames from ``source`` are held back at present."""

    def travel_time(self, source: int, target: int) -> float: ...

    def forget(self, link: MemoryLink) -> None:
        """This end has ended."""


class Pipe:
    """One direction of a connection. Frames keep their order; None stands for the end, behind which nothing comes.

    Frames under way when the direction goes dark, or sent while it is, are held and arrive after it is lit again: TCP would send
    them again. What had arrived before stays readable.
    """

    def __init__(self, network: Network, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self._network = network
        # With times of arrival. What is behind waits for what is before it, even if it would have been there sooner.
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._arrived: deque[bytes] = deque()
        self.held_bytes = 0
        # The end has arrived.
        self.ended = False
        # Nobody will read any more: what comes is dropped.
        self.deaf = False

    @property
    def dark(self) -> bool:
        return self._network.dark(self.source, self.target)

    def put(self, frame: bytes | None) -> None:
        self.held_bytes += len(frame or b"")
        if self.deaf or self.ended:
            # Dropped, but it counts: a sender waits for the end to reach it, and does not send into the void for ever.
            return
        travel = self._network.travel_time(self.source, self.target)
        self._under_way.append((trio.current_time() + travel, frame))

    def settle(self) -> None:
        """Let arrive what has had its time."""
        if self.dark:
            return
        now = trio.current_time()
        while self._under_way and self._under_way[0][0] <= now:
            _, frame = self._under_way.popleft()
            if frame is None:
                self.ended = True
            else:
                self._arrived.append(frame)

    def take(self, count: int | None = None) -> list[bytes]:
        """What has arrived, oldest first; at most ``count``."""
        self.settle()
        frames = [self._arrived.popleft() for _ in range(len(self._arrived) if count is None else min(count, len(self._arrived)))]
        self.held_bytes -= sum(map(len, frames))
        return frames

    @property
    def next_arrival(self) -> float:
        """When ``settle`` will next do something, unless something else happens first."""
        return math.inf if self.dark or not self._under_way else self._under_way[0][0]

    def relight(self) -> None:
        """The direction was dark until now: what was held is sent again."""
        again = trio.current_time() + self._network.travel_time(self.source, self.target)
        self._under_way = deque((max(at, again), frame) for at, frame in self._under_way)

    def lose(self) -> None:
        """Lose what is under way, not what has arrived."""
        self.settle()
        self.held_bytes -= sum(len(frame or b"") for _, frame in self._under_way)
        self._under_way.clear()

    def finish(self) -> None:
        """The source has closed. What it sent arrives first, unless the direction is dark: then only the end is held."""
        if self.dark:
            self.lose()
        self.put(None)

    def sever(self) -> None:
        """The connection is broken: the end is here at once, and what is under way is lost."""
        self.lose()
        self.ended = True

    def stop_reading(self) -> None:
        self.deaf = True
        self._under_way.clear()
        self._arrived.clear()


class MemoryLink(Wire):
    """One end of a connection; ``connect_ends`` makes both."""

    def __init__(self, network: Network, outgoing: Pipe, incoming: Pipe, *, outbound: bool, limits: Limits) -> None:
        self.where = f"node {outgoing.target}"
        self.outbound = outbound
        self.outgoing = outgoing
        self.incoming = incoming
        self._network = network
        self._limits = limits
        self._frame_bytes_max = limits.preauth_frame_bytes_max
        self._changed = trio.lowlevel.ParkingLot()
        self._far: MemoryLink | None = None
        self._receiving = False
        self._sending = False
        # Why the link has ended; None while it has not.
        self._ended: str | None = None

    def __repr__(self) -> str:
        state = "open" if self._ended is None else f"ended: {self._ended}"
        return f"<MemoryLink node {self.outgoing.source} {'to' if self.outbound else 'from'} {self.where}, {state}>"

    def join(self, far: MemoryLink) -> None:
        """Know the other end, to wake it."""
        self._far = far

    def establish(self, remote: Hello) -> None:
        self.remote = remote
        self._frame_bytes_max = self._limits.frame_bytes_max

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[bytes]:
        return await self._receive(None)

    async def receive_first(self) -> bytes:
        return (await self._receive(1))[0]

    async def _receive(self, count: int | None) -> list[bytes]:
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this link")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                frames = self.incoming.take(count)
                if frames:
                    self._wake_far()
                    return self._checked(frames)
                if self.incoming.ended:
                    raise self._end("the other end closed the connection")
                await self._wait_change()
        finally:
            self._receiving = False

    def _checked(self, frames: list[bytes]) -> list[bytes]:
        """The frames in front of the first that is too long; that one ends the link (N-1)."""
        for index, frame in enumerate(frames):
            if len(frame) > self._frame_bytes_max:
                error = self._end(f"a frame of {len(frame)} bytes was announced: 1 to {self._frame_bytes_max} are allowed")
                if index == 0:
                    raise error
                return frames[:index]
        return frames

    # --- sending -----------------------------------------------------------------------------------------------------

    async def send(self, frame: bytes) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this link")
        encode_frame(frame, self._frame_bytes_max)
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._send_nowait(frame):
                await self._wait_change()
        finally:
            self._sending = False

    def _send_nowait(self, frame: bytes) -> bool:
        """Whether there was room for it."""
        self._check_open()
        self.incoming.settle()
        if self.incoming.ended:
            raise LinkError(f"sending to {self.where} failed, the other end has gone")
        if self.outgoing.held_bytes >= WINDOW_BYTES:
            return False
        self.outgoing.put(frame)
        self._wake_far()
        return True

    async def _wait_change(self) -> None:
        with trio.move_on_at(self.incoming.next_arrival):
            await self._changed.park()

    # --- the end -----------------------------------------------------------------------------------------------------

    def refuse(self, frame: bytes) -> None:
        if self._ended is None:
            self.outgoing.put(frame)
        self._end("refused at this end")

    def close(self) -> None:
        self._end("closed at this end")

    def sever(self) -> None:
        """Break the connection between the ends; both see it at once, behind what has arrived."""
        self.incoming.sever()
        self.outgoing.sever()
        self.wake()
        self._wake_far()

    def crash(self) -> None:
        """This end's process dies."""
        self._end("this node has crashed")

    def wake(self) -> None:
        """Let this end look again: something has changed."""
        self._changed.unpark_all()

    def _wake_far(self) -> None:
        if self._far is not None:
            self._far.wake()

    def _end(self, why: str) -> LinkError:
        if self._ended is None:
            self._ended = why
            self.incoming.stop_reading()
            self.outgoing.finish()
            self.wake()
            self._wake_far()
            self._network.forget(self)
        return self._error()

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._error()

    def _error(self) -> LinkError:
        return LinkError(f"the link {'to' if self.outbound else 'from'} {self.where} has ended: {self._ended}")


def connect_ends(network: Network, dialler: int, acceptor: int, near_limits: Limits, far_limits: Limits) -> tuple[MemoryLink, MemoryLink]:
    """Both ends of a new connection, the dialling one first."""
    there, back = Pipe(network, dialler, acceptor), Pipe(network, acceptor, dialler)
    near = MemoryLink(network, there, back, outbound=True, limits=near_limits)
    far = MemoryLink(network, back, there, outbound=False, limits=far_limits)
    near.join(far)
    far.join(near)
    return near, far
