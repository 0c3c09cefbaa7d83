"""A node that leads in one attempt: discovery, synchronization, and what follows from them (sections 4 to 6, the leader's half).

Made when the node is elected, dropped when ``ended`` says why it is over. It is *established* once a quorum has acknowledged
NEWLEADER; only then it proposes. The parts of an established leader: proposals, pulse (rounds), duty (its right to lead), readmission
(of voters that lost their disk), handover.
"""

from __future__ import annotations

import logging

from attrs import evolve

from ..codec import encode
from ..errors import InternalError, ProtocolError
from ..record import Kind
from ..zxid import EMPTY, EPOCH_MAX, make, to_hex
from .attempt import Attempt, LeaderPhase
from .core import Core
from .disk import Pending
from .duty import Duty
from .effects import LearnerGone, LearnerServing, RequestsArrived, Serving, SetEpochs
from .handler import Handler, HandlerPhase
from .handover import HandOver
from .links import Link
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    FollowerInfo,
    LeaderInfo,
    Pong,
    Reject,
    RejectCode,
    Request,
    SyncReject,
    SyncRequest,
    UpToDate,
    Vote,
)
from .proposals import Proposals
from .pulse import Pulse
from .quorum import FOUNDING_VERSION
from .readmission import Readmission
from .sync import plan_sync, stream


class Leader(Attempt):
    """began_at: of the attempt.  alive_at: when a quorum was last connected.  rejected: voters that cannot be counted in this attempt."""

    def __init__(self, core: Core, vote: Vote) -> None:
        super().__init__(core, vote)
        self.began_at = core.now
        self.alive_at = core.now
        self.rejected: set[int] = set()
        self.proposals = Proposals(self)
        self.pulse = Pulse(self)
        self.duty = Duty(self)
        self._hand_over = HandOver(self)
        self._readmission = Readmission(self, self.proposals)
        self._initial_end = EMPTY

    def begin(self, held: list[tuple[Link, FollowerInfo]]) -> None:
        """Open the attempt, with the FOLLOWERINFOs that came while this node was still LOOKING (rule D-1)."""
        for link, info in held:
            if not self.ended:
                self.on_follower_info(link, info)
        if not self.ended:
            self._choose_epoch()

    def connected_quorum(self, now: float) -> bool:
        """Whether a quorum's links are up and not silent."""
        limit = self.core.settings.sync_limit
        return self.quorum([handler for handler in self.handlers.values() if now < handler.link.heard_at + limit])

    # --- links -------------------------------------------------------------------------------------------------------

    def link_down(self, link: int) -> None:
        handler = self.handlers.pop(link, None)
        if handler is not None and handler.serving:
            self.core.emit(LearnerGone(link, handler.link.node_id))

    def _drop(self, handler: Handler, reason: str) -> None:
        self.core.links.close(handler.link.id, reason)
        self.link_down(handler.link.id)

    # --- discovery ---------------------------------------------------------------------------------------------------

    def on_follower_info(self, link: Link, info: FollowerInfo) -> None:
        """(rules D-1, D-8, D-9, Z-2)"""
        core = self.core
        handler = Handler(link, info, core.now)
        self.handlers[link.id] = handler
        if not core.hear_accepted(link, info):
            core.report(logging.ERROR, f"node {link.node_id} claims accepted epoch {info.accepted_epoch}, refused", f"jump {link.node_id}")
            self._drop(handler, "its accepted epoch is too far ahead")
            return
        own = core.history.configurations
        if info.config_version > (own[-1].version if own else FOUNDING_VERSION):
            self._drop(handler, "it knows a newer committed configuration")
            self.end(f"node {link.node_id} knows committed configuration {to_hex(info.config_version)}, which this log lacks")
            return
        if self.epoch and info.accepted_epoch > self.epoch:
            self._lock_out(handler)
        elif self.phase is LeaderPhase.COLLECTING:
            self._choose_epoch()
        elif self.phase is not LeaderPhase.PROMISING:
            self._inform(handler)

    def _lock_out(self, handler: Handler) -> None:
        """It has promised a higher epoch and cannot join this one (rule D-8)."""
        node_id = handler.link.node_id
        active = self.core.membership.active
        if node_id in active.voter_ids:
            self.duty.lock_out(node_id)  # Also one without a vote yet: only a leader that it may follow can give it back (I-3).
        if handler.votes(active):
            self.rejected.add(node_id)
        self._drop(handler, f"it has promised epoch {handler.info.accepted_epoch}, this is {self.epoch}")

    def _choose_epoch(self) -> None:
        """(rules D-1, D-2)"""
        core = self.core
        if self.phase is not LeaderPhase.COLLECTING or not self.quorum(list(self.handlers.values())):
            return
        epoch = 1 + max(core.disk.promised.accepted, *core.accepted_heard.values(), 0)
        if epoch > EPOCH_MAX:
            core.halt(InternalError(f"epoch {epoch} is beyond the last one"))
            self.end("epochs have run out")
            return
        self.phase = LeaderPhase.PROMISING
        core.disk.set_epochs(evolve(core.disk.promised, accepted=epoch, accepted_leader=core.node_id), self)

    def _inform(self, handler: Handler) -> None:
        """LEADERINFO; nodes without a vote get it from an established leader only (rule I-2)."""
        if handler.phase is not HandlerPhase.CONNECTED:
            return
        if handler.info.accepted_epoch > self.epoch:
            self._lock_out(handler)
        elif self.established or handler.votes(self.core.membership.active):
            handler.phase = HandlerPhase.INFORMED
            self.core.links.send(handler.link.id, LeaderInfo(self.epoch))

    def _inform_all(self) -> None:
        for handler in tuple(self.handlers.values()):
            self._inform(handler)

    def on_ack_epoch(self, handler: Handler, message: AckEpoch) -> None:
        """(rules D-5, D-6)"""
        handler.ack_epoch = message
        handler.phase = HandlerPhase.PROMISED
        if self.phase not in (LeaderPhase.DISCOVERY, LeaderPhase.FIXING):
            self._sync(handler, message)
            return
        if message.counts and handler.votes(self.core.membership.active):
            recent = (message.current_epoch, message.last_zxid) > (self.vote.epoch, self.vote.zxid)
            if recent and self.phase is LeaderPhase.DISCOVERY:  # Once a quorum has promised, a longer tail may be truncated.
                self.rejected.add(handler.link.node_id)
                self._drop(handler, "its history is more recent than this leader's")
                return
            handler.counted = True
        self._fix_epoch()

    def _fix_epoch(self) -> None:
        """A quorum has promised: current = e, and the own durable log becomes I_e (rule D-6)."""
        core = self.core
        counted = [handler for handler in self.handlers.values() if handler.counted]
        if self.phase is LeaderPhase.DISCOVERY and self.quorum(counted):
            self.phase = LeaderPhase.FIXING
            core.disk.set_epochs(evolve(core.disk.promised, current=self.epoch), self)

    # --- the own disk ------------------------------------------------------------------------------------------------

    def disk_done(self, pending: Pending) -> None:
        if type(pending.effect) is not SetEpochs:
            self.proposals.acks_moved = True
        elif self.phase is LeaderPhase.PROMISING:
            self.phase = LeaderPhase.DISCOVERY
            self.epoch = self.core.disk.epochs.accepted
            self._inform_all()
            self._fix_epoch()
        elif self.phase is LeaderPhase.FIXING:
            self._begin_sync()

    # --- synchronization ---------------------------------------------------------------------------------------------

    def _begin_sync(self) -> None:
        """The own log is whole and durable, so this is also the own NEWLEADER ack (section 14)."""
        self.phase = LeaderPhase.SYNC
        history = self.core.history
        if history.durable != history.end:
            raise InternalError("a leader fixed its epoch while its log was not durable")
        self._initial_end = history.end
        for handler in tuple(self.handlers.values()):
            if handler.phase is HandlerPhase.PROMISED and handler.ack_epoch is not None:
                self._sync(handler, handler.ack_epoch)
        self._establish()

    def _sync(self, handler: Handler, said: AckEpoch) -> None:
        """Cut, stream and registration in one step (rule Y-1): what was proposed and not yet sent leaves first."""
        core = self.core
        self.flush()
        if self.ended:
            return
        plan = plan_sync(core.history, said.last_zxid, wants_snap=said.wants_snap, diff_bytes_max=core.settings.diff_bytes_max)
        handler.cut = stream(core.history, plan, handler.link.id, self.epoch, core.settings.proposal_bytes_max, core.emit)
        handler.link.sent_at = core.now
        handler.phase = HandlerPhase.SYNCING
        core.report(
            logging.INFO, f"node {handler.link.node_id} gets {plan.mode.name} behind {to_hex(plan.after)} up to {to_hex(handler.cut)}"
        )

    def on_sync_reject(self, handler: Handler, message: SyncReject) -> None:
        """Its common point is not ours: a defect or corruption; only a snapshot helps (rule Y-6.1)."""
        self.core.report(logging.ERROR, f"node {handler.link.node_id} rejects the sync: {message.reason}", f"reject {handler.link.node_id}")
        if handler.ack_epoch is None or handler.ack_epoch.wants_snap:
            raise ProtocolError("SYNC_REJECT of a snapshot")
        handler.ack_epoch = evolve(handler.ack_epoch, wants_snap=True)
        self._sync(handler, handler.ack_epoch)

    def on_ack_new_leader(self, handler: Handler, message: AckNewLeader) -> None:
        """(rule Y-8)"""
        if message.cut != handler.cut:
            raise ProtocolError(f"NEWLEADER ack for {to_hex(message.cut)}, sent was {to_hex(handler.cut)}")
        handler.phase = HandlerPhase.ACKED
        handler.acked = message.cut
        handler.heard_at = self.core.now
        self.proposals.acks_moved = True
        if self.established:
            self._serve(handler)
        else:
            self._establish()

    def _establish(self) -> None:
        """A quorum has all of I_e, current = e included (rules Y-8, K-1)."""
        core, history = self.core, self.core.history
        if self.phase is not LeaderPhase.SYNC or not self.quorum([handler for handler in self.handlers.values() if handler.synced]):
            return
        self.phase = LeaderPhase.ESTABLISHED
        self.duty.begin()
        history.set_committed(self._initial_end)
        core.deliver()
        for handler in tuple(self.handlers.values()):
            if handler.phase is HandlerPhase.ACKED:
                self._serve(handler)
        self._open_epoch()
        core.emit(Serving(self.epoch, self._initial_end))
        self._inform_all()
        self.pulse.next_at = core.now

    def _serve(self, handler: Handler) -> None:
        core, link = self.core, handler.link
        handler.phase = HandlerPhase.SERVING
        self.duty.joined(link.node_id)
        core.links.send(link.id, UpToDate(self.epoch, core.history.committed))
        core.emit(LearnerServing(link.id, link.node_id, link.storage_id, link.incarnation))

    def _open_epoch(self) -> None:
        """The first proposal of the epoch: EPOCH, or CONFIG v1 when the ensemble is founded (rules B-1, I-4)."""
        core = self.core
        if core.has_history():
            self.proposals.append(Kind.EPOCH, encode(core.node_id), 0)
            return
        storage_ids = {handler.link.node_id: handler.link.storage_id for handler in self.handlers.values()}
        storage_ids[core.node_id] = core.identity.storage_id
        self.proposals.append(Kind.CONFIG, core.membership.founded_by(make(self.epoch, 1), storage_ids).encode(), 0)

    # --- broadcast ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send, commit and deliver what the inputs since the last flush allow."""
        if not self.established or self.ended:
            return
        while self.proposals.flush():  # What a commit lets us propose leaves in the same turn, before anybody is cut off behind it (Y-1).
            self.duty.committed()
            self._readmission.committed()
        self.core.deliver()  # Also when the own disk has caught up with a point that the others had committed before.
        self._hand_over.finish_if_done()

    def on_ack(self, handler: Handler, message: Ack) -> None:
        self.proposals.on_ack(handler, message)

    def on_pong(self, handler: Handler, message: Pong) -> None:
        if self.pulse.on_pong(handler, message):
            self.proposals.acks_moved = True

    def on_sync_request(self, handler: Handler, message: SyncRequest) -> None:
        self.pulse.on_sync_request(handler, message)

    def on_request(self, handler: Handler, message: Request) -> None:
        link = handler.link
        self.core.emit(RequestsArrived(link.id, link.node_id, link.storage_id, link.incarnation, message.entries))

    def reject(self, link: int, session: int, cseq: int, code: RejectCode) -> None:
        if link in self.handlers and not self.ended:
            self.core.links.send(link, Reject(self.epoch, session, cseq, code))

    # --- time and leaving --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Rounds, and the watch over its own right to lead; before establishment ``watch.py`` judges that."""
        self.pulse.tick(now)
        if self.established:
            self.duty.tick(now)
            self._readmission.tick(now)
            self._hand_over.finish_if_done()

    def deadline(self) -> float:
        return min(self.pulse.deadline(), self._hand_over.deadline())

    def leave(self, successor: int | None) -> None:
        """Hand over (rule B-16): no new requests; done when all is committed and a successor has it all, or after ``leave_wait``."""
        if not self.established:
            self.end("the node is leaving")
        elif not self.leaving:
            self.flush()
            self._hand_over.begin(successor)
            self._hand_over.finish_if_done()
