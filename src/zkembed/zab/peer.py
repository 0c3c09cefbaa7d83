"""The consensus core of one node: routes every input to the role that runs, ends roles and starts them.

Inputs come one at a time; what they cause is taken with ``drain``. The peer decides nothing that belongs to a role: it knows who may speak
(``table.py``), settles between roles (rule X-3), and keeps election state and links over the roles' lives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from ..durable import Epochs, Identity, SnapshotInfo
from ..errors import InternalError, ProtocolError
from ..record import Kind, Record
from ..zxid import to_hex
from .core import Core
from .effects import CloseLink, Effect, Purpose, Role, RoleChanged
from .election import Election
from .handler import HandlerPhase
from .history import History, encode_configurations
from .leader import Leader
from .learner import Learner, LearnerPhase
from .links import Link
from .mesh import Mesh
from .messages import FollowerInfo, KeepAlive, Message, NodeState, Notify, RejectCode, Vote
from .quorum import FOUNDING_VERSION, Configuration
from .settings import Settings
from .table import FROM_LEADER, FROM_LEARNER
from .watch import Watch

_TURNS_MAX = 8


class Peer:
    """role, leader_id: as told by RoleChanged.  left: an orderly leave is done.

    Invariant: at most one of ``_leader`` and ``_learner`` lives; none while LOOKING. ``_settling``: LOOKING, but disk operations of the
    last role are still in flight: this node votes for nobody and decides nothing until they are done.
    """

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
        self._election = Election(core.node_id, identity.storage_id, settings, core.membership, self._mesh, core.own_vote)
        self._leader: Leader | None = None
        self._learner: Learner | None = None
        self._watch: Watch | None = None
        self._settling = False
        self._stopped = False
        self._leaving = False
        self._changed = True
        self._answers: set[int] = set()
        self._members_seen = -1
        self._last_return: tuple[int, float] = (0, float("-inf"))
        self._paused_until = float("-inf")
        self._ticked_at = 0.0
        self._beat_at = 0.0
        self._due = 0.0
        self._wrong_since = 0.0
        self.role = Role.LOOKING
        self.leader_id: int | None = None
        self.left = False

    # --- what it is --------------------------------------------------------------------------------------------------

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
        if self._leader is not None:
            return self._leader.epoch if self._leader.established else 0
        return self._learner.epoch if self._learner is not None and self._learner.serving else 0

    @property
    def serving(self) -> bool:
        return self.epoch != 0

    @property
    def has_vote(self) -> bool:
        return self._core.membership.has_vote

    @property
    def vote_reason(self) -> str:
        """Why it has no vote; "" if it has one."""
        return self._core.membership.vote_reason

    @property
    def configuration(self) -> Configuration:
        """The newest one known; its ``peers`` are those to dial."""
        return self._core.membership.newest

    @property
    def phase(self) -> str:
        """For the log and the statistics."""
        role = self._leader or self._learner
        return ("settling" if self._settling else "voting") if role is None else role.phase.value

    def snapshot_meta(self) -> bytes:
        """The meta of a snapshot at the applied point."""
        return encode_configurations(self.history.configurations_at(self.history.applied))

    def missing(self) -> str:
        """Who is not heard, for the log of a node that waits for a quorum: ``1 of 3 voters reachable: 2 refused, 3 no answer``."""
        heard = self._mesh.heard(self._core.now)
        voters = self._core.membership.active.voter_ids
        silent = [node_id for node_id in voters if node_id not in heard and node_id != self._core.node_id]
        reasons = [f"{node_id} {remote.trouble}" for node_id in silent if (remote := self._mesh.get(node_id)) is not None]
        text = f"{len(voters) - len(silent)} of {len(voters)} voters reachable"
        return f"{text}: {', '.join(reasons)}" if reasons else text

    # --- time --------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """The first input. Delivers what the log itself says is committed (rule P-10)."""
        self._set_now(now)
        self._ticked_at = self._beat_at = now
        if not self._core.disk.epochs.damaged:
            self._core.deliver()
        reason = self.vote_reason
        if reason:
            self._core.report(logging.WARNING, f"this node has no vote: {reason}")
        self._follow_members()
        self._begin_looking()
        self._react()
        self._mesh.tick(now)

    def _set_now(self, now: float) -> None:
        self._core.now = self._core.links.now = now

    def tick(self, now: float) -> None:
        """The first input of every wake-up: nothing may be stamped with a time from before a stall (rule B-12)."""
        gap, self._ticked_at = now - self._ticked_at, now
        self._set_now(now)
        if self._stopped:
            return
        if gap >= self._core.settings.sync_limit:
            self._end_roles(f"the event loop stood still for {gap:.1f} s")
        if now >= self._due or gap > self._core.settings.stall_limit:
            self._guard(self._run_timers)

    def _run_timers(self) -> None:
        core, now = self._core, self._core.now
        for link in self._mesh.silent(now):
            self._close(link, "silence")
        self._watch_wrong_state()
        if self._leader is not None:
            self._leader.tick(now)
        if self._learner is not None:
            self._learner.tick(now)
            self._watch_unconnected()
        if now >= self._beat_at + core.settings.tick:
            self._beat_at = now
            core.links.keep_alive(core.settings.tick, self._pinged())
            core.disk.seal_if_idle(now, core.settings.tick)
        self._mesh.tick(now)
        self._react()

    def _pinged(self) -> frozenset[int]:
        if self._leader is None:
            return frozenset()
        return frozenset(link for link, handler in self._leader.handlers.items() if handler.registered)

    def deadline(self) -> float:
        """When ``tick`` must be called next, as of the last ``drain``; at most one tick ahead."""
        return self._due

    def _next_due(self) -> float:
        core = self._core
        if self._stopped:
            return core.now + core.settings.tick
        times = [self._beat_at + core.settings.tick, self._mesh.deadline()]
        if self._leader is not None:
            times.append(self._leader.deadline())
            if self._watch is not None and not self._leader.established:
                times.append(self._watch.deadline(core.now))
        elif self._learner is not None:
            times.append(self._learner.deadline())
            if self._learner.phase is LearnerPhase.DIALLING:
                times.append(self._mesh.next_silence(core.now))
        else:
            times.append(self._election.deadline(core.now))
        return min(times)

    # --- links -------------------------------------------------------------------------------------------------------

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, outbound: bool) -> None:
        """A connection is up, both ends named (rules N-7, I-6)."""
        core = self._core
        owner = core.zab_dials.pop(node_id, None) if outbound and purpose is Purpose.ZAB else None
        if self._stopped:
            core.emit(CloseLink(link, "this node is stopping"))
            return
        new = Link(link, node_id, storage_id, incarnation, purpose, outbound=outbound, now=core.now)
        refusal = self._refusal(new)
        if refusal:
            core.emit(CloseLink(link, refusal))
            core.report(logging.WARNING, f"link with node {node_id} closed: {refusal}", f"refused {node_id} {purpose.value}")
            if outbound and purpose is Purpose.ELECTION:
                self._mesh.dial_failed(node_id, refusal, core.now)
            elif owner is not None and owner is self._learner:
                self._learner_dial_failed(refused=False, reason=refusal)
            self._react()
            return
        old = core.links.find(node_id, purpose, outbound=outbound)
        if old is not None:
            self._close(old, "a newer connection took its place")
        core.links.add(new)
        if purpose is Purpose.ELECTION:
            self._mesh.up(new, core.now)
        elif outbound:
            assert self._learner is not None
            self._learner.link_up(new)
        self._react()

    def _refusal(self, new: Link) -> str:
        """Why this link may not stay, or ""."""
        core = self._core
        membership = core.membership
        if new.node_id == core.node_id:
            return "it has this node's own id"
        if not membership.knows(new.node_id):
            return "it is no member"
        if new.purpose is Purpose.ZAB:
            learner = self._learner
            if new.outbound and (learner is None or learner.leader_id != new.node_id or learner.link is not None):
                return "nobody waits for it any more"
            if not new.outbound and learner is not None:
                return f"this node is not leading, node {learner.leader_id} is"
        old = core.links.find(new.node_id, new.purpose, outbound=new.outbound)
        return core.links.judge(
            new,
            new_named=membership.names_voter(new.node_id, new.storage_id),
            old_named=old is not None and membership.names_voter(old.node_id, old.storage_id),
            silence_max=core.settings.sync_limit,
        )

    def link_down(self, link: int, reason: str) -> None:
        gone = self._core.links.remove(link)
        if gone is not None:
            self._gone(gone, reason)
            self._react()

    def _close(self, link: Link, reason: str, *, flush: bool = False) -> None:
        if self._core.links.close(link.id, reason, flush=flush) is not None:
            self._gone(link, reason)

    def _gone(self, link: Link, reason: str) -> None:
        """A link has ended, whoever closed it."""
        if link.purpose is Purpose.ELECTION:
            self._mesh.down(link, self._core.now)
            if not link.outbound:
                self._election.lost(link.node_id)
                if link.node_id == self._last_return[0]:
                    self._paused_until = self._election.paused_until = float("-inf")  # Nothing to come back to: no need to wait.
                self._watch_unconnected()
        elif link.outbound:
            if self._learner is not None and self._learner.link is link:
                self._learner.end(f"the link to leader {link.node_id} ended: {reason}")
        elif self._leader is not None:
            self._leader.link_down(link.id)

    def _watch_unconnected(self) -> None:
        """A leader not reached yet that is not even heard any more is gone: nothing to wait for (rule E-11)."""
        learner = self._learner
        if learner is None or learner.phase is not LearnerPhase.DIALLING:
            return
        remote = self._mesh.get(learner.leader_id)
        if remote is None or not self._mesh.hears(remote, self._core.now):
            learner.end(f"node {learner.leader_id} is not heard any more")

    def dial_failed(self, node_id: int, purpose: Purpose, refused: bool, reason: str) -> None:
        if self._stopped:
            return
        if purpose is Purpose.ELECTION:
            self._mesh.dial_failed(node_id, "refused" if refused else reason, self._core.now)
            return
        owner = self._core.zab_dials.pop(node_id, None)
        learner = self._learner
        if learner is not None and learner.leader_id == node_id:
            if owner is learner:
                self._learner_dial_failed(refused=refused, reason=reason)
            else:
                learner.dial(self._core.now)  # That was an earlier attempt's; what it found out is old.
            self._react()

    def _learner_dial_failed(self, *, refused: bool, reason: str) -> None:
        if self._learner is not None:
            self._learner.dial_failed(refused=refused, reason=reason)

    # --- messages ----------------------------------------------------------------------------------------------------

    def receive(self, link: int, message: Message) -> None:
        """One message of a link that is up; one for a link already closed here is dropped."""
        entry = self._core.links.get(link)
        if entry is None or self._stopped:
            return
        entry.heard_at = self._core.now
        if type(message) is KeepAlive:
            return
        try:
            if entry.purpose is Purpose.ELECTION:
                self._receive_election(entry, message)
            elif entry.outbound:
                self._receive_from_leader(entry, message)
            else:
                self._receive_from_learner(entry, message)
        except ProtocolError as error:
            self._core.report(logging.WARNING, f"link with node {entry.node_id} closed: {error}", f"protocol {entry.node_id}")
            self._close(entry, str(error))
            self._react()
        except InternalError as error:
            self._fail(error)

    def _receive_election(self, link: Link, message: Message) -> None:
        if link.outbound or type(message) is not Notify:
            raise ProtocolError(f"{type(message).__name__} on an election link")
        remote = self._mesh.get(link.node_id)
        if remote is None or remote.inbound is not link:
            return
        remote.newest = message
        looking = message.state is NodeState.LOOKING
        if self._leader is not None or self._learner is not None:
            if looking:
                self._answers.add(link.node_id)
            if self._learner is not None and link.node_id == self._learner.leader_id:
                self._learner.heard_notification(message)
        else:
            if self._core.membership.learn(message):
                self._follow_members()
            self._compare_founding(link.node_id, message)
            if not self._settling:
                self._election.hear(remote, message, self._core.now)
        self._react()

    def _compare_founding(self, node_id: int, notify: Notify) -> None:
        """Members with differing start-up lists found nothing (rule I-4); somebody has to be told."""
        membership = self._core.membership
        if membership.active.founding and notify.config_version == FOUNDING_VERSION and not membership.same_founding(notify):
            text = f"node {node_id} was started with another member list than this node; both lists must be equal to found an ensemble"
            self._core.report(logging.ERROR, text, f"founding {node_id}")

    def _receive_from_leader(self, link: Link, message: Message) -> None:
        learner = self._learner
        if learner is None or learner.link is not link:
            return
        handle = FROM_LEADER[learner.phase].get(type(message))
        if handle is None:
            raise ProtocolError(f"{type(message).__name__} in phase {learner.phase.value} of a learner")
        self._check_epoch(message, learner.epoch)
        phase = learner.phase
        handle(learner, message)
        if learner.ended or learner.phase is not phase:
            self._react()

    def _receive_from_learner(self, link: Link, message: Message) -> None:
        leader = self._leader
        if type(message) is FollowerInfo:
            self._receive_follower_info(link, message)
            return
        handler = None if leader is None else leader.handlers.get(link.id)
        if leader is None or handler is None:
            raise ProtocolError(f"{type(message).__name__} before FollowerInfo")
        handle = FROM_LEARNER[handler.phase].get(type(message))
        if handle is None:
            raise ProtocolError(f"{type(message).__name__} in phase {handler.phase.value} of a learner's handler")
        self._check_epoch(message, leader.epoch)
        established = leader.established
        handle(leader, handler, message)
        if leader.ended or leader.established is not established:
            self._react()

    def _receive_follower_info(self, link: Link, message: FollowerInfo) -> None:
        """Kept while this node is still LOOKING (rule D-1)."""
        leader = self._leader
        if link.held is not None or (leader is not None and link.id in leader.handlers):
            raise ProtocolError("a second FollowerInfo")
        if leader is None:
            link.held = message
        else:
            leader.on_follower_info(link, message)
            self._react()

    @staticmethod
    def _check_epoch(message: Any, epoch: int) -> None:
        """A link belongs to one attempt (rule N-9)."""
        said = getattr(message, "epoch", epoch)
        if said != epoch and epoch != 0:
            raise ProtocolError(f"{type(message).__name__} of epoch {said} on a link of epoch {epoch}")

    # --- disk and replica --------------------------------------------------------------------------------------------

    def disk_done(self, op: int) -> None:
        """A disk operation is durable. Of a role that has ended it moves the durable marks and triggers nothing more (rule X-3)."""
        try:
            pending = self._core.disk.done(op, self._core.now)
            if pending.staged is not None:
                self._core.wants_snap = False
            role = self._leader or self._learner
            if role is None:
                self._react()
            elif pending.owner is role:
                phase = role.phase
                role.disk_done(pending)
                if role.phase is not phase or role.ended:
                    self._react()
        except InternalError as error:
            self._fail(error)

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
        return self._leader is not None and self._leader.proposals.can_propose

    def propose(self, kind: Kind, payload: bytes, time: int, decoded: object = None) -> Record:
        """The next record; it leaves with the next ``drain``. time: raised to the previous record's. Raises
        InternalError if this node is no established leader."""
        if self._leader is None:
            raise InternalError("a proposal by a node that does not lead")
        record = self._leader.proposals.append(kind, payload, time)
        record.decoded = decoded
        return record

    def send_requests(self, entries: tuple[bytes, ...]) -> None:
        """To the leader, in order; dropped while this node does not serve as a learner."""
        if self._learner is not None:
            self._learner.send_requests(entries)

    def reject(self, link: int, session: int, cseq: int, code: RejectCode) -> None:
        """Leader: the request will not be proposed (rule Q-2)."""
        if self._leader is not None:
            self._leader.reject(link, session, cseq, code)

    def request_sync(self, id: int) -> None:
        """Ask for a barrier (rules R-1, R-2); dropped while not serving: the origin asks again (R-4)."""
        if self._leader is not None:
            self._leader.pulse.request_sync(id)
        elif self._learner is not None:
            self._learner.request_sync(id)

    def ping(self, digest_zxid: int, digest: int, not_open: Mapping[int, tuple[int, ...]]) -> None:
        """The answer to PingDue. not_open: by link, sessions listed there that are not open."""
        if self._leader is not None:
            self._leader.pulse.send_round(digest_zxid, digest, not_open)

    def pong(self, sessions: tuple[int, ...] | None, digest_mismatch: int) -> int:
        """The answer to PingArrived; the PONG's number, 0 if none was sent."""
        return 0 if self._learner is None else self._learner.pong(sessions, digest_mismatch)

    def resync(self) -> None:
        """The state is wrong: leave the leader and ask the next one for a snapshot (rule B-15).

        Such a node votes but does not stand. A leader has nobody to ask and halts; so does a node that finds no leader within
        ``init_limit``: its next start rebuilds the state from its disk.
        """
        self._core.wants_snap = True
        self._wrong_since = self._core.now
        if self._learner is not None:
            self._learner.end("the state is wrong and must come anew")
        elif self._leader is not None:
            self._core.halt(InternalError("the state of this leader is wrong; a restart rebuilds it from the disk"))
        self._react()

    def _watch_wrong_state(self) -> None:
        core = self._core
        if core.wants_snap and self._learner is None and core.now >= self._wrong_since + core.settings.init_limit:
            core.halt(InternalError("the state of this node is wrong and no leader gives it another; a restart rebuilds it from the disk"))

    def leave(self, successor: int | None = None) -> None:
        """Leave in an orderly way; ``left`` says when it is done (rule B-16)."""
        if self._leaving or self._stopped:
            return
        self._leaving = True
        if self._leader is not None:
            self._leader.leave(successor)
        elif self._learner is not None:
            self._learner.end("the node is leaving")
        self._react()

    # --- roles -------------------------------------------------------------------------------------------------------

    def _react(self) -> None:
        """Carry out what an input has led to: end a role that is over, settle, look, decide, start a role."""
        self._changed = True
        for _ in range(_TURNS_MAX):
            if self._stopped:
                return
            if self._core.halted is not None:
                self._stop("the node halts")
                return
            if self._watch is not None:
                self._watch.judge()
            if not self._turn():
                return

    def _turn(self) -> bool:
        """One change of role; False if nothing is to be changed now."""
        role = self._leader or self._learner
        if role is not None:
            if not role.ended:
                return False
            self._end_role(role)
            return True
        if self._leaving:
            self._stop("the node is leaving")
            self.left = True
            return False
        if self._settling:
            if not self._core.disk.idle:
                return False
            self._begin_looking()
        now = self._core.now
        self._election.refresh(now)
        vote = self._election.decide(now)
        if vote is None:
            return False
        self._begin_role(vote)
        return True

    def _end_roles(self, reason: str) -> None:
        role = self._leader or self._learner
        if role is not None:
            role.end(reason)
            self._react()

    def _end_role(self, role: Leader | Learner) -> None:
        """Drop all that was only in memory; the disk finishes what it has (rule X-3)."""
        core = self._core
        core.report(logging.INFO, f"{'leading' if role is self._leader else 'following'} ends: {role.ended}")
        self._leader = self._learner = self._watch = None
        for link in core.links:
            if link.purpose is Purpose.ZAB:
                core.links.close(link.id, role.ended, flush=True)
        self._paused_until = float("-inf")
        if isinstance(role, Learner):
            self._note_return(role.leader_id)
        self._election.set_hint(role.successor, core.now)
        self._settling = True
        self.role, self.leader_id = Role.LOOKING, None
        core.emit(RoleChanged(Role.LOOKING, None))

    def _note_return(self, leader_id: int) -> None:
        """A second return from the same leader within ``disloyal_wait`` waits for the rest of it (rule E-11).

        Not if that leader is not heard any more: links show that it is gone (EL-12), and nobody can rejoin it. It happens like this:
        1. The leader dies; its ZAB link closes first.  2. A notification it sent before arrives: it leads, so it is joined again.
        3. Its election link closes: the second return.
        """
        now, wait = self._core.now, self._core.settings.disloyal_wait
        last_leader, last_at = self._last_return
        remote = self._mesh.get(leader_id)
        heard = remote is not None and self._mesh.hears(remote, now)
        if heard and leader_id == last_leader and now < last_at + wait:
            self._paused_until = last_at + wait
        self._last_return = (leader_id, max(now, self._paused_until))

    def _begin_looking(self) -> None:
        """All of the last role is settled: what is durable is what this node has (rule X-3)."""
        history = self._core.history
        if history.end != history.durable:
            history.truncate(history.durable)  # Proposed, but never handed to the disk.
        self._settling = False
        self._election.begin(self._core.now, self._paused_until)

    def _begin_role(self, vote: Vote) -> None:
        core = self._core
        self._election.set_hint(None, core.now)
        if vote.leader == core.node_id:
            self.role, self.leader_id = Role.LEADING, core.node_id
            core.emit(RoleChanged(self.role, self.leader_id))
            self._leader = Leader(core, vote)
            self._watch = Watch(core, self._leader, self._mesh, self._election)
            self._leader.begin([(link, link.held) for link in core.links if link.held is not None])
            for link in core.links:
                link.held = None
            return
        remote = self._mesh.get(vote.leader)
        newest = None if remote is None else remote.newest
        self.role, self.leader_id = Role.FOLLOWING, vote.leader
        core.emit(RoleChanged(self.role, self.leader_id))
        for link in core.links:
            if link.purpose is Purpose.ZAB:
                core.links.close(link.id, f"this node follows node {vote.leader}")
        self._learner = Learner(core, vote, self._election.round if newest is None else newest.round)
        self._learner.dial(core.now)

    def _follow_members(self) -> None:
        """The configuration may have changed: dial its members, let go of the others."""
        membership = self._core.membership
        active = membership.active
        if membership.changes == self._members_seen:
            return
        self._members_seen = membership.changes
        self._changed = True
        node_ids = {member.node_id for configuration in active.configurations for member in configuration.members}
        for link in self._mesh.set_members(node_ids, self._core.now):
            self._close(link, "it is no member any more")
        self._mesh.tick(self._core.now)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except InternalError as error:
            self._fail(error)

    def _fail(self, error: InternalError) -> None:
        """An invariant does not hold: the node stops and keeps its data (section 18)."""
        self._core.halt(error)
        self._stop("the node halts")

    def _stop(self, reason: str) -> None:
        """Close every link and do nothing more."""
        role = self._leader or self._learner
        if role is not None:
            role.end(reason)
            self._leader = self._learner = self._watch = None
            self.role, self.leader_id = Role.LOOKING, None
            self._core.emit(RoleChanged(Role.LOOKING, None))
        self._stopped = True
        for link in self._core.links:
            self._core.links.close(link.id, reason, flush=True)

    # --- output ------------------------------------------------------------------------------------------------------

    def drain(self) -> list[Effect]:
        """Take the effects of all inputs since the last call; what was proposed since leaves now, together."""
        if not self._stopped:
            self._guard(self._flush)
        self._due = self._next_due()
        effects, self._core.effects = self._core.effects, []
        return effects

    def _flush(self) -> None:
        role = self._leader or self._learner
        if role is not None:
            role.flush()
            if role.ended:
                self._react()
        if self._core.membership.active and self._core.membership.changes != self._members_seen:
            self._follow_members()
        if self._changed and not self._stopped:
            self._changed = False
            self._publish()

    def _publish(self) -> None:
        now = self._core.now
        news = self._mesh.publish(self._notification(), now)
        answers = sorted(self._answers | self._election.answers)
        self._answers.clear()
        self._election.answers.clear()
        if not news:
            for node_id in answers:
                self._mesh.answer(node_id, now)

    def _notification(self) -> Notify:
        """This node's election state (section 16, NOTIFY)."""
        state, vote = NodeState.LOOKING, None if self._settling else self._election.vote
        if self._leader is not None:
            state, vote = NodeState.LEADING, self._leader.vote
            if self._leader.established:
                vote = evolve(vote, epoch=self._leader.epoch)  # (E-8)
        elif self._learner is not None:
            state, vote = NodeState.FOLLOWING, self._learner.vote
        membership = self._core.membership
        shown, adoptable = membership.shown
        return Notify(state, membership.has_vote, self._election.round, vote, self.epoch, shown.version, adoptable, shown.encode())

    # --- checks ------------------------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise InternalError if what must hold does not (section 18 and the invariants of the parts)."""
        core = self._core
        core.history.check()
        epochs = core.disk.epochs
        checks = (
            (0 <= epochs.current <= epochs.accepted, "current <= accepted (18.1)"),
            (self._leader is None or self._learner is None, "one role at a time"),
            ((self.role is Role.LEADING) == (self._leader is not None), "LEADING has a leader"),
            ((self.role is Role.FOLLOWING) == (self._learner is not None), "FOLLOWING has a learner"),
            (self._leader is None or not self._leader.established or epochs.current == self._leader.epoch, "established: current = e"),
            (self._learner is None or not self._learner.serving or epochs.current == self._learner.epoch, "serving: current = e"),
            (self._leader is None or self._handlers_fit(self._leader), "acks of handlers lie within the log"),
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
