"""What only sockets can show: binding, dialling, frames cut by cancellation, families, descriptors."""

from __future__ import annotations

import math
import socket
import time

import attrs
import pytest
import trio
import trio.testing

from zkembed.errors import NodeStartError
from zkembed.transport.base import Limits, LinkError
from zkembed.transport.framing import encode_frame
from zkembed.transport.sockets import meets_itself
from zkembed.transport.tcp import TcpTransport

from .conformance import ONE, QUICK, TWO, Accepted, receive_all, send_to_the_end, serving
from .ports import ipv6_works, reserved_port_of_both_families, reserved_ports
from .siege import besieged, census, until

needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6 loopback")


# --- listening -------------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_named_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(NodeStartError, match=f"127.0.0.1:{port}: port {port} is taken by another program; .*another port"):
            await TcpTransport(f"127.0.0.1:{port}", {}).serve(lambda: TWO, lambda _: True, Accepted())


async def test_two_nodes_cannot_share_a_port() -> None:
    with reserved_ports(1) as (port,):
        async with serving(TcpTransport(f"127.0.0.1:{port}", {})):
            with pytest.raises(NodeStartError, match="taken"):
                await TcpTransport(f"127.0.0.1:{port}", {}).serve(lambda: TWO, lambda _: True, Accepted())


@needs_ipv6
async def test_a_listener_that_cannot_be_leaves_no_descriptor() -> None:
    """Not even if it is the second of two families that is taken."""
    for family, _, _, _, sockaddr in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM):
        with reserved_port_of_both_families() as port, socket.create_server((str(sockaddr[0]), port), family=family):
            before = census()
            with trio.fail_after(5), pytest.raises(NodeStartError, match="taken"):
                await TcpTransport(f"localhost:{port}", {}).serve(lambda: TWO, lambda _: True, Accepted())
            await until(lambda before=before: census() == before)  # type: ignore[misc]


async def test_port_0_is_chosen_by_the_machine_and_told() -> None:
    """F5: bind first, then connect."""
    transport = TcpTransport("127.0.0.1:0", {})
    async with serving(transport):
        (address,) = transport.addresses
        assert not address.endswith(":0")
        (await TcpTransport("127.0.0.1:0", {2: address}).dial(2, ONE)).close()
    assert transport.addresses == ()


async def test_a_port_is_free_again_at_once() -> None:
    with reserved_ports(1) as (port,):
        address = f"127.0.0.1:{port}"
        for _ in range(3):
            async with serving(TcpTransport(address, {})) as accepted:
                near = await TcpTransport("127.0.0.1:0", {2: address}).dial(2, ONE)
                # The listening end closes first, so its connection lingers in the kernel.
                (await accepted.next()).close()
                near.close()


@needs_ipv6
async def test_ipv6_addresses_stand_in_brackets() -> None:
    with reserved_ports(1, "::1") as (port,):
        address = f"[::1]:{port}"
        transport = TcpTransport(address, {})
        async with serving(transport) as accepted:
            assert transport.addresses == (address,)
            near = await TcpTransport("[::1]:0", {2: address}).dial(2, ONE)
            await near.send(b"six")
            assert await receive_all(await accepted.next(), 1) == [b"six"]
            near.close()


@needs_ipv6
async def test_localhost_is_every_family_it_stands_for() -> None:
    with reserved_port_of_both_families() as port:
        transport = TcpTransport(f"localhost:{port}", {})
        async with serving(transport):
            for address in (*transport.addresses, f"localhost:{port}"):
                (await TcpTransport("localhost:0", {2: address}).dial(2, ONE)).close()


async def test_localhost_is_dialled_until_one_family_answers() -> None:
    with reserved_ports(1) as (port,):
        async with serving(TcpTransport(f"127.0.0.1:{port}", {})):
            (await TcpTransport("localhost:0", {2: f"localhost:{port}"}).dial(2, ONE)).close()


# --- dialling --------------------------------------------------------------------------------------------------------


async def test_a_node_without_an_address_cannot_be_dialled() -> None:
    with pytest.raises(LinkError, match=r"no address is known for node 9; known are \[2\]") as caught:
        await TcpTransport("127.0.0.1:0", {2: "127.0.0.1:1"}).dial(9, ONE)
    assert not caught.value.refused


async def test_a_machine_that_swallows_packets_is_told_from_one_that_refuses() -> None:
    """EL-6: a listener whose queue is full drops what asks for a connection, as a dead machine does."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            transport = TcpTransport("127.0.0.1:0", {2: f"127.0.0.1:{deaf.getsockname()[1]}"}, Limits(dial_timeout=0.05))
            before = census()
            with pytest.raises(LinkError, match=r"node 2 .* did not answer within 0.05 s") as caught:
                await transport.dial(2, ONE)
            assert not caught.value.refused
            assert census() == before
        finally:
            for filler in fillers:
                filler.close()


async def test_a_cancelled_dial_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = TcpTransport("127.0.0.1:0", {2: f"127.0.0.1:{silent.getsockname()[1]}"})
        before = census()
        with trio.move_on_after(0.02) as scope:
            await transport.dial(2, ONE)
        assert scope.cancelled_caught
        assert census() == before


async def test_a_handshake_without_an_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limits = attrs.evolve(QUICK, handshake_timeout=0.03)
        transport = TcpTransport("127.0.0.1:0", {2: f"127.0.0.1:{silent.getsockname()[1]}"}, limits)
        with pytest.raises(LinkError, match=r"did not answer the handshake within 0.03 s") as caught:
            await transport.dial(2, ONE)
        assert not caught.value.refused


def test_a_connection_that_met_itself_is_known() -> None:
    with reserved_ports(1) as (port,), socket.socket() as lonely, socket.create_server(("127.0.0.1", 0)) as server:
        lonely.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        lonely.bind(("127.0.0.1", port))
        lonely.connect(("127.0.0.1", port))
        assert meets_itself(lonely)
        with socket.create_connection(server.getsockname()) as sociable:
            assert not meets_itself(sociable)


# --- links -----------------------------------------------------------------------------------------------------------


async def test_a_send_cancelled_within_a_frame_breaks_the_link_and_says_so() -> None:
    huge = b"x" * (64 * 2**20)
    limits = attrs.evolve(QUICK, frame_bytes_max=2 * len(huge))
    with reserved_ports(1) as (port,):
        address = f"127.0.0.1:{port}"
        async with serving(TcpTransport(address, {}, limits)) as accepted:
            near = await TcpTransport("127.0.0.1:0", {2: address}, limits).dial(2, ONE)
            far = await accepted.next()
            await near.send(b"before")
            with trio.move_on_after(0.01) as scope:
                await near.send(huge)
            assert scope.cancelled_caught
            with pytest.raises(LinkError, match=r"a send was cancelled after .* bytes"):
                await near.send(b"behind")
            assert await receive_all(far, 1) == [b"before"]
            with pytest.raises(LinkError, match="middle of a frame"):
                await far.receive()


async def test_a_host_that_blocked_its_loop_does_not_blame_the_other_end() -> None:
    """The deadline of a frame is the sender's; bytes that wait in the socket are not late."""
    async with besieged(Limits(frame_timeout=0.05)) as siege:
        frame = encode_frame(b"x" * 100, 1000)
        stream = await siege.attack_as_member(frame[:50])
        await until(lambda: len(siege.accepted.links) == 2)
        far = siege.accepted.links[1]
        with trio.move_on_after(0.01):
            await far.receive()
        await stream.send_all(frame[50:])
        time.sleep(0.1)  # noqa: ASYNC251 - the application holds the loop beyond the deadline
        assert list(await far.receive()) == [b"x" * 100]
        await stream.aclose()


async def test_what_arrived_before_the_other_end_went_is_received_although_sending_fails() -> None:
    async with besieged() as siege:
        stream = await siege.attack_as_member(encode_frame(b"last words", 100))
        await until(lambda: len(siege.accepted.links) == 2)
        far = siege.accepted.links[1]
        await stream.aclose()
        await send_to_the_end(far)
        assert list(await far.receive()) == [b"last words"]
        with pytest.raises(LinkError):
            await far.receive()


async def test_links_send_small_frames_at_once() -> None:
    """TCP_NODELAY at both ends: a round trip that waited for Nagle's algorithm takes 40 ms."""
    with reserved_ports(1) as (port,):
        address = f"127.0.0.1:{port}"
        async with serving(TcpTransport(address, {})) as accepted:
            near = await TcpTransport("127.0.0.1:0", {2: address}).dial(2, ONE)
            far = await accepted.next()
            best = math.inf
            for _ in range(20):
                start = trio.current_time()
                for source, sink in ((near, far), (far, near)):
                    await source.send(b"1")
                    await source.send(b"2")
                    await receive_all(sink, 2)
                best = min(best, trio.current_time() - start)
            near.close()
        assert best < 0.03
