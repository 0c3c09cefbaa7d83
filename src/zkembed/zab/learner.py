"""A node that follows one leader in one attempt: discovery, synchronization, broadcast (sections 4, 5 and 7, the learner's half).

Made when the node decides for a leader, dropped when ``ended`` says why it is over; the peer then settles and goes LOOKING (rule X-3).
Steps of a sync are issued to the disk in their order at once: the disk makes each durable before it starts the next (Y-6).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum
from zlib import crc32

from attrs import evolve

from ..durable import SnapshotInfo
from ..errors import DecodeError, InternalError, ProtocolError
from ..record import Kind, Record, verify_run
from ..zxid import EMPTY, epoch_of, to_hex
from .core import Core
from .disk import Pending
from .effects import (
    Dial,
    PingArrived,
    Purpose,
    RequestRejected,
    Serving,
    ServingEnded,
    SetEpochs,
    SyncAnswered,
)
from .history import History, read_config
from .links import Link
from .mesh import Backoff
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    Entries,
    FollowerInfo,
    Goodbye,
    LeaderInfo,
    Message,
    NewLeader,
    NodeState,
    Notify,
    Ping,
    Pong,
    Proposal,
    Reject,
    Request,
    SnapChunk,
    Sync,
    SyncMode,
    SyncOk,
    SyncReject,
    SyncRequest,
    UpToDate,
    Vote,
)


class LearnerPhase(Enum):
    DIALLING = "dialling"
    DISCOVERY = "discovery"
    """FOLLOWERINFO is sent."""
    PROMISING = "promising"
    """LEADERINFO has come; the promise is on its way to the disk."""
    SYNC = "sync"
    """ACKEPOCH is sent; the sync stream is awaited or under way."""
    ACKING = "acking"
    """NEWLEADER has come; the history and then the epoch are on their way to the disk."""
    ACKED = "acked"
    SERVING = "serving"


class Learner:
    """leader_id: whom it follows.  epoch: of the attempt, 0 before LEADERINFO.  vote: what NOTIFY says while it follows.

    ended: why it is over, "" while it lives.  successor: the vote of the next leader, if this one said goodbye with one.
    """

    def __init__(self, core: Core, decided: Vote, leader_round: int) -> None:
        """leader_round: the election round that the leader was in when this node decided for it."""
        self._core = core
        self._decided = decided
        self._round = leader_round
        self.leader_id = decided.leader
        self.phase = LearnerPhase.DIALLING
        self.epoch = 0
        self.link: Link | None = None
        self.ended = ""
        self.successor: Vote | None = None
        self._began_at = core.now
        self._backoff = Backoff(core.settings, core.jitter, core.now)
        self._staged: History | None = None
        self._snap: Sync | None = None
        self._chunks = 0
        self._snap_whole = False
        self._wants_snap = False
        self._header = False
        self._rejected = False
        self._cut = EMPTY
        self._acked = EMPTY
        self._ping_seq = 0
        self._pong_seq = 0

    @property
    def vote(self) -> Vote:
        """Once synced, the established epoch is the vote's epoch (rule E-8)."""
        return evolve(self._decided, epoch=self.epoch) if self.serving else self._decided

    @property
    def serving(self) -> bool:
        return self.phase is LearnerPhase.SERVING

    @property
    def streaming(self) -> bool:
        """In the middle of a sync stream. What the leader says besides stands in the queue behind it, so silence here may be a slow line
        or disk; whether the leader lives shows on its election link (rule Y-11)."""
        return self.phase is LearnerPhase.SYNC and self._header

    @property
    def _silence_max(self) -> float:
        return self._core.settings.init_limit if self.streaming else self._core.settings.sync_limit

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            self._core.disk.abandon_install()
            if self.serving:
                self._core.emit(ServingEnded(reason))

    # --- link --------------------------------------------------------------------------------------------------------

    def dial(self, now: float) -> None:
        """Ask for a connection to the leader, if it is time and no dial, perhaps of an earlier attempt, is on its way."""
        core = self._core
        if self.link is None and self.leader_id not in core.zab_dials and now >= self._backoff.at:
            core.zab_dials[self.leader_id] = self
            core.emit(Dial(self.leader_id, Purpose.ZAB))

    def link_up(self, link: Link) -> None:
        """(rule D-1)"""
        core = self._core
        self.link = link
        self.phase = LearnerPhase.DISCOVERY
        membership = core.membership
        core.links.send(
            link.id,
            FollowerInfo(core.disk.epochs.accepted, membership.committed_version, membership.joining, core.disk.epochs.damaged),
        )

    def dial_failed(self, *, refused: bool, reason: str) -> None:
        """A leader that says no is surely not leading; silence is tried again until ``init_limit`` (rule E-11)."""
        if refused:
            self.end(f"leader {self.leader_id} refuses the connection: {reason}")
        else:
            self._backoff.failed(self._core.now)

    def heard_notification(self, notify: Notify) -> None:
        """What the leader says on its election link before LEADERINFO: it may want another by now (rule E-11)."""
        if self.phase not in (LearnerPhase.DIALLING, LearnerPhase.DISCOVERY) or notify.state is not NodeState.LOOKING:
            return
        if notify.round > self._round or notify.vote is None or notify.vote.leader != self.leader_id:
            self.end(f"node {self.leader_id} is LOOKING itself")

    def tick(self, now: float) -> None:
        settings = self._core.settings
        if self.link is None:
            self.dial(now)
        elif now >= self.link.heard_at + self._silence_max:
            self.end(f"leader {self.leader_id} was silent for {now - self.link.heard_at:.1f} s")
            return
        if self.epoch == 0 and now >= self._began_at + settings.init_limit:
            self.end(f"no LEADERINFO from node {self.leader_id} within {settings.init_limit} s")

    def deadline(self) -> float:
        settings = self._core.settings
        first = self._began_at + settings.init_limit if self.epoch == 0 else float("inf")
        if self.link is not None:
            return min(first, self.link.heard_at + self._silence_max)
        return min(first, float("inf") if self.leader_id in self._core.zab_dials else self._backoff.at)

    def _send(self, message: Message) -> None:
        if self.link is not None:
            self._core.links.send(self.link.id, message)

    # --- discovery ---------------------------------------------------------------------------------------------------

    def on_leader_info(self, message: LeaderInfo) -> None:
        """(rule D-3) Against the accepted pair (a, la):

        1. e < a: not with this leader.
        2. e == a, another leader: go on, but this promise was given to that one and does not count.
        3. e == a, the same leader: the same attempt, reconnected.
        4. e > a: promise, durably, then answer.
        """
        core = self._core
        epochs = core.disk.promised
        if message.epoch < epochs.accepted:
            self.end(f"leader {self.leader_id} offers epoch {message.epoch}, but {epochs.accepted} is promised")
            return
        self.epoch = message.epoch
        self.phase = LearnerPhase.PROMISING
        if message.epoch > epochs.accepted:
            core.disk.set_epochs(evolve(epochs, accepted=message.epoch, accepted_leader=self.leader_id), self)
        else:
            self._ack_epoch(counts=epochs.accepted_leader == self.leader_id)

    def _ack_epoch(self, *, counts: bool) -> None:
        core = self._core
        history = core.history
        self.phase = LearnerPhase.SYNC
        self._wants_snap = core.wants_snap or core.disk.epochs.damaged
        self._send(AckEpoch(self.epoch, counts, core.disk.epochs.current, history.durable, history.end_chain, self._wants_snap))

    # --- synchronization ---------------------------------------------------------------------------------------------

    @property
    def _log(self) -> History:
        """Where records go: the staged log of an install until the switch is durable, else the live one."""
        return self._core.history if self._staged is None else self._staged

    def on_sync(self, message: Sync) -> None:
        """(rule Y-6.1, Y-6.2)"""
        core, history = self._core, self._core.history
        snap = message.mode is SyncMode.SNAP
        if self._header or (self._rejected and not snap):
            raise ProtocolError("a second SYNC in one attempt")
        if self._wants_snap and not snap:
            raise ProtocolError(f"{message.mode.name} for a node that asked for a snapshot")
        known = max(history.applied, history.committed)
        if (message.cut if snap else message.common) < known:
            core.halt(
                InternalError(
                    f"leader {self.leader_id} of epoch {self.epoch} would cut committed history: {message.mode.name} to "
                    f"{to_hex(message.cut if snap else message.common)}, known committed or applied here: {to_hex(known)}"
                )
            )
            self.end("committed history would be lost")
            return
        if snap:
            self._begin_install(message)
        elif not self._keep_common(message):
            self._rejected = True  # The rest of this stream is on its way; it is dropped until the SNAP comes.
            return
        self._header, self._rejected = True, False
        self._cut = message.cut

    def _keep_common(self, message: Sync) -> bool:
        """DIFF, TRUNC: this log must have T with the same chain (rule Y-6.1); TRUNC then cuts behind it."""
        core, history = self._core, self._core.history
        if message.mode is SyncMode.DIFF and message.common != history.end:
            raise ProtocolError(f"DIFF from {to_hex(message.common)}, but this log ends at {to_hex(history.end)}")
        chain = history.chain(message.common)
        if chain != message.common_chain:
            found = "it is not in this log" if chain is None else f"its chain is {chain:#x} here and {message.common_chain:#x} there"
            reason = f"common point {to_hex(message.common)}: {found}"
            core.report(logging.ERROR, f"history differs from leader {self.leader_id}'s; asking for a snapshot: {reason}", "diverged")
            self._send(SyncReject(self.epoch, reason))
            return False
        if message.common < history.end:
            core.disk.truncate(message.common, self)
        return True

    def _begin_install(self, message: Sync) -> None:
        info = SnapshotInfo(message.base, message.base_chain, message.base_meta)
        try:
            self._staged = History(info, cache_bytes_max=self._core.settings.cache_bytes_max)
        except DecodeError as error:
            raise ProtocolError(f"the snapshot's configurations: {error}") from error
        self._snap = message
        self._snap_whole = message.base == EMPTY
        self._core.disk.begin_install(info, self)

    def on_snap_chunk(self, message: SnapChunk) -> None:
        if (
            self._snap is None
            or self._snap_whole
            or self._log.end != self._snap.base
            or message.base != self._snap.base
            or message.index != self._chunks
        ):
            raise ProtocolError(f"snapshot chunk {message.index} of {to_hex(message.base)} is not the next one")
        if crc32(message.data) != message.checksum:
            raise ProtocolError(f"snapshot chunk {message.index}: the checksum does not match")
        self._chunks += 1
        self._snap_whole = message.last
        if message.data:
            self._core.disk.install_chunk(message.data, self)

    def on_entries(self, message: Entries) -> None:
        """(rule Y-6.3)"""
        if self._rejected:
            return
        if not self._header or (self._snap is not None and not self._snap_whole):
            raise ProtocolError("entries before the head of the sync stream")
        self._accept(message.records)
        if self._log.end > self._cut:
            raise ProtocolError(f"entries beyond the cut {to_hex(self._cut)}")

    def _accept(self, records: Sequence[Record]) -> None:
        """Take a run of records that stands right behind the own end, chain included; never a gap, never twice (rule B-3)."""
        if not records:
            return
        log = self._log
        try:
            verify_run(records, log.end, log.end_chain)
            for record in records:
                if record.kind is Kind.CONFIG:
                    read_config(record)
        except DecodeError as error:
            raise ProtocolError(str(error)) from error
        if epoch_of(records[-1].zxid) > self.epoch:
            raise ProtocolError(f"record {to_hex(records[-1].zxid)} in epoch {self.epoch}")
        for record in records:
            log.append(record)
        if self._staged is not None and self.phase is LearnerPhase.SYNC:
            self._core.disk.install_records(tuple(records), self)
        else:
            self._core.disk.append(tuple(records), self)

    def on_new_leader(self, message: NewLeader) -> None:
        """(rules Y-6.3, Y-6.4) The whole of I_e is here; switch, then the epoch."""
        core, log = self._core, self._log
        if self._rejected:
            return
        if not self._header or (self._snap is not None and not self._snap_whole):
            raise ProtocolError("NEWLEADER before the end of the sync stream")
        if message.cut != self._cut or log.end != message.cut or log.end_chain != message.cut_chain:
            raise ProtocolError(
                f"the stream ends at {to_hex(log.end)}, chain {log.end_chain:#x}; "
                f"NEWLEADER says {to_hex(message.cut)}, {message.cut_chain:#x}"
            )
        if self._staged is not None:
            core.disk.commit_install(self._staged, self)
        self.phase = LearnerPhase.ACKING
        core.disk.set_epochs(evolve(core.disk.promised, current=self.epoch, damaged=False), self)

    def disk_done(self, pending: Pending) -> None:
        """Of an operation of this attempt. Appends are acknowledged by ``flush``, once for all that completed."""
        effect = pending.effect
        if pending.staged is not None:
            self._staged = None  # The live history is the staged one now.
        elif type(effect) is SetEpochs:
            if self.phase is LearnerPhase.PROMISING:
                self._ack_epoch(counts=True)
            elif self.phase is LearnerPhase.ACKING:
                self.phase = LearnerPhase.ACKED
                self._acked = self._cut
                self._send(AckNewLeader(self.epoch, self._cut))

    # --- broadcast ---------------------------------------------------------------------------------------------------

    def on_up_to_date(self, message: UpToDate) -> None:
        """(rule Y-9)"""
        history = self._core.history
        if message.commit < history.committed:
            raise ProtocolError(f"UPTODATE at {to_hex(message.commit)} below the known commit point {to_hex(history.committed)}")
        self.phase = LearnerPhase.SERVING
        self._learn_commit(message.commit)
        self._core.deliver()
        self._core.emit(Serving(self.epoch, message.commit))

    def on_proposal(self, message: Proposal) -> None:
        """(rule B-3) The records must stand right behind the last queued one, and be of this epoch."""
        if self._rejected:
            return
        if self.phase is LearnerPhase.SYNC:
            raise ProtocolError("PROPOSAL before NEWLEADER")
        if message.records and epoch_of(message.records[0].zxid) != self.epoch:
            raise ProtocolError(f"proposal {to_hex(message.records[0].zxid)} in epoch {self.epoch}")
        # Before anything is taken: a message is refused as a whole.
        self._check_commit(message.commit, message.records[-1].zxid if message.records else self._core.history.end)
        self._accept(message.records)
        self._learn_commit(message.commit)
        self._watch_own_disk()

    def _watch_own_disk(self) -> None:
        """A disk that cannot follow must not fill the memory: let go of the leader, and come back when it has settled."""
        log = self._log
        if self._staged is None and log.size(log.durable, log.end) > self._core.settings.lag_bytes_max:
            self.end("the own disk is too slow to follow")

    def on_commit(self, message: Commit) -> None:
        self._learn_commit(message.commit)

    def _learn_commit(self, commit: int) -> None:
        """(rule B-6) Never beyond what is queued here; before UPTODATE it is ignored (Y-9)."""
        if not self.serving:
            return
        history = self._core.history
        self._check_commit(commit, history.end)
        if commit > history.committed:
            history.set_committed(commit)

    def _check_commit(self, commit: int, end: int) -> None:
        if self.serving and commit > end:
            raise ProtocolError(f"commit point {to_hex(commit)} beyond the last queued record {to_hex(end)}")

    def on_ping(self, message: Ping) -> None:
        self._learn_commit(message.commit)
        self._ping_seq = message.seq
        self._core.emit(PingArrived(message.seq, message.digest_zxid, message.digest, message.echo, message.not_open))

    def pong(self, sessions: tuple[int, ...] | None, digest_mismatch: int) -> int:
        """Answer the newest PING; the PONG's own number, 0 if there is nothing to answer."""
        if self._ping_seq == 0 or self.ended:
            return 0
        self._pong_seq += 1
        core = self._core
        normal = not core.disk.epochs.damaged
        self._send(Pong(self.epoch, self._ping_seq, self._pong_seq, sessions, core.history.applied, normal, digest_mismatch))
        return self._pong_seq

    def on_reject(self, message: Reject) -> None:
        self._core.emit(RequestRejected(message.session, message.cseq, message.code))

    def on_sync_ok(self, message: SyncOk) -> None:
        self._core.emit(SyncAnswered(message.id, message.barrier))

    def on_goodbye(self, message: Goodbye) -> None:
        self.successor = message.successor
        self.end(f"leader {self.leader_id} said goodbye ({message.code.name.lower()})")

    def send_requests(self, entries: Sequence[bytes]) -> None:
        """One Request, split by ``proposal_bytes_max``. Dropped while not serving: the origin re-sends (Q-4)."""
        if not self.serving or self.ended:
            return
        limit = self._core.settings.proposal_bytes_max
        batch: list[bytes] = []
        size = 0
        for entry in entries:
            if batch and size + len(entry) > limit:
                self._send(Request(self.epoch, tuple(batch)))
                batch, size = [], 0
            batch.append(entry)
            size += len(entry)
        if batch:
            self._send(Request(self.epoch, tuple(batch)))

    def request_sync(self, number: int) -> None:
        if self.serving and not self.ended:
            self._send(SyncRequest(self.epoch, number))

    def flush(self) -> None:
        """Acknowledge what became durable since, cumulatively, once (rules B-4, Y-7), and deliver."""
        if self.phase is LearnerPhase.ACKED or self.serving:
            durable = self._core.history.durable
            if durable > self._acked and self._staged is None:
                self._acked = durable
                self._send(Ack(self.epoch, durable))
        if self.serving:
            self._core.deliver()
