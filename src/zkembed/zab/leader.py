"""A node that leads in one attempt: discovery, synchronization, broadcast (sections 4 to 8, the leader's half).

Made when the node is elected, dropped when ``ended`` says why it is over. It is *established* once a quorum has acknowledged
NEWLEADER; only then it proposes. What was proposed since the last ``flush`` leaves as one Append and one Proposal a learner (rule B-2).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum

from attrs import evolve

from ..codec import encode
from ..errors import InternalError, ProtocolError
from ..record import Kind, Record
from ..zxid import EMPTY, EPOCH_MAX, counter_of, epoch_of, make, to_hex
from .core import Core
from .disk import Pending
from .effects import (
    LearnerGone,
    LearnerServing,
    PingDue,
    ProposalsDone,
    RequestsArrived,
    RoundAnswered,
    Serving,
    ServingEnded,
    SessionsTouched,
    SetEpochs,
    SyncAnswered,
)
from .handler import Handler, HandlerPhase
from .links import Link
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    Goodbye,
    GoodbyeCode,
    LeaderInfo,
    Ping,
    Pong,
    Proposal,
    Reject,
    RejectCode,
    Request,
    SyncOk,
    SyncReject,
    SyncRequest,
    UpToDate,
    Vote,
)
from .quorum import FOUNDING_VERSION
from .rounds import Rounds
from .sync import plan_sync, split, stream


class LeaderPhase(Enum):
    COLLECTING = "collecting"
    """FOLLOWERINFO of a quorum is awaited (D-1)."""
    PROMISING = "promising"
    """The own promise of the new epoch is on its way to the disk (D-2)."""
    DISCOVERY = "discovery"
    """ACKEPOCH of a quorum is awaited (D-6)."""
    FIXING = "fixing"
    """current = e is on its way to the disk (D-6)."""
    SYNC = "sync"
    """NEWLEADER acks of a quorum are awaited (Y-8)."""
    ESTABLISHED = "established"


class Leader:
    """epoch: of the attempt, 0 before D-2.  vote: as elected; its (epoch, zxid) is what D-5 compares.  handlers: by link."""

    def __init__(self, core: Core, vote: Vote) -> None:
        self._core = core
        self.vote = vote
        self.phase = LeaderPhase.COLLECTING
        self.epoch = 0
        self.ended = ""
        self.successor: Vote | None = None
        self.handlers: dict[int, Handler] = {}
        self.began_at = core.now
        self.alive_at = core.now
        self.rejected: set[int] = set()
        self._established_at = core.now
        self._rounds = Rounds()
        self._batch: list[Record] = []
        self._initial_end = EMPTY
        self._outstanding_bytes = 0
        self._full = False
        self._acks_moved = False
        self._next_ping = core.now
        self._ping_asked = False
        self._lag: tuple[float, int] | None = None
        self._locked_out: dict[int, float] = {}
        self._leaving_until: float | None = None
        self._wanted_successor: int | None = None

    @property
    def established(self) -> bool:
        return self.phase is LeaderPhase.ESTABLISHED

    def end(self, reason: str) -> None:
        """Abdicate (rule B-10): the peer closes every link and settles; what was proposed is left to the next leader."""
        if not self.ended:
            self.ended = reason
            if self.established:
                self._core.emit(ServingEnded(reason))

    def begin(self, held: list[tuple[Link, FollowerInfo]]) -> None:
        """Open the attempt, with the FOLLOWERINFOs that came while this node was still LOOKING (rule D-1)."""
        for link, info in held:
            if not self.ended:
                self.on_follower_info(link, info)
        if not self.ended:
            self._choose_epoch()

    # --- quorums -----------------------------------------------------------------------------------------------------

    def _quorum(self, handlers: list[Handler]) -> bool:
        """This node and the voters among ``handlers``."""
        active = self._core.membership.active
        present = {handler.link.node_id: handler.link.storage_id for handler in handlers if handler.votes(active)}
        present[self._core.node_id] = self._core.identity.storage_id
        return active.has_quorum(present)

    def connected_quorum(self, now: float) -> bool:
        limit = self._core.settings.sync_limit
        return self._quorum([handler for handler in self.handlers.values() if now < handler.link.heard_at + limit])

    # --- links -------------------------------------------------------------------------------------------------------

    def link_down(self, link: int) -> None:
        handler = self.handlers.pop(link, None)
        if handler is not None and handler.serving:
            self._core.emit(LearnerGone(link, handler.link.node_id))

    def _drop(self, handler: Handler, reason: str) -> None:
        self._core.links.close(handler.link.id, reason)
        self.link_down(handler.link.id)

    # --- discovery ---------------------------------------------------------------------------------------------------

    def on_follower_info(self, link: Link, info: FollowerInfo) -> None:
        """(rules D-1, D-8, D-9, Z-2)"""
        core = self._core
        handler = Handler(link, info, core.now)
        self.handlers[link.id] = handler
        ceiling = core.disk.promised.accepted + core.settings.max_epoch_jump
        if info.accepted_epoch > ceiling:
            core.report(logging.ERROR, f"node {link.node_id} claims accepted epoch {info.accepted_epoch}, refused", f"jump {link.node_id}")
            self._drop(handler, "its accepted epoch is too far ahead")
            return
        own = core.history.configurations
        if info.config_version > (own[-1].version if own else FOUNDING_VERSION):
            self._drop(handler, "it knows a newer committed configuration")
            self.end(f"node {link.node_id} knows committed configuration {to_hex(info.config_version)}, which this log lacks")
            return
        if not info.joining and core.membership.names_voter(link.node_id, link.storage_id):
            core.accepted_heard[link.node_id] = max(info.accepted_epoch, core.accepted_heard.get(link.node_id, 0))
        if self.epoch and info.accepted_epoch > self.epoch:
            self._lock_out(handler)
        elif self.phase is LeaderPhase.COLLECTING:
            self._choose_epoch()
        elif self.phase is not LeaderPhase.PROMISING:
            self._inform(handler)

    def _lock_out(self, handler: Handler) -> None:
        """It has promised a higher epoch and cannot join this one (rule D-8)."""
        node_id = handler.link.node_id
        if handler.votes(self._core.membership.active):
            self._locked_out[node_id] = self._core.now
            self.rejected.add(node_id)
        self._drop(handler, f"it has promised epoch {handler.info.accepted_epoch}, this is {self.epoch}")

    def _choose_epoch(self) -> None:
        """(rules D-1, D-2)"""
        core = self._core
        if self.phase is not LeaderPhase.COLLECTING or not self._quorum(list(self.handlers.values())):
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
        elif self.established or handler.votes(self._core.membership.active):
            handler.phase = HandlerPhase.INFORMED
            self._core.links.send(handler.link.id, LeaderInfo(self.epoch))

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
        if message.counts and handler.votes(self._core.membership.active):
            if (message.current_epoch, message.last_zxid) > (self.vote.epoch, self.vote.zxid):
                self.rejected.add(handler.link.node_id)
                self._drop(handler, "its history is more recent than this leader's")
                return
            handler.counted = True
        self._fix_epoch()

    def _fix_epoch(self) -> None:
        """A quorum has promised: current = e, and the own durable log becomes I_e (rule D-6)."""
        core = self._core
        counted = [handler for handler in self.handlers.values() if handler.counted]
        if self.phase is LeaderPhase.DISCOVERY and self._quorum(counted):
            self.phase = LeaderPhase.FIXING
            core.disk.set_epochs(evolve(core.disk.promised, current=self.epoch), self)

    # --- the own disk ------------------------------------------------------------------------------------------------

    def disk_done(self, pending: Pending) -> None:
        if type(pending.effect) is not SetEpochs:
            self._acks_moved = True
        elif self.phase is LeaderPhase.PROMISING:
            self.phase = LeaderPhase.DISCOVERY
            self.epoch = self._core.disk.epochs.accepted
            self._inform_all()
            self._fix_epoch()
        elif self.phase is LeaderPhase.FIXING:
            self._begin_sync()

    # --- synchronization ---------------------------------------------------------------------------------------------

    def _begin_sync(self) -> None:
        """The own log is whole and durable, so this is also the own NEWLEADER ack (section 14)."""
        self.phase = LeaderPhase.SYNC
        history = self._core.history
        if history.durable != history.end:
            raise InternalError("a leader fixed its epoch while its log was not durable")
        self._initial_end = history.end
        for handler in tuple(self.handlers.values()):
            if handler.phase is HandlerPhase.PROMISED and handler.ack_epoch is not None:
                self._sync(handler, handler.ack_epoch)
        self._establish()

    def _sync(self, handler: Handler, said: AckEpoch, *, snap: bool = False) -> None:
        """Cut, stream and registration in one step (rule Y-1): what was proposed and not yet sent leaves first."""
        core = self._core
        self.flush()
        if self.ended:
            return
        plan = plan_sync(core.history, said.last_zxid, wants_snap=said.wants_snap or snap, diff_bytes_max=core.settings.diff_bytes_max)
        handler.cut = stream(core.history, plan, handler.link.id, self.epoch, core.settings.proposal_bytes_max, core.emit)
        handler.link.sent_at = core.now
        handler.phase = HandlerPhase.SYNCING
        core.report(
            logging.INFO, f"node {handler.link.node_id} gets {plan.mode.name} behind {to_hex(plan.after)} up to {to_hex(handler.cut)}"
        )

    def on_sync_reject(self, handler: Handler, message: SyncReject) -> None:
        """Its common point is not ours: a defect or corruption; only a snapshot helps (rule Y-6.1)."""
        self._core.report(
            logging.ERROR, f"node {handler.link.node_id} rejects the sync: {message.reason}", f"reject {handler.link.node_id}"
        )
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
        handler.heard_at = self._core.now
        self._acks_moved = True
        if self.established:
            self._serve(handler)
        else:
            self._establish()

    def _establish(self) -> None:
        """A quorum has all of I_e, current = e included (rules Y-8, K-1)."""
        core, history = self._core, self._core.history
        if self.phase is not LeaderPhase.SYNC or not self._quorum([handler for handler in self.handlers.values() if handler.synced]):
            return
        self.phase = LeaderPhase.ESTABLISHED
        self._established_at = core.now
        history.set_committed(self._initial_end)
        core.deliver()
        for handler in tuple(self.handlers.values()):
            if handler.phase is HandlerPhase.ACKED:
                self._serve(handler)
        self._open_epoch()
        core.emit(Serving(self.epoch, self._initial_end))
        self._inform_all()
        self._next_ping = core.now

    def _serve(self, handler: Handler) -> None:
        core, link = self._core, handler.link
        handler.phase = HandlerPhase.SERVING
        self._locked_out.pop(link.node_id, None)
        core.links.send(link.id, UpToDate(self.epoch, core.history.committed))
        core.emit(LearnerServing(link.id, link.node_id, link.storage_id, link.incarnation))

    def _open_epoch(self) -> None:
        """The first proposal of the epoch: EPOCH, or CONFIG v1 when the ensemble is founded (rules B-1, I-4)."""
        core = self._core
        if core.has_history():
            self.append(Kind.EPOCH, encode(core.node_id), 0)
            return
        storage_ids = {handler.link.node_id: handler.link.storage_id for handler in self.handlers.values()}
        storage_ids[core.node_id] = core.identity.storage_id
        self.append(Kind.CONFIG, core.membership.founded_by(make(self.epoch, 1), storage_ids).encode(), 0)

    # --- proposing ---------------------------------------------------------------------------------------------------

    @property
    def can_propose(self) -> bool:
        if not self.established or self.ended or self._leaving_until is not None:
            return False
        settings, history = self._core.settings, self._core.history
        return (
            counter_of(history.end) < settings.counter_limit
            and self._outstanding_bytes < settings.outstanding_bytes_max
            and self._outstanding() < settings.outstanding_max
        )

    def _outstanding(self) -> int:
        end, committed = self._core.history.end, self._core.history.committed
        return end - committed if epoch_of(end) == epoch_of(committed) else counter_of(end)

    def append(self, kind: Kind, payload: bytes, time: int) -> Record:
        """Assign the next zxid; it leaves with the next ``flush`` (rules B-1, B-2). Raises InternalError unless established."""
        if not self.established or self.ended:
            raise InternalError("a proposal by a leader that is not established")
        history = self._core.history
        end = history.end
        zxid = end + 1 if end >> 32 == self.epoch else make(self.epoch, 1)
        record = Record.make(zxid, end, max(time, history.end_time), kind, history.committed, payload, history.end_chain)
        history.append(record)
        self._batch.append(record)
        self._outstanding_bytes += len(record.encoded)
        return record

    def flush(self) -> None:
        """Commit what the acks allow, deliver it, send what was proposed with the commit point riding on it (rules B-2, B-5, B-6)."""
        if not self.established or self.ended:
            return
        moved = self._acks_moved and self._advance_commit()
        if self._batch:
            self._send_batch()
        elif moved:
            commit = Commit(self.epoch, self._core.history.committed)
            for handler in self.handlers.values():
                if handler.phase is HandlerPhase.SERVING:
                    self._core.links.send(handler.link.id, commit)
        if moved:
            self._committed()
        self._core.deliver()  # Also when the own disk has caught up with a point that the others had committed before.
        self._leave_if_done()

    def _send_batch(self) -> None:
        core = self._core
        batch, self._batch = tuple(self._batch), []
        core.disk.append(batch, self)
        commit = core.history.committed
        proposals = [Proposal(self.epoch, records, commit) for records in split(batch, core.settings.proposal_bytes_max)]
        for handler in self.handlers.values():
            if handler.registered:
                for proposal in proposals:
                    core.links.send(handler.link.id, proposal)
        self._full = self._full or not self.can_propose

    def on_ack(self, handler: Handler, message: Ack) -> None:
        """(rule B-4)"""
        if message.zxid > self._core.history.end or message.zxid < handler.acked:
            raise ProtocolError(f"ack of {to_hex(message.zxid)}: acked was {to_hex(handler.acked)}, sent {to_hex(self._core.history.end)}")
        handler.acked = message.zxid
        handler.heard_at = self._core.now
        self._acks_moved = True

    def _advance_commit(self) -> bool:
        """(rules B-5, K-1) Entries of I_e were committed by NEWLEADER acks; from there on the point only grows."""
        core, history = self._core, self._core.history
        self._acks_moved = False
        before = history.committed
        while True:
            active = core.membership.active
            reached = {
                (handler.link.node_id, handler.link.storage_id): handler.acked
                for handler in self.handlers.values()
                if handler.synced and handler.votes(active)
            }
            reached[core.node_id, core.identity.storage_id] = history.durable
            point = active.decide_point(reached, history.committed, history.before(active.newest.version))
            if point <= history.committed:
                break
            history.set_committed(point)
        return history.committed > before

    def _committed(self) -> None:
        """The commit point has moved."""
        core, history = self._core, self._core.history
        self._outstanding_bytes = history.size(history.committed, history.end)
        if self._lag is None and history.committed > history.durable:
            self._lag = (core.now, history.committed)
        if history.committed == history.end or (self._full and self.can_propose):
            self._full = False
            core.emit(ProposalsDone())

    # --- requests ----------------------------------------------------------------------------------------------------

    def on_request(self, handler: Handler, message: Request) -> None:
        link = handler.link
        self._core.emit(RequestsArrived(link.id, link.node_id, link.storage_id, link.incarnation, message.entries))

    def reject(self, link: int, session: int, cseq: int, code: RejectCode) -> None:
        if link in self.handlers and not self.ended:
            self._core.links.send(link, Reject(self.epoch, session, cseq, code))

    # --- rounds ------------------------------------------------------------------------------------------------------

    def on_sync_request(self, handler: Handler, message: SyncRequest) -> None:
        """(rules R-1, R-2)"""
        if not self._rounds.wait(handler.link.id, message.id, self._core.history.committed):
            raise ProtocolError("too many sync requests wait")
        self._round_if_wanted()

    def request_sync(self, number: int) -> None:
        if self.established and not self.ended and self._rounds.wait(None, number, self._core.history.committed):
            self._round_if_wanted()

    def _round_if_wanted(self) -> None:
        if self._rounds.wanted and self.established and not self._ping_asked:
            self._ping_due()

    def _ping_due(self) -> None:
        self._ping_asked = True
        listed = tuple((handler.link.id, handler.listed) for handler in self.handlers.values() if handler.registered)
        self._core.emit(PingDue(self._rounds.seq + 1, listed))

    def send_round(self, digest_zxid: int, digest: int, not_open: Mapping[int, tuple[int, ...]]) -> None:
        """The replica's answer to PingDue: the round goes out to every registered learner."""
        core = self._core
        self._ping_asked = False
        if self.ended or self.phase not in (LeaderPhase.SYNC, LeaderPhase.ESTABLISHED):
            return
        registered = [handler for handler in self.handlers.values() if handler.registered]
        heard = {handler.link.id: handler.pong_seq for handler in registered}
        seq = self._rounds.send(core.now, heard, established=self.established)
        self._next_ping = core.now + core.settings.tick
        commit = core.history.committed
        for handler in registered:
            closing = tuple(not_open.get(handler.link.id, ()))
            core.links.send(handler.link.id, Ping(self.epoch, seq, commit, digest_zxid, digest, handler.echo, closing))
        self._round_answered()

    def on_pong(self, handler: Handler, message: Pong) -> None:
        if message.ping_seq > self._rounds.seq or message.seq <= handler.pong_seq:
            raise ProtocolError(f"PONG {message.seq} to PING {message.ping_seq}, newest are {handler.pong_seq} and {self._rounds.seq}")
        handler.pong_seq = message.seq
        handler.answered = max(handler.answered, message.ping_seq)
        handler.heard_at = self._core.now
        if message.normal and not handler.normal and handler.synced:
            handler.normal = self._acks_moved = True  # Its acks count from here on (P-12).
        if message.sessions is not None:
            handler.listed = message.sessions
        if handler.listed:
            self._core.emit(SessionsTouched(handler.link.id, handler.link.node_id, handler.listed))
        if message.digest_mismatch:
            handler.mismatch = message.digest_mismatch
            self._judge_mismatch(message.digest_mismatch)
        self._round_answered()

    def _judge_mismatch(self, boundary: int) -> None:
        """A quorum whose state differs from this one's at the same boundary: this one is wrong (rule B-15)."""
        active = self._core.membership.active
        differing = {
            handler.link.node_id: handler.link.storage_id
            for handler in self.handlers.values()
            if handler.mismatch == boundary and handler.votes(active)
        }
        if active.has_quorum(differing):
            self._core.halt(InternalError(f"the state digest at {to_hex(boundary)} differs from a quorum's"))
            self.end("its state differs from a quorum's")

    def _round_answered(self) -> None:
        """Settle what the newest round that a quorum answered confirms (rules R-2, S-4)."""
        core = self._core
        active = core.membership.active
        reached = {
            (handler.link.node_id, handler.link.storage_id): handler.answered for handler in self.handlers.values() if handler.votes(active)
        }
        reached[core.node_id, core.identity.storage_id] = self._rounds.seq
        settled = self._rounds.answer(active.quorum_point(reached))
        if settled is None:
            return
        for handler in self.handlers.values():
            handler.echo = max(handler.echo, settled.heard.get(handler.link.id, 0))
        core.emit(RoundAnswered(settled.sent_at))
        for waiting in self._rounds.take_confirmed(settled):
            if waiting.link is None:
                core.emit(SyncAnswered(waiting.id, waiting.barrier))
            elif waiting.link in self.handlers:
                core.links.send(waiting.link, SyncOk(self.epoch, waiting.id, waiting.barrier))
        self._round_if_wanted()

    # --- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Rounds, and the watch over its own right to lead; before establishment ``watch.py`` judges that."""
        if self.phase in (LeaderPhase.SYNC, LeaderPhase.ESTABLISHED) and now >= self._next_ping:
            self._next_ping = now + self._core.settings.tick
            self._ping_due()
        if self.established:
            self._watch_quorum(now)
            self._watch_own_disk(now)
            self._watch_numbers(now)
            self._leave_if_done()

    def _watch_quorum(self, now: float) -> None:
        """(rule B-9)"""
        limit = self._core.settings.sync_limit
        if not self._quorum([handler for handler in self.handlers.values() if handler.synced and now < handler.heard_at + limit]):
            self.end(f"no quorum was heard for {self._core.settings.sync_limit} s")

    def _watch_own_disk(self, now: float) -> None:
        """(rule B-14) ``_lag`` is a commit point the own disk had not reached, and since when."""
        history, settings = self._core.history, self._core.settings
        if self._lag is not None and history.durable >= self._lag[1]:
            self._lag = (now, history.committed) if history.committed > history.durable else None
        if self._lag is None:
            return
        behind = history.size(history.durable, history.committed)
        if now >= self._lag[0] + settings.lag_limit or behind > settings.lag_bytes_max:
            self.end(f"the own disk trails the commit point by {behind} bytes, {now - self._lag[0]:.1f} s")

    def _watch_numbers(self, now: float) -> None:
        """Open a higher epoch: the counter nears its end (rule Z-1), or a voter is locked out by its promise (rule D-8)."""
        core, history, settings = self._core, self._core.history, self._core.settings
        if counter_of(history.end) >= settings.counter_limit and history.committed == history.end:
            self.end("the counter of this epoch is used up")
            return
        recently = [node_id for node_id, seen in self._locked_out.items() if now - seen <= settings.reepoch_interval]
        due = now - max(core.reepoch_at, self._established_at) >= settings.reepoch_interval
        if recently and due:
            core.reepoch_at = now
            self.end(f"node {recently[0]} has promised a higher epoch and can only join that")

    # --- leaving -----------------------------------------------------------------------------------------------------

    def leave(self, successor: int | None) -> None:
        """Hand over (rule B-16): no new requests; done when all is committed and a successor has it all, or after ``leave_wait``."""
        if not self.established:
            self.end("the node is leaving")
        elif self._leaving_until is None:
            self._leaving_until = self._core.now + self._core.settings.leave_wait
            self._wanted_successor = successor
            self.flush()
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._leaving_until is None or self.ended:
            return
        history = self._core.history
        timed_out = self._core.now >= self._leaving_until
        whole = self._whole_successors(any_one=timed_out)
        alone = self._core.membership.active.voter_ids == (self._core.node_id,)
        if timed_out or (history.committed == history.end and (whole or alone)):
            self._say_goodbye(whole[0] if whole else None)

    def _whole_successors(self, *, any_one: bool) -> list[int]:
        """Voters that have acknowledged everything; only the wanted one, unless there is no time left for it."""
        active = self._core.membership.active
        end = self._core.history.end
        whole = sorted(
            (
                handler.link.node_id
                for handler in self.handlers.values()
                if handler.serving and handler.votes(active) and handler.acked == end
            ),
            reverse=True,
        )
        wanted = self._wanted_successor
        if wanted in whole:
            return [wanted]
        return whole if wanted is None or any_one else []

    def _say_goodbye(self, successor: int | None) -> None:
        core = self._core
        vote = None if successor is None else Vote(self.epoch, core.history.end, successor)
        self.successor = vote
        for handler in tuple(self.handlers.values()):
            core.links.send(handler.link.id, Goodbye(GoodbyeCode.LEAVING, vote))
            core.links.close(handler.link.id, "this leader is leaving", flush=True)
            self.link_down(handler.link.id)
        self.end("the node is leaving" if vote is None else f"handed over to node {vote.leader}")

    def deadline(self) -> float:
        times = [float("inf") if self._leaving_until is None else self._leaving_until]
        if self.phase in (LeaderPhase.SYNC, LeaderPhase.ESTABLISHED):
            times.append(self._next_ping)
        return min(times)
