"""The simulated network's faults, in virtual time: what is cut, held, delayed, broken, crashed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from zkembed.errors import BadArgumentsError, NodeStartError
from zkembed.transport.base import Hello, Limits, Link, LinkError
from zkembed.transport.memory import Fabric, FabricStatistics, MemoryTransport

from .conformance import Accepted, receive_all, receive_to_the_end, serving

DELAY = 0.001
LIMITS = Limits()


def hello(node_id: int) -> Hello:
    return Hello("test", node_id, bytes([node_id]) * 16, 1, "zab")


@attrs.frozen
class Net:
    """Nodes 1, 2 and 3 on a fabric, all serving."""

    fabric: Fabric
    transports: dict[int, MemoryTransport]
    accepted: dict[int, Accepted]

    async def link(self, source: int, target: int) -> tuple[Link, Link]:
        near = await self.transports[source].dial(target, hello(source))
        return near, await self.accepted[target].next()

    async def dials(self, source: int, target: int) -> str:
        """How a dial ends: "up", "refused", "silence"."""
        try:
            link = await self.transports[source].dial(target, hello(source))
        except LinkError as error:
            return "refused" if error.refused else "silence"
        link.close()
        return "up"


@asynccontextmanager
async def network(node_ids: tuple[int, ...] = (1, 2, 3)) -> AsyncIterator[Net]:
    fabric = Fabric(delay=DELAY)
    transports = {node_id: fabric.transport(node_id) for node_id in node_ids}
    async with AsyncExitStack() as stack:
        accepted = {node_id: await stack.enter_async_context(serving(transports[node_id], hello(node_id))) for node_id in node_ids}
        yield Net(fabric, transports, accepted)


async def frames_at(link: Link, seconds: float) -> list[bytes]:
    """The next frames, which come at that time."""
    frames = list(await link.receive())
    assert trio.current_time() == pytest.approx(seconds)
    return frames


async def nothing_comes(link: Link, seconds: float = 100.0) -> bool:
    with trio.move_on_after(seconds) as scope:
        await link.receive()
    return scope.cancelled_caught


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_frame_takes_its_delay_and_frames_keep_their_order(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        net.fabric.delay(1, 2, 0.5)
        start = trio.current_time()
        await near.send(b"slow")
        net.fabric.delay(1, 2, 0.1)
        await near.send(b"must not overtake")
        assert await frames_at(far, start + 0.5) == [b"slow", b"must not overtake"]
        await far.send(b"back")
        assert await frames_at(near, start + 0.6) == [b"back"]


async def test_a_handshake_takes_two_round_trips(autojump_clock: MockClock) -> None:
    async with network() as net:
        start = trio.current_time()
        await net.link(1, 2)
        assert trio.current_time() == pytest.approx(start + 4 * DELAY)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_delay_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(BadArgumentsError):
        Fabric(delay=seconds)
    with pytest.raises(BadArgumentsError):
        Fabric().delay(1, 2, seconds)


# --- the dark --------------------------------------------------------------------------------------------------------

CUTS: dict[str, Callable[[Fabric], None]] = {
    "cut": lambda fabric: fabric.cut(1, 2),
    "partition": lambda fabric: fabric.partition({1}, {2, 3}),
    "isolate": lambda fabric: fabric.isolate(1),
    "silence": lambda fabric: fabric.silence(1),
}


def heal(fabric: Fabric) -> None:
    fabric.heal()
    fabric.unsilence(1)


@pytest.mark.parametrize("how", CUTS)
async def test_in_the_dark_nothing_comes_and_nothing_closes_and_later_all_comes_in_order(how: str, autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        CUTS[how](net.fabric)
        for frame in (b"1", b"2", b"3"):
            await near.send(frame)
            await far.send(frame)
        assert await nothing_comes(near)
        assert await nothing_comes(far)
        heal(net.fabric)
        healed = trio.current_time()
        assert await frames_at(far, healed + DELAY) == [b"1", b"2", b"3"]
        assert await receive_all(near, 3) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("how", CUTS)
async def test_a_dial_into_the_dark_meets_silence_not_a_refusal(how: str, autojump_clock: MockClock) -> None:
    async with network() as net:
        CUTS[how](net.fabric)
        start = trio.current_time()
        assert await net.dials(1, 2) == "silence"
        assert await net.dials(2, 1) == "silence"
        assert trio.current_time() == pytest.approx(start + 2 * LIMITS.dial_timeout)
        heal(net.fabric)
        assert await net.dials(1, 2) == "up"


async def test_a_frame_under_way_when_the_cut_comes_is_held_and_one_that_arrived_is_not(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        await near.send(b"arrived")
        await trio.sleep(DELAY)
        await near.send(b"under way")
        net.fabric.cut(1, 2)
        assert list(await far.receive()) == [b"arrived"]
        assert await nothing_comes(far)
        net.fabric.heal()
        assert list(await far.receive()) == [b"under way"]


async def test_a_one_way_cut_holds_one_way(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        net.fabric.cut(1, 2, one_way=True)
        await near.send(b"held")
        await far.send(b"passes")
        assert await receive_all(near, 1) == [b"passes"]
        assert await nothing_comes(far)
        # Neither can dial: one's HELLO is held, the other's answer.
        assert await net.dials(1, 2) == "silence"
        assert await net.dials(2, 1) == "silence"
        net.fabric.heal()
        assert await receive_all(far, 1) == [b"held"]


async def test_an_answer_lost_in_the_dark_leaves_no_half_a_link(autojump_clock: MockClock) -> None:
    """The accepting end may see a link of which the dialling end never hears; it ends when that one gives up."""
    async with network() as net:

        async def cut_behind_the_hello() -> None:
            await trio.sleep(2.5 * DELAY)
            net.fabric.cut(2, 1, one_way=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_behind_the_hello)
            assert await net.dials(1, 2) == "silence"
        assert await receive_to_the_end(await net.accepted[2].next()) == []


async def test_a_partition_keeps_the_links_within_a_group(autojump_clock: MockClock) -> None:
    async with network() as net:
        net.fabric.partition({1, 2}, {3})
        assert [await net.dials(a, b) for a, b in ((1, 2), (2, 1), (1, 3), (3, 2))] == ["up", "up", "silence", "silence"]
        with pytest.raises(BadArgumentsError):
            net.fabric.partition({1}, {1, 2})


async def test_cuts_add_up_and_heal_undoes_all_but_silence(autojump_clock: MockClock) -> None:
    async with network() as net:
        net.fabric.silence(3)
        net.fabric.cut(1, 2)
        net.fabric.isolate(1)
        net.fabric.heal()
        assert [await net.dials(a, b) for a, b in ((1, 2), (1, 3))] == ["up", "silence"]
        net.fabric.unsilence(3)
        assert await net.dials(1, 3) == "up"


async def test_a_close_does_not_cross_the_dark(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        net.fabric.cut(1, 2)
        await near.send(b"lost with the link")
        near.close()
        assert await nothing_comes(far)
        net.fabric.heal()
        assert await receive_to_the_end(far) == []


async def test_a_sender_into_the_dark_waits_when_the_window_is_full(autojump_clock: MockClock) -> None:
    """N-8: what is held is bounded."""
    frame = b"x" * 2**20
    async with network() as net:
        near, far = await net.link(1, 2)
        net.fabric.cut(1, 2)
        sent = 0
        with trio.move_on_after(100):
            while True:
                await near.send(frame)
                sent += 1
        assert sent == 4
        net.fabric.heal()
        assert await receive_all(far, sent) == [frame] * sent


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_dropped_links_end_at_both_ends_and_lose_what_is_under_way(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        _, other = await net.link(1, 3)
        await near.send(b"arrived")
        await trio.sleep(DELAY)
        await near.send(b"under way")
        net.fabric.drop_links(2, 1)
        dropped = trio.current_time()
        assert await receive_to_the_end(far) == [b"arrived"]
        assert await receive_to_the_end(near) == []
        with pytest.raises(LinkError):
            await near.send(b"x")
        assert trio.current_time() == dropped
        assert await nothing_comes(other)
        assert await net.dials(1, 2) == "up"


async def test_dropping_breaks_through_a_cut(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        net.fabric.cut(1, 2)
        net.fabric.drop_links(1, 2)
        assert await receive_to_the_end(near) == await receive_to_the_end(far) == []


async def test_a_crash_ends_links_and_refuses_dials_and_a_new_transport_lives(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, far = await net.link(1, 2)
        _, other = await net.link(1, 3)
        net.fabric.crash(2)
        with pytest.raises(LinkError, match="crashed"):
            await far.receive()
        assert await receive_to_the_end(near) == []
        assert await net.dials(1, 2) == "refused"
        with pytest.raises(LinkError, match="crashed"):
            await net.transports[2].dial(1, hello(2))
        with pytest.raises(NodeStartError, match="crashed"):
            await net.transports[2].serve(lambda: hello(2), lambda _: True, Accepted())
        assert await nothing_comes(other)
        async with serving(net.fabric.transport(2), hello(2)):
            assert await net.dials(1, 2) == "up"


async def test_a_crash_in_the_dark_is_seen_when_it_is_lit(autojump_clock: MockClock) -> None:
    async with network() as net:
        near, _ = await net.link(1, 2)
        net.fabric.cut(1, 2)
        net.fabric.crash(2)
        assert await nothing_comes(near)
        assert await net.dials(1, 2) == "silence"
        net.fabric.heal()
        assert await receive_to_the_end(near) == []
        assert await net.dials(1, 2) == "refused"


async def test_a_crash_in_the_middle_of_a_handshake_ends_the_dial(autojump_clock: MockClock) -> None:
    for moment in (0.5, 1.5, 2.5, 3.5):
        async with network() as net, trio.open_nursery() as nursery:

            async def crash(net: Net = net, moment: float = moment) -> None:
                await trio.sleep(moment * DELAY)
                net.fabric.crash(2)

            nursery.start_soon(crash)
            if moment < 3:
                assert await net.dials(1, 2) in ("refused", "silence")
            else:
                # The answer was on its way already: a link that ends at once.
                assert await receive_to_the_end(await net.transports[1].dial(2, hello(1))) == []


async def test_one_listener_a_node(autojump_clock: MockClock) -> None:
    async with network() as net:
        with pytest.raises(NodeStartError, match="another transport"):
            await net.fabric.transport(2).serve(lambda: hello(2), lambda _: True, Accepted())
        assert await net.dials(1, 2) == "up"


async def test_the_fabric_forgets_links_that_have_ended(autojump_clock: MockClock) -> None:
    async with network() as net:
        for _ in range(20):
            near, far = await net.link(1, 2)
            near.close()
            far.close()
        for _ in range(5):
            net.fabric.cut(1, 2)
            assert await net.dials(1, 2) == "silence"
            net.fabric.heal()
            # Connected, and the dialling end never hears of it.
            net.fabric.cut(2, 1, one_way=True)
            assert await net.dials(1, 2) == "silence"
            net.fabric.heal()
        await trio.sleep(10)
        assert net.fabric.statistics() == FabricStatistics(link_ends=0, listeners=3)
