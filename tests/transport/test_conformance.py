"""Both transports tell the same stories (``conformance.py``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from zkembed.transport.base import Limits, LinkError, Transport
from zkembed.transport.memory import Fabric
from zkembed.transport.tcp import TcpTransport

from .conformance import check_transport, linked, receive_all
from .ports import reserved_ports


@asynccontextmanager
async def memory_pair(one: Limits, two: Limits) -> AsyncIterator[tuple[Transport, Transport]]:
    fabric = Fabric()
    yield fabric.transport(1, one), fabric.transport(2, two)


@asynccontextmanager
async def tcp_pair(one: Limits, two: Limits) -> AsyncIterator[tuple[Transport, Transport]]:
    with reserved_ports(2) as (first, second):
        peers = {1: f"127.0.0.1:{first}", 2: f"127.0.0.1:{second}"}
        yield TcpTransport(peers[1], peers, one), TcpTransport(peers[2], peers, two)


async def test_memory_transport_conforms(autojump_clock: MockClock) -> None:
    await check_transport(memory_pair)


async def test_tcp_transport_conforms() -> None:
    await check_transport(tcp_pair)


async def test_frames_sent_soon_keep_their_order_with_those_sent_with_patience() -> None:
    """What the socket does not take at once is kept, and nothing is sent before it."""
    async with linked(tcp_pair) as (near, far):
        assert near.ready
        assert near.send_soon(b"one")
        large = bytes(8 * 2**20)
        assert not near.send_soon(large)  # More than the buffers hold.
        assert not near.ready
        got: list[bytes] = []

        async def read() -> None:
            got.extend(await receive_all(far, 4))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await near.flush()
            assert near.ready
            assert near.send_soon(b"three")
            await near.send(b"four")
        assert got == [b"one", large, b"three", b"four"]


async def test_a_frame_sent_soon_on_a_broken_link_is_told_by_the_flush() -> None:
    async with linked(tcp_pair) as (near, far):
        far.close()

        async def send_on() -> None:
            while near.ready:
                near.send_soon(bytes(65536))
                await near.flush()

        with pytest.raises(LinkError):
            await send_on()
        near.close()
        assert not near.ready
