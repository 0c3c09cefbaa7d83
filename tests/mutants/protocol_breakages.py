"""Deliberate breakages of agreement and liveness that the simulator is put to; see ``breakages.py`` for what a breakage is.

Some take out an assertion of section 18 as well, for what they break would else stop the node before a checker can see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from attrs import evolve

from zkembed.codec import decode
from zkembed.log.engine import LogEngine
from zkembed.log.epochs import save_epochs
from zkembed.record import Kind, Record
from zkembed.zab import codec as zab_codec
from zkembed.zab.disk import Disk
from zkembed.zab.duty import Duty
from zkembed.zab.effects import SetEpochs
from zkembed.zab.election import Election
from zkembed.zab.history import History
from zkembed.zab.leader import Leader
from zkembed.zab.learner import Learner
from zkembed.zab.messages import LeaderInfo, Message, Proposal, Vote
from zkembed.zab.proposals import Proposals
from zkembed.zab.readmission import Readmission
from zkembed.zxid import EMPTY, counter_of, epoch_of, make

from .breakages import handle_at_learner, quorum_is_not_watched, sync_without_a_round, touches_echoed_at_once

Patch = pytest.MonkeyPatch


# --- what is agreed upon ---------------------------------------------------------------------------------------------


def entries_are_stamped_again(patch: Patch) -> None:
    """A1: each node notes an entry with a time of its own."""
    original = Learner._accept

    def accept(self: Learner, records: Sequence[Record]) -> None:
        original(self, restamped(records, self._log.end_chain) if self.serving else records)

    def restamped(records: Iterable[Record], chain: int) -> tuple[Record, ...]:
        made = []
        for each in records:
            made.append(Record.make(each.zxid, each.prev_zxid, each.time + 1, each.kind, each.commit_hint, each.payload, chain))
            chain = made[-1].chain
        return tuple(made)

    patch.setattr(Learner, "_accept", accept)


def epoch_entries_are_not_delivered(patch: Patch) -> None:
    """A2: what is nobody's request is passed over."""
    original = History.take_deliverable
    patch.setattr(History, "take_deliverable", lambda self: tuple(record for record in original(self) if record.kind is not Kind.EPOCH))


def epochs_begin_at_two(patch: Patch) -> None:
    """A3: counters of an epoch begin at 2, and whoever reads them lets it pass."""
    original = History.append

    def numbered(self: Proposals) -> int:
        end = self._attempt.core.history.end
        if epoch_of(end) == self._attempt.epoch:
            return end + 1
        return make(self._attempt.epoch, 2 if end != EMPTY else 1)

    def append(self: History, record: Record) -> None:
        original(self, record)
        if self._run_starts[-1] == self._start + len(self._chains) - 1:
            self._run_counters[-1] = counter_of(record.zxid)

    patch.setattr(Proposals, "next_zxid", property(numbered))
    patch.setattr(History, "append", append)
    for module in ("zab.history", "record", "log.tail", "log.records"):
        patch.setattr(f"zkembed.{module}.follows", lambda zxid, previous: zxid > previous)


def longest_log_does_not_win(patch: Patch) -> None:
    """E-1, D-5: who leads is decided by node ids alone, and no follower's history is too recent."""

    def own_vote(core: Any) -> Vote | None:
        return None if core.wants_snap else Vote(1, 1 if core.has_history() else EMPTY, core.node_id)

    original = Leader.__init__

    def init(self: Leader, core: Any, vote: Vote) -> None:
        original(self, core, evolve(vote, epoch=2**31 - 1))

    patch.setattr("zkembed.zab.core.Core.own_vote", own_vote)
    patch.setattr(Leader, "__init__", init)


def elected_is_established(patch: Patch) -> None:
    """A5, E-1, Y-8: whoever is elected, by its node id alone, leads without waiting for a quorum to have its history."""
    longest_log_does_not_win(patch)
    original = Leader._establish

    def establish(self: Leader) -> None:
        with pytest.MonkeyPatch.context() as alone:
            alone.setattr(Leader, "quorum", lambda self, handlers: True)
            original(self)

    patch.setattr(Leader, "_establish", establish)


def promises_end_with_the_attempt(patch: Patch) -> None:
    """A6: a learner that leaves a leader takes back what it promised."""
    original = Learner.end

    def end(self: Learner, reason: str) -> None:
        if not self.ended:
            epochs = self._core.disk.promised
            self._core.disk.set_epochs(evolve(epochs, accepted=epochs.current), None)
        original(self, reason)

    def set_epochs(self: Disk, epochs: Any, owner: object) -> None:
        self.promised = epochs
        self._issue(SetEpochs(self._next(), epochs), owner)

    def save(self: LogEngine, epochs: Any) -> None:
        self._epochs = epochs
        save_epochs(self._disk, epochs)

    patch.setattr(Learner, "end", end)
    patch.setattr(Disk, "set_epochs", set_epochs)
    patch.setattr(LogEngine, "set_epochs", save)


def promises_one_too_many(patch: Patch) -> None:
    """A7, D-3: a node promises the epoch behind the one it was asked for, and joins that one all the same."""
    original = Learner.on_leader_info

    def on_leader_info(self: Learner, message: LeaderInfo) -> None:
        original(self, evolve(message, epoch=message.epoch + 1))
        self.epoch = message.epoch

    handle_at_learner(patch, LeaderInfo, on_leader_info)


def proposals_count_as_commits(patch: Patch) -> None:
    """A10: whoever hears of a proposal takes it for committed."""
    original = Learner.on_proposal

    def on_proposal(self: Learner, message: Proposal) -> None:
        original(self, message)
        self._learn_commit(self._core.history.end)

    handle_at_learner(patch, Proposal, on_proposal)


def leader_counts_everybody(patch: Patch) -> None:
    """A10: what one follower has acknowledged is taken for acknowledged by all."""

    def advance(self: Proposals) -> bool:
        self.acks_moved = False
        history = self._attempt.core.history
        before = history.committed
        acked = [handler.acked for handler in self._attempt.handlers.values() if handler.synced]
        history.committed = max(before, max(acked, default=before))
        return history.committed > before

    patch.setattr(Proposals, "_advance_commit", advance)


def cut_to_the_own_commit_point(patch: Patch) -> None:
    """A11: a learner keeps of its log what it knows to be committed, and waits for the rest."""
    original = Learner._keep_common

    def keep_common(self: Learner, message: Any) -> bool:
        kept = original(self, message)
        history = self._core.history
        point = history.floor(max(history.committed, history.applied))
        if kept and point is not None and point < history.end:
            self._core.disk.truncate(point, self)
        return kept

    patch.setattr(Learner, "_keep_common", keep_common)


def changes_are_proposed_again(patch: Patch) -> None:
    """A12, C-2: a CONFIG is proposed as long as it is not committed, whether or not one is under way."""
    patch.setattr(Readmission, "_ruling", lambda self: self._attempt.core.history.committed_configuration)


# --- who leads, and for how long -------------------------------------------------------------------------------------


def every_voter_must_agree(patch: Patch) -> None:
    """V1, E-6: who is elected was voted for by all, also by those that are down."""
    original = Election._has_quorum

    def has_quorum(self: Election, vote: Vote, now: float) -> bool:
        voters = [node_id for node_id in self._membership.active.voter_ids if node_id != self._node_id]
        return original(self, vote, now) and all(self.received.get(node_id) == vote for node_id in voters)

    patch.setattr(Election, "_has_quorum", has_quorum)


def leaders_have_a_term(patch: Patch) -> None:
    """V2: whoever has led for some seconds lets another have a try."""
    original = Duty.tick

    def tick(self: Duty, now: float) -> None:
        original(self, now)
        if now - self._established_at > 7.0:
            self._attempt.end("its term is over")

    patch.setattr(Duty, "tick", tick)


def all_followers_must_have_it(patch: Patch) -> None:
    """V4: the commit point waits for the slowest voter."""

    def quorum_point(self: Any, reached: Any) -> int:
        named = self.voters
        points = [point for (node_id, storage), point in reached.items() if named.get(node_id) == storage or self.version == 0]
        return min(points) if len(points) == len(named) else 0

    original = Proposals._advance_commit

    def advance(self: Proposals) -> bool:
        with pytest.MonkeyPatch.context() as slow:
            slow.setattr("zkembed.zab.quorum.Configuration.quorum_point", quorum_point)
            return original(self)

    patch.setattr(Proposals, "_advance_commit", advance)


def leader_speaks_in_hash_order(patch: Patch) -> None:
    """V7: a leader tells its followers in an order that depends on the interpreter's hash seed."""
    original = Proposals.flush

    def flush(self: Proposals) -> bool:
        handlers = self._attempt.handlers
        for link in sorted(handlers, key=lambda link: hash(handlers[link].link.storage_id)):
            handlers[link] = handlers.pop(link)
        return original(self)

    patch.setattr(Proposals, "flush", flush)


def deposed_leader_answers_syncs(patch: Patch) -> None:
    """R-2, B-9: a leader that hears nobody leads on, and answers a barrier because it believes that it leads."""
    quorum_is_not_watched(patch)
    sync_without_a_round(patch)


def deposed_leader_confirms_touches(patch: Patch) -> None:
    """S-4, B-9: a leader that hears nobody but one follower leads on, and confirms what that says at once."""
    quorum_is_not_watched(patch)
    touches_echoed_at_once(patch)


# --- what peers send -------------------------------------------------------------------------------------------------


def frames_are_believed(patch: Patch) -> None:
    """V6: a frame is taken apart without looking at its shape."""

    def decode_frame(data: bytes) -> tuple[Message, ...]:
        return tuple(zab_codec._decode_message(item) for item in decode(data))

    patch.setattr(zab_codec, "decode_frame", decode_frame)
    patch.setattr("zkembed.testing.simulated.network.decode_frame", decode_frame)
