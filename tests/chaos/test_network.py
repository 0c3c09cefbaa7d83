"""The network of a chaos run does to bytes what it is told, and nothing else: they arrive once, in order, unchanged, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import combinations

import pytest
import trio

from tests.process.ensemble import free_ports

from .network import Network, Rule, between, open_network, ring, towards

IDS = (1, 2, 3)
LONG = 30.0


class Echo:
    """Member 2, who says everything back, and remembers who it talked to."""

    def __init__(self) -> None:
        self.streams: list[trio.SocketStream] = []
        self.heard = 0

    async def answer(self, stream: trio.SocketStream) -> None:
        self.streams.append(stream)
        try:
            async with stream:
                async for data in stream:
                    self.heard += len(data)
                    await stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class World:
    """Closes what was dialled."""

    def __init__(self, network: Network, echo: Echo) -> None:
        self.network = network
        self.echo = echo
        self.dialled: list[trio.SocketStream] = []

    async def dial(self, one: int, other: int) -> trio.SocketStream:
        host, _, port = self.network.addresses_for(one)[other].rpartition(":")
        self.dialled.append(await trio.open_tcp_stream(host, int(port)))
        return self.dialled[-1]

    def close(self) -> None:
        for stream in self.dialled:
            stream.socket.close()


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    addresses = {id: f"127.0.0.1:{port}" for id, port in zip(IDS, free_ports(len(IDS)), strict=True)}
    echo = Echo()
    async with trio.open_nursery() as nursery, open_network(addresses) as network:
        port = int(addresses[2].rpartition(":")[2])
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo.answer, listeners)
        with trio.fail_after(LONG):
            world = World(network, echo)
            try:
                yield world
            finally:
                world.close()
        nursery.cancel_scope.cancel(reason="the story is over")


async def ask(stream: trio.SocketStream, data: bytes) -> bytes:
    await stream.send_all(data)
    heard = b""
    while len(heard) < len(data):
        more = await stream.receive_some()
        assert more, "the connection has ended"
        heard += more
    return heard


async def ended(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


async def test_without_faults_all_bytes_pass_both_ways_in_order() -> None:
    async with open_world() as world:
        network = world.network
        stream = await world.dial(1, 2)
        data = bytes(range(256)) * 4096
        heard = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            while len(heard) < len(data):
                heard += await stream.receive_some()
        assert bytes(heard) == data
        assert network.bytes_passed((1, 2)) == network.bytes_passed((2, 1)) == len(data)
        assert network.bytes_passed((3, 2)) == 0


@pytest.mark.parametrize("cut", [(1, 2), (2, 1)], ids=["on the way there", "on the way back"])
async def test_a_cut_holds_bytes_of_one_direction_and_gives_them_out_when_it_is_healed(cut: tuple[int, int]) -> None:
    async with open_world() as world:
        network, echo = world.network, world.echo
        stream = await world.dial(1, 2)
        assert await ask(stream, b"before") == b"before"
        rule = Rule(frozenset({cut}), held=True)
        network.add(rule)
        await stream.send_all(b"during")
        with trio.move_on_after(0.2) as waited:
            await stream.receive_some()
        assert waited.cancelled_caught
        assert echo.heard == (len(b"before") if cut == (1, 2) else len(b"beforeduring"))
        network.remove(rule)
        assert await stream.receive_some() == b"during"


async def test_a_cut_holds_the_end_of_a_connection_too() -> None:
    """A member that dies behind a cut is not known to be dead, only silent."""
    async with open_world() as world:
        network, echo = world.network, world.echo
        stream = await world.dial(1, 2)
        await ask(stream, b"x")
        rule = Rule(frozenset({(2, 1)}), held=True)
        network.add(rule)
        await echo.streams[0].aclose()
        with trio.move_on_after(0.2) as waited:
            await stream.receive_some()
        assert waited.cancelled_caught
        network.remove(rule)
        assert await ended(stream)


async def test_a_cut_counts_for_connections_dialled_from_either_end_and_for_no_other_pair() -> None:
    async with open_world() as world:
        network = world.network
        network.add(Rule(between([1], [3]), held=True))
        assert await ask(await world.dial(1, 2), b"still here") == b"still here"


async def test_a_delay_makes_bytes_late_by_so_much_and_loses_none() -> None:
    async with open_world() as world:
        network = world.network
        stream = await world.dial(1, 2)
        network.add(Rule(between([1], [2]), delay=0.1))
        began = trio.current_time()
        assert await ask(stream, b"late") == b"late"
        assert trio.current_time() - began >= 0.2


async def test_a_narrow_path_lets_so_many_bytes_a_second_through() -> None:
    async with open_world() as world:
        network = world.network
        stream = await world.dial(1, 2)
        network.add(Rule(towards([1], [2]), rate=100_000.0))
        began = trio.current_time()
        assert len(await ask(stream, b"x" * 30_000)) == 30_000
        assert trio.current_time() - began >= 0.25


async def test_a_reset_ends_both_ends_of_old_connections_and_no_new_one() -> None:
    async with open_world() as world:
        network = world.network
        stream = await world.dial(1, 2)
        await ask(stream, b"x")
        assert network.reset(between([1], [2])) == 1
        assert await ended(stream)
        assert await ask(await world.dial(1, 2), b"anew") == b"anew"


async def test_refused_is_who_dials_along_that_path_and_nobody_else() -> None:
    async with open_world() as world:
        network = world.network
        old = await world.dial(1, 2)
        await ask(old, b"x")
        rule = Rule(towards([1], [2]), refused=True)
        network.add(rule)
        assert await ended(old)
        with suppress(OSError):  # It may be reset before the dialling end has even looked.
            assert await ended(await world.dial(1, 2))
        assert await ask(await world.dial(3, 2), b"another") == b"another"
        network.remove(rule)
        assert await ask(await world.dial(1, 2), b"again") == b"again"


async def test_where_nobody_listens_a_connection_ends_at_once() -> None:
    async with open_world() as world:
        with suppress(OSError):
            assert await ended(await world.dial(1, 3))


async def test_rules_add_up_and_healing_takes_all_of_them_away() -> None:
    async with open_world() as world:
        network = world.network
        stream = await world.dial(1, 2)
        network.add(Rule(towards([1], [2]), held=True))
        network.add(Rule(towards([1], [2]), delay=0.01))
        network.heal()
        assert network.rules == ()
        assert await ask(stream, b"whole") == b"whole"


@pytest.mark.parametrize("n", range(3, 8))
def test_in_a_ring_everybody_sees_a_majority_and_somebody_misses_somebody(n: int) -> None:
    ids = range(1, n + 1)
    missing = ring(ids)
    for id in ids:
        seen = [other for other in ids if other == id or ((id, other) not in missing and (other, id) not in missing)]
        assert len(seen) > n // 2
    assert missing
    assert missing == {pair[::-1] for pair in missing}
    assert n == 3 or any(pair not in missing for pair in combinations(ids, 2))
