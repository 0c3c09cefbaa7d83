"""What every transport must do, as stories that know nothing but the port: TCP and the simulated fabric pass the same ones.

``check_transport`` tells them all. Nobody sleeps in them; each has ten seconds, of a real or a virtual clock.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from zkembed.errors import BadArgumentsError
from zkembed.transport.base import Hello, Limits, Link, LinkError, Refusal, Transport

# Makes the transports of nodes 1 and 2, with these limits; on leaving, whatever they need is given back.
MakePair = Callable[[Limits, Limits], AbstractAsyncContextManager[tuple[Transport, Transport]]]

ONE = Hello("test", 1, b"1" * 16, 10, "zab")
TWO = Hello("test", 2, b"2" * 16, 20)
QUICK = Limits(dial_timeout=0.3, handshake_timeout=0.3, frame_timeout=0.3)
STORY_SECONDS = 10.0


class Accepted:
    """The links that a ``serve`` gave away, in order."""

    def __init__(self) -> None:
        self._put, self._get = trio.open_memory_channel[Link](math.inf)
        self.links: list[Link] = []

    def __call__(self, link: Link) -> None:
        self.links.append(link)
        self._put.send_nowait(link)

    async def next(self) -> Link:
        return await self._get.receive()


@asynccontextmanager
async def serving(transport: Transport, hello: Hello = TWO, known: Callable[[int], bool] = lambda _: True) -> AsyncIterator[Accepted]:
    """Serve inside the block; the accepted links are closed behind it."""
    accepted = Accepted()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(transport.serve, lambda: hello, known, accepted))
            yield accepted
            nursery.cancel_scope.cancel()
    finally:
        for link in accepted.links:
            link.close()


@asynccontextmanager
async def linked(make_pair: MakePair, one: Limits = QUICK, two: Limits = QUICK) -> AsyncIterator[tuple[Link, Link]]:
    """A link from node 1 to node 2: the dialling end, the accepting end."""
    async with make_pair(one, two) as (first, second), serving(second) as accepted:
        near = await first.dial(2, ONE)
        try:
            yield near, await accepted.next()
        finally:
            near.close()


async def receive_all(link: Link, count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        frames += await link.receive()
    return frames


async def receive_to_the_end(link: Link) -> list[bytes]:
    frames: list[bytes] = []
    while True:
        try:
            frames += await link.receive()
        except LinkError:
            return frames


async def send_to_the_end(link: Link) -> None:
    while True:
        try:
            await link.send(b"x" * 65536)
        except LinkError:
            return


async def fill(link: Link, frame: bytes = b"x" * 65536) -> int:
    """Send until there is no room; how many frames went."""
    sent = 0
    while True:
        with trio.move_on_after(0.05) as scope:
            await link.send(frame)
        if scope.cancelled_caught:
            return sent
        sent += 1


async def dial_is_refused(transport: Transport, hello: Hello, refusal: Refusal | None, *, by_us: bool = False) -> None:
    """by_us: it was the dialling end that did not like the answer."""
    with pytest.raises(LinkError) as caught:
        await transport.dial(2, hello)
    assert caught.value.refused, caught.value
    assert caught.value.refusal is refusal, caught.value
    assert caught.value.by_us is by_us, caught.value


# --- stories ---------------------------------------------------------------------------------------------------------


async def each_end_knows_the_other(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far):
        assert near.remote == attrs.evolve(TWO, purpose="zab")
        assert far.remote == ONE
        assert (near.outbound, far.outbound) == (True, False)


async def frames_come_whole_and_in_order_both_ways(make_pair: MakePair) -> None:
    frames = [b"a", b"", b"\0" * 3, bytes(range(256)) * 8192, b"z"] + [str(i).encode() for i in range(500)]
    frames.remove(b"")
    async with linked(make_pair) as (near, far), trio.open_nursery() as nursery:
        for source in (near, far):

            async def send(source: Link = source) -> None:
                for frame in frames:
                    await source.send(frame)

            nursery.start_soon(send)
        assert await receive_all(far, len(frames)) == frames
        assert await receive_all(near, len(frames)) == frames


async def what_has_queued_comes_in_one_batch(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far):
        for frame in (b"1", b"2", b"3"):
            await near.send(frame)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert list(await far.receive()) == [b"1", b"2", b"3"]


async def the_accepting_end_may_speak_first_and_at_length(make_pair: MakePair) -> None:
    """The limit before authentication binds the HELLO alone, however close behind it the first frame comes (N-1)."""
    long = b"x" * (QUICK.preauth_frame_bytes_max * 50)
    async with make_pair(QUICK, QUICK) as (first, second), trio.open_nursery() as nursery:
        accepted = Accepted()

        def accept(link: Link) -> None:
            accepted(link)
            nursery.start_soon(link.send, long)

        await nursery.start(partial(second.serve, lambda: TWO, lambda _: True, accept))
        near = await first.dial(2, ONE)
        assert await receive_all(near, 1) == [long]
        near.close()
        (await accepted.next()).close()
        nursery.cancel_scope.cancel()


async def a_frame_that_may_not_be_sent_is_the_callers_mistake(make_pair: MakePair) -> None:
    async with linked(make_pair, attrs.evolve(QUICK, frame_bytes_max=10)) as (near, far):
        for wrong in (b"", b"x" * 11):
            with pytest.raises(BadArgumentsError, match="1 to 10"):
                await near.send(wrong)
        await near.send(b"x" * 10)
        assert await receive_all(far, 1) == [b"x" * 10]


async def a_frame_beyond_the_limit_ends_the_link_behind_those_before_it(make_pair: MakePair) -> None:
    """HX-1, N-1: after authentication."""
    async with linked(make_pair, two=attrs.evolve(QUICK, frame_bytes_max=10)) as (near, far):
        await near.send(b"good")
        await near.send(b"x" * 11)
        assert await receive_to_the_end(far) == [b"good"]
        assert await receive_to_the_end(near) == []


async def a_close_is_seen_at_both_ends_behind_what_was_sent(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far):
        await near.send(b"last")
        near.close()
        near.close()
        assert await receive_to_the_end(far) == [b"last"]
        for link in (near, far):
            with pytest.raises(LinkError):
                await link.send(b"too late")
            with pytest.raises(LinkError):
                await link.receive()
        far.close()


async def a_close_wakes_who_receives(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(receive_to_the_end, near)
        nursery.start_soon(receive_to_the_end, far)
        await trio.testing.wait_all_tasks_blocked()
        near.close()


async def a_close_wakes_who_sends(make_pair: MakePair) -> None:
    for closing in (0, 1):
        async with linked(make_pair) as ends, trio.open_nursery() as nursery:
            await fill(ends[0])
            # The fill may have been cancelled within a frame, which leaves the link broken; then this is over at once.
            nursery.start_soon(send_to_the_end, ends[0])
            await trio.testing.wait_all_tasks_blocked(0.01)
            ends[closing].close()


async def a_sender_waits_for_who_does_not_read(make_pair: MakePair) -> None:
    """N-8: what queues in a link is bounded; nothing is lost for the waiting."""
    frames = [i.to_bytes(4, "big") * 16384 for i in range(400)]
    sent: list[int] = []
    async with linked(make_pair) as (near, far), trio.open_nursery() as nursery:

        async def send() -> None:
            for i, frame in enumerate(frames):
                await near.send(frame)
                sent.append(i)

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert 0 < len(sent) < len(frames)
        assert await receive_all(far, len(frames)) == frames


async def one_task_a_direction(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(receive_to_the_end, near)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await near.receive()
        nursery.start_soon(send_to_the_end, near)
        await trio.testing.wait_all_tasks_blocked(0.02)
        with pytest.raises(trio.BusyResourceError):
            await near.send(b"x")
        near.close()
        far.close()


async def a_cancelled_receive_loses_nothing(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far):
        with trio.move_on_after(0.02):
            await far.receive()
        await near.send(b"here")
        with trio.CancelScope() as scope:
            scope.cancel()
            await far.receive()
        assert await receive_all(far, 1) == [b"here"]


async def sending_and_receiving_are_checkpoints(make_pair: MakePair) -> None:
    async with linked(make_pair) as (near, far):
        with trio.testing.assert_checkpoints():
            await near.send(b"1")
        await near.send(b"2")
        await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.testing.assert_checkpoints():
            await far.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.send(b"never")
        await near.send(b"3")
        assert await receive_all(far, 1) == [b"3"]


async def nobody_listens(make_pair: MakePair) -> None:
    """E-12: a no is told from silence, so that it need not be waited for."""
    async with make_pair(QUICK, QUICK) as (first, _):
        await dial_is_refused(first, ONE, None)


async def who_does_not_belong_is_refused_with_the_reason(make_pair: MakePair) -> None:
    """N-7, HX-7, HX-9: and nothing has changed by it."""
    strangers = {
        Refusal.WRONG_CLUSTER: attrs.evolve(ONE, cluster="other"),
        Refusal.OWN_NODE_ID: attrs.evolve(ONE, node_id=2),
        Refusal.UNKNOWN_NODE: attrs.evolve(ONE, node_id=77),
        Refusal.NO_COMMON_VERSION: attrs.evolve(ONE, versions=(2, 9)),
    }
    async with make_pair(QUICK, QUICK) as (first, second), serving(second, known=lambda node_id: node_id in (1, 2)) as accepted:
        for refusal, hello in strangers.items():
            # A far higher incarnation, which must not be remembered of who was turned away.
            await dial_is_refused(first, attrs.evolve(hello, incarnation=2**40), refusal)
        assert accepted.links == []
        (await first.dial(2, ONE)).close()


async def versions_that_overlap_are_enough(make_pair: MakePair) -> None:
    """HX-9."""
    async with make_pair(QUICK, QUICK) as (first, second), serving(second) as accepted:
        (await first.dial(2, attrs.evolve(ONE, versions=(0, 7)))).close()
        assert (await accepted.next()).remote.versions == (0, 7)


async def who_answers_must_be_who_was_dialled(make_pair: MakePair) -> None:
    async with make_pair(QUICK, QUICK) as (first, second), serving(second, attrs.evolve(TWO, node_id=3)):
        await dial_is_refused(first, ONE, Refusal.NOT_THE_DIALLED_NODE, by_us=True)


async def an_earlier_start_of_a_storage_is_refused_for_ever(make_pair: MakePair) -> None:
    """I-6, at the listening end."""
    async with make_pair(QUICK, QUICK) as (first, second):
        for _ in range(2):  # The second time after a new serve: the transport remembers, not the listener.
            async with serving(second):
                (await first.dial(2, attrs.evolve(ONE, incarnation=12))).close()
                (await first.dial(2, attrs.evolve(ONE, incarnation=12))).close()
                await dial_is_refused(first, attrs.evolve(ONE, incarnation=11), Refusal.STALE_INCARNATION)
                (await first.dial(2, attrs.evolve(ONE, storage_id=b"n" * 16, incarnation=1))).close()
        async with serving(second):
            await dial_is_refused(first, attrs.evolve(ONE, incarnation=11), Refusal.STALE_INCARNATION)


async def an_earlier_start_that_answers_is_refused_too(make_pair: MakePair) -> None:
    """I-6, at the dialling end."""
    async with make_pair(QUICK, QUICK) as (first, second):
        async with serving(second):
            (await first.dial(2, ONE)).close()
        async with serving(second, attrs.evolve(TWO, incarnation=19)):
            await dial_is_refused(first, ONE, Refusal.STALE_INCARNATION, by_us=True)


async def who_listens_is_asked_at_each_handshake(make_pair: MakePair) -> None:
    """I-6: a storage may be renewed while its node listens; links that are up stay."""
    says = [TWO]
    async with make_pair(QUICK, QUICK) as (first, second), trio.open_nursery() as nursery:
        accepted = Accepted()
        await nursery.start(partial(second.serve, lambda: says[-1], lambda _: True, accepted))
        before = await first.dial(2, ONE)
        says.append(attrs.evolve(TWO, storage_id=b"r" * 16, incarnation=1))
        after = await first.dial(2, ONE)
        assert [link.remote.storage_id for link in (before, after)] == [TWO.storage_id, b"r" * 16]
        await before.send(b"still up")
        assert await (await accepted.next()).receive() == [b"still up"]
        for link in (before, after, *accepted.links):
            link.close()
        nursery.cancel_scope.cancel()


async def who_is_known_is_asked_each_time(make_pair: MakePair) -> None:
    members = {2}
    async with make_pair(QUICK, QUICK) as (first, second), serving(second, known=members.__contains__):
        await dial_is_refused(first, ONE, Refusal.UNKNOWN_NODE)
        members.add(1)
        (await first.dial(2, ONE)).close()


async def a_dial_says_what_it_is_for(make_pair: MakePair) -> None:
    async with make_pair(QUICK, QUICK) as (first, second), serving(second):
        for wrong in (attrs.evolve(ONE, purpose=""), attrs.evolve(ONE, purpose="tea"), attrs.evolve(ONE, storage_id=b"")):
            with pytest.raises(BadArgumentsError):
                await first.dial(2, wrong)
        for purpose in ("election", "zab"):
            link = await first.dial(2, attrs.evolve(ONE, purpose=purpose))
            assert link.remote.purpose == purpose
            link.close()


async def links_outlive_the_listener(make_pair: MakePair) -> None:
    async with make_pair(QUICK, QUICK) as (first, second), trio.open_nursery() as nursery:
        accepted = Accepted()
        await nursery.start(partial(second.serve, lambda: TWO, lambda _: True, accepted))
        near = await first.dial(2, ONE)
        far = await accepted.next()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await near.send(b"still here")
            assert await receive_all(far, 1) == [b"still here"]
            near.close()
            far.close()
    async with make_pair(QUICK, QUICK) as (first, second):
        async with serving(second):
            pass
        await dial_is_refused(first, ONE, None)
        async with serving(second):
            (await first.dial(2, ONE)).close()


async def the_end_of_one_link_is_not_the_end_of_another(make_pair: MakePair) -> None:
    """N-4."""
    async with make_pair(QUICK, attrs.evolve(QUICK, frame_bytes_max=10)) as (first, second), serving(second) as accepted:
        good, bad = await first.dial(2, ONE), await first.dial(2, ONE)
        far_good, far_bad = await accepted.next(), await accepted.next()
        await bad.send(b"x" * 11)
        assert await receive_to_the_end(far_bad) == []
        await good.send(b"alive")
        assert await receive_all(far_good, 1) == [b"alive"]
        (await first.dial(2, ONE)).close()
        good.close()
        bad.close()


STORIES: tuple[Callable[[MakePair], Awaitable[None]], ...] = (
    each_end_knows_the_other,
    frames_come_whole_and_in_order_both_ways,
    what_has_queued_comes_in_one_batch,
    the_accepting_end_may_speak_first_and_at_length,
    a_frame_that_may_not_be_sent_is_the_callers_mistake,
    a_frame_beyond_the_limit_ends_the_link_behind_those_before_it,
    a_close_is_seen_at_both_ends_behind_what_was_sent,
    a_close_wakes_who_receives,
    a_close_wakes_who_sends,
    a_sender_waits_for_who_does_not_read,
    one_task_a_direction,
    a_cancelled_receive_loses_nothing,
    sending_and_receiving_are_checkpoints,
    nobody_listens,
    who_does_not_belong_is_refused_with_the_reason,
    versions_that_overlap_are_enough,
    who_answers_must_be_who_was_dialled,
    an_earlier_start_of_a_storage_is_refused_for_ever,
    an_earlier_start_that_answers_is_refused_too,
    who_listens_is_asked_at_each_handshake,
    who_is_known_is_asked_each_time,
    a_dial_says_what_it_is_for,
    links_outlive_the_listener,
    the_end_of_one_link_is_not_the_end_of_another,
)


async def check_transport(make_pair: MakePair) -> None:
    """Tell every story; the name of the one that fails is in its traceback."""
    for story in STORIES:
        with trio.fail_after(STORY_SECONDS):
            await story(make_pair)
