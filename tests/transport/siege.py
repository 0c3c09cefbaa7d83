"""A TCP listener under attack, and what must hold around every attack (rules N-4, N-8).

Before it: a member has a link. After it: that link still carries frames, another member can connect, and file descriptors and
tasks are as many as before.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from zkembed.transport.base import Hello, Limits, LinkError, Transport
from zkembed.transport.framing import encode_frame
from zkembed.transport.handshake import encode_hello, read_answer
from zkembed.transport.tcp import TcpTransport

from .conformance import ONE, TWO, Accepted, receive_all, serving
from .ports import reserved_ports

SHORT = Limits(handshake_timeout=0.05, frame_timeout=0.05, frame_bytes_max=100_000, unauthenticated_max=16)
# Long enough never to be what ends an attack that should end for another reason.
PATIENT = attrs.evolve(SHORT, handshake_timeout=30.0, frame_timeout=30.0)
ATTACKER = attrs.evolve(ONE, node_id=3, storage_id=b"3" * 16)


@attrs.frozen
class Siege:
    port: int
    member: Transport
    accepted: Accepted

    async def attack(self, data: bytes = b"") -> trio.SocketStream:
        """A raw connection that has sent ``data``."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if data:
            await stream.send_all(data)
        return stream

    async def attack_as_member(self, data: bytes = b"", hello: Hello = ATTACKER) -> trio.SocketStream:
        """A raw connection that behind a good handshake has sent ``data``."""
        stream = await self.attack(encode_frame(encode_hello(hello), 4096))
        assert read_answer(await read_frame(stream)).node_id == 2
        if data:
            await stream.send_all(data)
        return stream

    async def connect(self, attempts: int = 1) -> None:
        """A member connects, and what it sends arrives."""
        for attempt in range(attempts):
            try:
                near = await self.member.dial(2, ONE)
            except LinkError:
                if attempt == attempts - 1:
                    raise
            else:
                far = self.accepted.links[-1]
                await near.send(b"hello")
                assert await receive_all(far, 1) == [b"hello"]
                near.close()
                far.close()
                return


@asynccontextmanager
async def besieged(limits: Limits = PATIENT) -> AsyncIterator[Siege]:
    with reserved_ports(1) as (port,), trio.fail_after(20):
        address = f"127.0.0.1:{port}"
        member = TcpTransport("127.0.0.1:0", {2: address})
        async with serving(TcpTransport(address, {}, limits), TWO, known=lambda node_id: node_id in (1, 3)) as accepted:
            near = await member.dial(2, ONE)
            far = await accepted.next()
            siege = Siege(port, member, accepted)
            await trio.testing.wait_all_tasks_blocked(0.001)
            base = census()
            yield siege
            await siege.connect()
            for link in accepted.links[1:]:
                link.close()
            await until(lambda: census() == base)
            await near.send(b"still up")
            assert await receive_all(far, 1) == [b"still up"]
            near.close()


def census() -> tuple[int, int]:
    """Open file descriptors and living tasks."""
    return len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the caller's deadline bounds the wait."""
    while not condition():
        await trio.testing.wait_all_tasks_blocked(0.001)


async def read_frame(stream: trio.SocketStream) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        received = await stream.receive_some()
        assert received, "the connection was closed instead of a frame"
        data += received
    return data[4:]


async def read_to_the_end(stream: trio.SocketStream) -> bytes:
    """What still comes until the other end closes, one way or another."""
    data = b""
    try:
        while received := await stream.receive_some():
            data += received
    except trio.BrokenResourceError:
        pass
    await stream.aclose()
    return data


async def reset(stream: trio.SocketStream) -> None:
    """End the connection with a RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def next_end(accepted: Accepted, index: int) -> str:
    """How the accepted link number ``index`` ends."""
    await until(lambda: len(accepted.links) > index)
    with pytest.raises(LinkError) as caught:
        await accepted.links[index].receive()
    return str(caught.value)
