"""The PING rounds of one leader as messages: who answered, what that confirms, which barrier reads it releases (R-1, R-2, S-4, B-15)."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InternalError, ProtocolError
from ..zxid import to_hex
from .attempt import Attempt, LeaderPhase
from .effects import PingDue, RoundAnswered, SessionsTouched, SyncAnswered
from .handler import Handler
from .messages import Ping, Pong, SyncOk, SyncRequest
from .rounds import Rounds

_PINGING = frozenset({LeaderPhase.SYNC, LeaderPhase.ESTABLISHED})


class Pulse:
    """next_at: when the next round is due.  _asked: PingDue was said and not answered yet."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._rounds = Rounds()
        self._asked = False
        self.next_at = attempt.core.now

    def tick(self, now: float) -> None:
        if self._attempt.phase in _PINGING and now >= self.next_at:
            self.next_at = now + self._attempt.core.settings.tick
            self._ping_due()

    def deadline(self) -> float:
        return self.next_at if self._attempt.phase in _PINGING else float("inf")

    def on_sync_request(self, handler: Handler, message: SyncRequest) -> None:
        """(rules R-1, R-2)"""
        if not self._rounds.wait(handler.link.id, message.id, self._attempt.core.history.committed):
            raise ProtocolError("too many sync requests wait")
        self._round_if_wanted()

    def request_sync(self, number: int) -> None:
        if self._attempt.established and not self._attempt.ended and self._rounds.wait(None, number, self._attempt.core.history.committed):
            self._round_if_wanted()

    def _round_if_wanted(self) -> None:
        if self._rounds.wanted and self._attempt.established and not self._asked:
            self._ping_due()

    def _ping_due(self) -> None:
        self._asked = True
        listed = tuple((handler.link.id, handler.listed) for handler in self._attempt.handlers.values() if handler.registered)
        self._attempt.core.emit(PingDue(self._rounds.seq + 1, listed))

    def send_round(self, digest_zxid: int, digest: int, not_open: Mapping[int, tuple[int, ...]]) -> None:
        """The replica's answer to PingDue: the round goes out to every registered learner."""
        core = self._attempt.core
        self._asked = False
        if self._attempt.ended or self._attempt.phase not in _PINGING:
            return
        registered = [handler for handler in self._attempt.handlers.values() if handler.registered]
        heard = {handler.link.id: handler.pong_seq for handler in registered}
        seq = self._rounds.send(core.now, heard, established=self._attempt.established)
        self.next_at = core.now + core.settings.tick
        commit = core.history.committed
        for handler in registered:
            closing = tuple(not_open.get(handler.link.id, ()))
            core.links.send(handler.link.id, Ping(self._attempt.epoch, seq, commit, digest_zxid, digest, handler.echo, closing))
        self._round_answered()

    def on_pong(self, handler: Handler, message: Pong) -> bool:
        """Returns whether the learner's acks count from here on because it is whole again (rule P-12)."""
        if message.ping_seq > self._rounds.seq or message.seq <= handler.pong_seq:
            raise ProtocolError(f"PONG {message.seq} to PING {message.ping_seq}, newest are {handler.pong_seq} and {self._rounds.seq}")
        handler.pong_seq = message.seq
        handler.answered = max(handler.answered, message.ping_seq)
        handler.heard_at = self._attempt.core.now
        healed = message.normal and not handler.normal and handler.synced
        handler.normal = handler.normal or healed
        if message.sessions is not None:
            handler.listed = message.sessions
        if handler.listed:
            link = handler.link
            self._attempt.core.emit(SessionsTouched(link.id, link.node_id, link.storage_id, link.incarnation, handler.listed))
        if message.digest_mismatch:
            handler.mismatch = message.digest_mismatch
            self._judge_mismatch(message.digest_mismatch)
        self._round_answered()
        return healed

    def _judge_mismatch(self, boundary: int) -> None:
        """A quorum whose state differs from this one's at the same boundary: this one is wrong (rule B-15)."""
        active = self._attempt.core.membership.active
        differing = {
            handler.link.node_id: handler.link.storage_id
            for handler in self._attempt.handlers.values()
            if handler.mismatch == boundary and handler.votes(active)
        }
        if active.has_quorum(differing):
            self._attempt.core.halt(InternalError(f"the state digest at {to_hex(boundary)} differs from a quorum's"))
            self._attempt.end("its state differs from a quorum's")

    def _round_answered(self) -> None:
        """Settle what the newest round that a quorum answered confirms (rules R-2, S-4)."""
        core = self._attempt.core
        active = core.membership.active
        reached = {
            (handler.link.node_id, handler.link.storage_id): handler.answered
            for handler in self._attempt.handlers.values()
            if handler.votes(active)
        }
        reached[core.node_id, core.identity.storage_id] = self._rounds.seq
        settled = self._rounds.answer(active.quorum_point(reached))
        if settled is None:
            return
        for handler in self._attempt.handlers.values():
            handler.echo = max(handler.echo, settled.heard.get(handler.link.id, 0))
        core.emit(RoundAnswered(settled.sent_at))
        for waiting in self._rounds.take_confirmed(settled):
            if waiting.link is None:
                core.emit(SyncAnswered(waiting.id, waiting.barrier))
            elif waiting.link in self._attempt.handlers:
                core.links.send(waiting.link, SyncOk(self._attempt.epoch, waiting.id, waiting.barrier))
        self._round_if_wanted()
