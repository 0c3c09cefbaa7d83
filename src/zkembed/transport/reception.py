"""Both sides of a handshake, over any kind of connection (rules N-4, N-5, N-7, N-8).

``Reception`` greets who connects; ``introduce`` speaks for who dials. Only an accepted connection leaves this file alive, and
nothing that the other end does leaves it as an exception but a LinkError of ``introduce``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import attrs
import trio

from ..errors import DecodeError
from .base import Hello, Limits, Link, LinkError, Refusal
from .handshake import REFUSALS, Admission, encode_hello, encode_refusal, read_answer, read_hello, refused_by
from .throttle import ThrottledLog
from .wire import Wire

# Asks for a node id: may it connect?
Known = Callable[[int], bool]


class Reception:
    """Greets the connections of one ``serve`` and hands the accepted ones on.

    At most ``limits.unauthenticated_max`` handshakes are under way, each for at most ``limits.handshake_timeout`` seconds. One more drops
    the oldest: a member needs a millisecond, so under a flood it still comes through, which it would not if newcomers were refused.
    """

    def __init__(
        self,
        own: Callable[[], Hello],
        known: Known,
        accept: Callable[[Link], None],
        *,
        admission: Admission,
        limits: Limits,
        log: ThrottledLog,
    ) -> None:
        self._own = own
        self._known = known
        self._accept = accept
        self._admission = admission
        self._limits = limits
        self._log = log
        # Connections whose HELLO has not been judged, oldest first. A dict, for its order.
        self._waiting: dict[Wire, None] = {}

    @property
    def waiting(self) -> int:
        """How many connections have not been judged yet."""
        return len(self._waiting)

    def receive(self, wire: Wire, nursery: trio.Nursery) -> None:
        """Begin the handshake of a new connection in a task of ``nursery``, which owns it until it is accepted."""
        if len(self._waiting) >= self._limits.unauthenticated_max:
            self.drop_oldest()
        self._waiting[wire] = None
        nursery.start_soon(self._greet, wire, name=f"zkembed[{self._own().node_id}].handshake[{wire.where}]")

    def drop_oldest(self) -> None:
        """Refuse the connection that has waited longest, if there is one; its descriptor is free at once and its task ends by itself."""
        if not self._waiting:
            return
        wire = next(iter(self._waiting))
        del self._waiting[wire]
        wire.refuse(encode_refusal(Refusal.BUSY))
        self._report(Refusal.BUSY, f"dropped the connection from {wire.where}: {REFUSALS[Refusal.BUSY]}")

    @trio.lowlevel.enable_ki_protection
    async def _greet(self, wire: Wire) -> None:
        established = False
        try:
            with trio.move_on_after(self._limits.handshake_timeout) as scope:
                established = await self._shake_hands(wire)
            if scope.cancelled_caught:
                seconds = self._limits.handshake_timeout
                self._report("timeout", f"closed the connection from {wire.where}: no handshake within {seconds:g} s")
        finally:
            self._waiting.pop(wire, None)
            if not established:
                wire.close()
        if established:
            self._accept(wire)

    async def _shake_hands(self, wire: Wire) -> bool:
        """Whether ``wire`` has become a link."""
        try:
            opening = await wire.receive_first()
            own = self._own()
            hello = self._judge(wire, opening, own)
            # From here on it is not dropped any more: a refusal behind a HELLO would be read as the link's first frame.
            self._waiting.pop(wire, None)
            if hello is None:
                return False
            await wire.send(encode_hello(attrs.evolve(own, purpose=hello.purpose)))
            if own != self._own():
                return False  # The other end was told who this node no longer is.
        except (LinkError, DecodeError) as error:
            # N-4: whatever it was, it was the other end's doing and ends no more than this connection.
            if wire in self._waiting:
                self._report("malformed", f"closed the connection from {wire.where}: {error}")
            return False
        wire.establish(hello)
        return True

    def _judge(self, wire: Wire, opening: bytes, own: Hello) -> Hello | None:
        """Who asks to be let in; None if ``wire`` was refused. Raises DecodeError."""
        hello = read_hello(opening)
        if isinstance(hello, Refusal):
            self._refuse(wire, hello, "a node")
            return None
        refusal = self._admission.judge(hello, own, self._known)
        if refusal is None:
            return hello
        self._refuse(wire, refusal, f"node {hello.node_id}")
        return None

    def _refuse(self, wire: Wire, refusal: Refusal, who: str) -> None:
        wire.refuse(encode_refusal(refusal))
        self._report((refusal, who), f"refused {who} at {wire.where}: {REFUSALS[refusal]}")

    def _report(self, key: Hashable, message: str) -> None:
        self._log.warning(key, message, trio.current_time())


async def introduce(wire: Wire, dialled: int, own: Hello, *, admission: Admission, limits: Limits) -> Link:
    """Shake hands as the dialling end, within ``limits.handshake_timeout``; ``wire`` becomes the link to node ``dialled``.

    Raises LinkError; ``wire`` is closed then, and when cancelled.
    """
    established = False
    try:
        with trio.move_on_after(limits.handshake_timeout):
            await _introduce(wire, dialled, own, admission)
            established = True
            return wire
        raise LinkError(f"node {dialled} at {wire.where} did not answer the handshake within {limits.handshake_timeout:g} s")
    finally:
        if not established:
            wire.close()


async def _introduce(wire: Wire, dialled: int, own: Hello, admission: Admission) -> None:
    try:
        await wire.send(encode_hello(own))
        hello = read_answer(await wire.receive_first())
    except DecodeError as error:
        raise LinkError(f"what answers for node {dialled} at {wire.where} is no node: {error}") from error
    except LinkError as error:
        text = f"node {dialled} at {wire.where}: {error}"
        raise LinkError(text, refused=error.refused, refusal=error.refusal, by_us=error.by_us) from error
    if hello.purpose != own.purpose:
        raise LinkError(f"what answers for node {dialled} at {wire.where} is no node: it names another purpose than the one it was told")
    refusal = admission.judge_answer(hello, own, dialled)
    if refusal is not None:
        raise refused_by(refusal, f"this end refused node {hello.node_id}, which answers for node {dialled} at {wire.where}", by_us=True)
    wire.establish(hello)
