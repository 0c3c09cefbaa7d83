"""Deliberate breakages, each of one rule, as small patches of the running code.

A breakage does to the code what a plausible mistake would: it drops a check, a wait, an order. What it breaks must be noticed by the
tests that ``test_mutants.py`` names beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve

from zkembed.replica.applier import Applier
from zkembed.replica.expiry import Expiry
from zkembed.replica.leadership import Leadership
from zkembed.replica.origin import Origination
from zkembed.replica.pipeline import Barrier, LocalSession
from zkembed.replica.replica import _HANDLERS, Replica
from zkembed.tree.codec import Entry, decode_entry
from zkembed.tree.execution import Execution
from zkembed.tree.results import Failure, Outcome
from zkembed.tree.sessions import SessionEntry
from zkembed.tree.tree import Applied, Tree
from zkembed.tree.watches import Watches
from zkembed.zab import effects as zab
from zkembed.zab.core import Core
from zkembed.zab.duty import Duty
from zkembed.zab.effects import LoadSnapshot, RoundAnswered, SyncAnswered
from zkembed.zab.election import Election
from zkembed.zab.handler import Handler
from zkembed.zab.history import History
from zkembed.zab.leader import Leader
from zkembed.zab.learner import Learner, LearnerPhase
from zkembed.zab.links import Links
from zkembed.zab.membership import Membership
from zkembed.zab.messages import AckEpoch, NewLeader, Notify, Pong, Sync, SyncOk, SyncRequest
from zkembed.zab.peer import Peer
from zkembed.zab.pulse import Pulse
from zkembed.zab.quorum import ActiveConfigurations, Configuration
from zkembed.zab.readmission import Readmission
from zkembed.zab.rounds import Rounds
from zkembed.zab.table import FROM_LEADER, FROM_LEARNER

Patch = pytest.MonkeyPatch


def handle_at_learner(patch: Patch, kind: type, handler: Callable[..., None]) -> None:
    for handling in FROM_LEADER.values():
        if kind in handling:
            patch.setitem(handling, kind, handler)  # type: ignore[arg-type]


def handle_at_leader(patch: Patch, kind: type, handler: Callable[..., None]) -> None:
    for handling in FROM_LEARNER.values():
        if kind in handling:
            patch.setitem(handling, kind, handler)  # type: ignore[arg-type]


# --- who votes, who leads --------------------------------------------------------------------------------------------


def wiped_node_votes(patch: Patch) -> None:
    """I-1, I-3: a configuration names node ids, whatever disk is behind them."""
    patch.setattr(Configuration, "names_voter", lambda self, node_id, storage_id: node_id in self.voters)
    patch.setattr(Configuration, "has_quorum", lambda self, present: sum(node in self.voters for node in present) >= self.quorum)


def empty_histories_elect(patch: Patch) -> None:
    """I-4: a vote for an empty history decides, and a node at v0 stays there whatever it hears."""
    patch.setattr(Membership, "learn", lambda self, notify: False)
    patch.setattr(Configuration, "quorum", property(lambda self: len(self.voters) // 2 + 1))
    original = Membership.founded_by

    def founded_by(self: Membership, zxid: int, storage_ids: Any) -> Configuration:
        return original(self, zxid, dict.fromkeys(self.founding.voters, bytes(16)) | storage_ids)

    patch.setattr(Membership, "founded_by", founded_by)


def damaged_node_counts(patch: Patch) -> None:
    """P-12: what a node with a corrupt log acknowledges is counted."""
    original = Handler.__init__

    def init(self: Handler, *args: Any) -> None:
        original(self, *args)
        self.normal = True

    patch.setattr(Handler, "__init__", init)
    patch.setattr(Membership, "vote_reason", property(lambda self: ""))


def followers_word_is_enough(patch: Patch) -> None:
    """E-7: a node joins the leader that followers name."""
    original = Election._joinable

    def joinable(self: Election, now: float) -> Any:
        return original(self, now) or max((said.vote for said in self.outside.values() if said.established), default=None)

    patch.setattr(Election, "_joinable", joinable)


def promise_to_two(patch: Patch) -> None:
    """D-3: an epoch already promised to another leader is promised again."""
    original = Learner._ack_epoch
    patch.setattr(Learner, "_ack_epoch", lambda self, *, counts: original(self, counts=True))


def no_memory_of_promises(patch: Patch) -> None:
    """D-1, D-8: what voters said of their accepted epochs is forgotten."""
    patch.setattr(Core, "hear_accepted", lambda self, link, info: True)


def recency_is_not_tested(patch: Patch) -> None:
    """D-5: an ACKEPOCH counts, however recent its history."""
    original = Leader.on_ack_epoch

    def blind(self: Leader, handler: Handler, message: AckEpoch) -> None:
        vote, self.vote = self.vote, evolve(self.vote, epoch=2**31 - 1)
        original(self, handler, message)
        self.vote = vote

    handle_at_leader(patch, AckEpoch, blind)


def stall_rule_off(patch: Patch) -> None:
    """B-12: after a blocked loop what waited is handled first, and timers later."""
    tick, drain = Peer.tick, Peer.drain

    def late_tick(self: Peer, now: float) -> None:
        self._set_now(now)
        self._late = now  # type: ignore[attr-defined]

    def late_drain(self: Peer) -> list[zab.Effect]:
        late = getattr(self, "_late", None)
        if late is not None:
            self._ticked_at = late
            self._late = None  # type: ignore[attr-defined]
            tick(self, late)
        return drain(self)

    patch.setattr(Peer, "tick", late_tick)
    patch.setattr(Peer, "drain", late_drain)


def own_disk_is_not_watched(patch: Patch) -> None:
    """B-14: a leader whose disk hangs leads on."""
    patch.setattr(Duty, "_watch_own_disk", lambda self, now: None)


def quorum_is_not_watched(patch: Patch) -> None:
    """B-9: a leader that hears nobody leads on."""
    patch.setattr(Duty, "_watch_quorum", lambda self, now: None)


def old_incarnations_return(patch: Patch) -> None:
    """I-6: any connection of a known storage id takes the place of the one before."""
    patch.setattr(Links, "judge", lambda self, new, **_: "")


def restored_backups_vote(patch: Patch) -> None:
    """I-6: nobody remembers how often a storage was started."""
    patch.setattr(Links, "newest_incarnation", lambda self, node_id, storage_id: 0)


# --- readmission ------------------------------------------------------------------------------------------------------


def readmitted_before_synced(patch: Patch) -> None:
    """C-5: whoever is connected with another storage is readmitted at once."""
    patch.setattr(Readmission, "_obstacle", lambda self, handler, ruling, now: "")


def readmitted_beside_the_owner(patch: Patch) -> None:
    """I-6: nobody looks whether the owner of the old storage is there."""
    patch.setattr(Readmission, "_heard", lambda self, node_id, storage_id, now: False)


def configurations_overlap(patch: Patch) -> None:
    """C-2: the next change is proposed while one is uncommitted."""

    def ruling(self: Readmission) -> Configuration | None:
        return next(iter(self._attempt.core.history.configurations[-1:]), None)

    patch.setattr(Readmission, "_ruling", ruling)


def the_new_quorum_alone_decides(patch: Patch) -> None:
    """C-3, C-4: a CONFIG rules alone as soon as it is in the log."""
    patch.setattr(History, "configurations", property(lambda self: tuple(self._configs[-1:])))


def the_commit_of_a_change_is_in_memory_only(patch: Patch) -> None:
    """C-3: nothing is proposed behind the commit of a CONFIG."""
    patch.setattr(Readmission, "committed", lambda self: None)


def commits_are_not_learnt_from_others(patch: Patch) -> None:
    """C-9: only a configuration that is newer than those in the own log is adopted."""
    original = Membership.learn

    def learn(self: Membership, notify: Notify) -> bool:
        return notify.config_version != self.newest.version and original(self, notify)

    patch.setattr(Membership, "learn", learn)


def what_it_said_when_it_came_counts(patch: Patch) -> None:
    """I-3: a node that was readmitted while it followed has no voice before it comes anew."""
    original = Handler.votes
    patch.setattr(Handler, "votes", lambda self, active: not self.info.joining and original(self, active))


def a_voter_of_one_configuration_stands(patch: Patch) -> None:
    """E-5: a candidate is a voter of any active configuration."""
    patch.setattr(ActiveConfigurations, "names_candidate", ActiveConfigurations.names_voter)


# --- synchronization -------------------------------------------------------------------------------------------------


def snapshot_switched_before_its_entries(patch: Patch) -> None:
    """P-7: the received snapshot becomes live before the entries behind it are there; they follow as appends."""
    accept, new_leader = Learner._accept, Learner.on_new_leader

    def switch(self: Learner) -> None:
        if self._staged is not None and self.phase is LearnerPhase.SYNC:
            staged, self._staged = self._staged, None
            self._core.disk.commit_install(staged, None)
            self._core.history.adopt(staged)

    def accept_live(self: Learner, records: Any) -> None:
        switch(self)
        accept(self, records)

    def on_new_leader(self: Learner, message: NewLeader) -> None:
        switch(self)
        new_leader(self, message)

    patch.setattr(Learner, "_accept", accept_live)
    patch.setattr(History, "set_durable", lambda self, zxid: setattr(self, "durable", max(self.durable, zxid)))
    handle_at_learner(patch, NewLeader, on_new_leader)


def committed_history_may_be_cut(patch: Patch) -> None:
    """Y-6.1: a leader may truncate what is known committed here."""

    def truncate(self: History, zxid: int) -> None:
        self.committed = min(self.committed, zxid)
        self.applied = self.delivered = min(self.applied, zxid)
        original(self, zxid)

    original = History.truncate
    patch.setattr(History, "truncate", truncate)
    sync = Learner.on_sync

    def on_sync(self: Learner, message: Any) -> None:
        history = self._core.history
        history.committed = min(history.committed, message.common or message.cut)
        history.applied = min(history.applied, message.common or message.cut)
        sync(self, message)

    handle_at_learner(patch, Sync, on_sync)


def stream_is_not_waited_for(patch: Patch) -> None:
    """Y-11: in a sync stream silence means what it means elsewhere."""
    patch.setattr(Learner, "streaming", property(lambda self: False))


# --- rounds, barriers, leases ----------------------------------------------------------------------------------------


def sync_without_a_round(patch: Patch) -> None:
    """R-2: the leader answers a barrier because it believes that it leads."""

    def on_sync_request(self: Any, handler: Handler, message: SyncRequest) -> None:
        self.core.links.send(handler.link.id, SyncOk(self.epoch, message.id, self.core.history.committed))

    handle_at_leader(patch, SyncRequest, on_sync_request)

    def request_sync(self: Pulse, number: int) -> None:
        self._attempt.core.emit(SyncAnswered(number, self._attempt.core.history.committed))

    patch.setattr(Pulse, "request_sync", request_sync)


def barrier_counts_the_round_under_way(patch: Patch) -> None:
    """R-2: a PING sent before the request confirms it."""
    original = Rounds.wait

    def wait(self: Rounds, link: int | None, number: int, barrier: int) -> bool:
        taken = original(self, link, number, barrier)
        self._waiting[-1] = type(self._waiting[-1])(link, number, barrier, 0)
        return taken

    patch.setattr(Rounds, "wait", wait)


def barrier_without_orphans(patch: Patch) -> None:
    """R-3: a barrier does not wait for the session's earlier requests."""
    original = Barrier.__init__
    patch.setattr(Barrier, "__init__", lambda self, session, id, after: original(self, session, id, None))


def touches_echoed_at_once(patch: Patch) -> None:
    """S-4: a PONG is confirmed with the next PING, quorum or not."""
    original = Pulse.on_pong

    def on_pong(self: Pulse, handler: Handler, message: Pong) -> bool:
        healed = original(self, handler, message)
        handler.echo = message.seq
        return healed

    patch.setattr(Pulse, "on_pong", on_pong)


def early_rounds_count(patch: Patch) -> None:
    """S-4, R-2: a PING round sent before establishment confirms, and all sessions are open to a leader that has not applied I_e."""
    original = Rounds.send
    patch.setattr(Rounds, "send", lambda self, now, heard, *, established: original(self, now, heard, established=True))

    def round_answered(self: Replica, effect: RoundAnswered) -> None:
        for local in self.sessions.values():
            local.confirmed = max(local.confirmed, effect.sent_at)
        self._origin.confirmed(effect.sent_at)

    patch.setitem(_HANDLERS, RoundAnswered, round_answered)


def closing_sessions_are_confirmed(patch: Patch) -> None:
    """S-4: PING does not say which sessions are not open."""
    patch.setattr(Leadership, "not_open", lambda self, listed: ())


def touches_of_a_syncing_learner_are_lost(patch: Patch) -> None:
    """S-4: confirmed to the owner, not counted by the leader."""
    original = Replica._sessions_touched

    def touched(self: Replica, effect: zab.SessionsTouched) -> None:
        if effect.link in self._learners:
            original(self, effect)

    patch.setitem(_HANDLERS, zab.SessionsTouched, touched)


def lease_counts_from_the_answer(patch: Patch) -> None:
    """S-7: a session is ours from when the confirmation arrives, not from when the touch was sent."""
    original = Origination.echoed

    def echoed(self: Origination, seq: int, not_open: tuple[int, ...]) -> None:
        original(self, seq, not_open)
        if seq:
            for session in self._shared.sessions.values():
                session.confirmed = self._shared.now if session.id not in not_open else session.confirmed

    patch.setattr(Origination, "echoed", echoed)


def deadlines_are_inherited(patch: Patch) -> None:
    """S-3: a new leader gives sessions a moment, not a full timeout."""
    original = Expiry.__init__

    def init(self: Expiry, sessions: Any, now: float) -> None:
        original(self, sessions, now - 4.0)

    patch.setattr(Expiry, "__init__", init)


def creation_keeps_its_id(patch: Patch) -> None:
    """S-1: an unresolved creation is sent again under the same id."""
    original = Origination.creation

    def creation(self: Origination, session: LocalSession) -> Any:
        session.creation_sent = False
        return original(self, session)

    patch.setattr(Origination, "creation", creation)


# --- requests and state ----------------------------------------------------------------------------------------------


def deduplication_off(patch: Patch) -> None:
    """Q-5: a request that comes a second time is executed a second time."""
    original = Tree._apply_request

    def apply_request(self: Tree, record: Any) -> Applied:
        entry = record.decoded if type(record.decoded) is Entry else decode_entry(record.payload)
        session = self.sessions.get(entry.session)
        if session is not None and 0 < entry.cseq <= session.last_cseq:
            execution = Execution(self._store, self.sessions, record.zxid, record.time, entry.session)
            outcome = execution.run(entry.op)
            return Applied(record.zxid, entry.session, entry.cseq, entry.op, outcome, tuple(execution.changes), True, None, ())
        return original(self, record)

    patch.setattr(Tree, "_apply_request", apply_request)


def failures_are_not_counted(patch: Patch) -> None:
    """Q-6: a failed operation uses no cseq."""
    original = SessionEntry.executed

    def executed(self: SessionEntry, cseq: int, ack_below: int, outcome: Outcome) -> None:
        if not isinstance(outcome, Failure):
            original(self, cseq, ack_below, outcome)

    patch.setattr(SessionEntry, "executed", executed)


def results_dropped_early(patch: Patch) -> None:
    """Q-7: only the newest result of a session is kept."""
    original = SessionEntry.executed
    patch.setattr(SessionEntry, "executed", lambda self, cseq, ack_below, outcome: original(self, cseq, cseq, outcome))


def old_bases_settle(patch: Patch) -> None:
    """Q-7: a snapshot is settled at, however old it is."""
    original = Applier._adopt

    def adopt(self: Applier) -> None:
        self._mark = 0
        original(self)

    patch.setattr(Applier, "_adopt", adopt)


def resent_out_of_order(patch: Patch) -> None:
    """Q-4: what was unresolved goes to the next leader newest first."""
    original = LocalSession.unresolved

    def unresolved(self: LocalSession) -> Iterator[bytes]:
        return reversed(list(original(self)))

    patch.setattr(LocalSession, "unresolved", unresolved)


def nothing_is_resent(patch: Patch) -> None:
    """Q-4: what an earlier leader has, it has."""
    patch.setattr(LocalSession, "unresolved", lambda self: iter(()))


def rejection_is_final(patch: Patch) -> None:
    """Q-2: the origin sends nothing in the place of what the leader refused."""
    patch.setattr(LocalSession, "refused", lambda self, cseq, code: [])


def close_leaves_ephemerals(patch: Patch) -> None:
    """S-6: a session is closed without what it owns."""
    original = Tree._close

    def close(self: Tree, execution: Execution, entry: SessionEntry) -> None:
        kept, entry.ephemerals = entry.ephemerals, set()
        original(self, execution, entry)
        entry.ephemerals = kept

    patch.setattr(Tree, "_close", close)


def one_shot_fires_twice(patch: Patch) -> None:
    """W2: a one-shot watch is not used up."""
    original = Watches.trigger

    def trigger(self: Watches, applied: Applied) -> Any:
        tables = {mode: {path: dict(watchers) for path, watchers in table.items()} for mode, table in self._tables.items()}
        watchers = {watcher: dict(watches) for watcher, watches in self._watchers.items()}
        due = original(self, applied)
        self._tables, self._watchers = tables, watchers
        return due

    patch.setattr(Watches, "trigger", trigger)


def event_after_the_state(patch: Patch) -> None:
    """W3: who waits for a write goes on before watchers are told."""

    def applied(self: Replica, done: Applied) -> None:
        self._origin.applied(done)
        self._notify(self.watches.trigger(done))
        if self._leadership is not None and (done.opened is not None or done.closed):
            self._leadership.applied(done)

    patch.setattr(Replica, "_applied", applied)


def reads_overtake_writes(patch: Patch) -> None:
    """Q-9: a read is answered at once."""
    patch.setattr(LocalSession, "last_call", property(lambda self: None))


def state_goes_back(patch: Patch) -> None:
    """R-5, Q-7: a loaded state is shown at once, though readers have seen a later one."""
    original = Replica._load_snapshot

    def load_snapshot(self: Replica, effect: LoadSnapshot) -> None:
        original(self, effect)
        self._applier._mark = 0

    patch.setitem(_HANDLERS, LoadSnapshot, load_snapshot)


def differences_are_kept_quiet(patch: Patch) -> None:
    """B-15: the leader does not hear of a digest that differs."""
    original = Peer.pong
    patch.setattr(Peer, "pong", lambda self, sessions, digest_mismatch: original(self, sessions, 0))
