"""Both transports tell the same stories (``conformance.py``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio.testing import MockClock

from zkembed.transport.base import Limits, Transport
from zkembed.transport.memory import Fabric
from zkembed.transport.tcp import TcpTransport

from .conformance import check_transport
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
