"""The consensus core of one node, as its driver and its replica see it: inputs, questions, and ``drain`` for the effects.

Inputs come one at a time; what they cause is taken with ``drain``. The peer decides nothing itself: ``inbound`` knows who may speak,
``roles`` which role runs, the roles what a message means; election state and links outlive the roles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from attrs import evolve

from ..durable import Epochs, Identity, SnapshotInfo
from ..errors import InternalError
from ..record import Kind, Record
from ..zxid import to_hex
from .core import Core
from .effects import Effect, Purpose, Role
from .election import Election
from .handler import HandlerPhase
from .history import History, encode_configurations
from .inbound import Inbound
from .leader import Leader
from .learner import LearnerPhase
from .mesh import REFUSED, Mesh
from .messages import Message, NodeState, Notify, RejectCode
from .quorum import Configuration
from .roles import Roles
from .roll_call import roll_call
from .settings import Settings


class Peer:
    """See the module's text. No method raises for what another node does or says."""

    def __init__(
        self,
        *,
        identity: Identity,
        peers: Mapping[int, str],
        bootstrap: bool,
        epochs: Epochs,
        history: History,
        settings: Settings,
        jitter: Callable[[], float],
    ) -> None:
        """history: recovered from the disk.  jitter: numbers in [0, 1) for back-off. Call ``start`` first."""
        self._core = Core(identity, peers, bootstrap=bootstrap, epochs=epochs, history=history, settings=settings, jitter=jitter)
        core = self._core
        self._mesh = Mesh(core.node_id, settings, jitter, core.links, core.emit)
        self._election = Election(core.node_id, settings, core.membership, self._mesh, core.own_vote)
        self._roles = Roles(core, self._mesh, self._election)
        self._inbound = Inbound(core, self._mesh, self._election, self._roles)
        self._started = False
        self._ticked_at = 0.0
        self._beat_at = 0.0
        self._due: float | None = None  # of the last drain, once it was asked for

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """As told by RoleChanged."""
        return self._roles.role

    @property
    def leader_id(self) -> int | None:
        """As told by RoleChanged; None while LOOKING."""
        return self._roles.leader_id

    @property
    def left(self) -> bool:
        """An orderly leave is done."""
        return self._roles.left

    @property
    def history(self) -> History:
        return self._core.history

    @property
    def epochs(self) -> Epochs:
        """What the disk holds."""
        return self._core.disk.epochs

    @property
    def epoch(self) -> int:
        """The epoch being served, else 0."""
        leader, learner = self._roles.leader, self._roles.learner
        if leader is not None:
            return leader.epoch if leader.established else 0
        return learner.epoch if learner is not None and learner.serving else 0

    @property
    def serving(self) -> bool:
        return self.epoch != 0

    @property
    def has_vote(self) -> bool:
        return not self.vote_reason

    @property
    def vote_reason(self) -> str:
        """Why it has no vote that can be relied on; "" if it has one. Until the CONFIG that gives it one is known committed, what is lost
        besides may still take that back (C-3): whoever waits for this before the next disk is replaced must wait so long."""
        membership = self._core.membership
        if not membership.vote_reason and not membership.is_candidate:
            return f"it is being readmitted: configuration {to_hex(membership.newest.version)} is not known to be committed"
        return membership.vote_reason

    @property
    def configuration(self) -> Configuration:
        """The newest one known; its ``peers`` are those to dial."""
        return self._core.membership.newest

    @property
    def phase(self) -> str:
        """For the log and the statistics."""
        role = self._roles.current
        return ("settling" if self._roles.settling else "voting") if role is None else role.phase.value

    def snapshot_meta(self) -> bytes:
        """The meta of a snapshot at the applied point."""
        return encode_configurations(self.history.configurations_at(self.history.applied))

    def missing(self) -> str:
        """Who is missing, for the log of a node that waits for a quorum: ``1 of 3 voters reachable: 2 refused, 3 no answer``."""
        return roll_call(self._core, self._mesh, self._election)

    @property
    def quorum_gone(self) -> bool:
        """So many voters are surely down (nobody listens at their addresses) that no quorum will answer before one is started again."""
        heard = self._mesh.heard(self._core.now)
        down = {remote.node_id for remote in self._mesh if remote.node_id not in heard and remote.trouble == REFUSED}
        configurations = self._core.membership.active.configurations
        return not all(
            configuration.has_quorum({node_id: storage for node_id, storage in configuration.voters.items() if node_id not in down})
            for configuration in configurations
        )

    # --- time --------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """The first input. Delivers what the log itself says is committed (rule P-10)."""
        self._started = True
        self._set_now(now)
        self._ticked_at = self._beat_at = now
        if not self._core.disk.epochs.damaged:
            self._core.deliver()
        reason = self.vote_reason
        if reason:
            self._core.report(logging.WARNING, f"this node has no vote: {reason}")
        self._inbound.follow_members()
        self._roles.begin_looking()
        self._roles.react()
        self._mesh.tick(now)

    def _set_now(self, now: float) -> None:
        self._core.now = self._core.links.now = now

    def tick(self, now: float) -> None:
        """The first input of every wake-up: nothing may be stamped with a time from before a stall (rule B-12)."""
        if not self._started:
            raise InternalError("tick before start")
        gap, self._ticked_at = now - self._ticked_at, now
        due = self.deadline()
        self._set_now(now)
        if self._roles.stopped:
            return
        if gap >= self._core.settings.sync_limit:
            self._roles.end_roles(f"the event loop stood still for {gap:.1f} s")
        if now >= due or gap > self._core.settings.stall_limit:
            self._roles.guard(self._run_timers)

    def _run_timers(self) -> None:
        core, now = self._core, self._core.now
        for link in self._mesh.silent(now):
            self._inbound.close(link, "silence")
        self._roles.watch_wrong_state()
        if self._roles.leader is not None:
            self._roles.leader.tick(now)
        if self._roles.learner is not None:
            self._roles.learner.tick(now)
            self._roles.watch_unconnected()
        if now >= self._beat_at + core.settings.tick:
            self._beat_at = now
            core.links.keep_alive(core.settings.tick, self._pinged())
            core.disk.seal_if_idle(now, core.settings.tick)
        self._mesh.tick(now)
        self._roles.react()

    def _pinged(self) -> frozenset[int]:
        if self._roles.leader is None:
            return frozenset()
        return frozenset(link for link, handler in self._roles.leader.handlers.items() if handler.registered)

    def deadline(self) -> float:
        """When ``tick`` must be called next, as of the last ``drain``; at most one tick ahead."""
        if self._due is None:
            self._due = self._next_due()
        return self._due

    def _next_due(self) -> float:
        core, roles = self._core, self._roles
        if roles.stopped:
            return core.now + core.settings.tick
        times = [self._beat_at + core.settings.tick, self._mesh.deadline()]
        if roles.leader is not None:
            times.append(roles.leader.deadline())
            if roles.watch is not None and not roles.leader.established:
                times.append(roles.watch.deadline(core.now))
        elif roles.learner is not None:
            times.append(roles.learner.deadline())
            if roles.learner.phase is LearnerPhase.DIALLING or roles.learner.streaming:
                times.append(self._mesh.next_silence(core.now))
        else:
            times.append(self._election.deadline(core.now))
        return min(times)

    # --- links and messages ------------------------------------------------------------------------------------------

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, outbound: bool) -> None:
        """A connection is up, both ends named (rules N-7, I-6). The answer to a Dial, or another node has dialled."""
        self._inbound.link_up(link, node_id, storage_id, incarnation, purpose, outbound=outbound)

    def link_down(self, link: int, reason: str) -> None:
        """A connection has ended. One that this node closed is not heard of any more."""
        self._inbound.link_down(link, reason)

    def dial_failed(self, node_id: int, purpose: Purpose, refused: bool, reason: str) -> None:
        """The other answer to a Dial. refused: the other machine said no, as against silence."""
        self._inbound.dial_failed(node_id, purpose, refused=refused, reason=reason)

    def receive(self, link: int, message: Message) -> None:
        """One message of a link that is up; one for a link already closed here is dropped. What is not allowed closes the link (N-3)."""
        self._inbound.receive(link, message)

    def outdated(self) -> None:
        """Another node refuses this one's connections since it knows of a later start of its storage (rule I-6)."""
        self._roles.renew_storage("another node knows of a later start of it")

    def remember(self, node_id: int, storage_id: bytes, incarnation: int) -> None:
        """The state names this start of a storage (rules I-6, S-1)."""
        self._inbound.remember(node_id, storage_id, incarnation)

    # --- disk and replica --------------------------------------------------------------------------------------------

    def disk_done(self, op: int) -> None:
        """A disk operation is durable. Of a role that has ended it moves the durable marks and triggers nothing more (rule X-3)."""
        try:
            pending = self._core.disk.done(op, self._core.now)
            if pending.staged is not None:
                self._core.wants_snap = False
            role = self._roles.current
            if role is None:
                self._roles.react()
            elif pending.owner is role:
                phase = role.phase
                role.disk_done(pending)
                if role.phase is not phase or role.ended:
                    self._roles.react()
        except InternalError as error:
            self._roles.fail(error)

    def storage_renewed(self, identity: Identity) -> None:
        """The answer to RenewStorage: the new identity is durable (rule I-6)."""
        self._inbound.storage_renewed(identity)

    def applied(self, zxid: int) -> None:
        """The replica has applied up to here."""
        self.history.set_applied(zxid)

    def snapshot_stored(self, info: SnapshotInfo, records_from: int) -> None:
        """An own snapshot is durable, and the log can be read from behind ``records_from`` on."""
        self.history.snapshot_stored(info, records_from)

    # --- requests ----------------------------------------------------------------------------------------------------

    @property
    def can_propose(self) -> bool:
        """An established leader whose window is open and that is not leaving."""
        return self._roles.leader is not None and self._roles.leader.proposals.can_propose

    def propose(self, kind: Kind, payload: bytes, time: int, decoded: object = None) -> Record:
        """The next record; it leaves with the next ``drain``. time: raised to the previous record's. Raises
        InternalError if this node is no established leader."""
        if self._roles.leader is None:
            raise InternalError("a proposal by a node that does not lead")
        record = self._roles.leader.proposals.append(kind, payload, time)
        record.decoded = decoded
        return record

    def send_requests(self, entries: tuple[bytes, ...]) -> None:
        """To the leader, in order; dropped while this node does not serve as a learner."""
        if self._roles.learner is not None:
            self._roles.learner.send_requests(entries)

    def reject(self, link: int, session: int, cseq: int, code: RejectCode) -> None:
        """Leader: the request will not be proposed (rule Q-2)."""
        if self._roles.leader is not None:
            self._roles.leader.reject(link, session, cseq, code)

    def request_sync(self, id: int) -> None:
        """Ask for a barrier (rules R-1, R-2); dropped while not serving: the origin asks again (R-4)."""
        if self._roles.leader is not None:
            self._roles.leader.pulse.request_sync(id)
        elif self._roles.learner is not None:
            self._roles.learner.request_sync(id)

    def ping(self, digest_zxid: int, digest: int, not_open: Mapping[int, tuple[int, ...]]) -> None:
        """The answer to PingDue. not_open: by link, sessions listed there that are not open."""
        if self._roles.leader is not None:
            self._roles.leader.pulse.send_round(digest_zxid, digest, not_open)

    def pong(self, sessions: tuple[int, ...] | None, digest_mismatch: int) -> int:
        """The answer to PingArrived; the PONG's number, 0 if none was sent."""
        return 0 if self._roles.learner is None else self._roles.learner.pong(sessions, digest_mismatch)

    def resync(self) -> None:
        """The state is wrong and only a snapshot helps (rule B-15)."""
        self._roles.resync()

    def leave(self, successor: int | None = None) -> None:
        """Leave in an orderly way; ``left`` says when it is done. successor: who should lead next, if this node leads (rule B-16)."""
        self._roles.leave(successor)

    # --- output ------------------------------------------------------------------------------------------------------

    def drain(self) -> list[Effect]:
        """Take the effects of all inputs since the last call; what was proposed since leaves now, together."""
        if not self._roles.stopped:
            self._roles.guard(self._flush)
        self._due = None
        effects, self._core.effects = self._core.effects, []
        return effects

    def _flush(self) -> None:
        role = self._roles.current
        if role is not None:
            role.flush()
            if role.ended:
                self._roles.react()
        self._inbound.follow_members()
        if self._roles.changed and not self._roles.stopped:
            self._roles.changed = False
            self._publish()

    def _publish(self) -> None:
        now = self._core.now
        news = self._mesh.publish(self._notification(), now)
        answers = sorted(self._inbound.answers | self._election.answers)
        self._inbound.answers.clear()
        self._election.answers.clear()
        if not news:
            for node_id in answers:
                self._mesh.answer(node_id, now)

    def _notification(self) -> Notify:
        """This node's election state (section 16, NOTIFY)."""
        leader, learner = self._roles.leader, self._roles.learner
        state, vote = NodeState.LOOKING, None if self._roles.settling else self._election.vote
        if leader is not None:
            state, vote = NodeState.LEADING, leader.vote
            if leader.established:
                vote = evolve(vote, epoch=leader.epoch)  # (E-8)
        elif learner is not None:
            state, vote = NodeState.FOLLOWING, learner.vote
        membership = self._core.membership
        shown, adoptable = membership.shown
        return Notify(state, membership.has_vote, self._election.round, vote, self.epoch, shown.version, adoptable, shown.encode())

    # --- checks ------------------------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise InternalError if what must hold does not (section 18 and the invariants of the parts)."""
        core, leader, learner = self._core, self._roles.leader, self._roles.learner
        core.history.check()
        epochs = core.disk.epochs
        checks = (
            (0 <= epochs.current <= epochs.accepted, "current <= accepted (18.1)"),
            (leader is None or learner is None, "one role at a time"),
            ((self.role is Role.LEADING) == (leader is not None), "LEADING has a leader"),
            ((self.role is Role.FOLLOWING) == (learner is not None), "FOLLOWING has a learner"),
            (leader is None or not leader.established or epochs.current == leader.epoch, "established: current = e"),
            (learner is None or not learner.serving or epochs.current == learner.epoch, "serving: current = e"),
            (leader is None or self._handlers_fit(leader), "acks of handlers lie within the log"),
        )
        for holds, text in checks:
            if not holds:
                raise InternalError(f"node {core.node_id}: not true that {text}; log ends at {to_hex(core.history.end)}")

    def _handlers_fit(self, leader: Leader) -> bool:
        end = self._core.history.end
        return all(
            self._core.links.get(link) is handler.link
            and handler.acked <= end
            and (handler.phase is not HandlerPhase.SERVING or leader.established)
            for link, handler in leader.handlers.items()
        )
