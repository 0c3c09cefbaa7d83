"""One TCP connection as a link: frames in, frames out, straight on the non-blocking socket.

trio's ``SocketStream`` is left out on purpose: its layers cost a third of a small frame's round trip. What is kept of it: checkpoints,
one user a direction, and closing that wakes whoever waits. Handshakes and addresses are not known here.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Sequence

import trio

from .base import Hello, Limits, LinkError
from .framing import FrameSplitter, encode_frame
from .wire import Wire

READ_BYTES = 128 * 1024


class TcpLink(Wire):
    """Owns ``connection``: connected, non-blocking.  where: its other end, for messages.  outbound: this end dialled."""

    def __init__(self, connection: socket.socket, *, where: str, outbound: bool, limits: Limits) -> None:
        self.where = where
        self.outbound = outbound
        self._socket = connection
        self._fd = connection.fileno()
        self._limits = limits
        self._splitter = FrameSplitter(limits.preauth_frame_bytes_max)
        self._frame_deadline = math.inf
        self._receiving = False
        self._sending = False
        self._kept = b""
        # Why the link has ended; None while it has not. Invariant: the socket is open exactly as long as this is None.
        self._ended: str | None = None

    def __repr__(self) -> str:
        state = "open" if self._ended is None else f"ended: {self._ended}"
        return f"<TcpLink {'to' if self.outbound else 'from'} {self.where}, {state}>"

    def establish(self, remote: Hello) -> None:
        self.remote = remote
        self._splitter.frame_bytes_max = self._limits.frame_bytes_max

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[bytes]:
        return await self._receive(READ_BYTES)

    async def receive_first(self) -> bytes:
        while True:
            # Never past the border: behind the opening frame the other limit rules.
            frames = await self._receive(self._splitter.missing, whole=False)
            if frames:
                return frames[0]

    async def _receive(self, bytes_max: int, *, whole: bool = True) -> list[bytes]:
        """The frames of the first read that completes one; without ``whole``, of the next read, which may complete none."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this link")
        self._receiving = True
        try:
            while True:
                self._check_open()
                if self._splitter.error is not None:
                    raise self._end(self._splitter.error)
                frames = self._split(await self._read(bytes_max))
                if frames or not whole:
                    return frames
        finally:
            self._receiving = False

    def _split(self, data: bytes) -> list[bytes]:
        """Feed the splitter and keep the deadline of the frame that has begun and not ended (N-8)."""
        was_partial = self._splitter.partial
        frames = self._splitter.feed(data)
        if not self._splitter.partial:
            self._frame_deadline = math.inf
        elif frames or not was_partial:
            self._frame_deadline = trio.current_time() + self._limits.frame_timeout
        return frames

    async def _read(self, bytes_max: int) -> bytes:
        """The next bytes, at least one. Waits first and reads then: that is the checkpoint, and lets a batch form."""
        while True:
            in_time = await self._wait_readable()
            try:
                data = self._socket.recv(bytes_max)
            except (BlockingIOError, InterruptedError):
                # Only an empty socket proves the other end slow. A host that held the loop past the deadline was slow itself.
                if not in_time:
                    raise self._end(f"a frame was not complete {self._limits.frame_timeout:g} s after its first byte") from None
            except OSError as error:
                raise self._end(f"the connection broke: {error}") from error
            else:
                if data:
                    return data
                middle = " in the middle of a frame" if self._splitter.partial else ""
                raise self._end(f"the other end closed the connection{middle}")

    async def _wait_readable(self) -> bool:
        """Whether there is something to read before the deadline of the frame that has begun. A checkpoint."""
        try:
            if self._frame_deadline == math.inf:
                await trio.lowlevel.wait_readable(self._fd)
                return True
            with trio.move_on_at(self._frame_deadline):
                await trio.lowlevel.wait_readable(self._fd)
                return True
        except trio.ClosedResourceError:
            raise self._error() from None
        self._check_open()
        return False

    # --- sending -----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return not self._sending and not self._kept and self._ended is None

    def send_soon(self, frame: bytes) -> bool:
        data = encode_frame(frame, self._splitter.frame_bytes_max)
        try:
            sent = self._socket.send(data)
        except OSError:
            sent = 0  # Full, or broken: ``flush`` will see.
        self._kept = data[sent:]
        return not self._kept

    async def flush(self) -> None:
        await self._send(b"")

    async def send(self, frame: bytes) -> None:
        await self._send(encode_frame(frame, self._splitter.frame_bytes_max))

    async def _send(self, data: bytes) -> None:
        """Behind what ``send_soon`` has kept."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this link")
        if self._kept:
            data, self._kept = self._kept + data, b""
        self._sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            sent = self._send_some(data)
            if sent == len(data):
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                await self._send_rest(memoryview(data), sent)
        finally:
            self._sending = False

    async def _send_rest(self, data: memoryview, sent: int) -> None:
        try:
            while sent < len(data):
                await self._wait_writable()
                sent += self._send_some(data[sent:])
        except (trio.Cancelled, KeyboardInterrupt):
            # A frame cut short would make the next one's bytes its own. Not one byte sent: nothing has happened.
            if sent:
                self._end(f"a send was cancelled after {sent} of a frame's {len(data)} bytes")
            raise

    def _send_some(self, data: bytes | memoryview) -> int:
        self._check_open()
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            # Not the end of receiving: what arrived before the other end went is still to be given out.
            raise LinkError(f"sending failed, the other end has gone: {error}") from error

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except trio.ClosedResourceError:
            raise self._error() from None

    # --- the end -----------------------------------------------------------------------------------------------------

    def refuse(self, frame: bytes) -> None:
        if self._ended is None:
            with contextlib.suppress(OSError):
                self._socket.send(encode_frame(frame, self._splitter.frame_bytes_max))
        self._end("refused at this end")

    def close(self) -> None:
        self._end("closed at this end")

    def _end(self, why: str) -> LinkError:
        """Close the socket, once; whoever waits on it wakes. Returns the error to raise."""
        if self._ended is None:
            self._ended = why
            trio.lowlevel.notify_closing(self._fd)
            self._socket.close()
        return self._error()

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._error()

    def _error(self) -> LinkError:
        return LinkError(f"the link {'to' if self.outbound else 'from'} {self.where} has ended: {self._ended}")
