"""Scenarios HX-1 to HX-5, HX-7, HX-9 and HX-13 against a real listener: each attack ends its own connection and nothing else.

What holds around each of them is in ``siege.py``.
"""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import attrs
import cbor2
import pytest
import trio
import trio.testing

from zkembed.codec import KNOWN_TAGS
from zkembed.transport.base import Hello, LinkError, Refusal
from zkembed.transport.framing import encode_frame
from zkembed.transport.handshake import encode_hello, encode_refusal
from zkembed.transport.tcp import TcpTransport

from .conformance import ONE
from .siege import ATTACKER, PATIENT, SHORT, besieged, next_end, read_to_the_end, reset, until

FRAME_BYTES_MAX = 4096
SEED = 20240229
HELLO = encode_hello(ATTACKER)
FIELDS = cbor2.loads(HELLO)


def framed(body: bytes) -> bytes:
    return encode_frame(body, 2**20)


def log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "zkembed.transport"]


# --- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, PATIENT.preauth_frame_bytes_max + 1, 2**31, 2**32 - 1])
async def test_HX_1_a_wrong_length_closes_at_the_header_before_the_handshake(length: int) -> None:
    async with besieged() as siege:
        assert await read_to_the_end(await siege.attack(length.to_bytes(4, "big"))) == b""
        assert len(siege.accepted.links) == 1


@pytest.mark.parametrize("length", [0, PATIENT.frame_bytes_max + 1, 2**31, 2**32 - 1])
async def test_HX_1_a_wrong_length_closes_at_the_header_after_the_handshake(length: int) -> None:
    async with besieged() as siege:
        stream = await siege.attack_as_member(length.to_bytes(4, "big"))
        assert f"a frame of {length} bytes was announced" in await next_end(siege.accepted, 1)
        assert await read_to_the_end(stream) == b""


# --- what is no HELLO ------------------------------------------------------------------------------------------------


def malformed_hellos() -> Iterator[tuple[str, bytes]]:
    """Bodies that fit into a frame and are no HELLO."""
    yield "text", b"GET / HTTP/1.1\r\n\r\n"
    yield "hx4 nested arrays", b"\x81" * FRAME_BYTES_MAX
    yield "hx4 nested maps", b"\xa1\x00" * (FRAME_BYTES_MAX // 2)
    yield "hx4 nested tags", b"\xc1" * FRAME_BYTES_MAX
    yield "hx4 array of 2^32 items", b"\x9a\xff\xff\xff\xff"
    yield "hx4 text of 2^62 bytes", b"\x7b\x40" + b"\0" * 7
    yield "indefinite array", b"\x9f" + HELLO[1:] + b"\xff"
    for tag in (*KNOWN_TAGS, 6, 40, 99_999, 2**63):
        yield f"hx5 tag {tag} around all", cbor2.dumps(cbor2.CBORTag(tag, FIELDS))
        yield f"hx5 tag {tag} around a field", cbor2.dumps([*FIELDS[:6], cbor2.CBORTag(tag, b"\1"), FIELDS[7]])
    yield "hx5 cyclic shared value", bytes.fromhex("d81c81d81d00")
    yield "hx5 decimal 1E+1000000000", bytes.fromhex("c4821a3b9aca0001")
    yield "hx5 regex", bytes.fromhex("d82367") + b"(a+)+$!"
    yield "trailing bytes", HELLO + b"\0"
    yield "cut short", HELLO[:-1]
    yield "duplicate keys", bytes.fromhex("a201010102")
    yield "invalid utf-8", bytes.fromhex("8162c328")
    yield "hx3 a bool for a version", cbor2.dumps(["zkembed", True, *FIELDS[2:]])
    yield "hx3 nan for a version", cbor2.dumps(["zkembed", float("nan"), *FIELDS[2:]])
    yield "hx3 a huge integer", cbor2.dumps([*FIELDS[:6], 2**4000, FIELDS[7]])
    yield "hx9 an extra field", cbor2.dumps([*FIELDS, 0])
    yield "hx9 a field too few", cbor2.dumps(FIELDS[:-1])
    yield "an answer instead of a question", encode_refusal(Refusal.BUSY)


async def test_HX_3_HX_4_HX_5_whatever_is_no_hello_closes_the_connection_without_an_answer() -> None:
    async with besieged() as siege:
        for name, body in malformed_hellos():
            assert await read_to_the_end(await siege.attack(framed(body))) == b"", name
        assert len(siege.accepted.links) == 1


async def test_HX_3_every_first_byte_and_mutated_hellos_never_stop_the_listener() -> None:
    async with besieged() as siege:
        chance = random.Random(SEED)
        bodies = [bytes([first]) + HELLO[1:] for first in range(256)]
        for _ in range(200):
            mutated = bytearray(HELLO)
            for _ in range(chance.randint(1, 4)):
                mutated[chance.randrange(len(mutated))] = chance.randrange(256)
            bodies.append(bytes(mutated))
        for body in bodies:
            stream = await siege.attack(framed(body))
            await stream.send_eof()
            await stream.aclose()
        await siege.connect(attempts=50)


async def test_garbage_without_frames_closes_the_connection() -> None:
    async with besieged() as siege:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\xff" * 100, b"ruok" * 3):
            assert await read_to_the_end(await siege.attack(garbage)) == b""


# --- who does not belong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "hello"),
    [
        (Refusal.WRONG_CLUSTER, attrs.evolve(ATTACKER, cluster="other\n\x1b[31m")),
        (Refusal.OWN_NODE_ID, attrs.evolve(ATTACKER, node_id=2)),
        (Refusal.UNKNOWN_NODE, attrs.evolve(ATTACKER, node_id=99)),
        (Refusal.STALE_INCARNATION, attrs.evolve(ONE, incarnation=ONE.incarnation - 1)),
        (Refusal.NO_COMMON_VERSION, attrs.evolve(ATTACKER, versions=(2, 3))),
    ],
)
async def test_HX_7_HX_9_a_refusal_is_coded_and_logged_once_an_interval(
    refusal: Refusal, hello: Hello, caplog: pytest.LogCaptureFixture
) -> None:
    async with besieged() as siege:
        for _ in range(20):
            stream = await siege.attack(framed(encode_hello(hello)))
            assert await read_to_the_end(stream) == framed(encode_refusal(refusal))
        assert len(siege.accepted.links) == 1
        (line,) = log_lines(caplog)
        assert line.startswith("refused ")
        assert "\n" not in line


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"\0", b"\0\0\0\x20", framed(HELLO)[:-1]])
async def test_HX_2_a_handshake_that_does_not_end_is_ended(begun: bytes) -> None:
    async with besieged(SHORT) as siege:
        assert await read_to_the_end(await siege.attack(begun)) == b""


async def test_HX_2_a_byte_now_and_then_does_not_keep_a_handshake_alive() -> None:
    async with besieged(SHORT) as siege:
        stream = await siege.attack()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - which byte is one too many is a matter of time
            for byte in framed(cbor2.dumps(["zkembed"] * 300)):
                await stream.send_all(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked(0.001)
        await stream.aclose()


async def test_HX_2_a_frame_that_does_not_end_is_ended() -> None:
    async with besieged(attrs.evolve(SHORT, handshake_timeout=30.0)) as siege:
        stream = await siege.attack_as_member(framed(b"x" * 1000)[:500])
        assert "not complete 0.05 s after its first byte" in await next_end(siege.accepted, 1)
        assert await read_to_the_end(stream) == b""


async def test_HX_2_a_byte_now_and_then_does_not_keep_a_frame_alive() -> None:
    """The deadline counts from the frame's first byte, not from its latest."""
    async with besieged(attrs.evolve(SHORT, handshake_timeout=30.0)) as siege:
        stream = await siege.attack_as_member()
        async with trio.open_nursery() as nursery:

            async def trickle() -> None:
                with suppress(trio.BrokenResourceError):
                    for byte in framed(b"x" * 50_000):
                        await stream.send_all(bytes([byte]))
                        await trio.testing.wait_all_tasks_blocked(0.001)

            nursery.start_soon(trickle)
            assert "not complete 0.05 s after its first byte" in await next_end(siege.accepted, 1)
        await stream.aclose()


async def test_a_frame_in_time_and_a_long_silence_between_frames_are_fine() -> None:
    async with besieged(attrs.evolve(SHORT, handshake_timeout=30.0)) as siege:
        stream = await siege.attack_as_member()
        await until(lambda: len(siege.accepted.links) == 2)
        far = siege.accepted.links[1]
        with trio.move_on_after(3 * SHORT.frame_timeout):
            await far.receive()
        for byte in framed(b"x" * 10):
            await stream.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert list(await far.receive()) == [b"x" * 10]
        await stream.aclose()


async def test_a_slow_but_honest_handshake_is_accepted() -> None:
    async with besieged() as siege:
        stream = await siege.attack()
        for byte in framed(HELLO):
            await stream.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await until(lambda: len(siege.accepted.links) == 2)
        await stream.aclose()


# --- connections that go ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"\0\0", framed(HELLO)[:-1], framed(HELLO), framed(HELLO) + b"\0\0\0\5abc"])
async def test_HX_13_half_open_and_reset_connections_leave_nothing_behind(begun: bytes) -> None:
    async with besieged() as siege:
        for _ in range(5):
            await reset(await siege.attack(begun))
            half_open = await siege.attack(begun)
            await half_open.send_eof()
            await trio.testing.wait_all_tasks_blocked()
            await half_open.aclose()


async def test_a_reset_in_the_middle_of_a_frame_ends_the_link_behind_the_frames_before_it() -> None:
    async with besieged() as siege:
        stream = await siege.attack_as_member(framed(b"whole") + framed(b"cut short")[:6])
        await until(lambda: len(siege.accepted.links) == 2)
        assert list(await siege.accepted.links[1].receive()) == [b"whole"]
        await reset(stream)
        assert "has ended" in await next_end(siege.accepted, 1)


async def test_HX_13_a_flood_is_capped_and_members_still_connect(caplog: pytest.LogCaptureFixture) -> None:
    """N-8: of 200 connections that say nothing, 16 are kept; the others are told why."""
    async with besieged() as siege:
        flood = []
        for i in range(200):
            flood.append(await siege.attack())
            if i % 50 == 49:
                await siege.connect()
        kept = PATIENT.unauthenticated_max
        # The members that connected took a place, each for a moment.
        for stream in flood[: 200 - kept]:
            assert await read_to_the_end(stream) == framed(encode_refusal(Refusal.BUSY))
        for stream in flood[200 - kept :]:
            await stream.aclose()
        assert len([line for line in log_lines(caplog) if "dropped" in line]) == 1


async def test_a_member_that_is_dropped_in_a_flood_is_told_so() -> None:
    async with besieged(attrs.evolve(PATIENT, unauthenticated_max=1)) as siege:
        first = await siege.attack()
        second = await siege.attack()
        assert await read_to_the_end(first) == framed(encode_refusal(Refusal.BUSY))
        await second.aclose()


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """As if all the descriptors this process may have were in use."""
    with open("/dev/null") as probe:
        lowest_free = probe.fileno()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_without_descriptors_the_listener_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with besieged() as siege:
        waiting = await siege.attack()
        await trio.testing.wait_all_tasks_blocked(0.001)
        late = trio.socket.socket()
        with no_free_descriptor():
            await late.connect(("127.0.0.1", siege.port))
            await until(lambda: any("cannot accept connections" in line for line in log_lines(caplog)))
            # What waits without a HELLO makes room.
            assert await read_to_the_end(waiting) == framed(encode_refusal(Refusal.BUSY))
        stream = trio.SocketStream(late)
        await stream.send_all(framed(HELLO))
        await until(lambda: len(siege.accepted.links) == 2)
        await stream.aclose()


# --- a hostile listener ----------------------------------------------------------------------------------------------


async def dial_answered_by(answer: bytes, *, then_close: bool) -> LinkError:
    """How a dial ends at a listener that says ``answer`` to whatever comes."""

    async def answer_with(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        if not then_close:
            await read_to_the_end(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer_with, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        transport = TcpTransport("127.0.0.1:0", {2: f"127.0.0.1:{port}"}, SHORT)
        with pytest.raises(LinkError) as caught:
            await transport.dial(2, ONE)
        nursery.cancel_scope.cancel()
    return caught.value


@pytest.mark.parametrize("then_close", [True, False])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "was announced"),
        (framed(b"\x81" * 4000), "is no node"),
        (framed(encode_hello(attrs.evolve(ATTACKER, node_id=2, purpose="election"))), "another purpose"),
        (b"", ""),
        (framed(HELLO)[:-1], ""),
    ],
    ids=["http", "nested", "other purpose", "nothing", "cut short"],
)
async def test_a_dial_survives_whatever_answers(answer: bytes, message: str, then_close: bool) -> None:
    error = await dial_answered_by(answer, then_close=then_close)
    assert message in str(error)
    assert "node 2" in str(error)
    assert not error.refused
