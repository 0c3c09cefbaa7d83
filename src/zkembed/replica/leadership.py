"""One established leadership as the replica sees it: deadlines, the door for requests, and who may use it.

Made when this node is established and has applied I_e, dropped when it ends (architecture rule: one object an epoch).
"""

from __future__ import annotations

import logging

from ..errors import ProtocolError
from ..record import Kind
from ..tree.codec import Entry, encode_entry
from ..tree.ops import CloseIncarnations, CloseSession, OpenSession
from ..tree.tree import Applied
from ..zab import effects as zab
from .expiry import Expiry
from .intake import Intake, Origin, Rejected
from .lease import confirm
from .shared import Shared


class Leadership:
    """expiry: deadlines and open sessions of the ensemble.  origins: by link, learners that were sent UPTODATE."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        identity = shared.identity
        self._own = Origin(0, identity.node_id, identity.storage_id, identity.incarnation)
        timeouts = ((id, session.timeout_ms / 1000) for id, session in shared.tree.sessions.items())
        self.expiry = Expiry(timeouts, shared.now)
        self._intake = Intake(self.expiry, shared.limits)

    # --- requests -----------------------------------------------------------------------------------------------------

    def take_own(self, encoded: bytes, entry: Entry | None = None) -> Rejected | None:
        """A request of this node's own sessions; ``entry``: what it holds, if that is at hand."""
        return self._take(self._own, encoded, entry)

    def arrived(self, effect: zab.RequestsArrived) -> None:
        """Requests of a learner, in order. What can't be a request ends its link (N-3)."""
        origin = Origin(effect.link, effect.node_id, effect.storage_id, effect.incarnation)
        try:
            for encoded in effect.entries:
                self._take(origin, encoded, None)
        except ProtocolError as error:
            drop_link(self._shared, effect.link, error)

    def _take(self, origin: Origin, encoded: bytes, entry: Entry | None) -> Rejected | None:
        """In its place behind those that wait for room, else checked and proposed."""
        if self._intake.waiting or not self._shared.peer.can_propose:
            self._intake.hold(origin, encoded)
            return None
        return self._admit(origin, encoded, entry)

    def room(self) -> list[Rejected]:
        """The window has room again: those that waited go on. Rejections of own requests are returned."""
        rejected = []
        while self._intake.waiting and self._shared.peer.can_propose:
            origin, encoded = self._intake.next_waiting()
            try:
                own = self._admit(origin, encoded, None)
            except ProtocolError as error:
                self._intake.forget_link(origin.link)
                drop_link(self._shared, origin.link, error)
            else:
                if own is not None:
                    rejected.append(own)
        return rejected

    def _admit(self, origin: Origin, encoded: bytes, entry: Entry | None) -> Rejected | None:
        """Propose, reject or drop. A rejection of an own request is returned, others are sent."""
        decision = self._intake.admit(origin, encoded, self._shared.tree, entry)
        if decision is None:
            return None
        if isinstance(decision, Rejected):
            if origin.link == 0:
                return decision
            self._shared.peer.reject(origin.link, decision.session, decision.cseq, decision.code)
            return None
        self._note(decision)
        self._shared.peer.propose(Kind.REQUEST, encoded, self._shared.wall_us, decision)
        return None

    def _note(self, entry: Entry) -> None:
        """What proposing this means for open sessions and deadlines (S-4, S-5)."""
        op = entry.op
        if type(op) is OpenSession:
            self.expiry.proposed_open(entry.session)
        elif type(op) is CloseSession:
            self.expiry.proposed_close(entry.session)
        elif type(op) is CloseIncarnations:
            for id, session in self._shared.tree.sessions.items():
                if session.storage_id == op.storage_id and session.incarnation < op.below:
                    self.expiry.proposed_close(id)
        else:
            self.expiry.touch(entry.session, self._shared.now)

    def learner_gone(self, link: int) -> None:
        self._intake.forget_link(link)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """(S-4, S-5) Touch our own sessions; propose one close for each session whose deadline has passed."""
        shared, expiry = self._shared, self.expiry
        for local in shared.sessions.values():
            if local.created and not local.closing:
                expiry.touch(local.id, shared.now)
        if not shared.peer.can_propose:
            return
        for session in expiry.due(shared.now):
            expiry.proposed_close(session)
            shared.say(logging.INFO, f"session {session:#x} has expired")
            entry = Entry(0, 0, 0, CloseSession(session, True))
            shared.peer.propose(Kind.REQUEST, encode_entry(*entry), shared.wall_us, entry)

    def deadline(self) -> float:
        return self.expiry.next_deadline() if self._shared.peer.can_propose else float("inf")

    def applied(self, applied: Applied) -> None:
        """Sessions that an entry opened or closed."""
        if applied.opened is not None:
            self.expiry.opened(applied.opened, self._shared.tree.sessions[applied.opened].timeout_ms / 1000, self._shared.now)
        for closed in applied.closed:
            self.expiry.closed(closed)

    def touched(self, origin: Origin, sessions: tuple[int, ...]) -> None:
        """A PONG listed these; only its own sender's count (S-4)."""
        table = self._shared.tree.sessions
        for id in sessions:
            session = table.get(id)
            if session is not None and session.storage_id == origin.storage_id and session.incarnation == origin.incarnation:
                self.expiry.touch(id, self._shared.now)

    def not_open(self, listed: tuple[int, ...]) -> tuple[int, ...]:
        """Those for which nothing may be confirmed (S-4)."""
        return tuple(id for id in listed if not self.expiry.is_open(id))

    def confirm_own(self, sent_at: float) -> None:
        """A quorum has answered a round sent at ``sent_at``: what a touch is to others (S-7)."""
        confirm((local for local in self._shared.sessions.values() if self.expiry.is_open(local.id)), sent_at)


def drop_link(shared: Shared, link: int, error: ProtocolError) -> None:
    """(N-3, N-4) End this link; the core hears of it as of any other end."""
    shared.say(logging.WARNING, f"link closed: {error}")
    shared.emit(zab.CloseLink(link, str(error)))
    shared.peer.link_down(link, str(error))
