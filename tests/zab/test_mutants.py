"""Broken cores must be caught: a judge that no mutant trips is no evidence. Each breaks one rule and must fail within a few seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from tests.zab.test_soak import soak
from zkembed.errors import InternalError
from zkembed.testing.checkers import Violation
from zkembed.zab.attempt import LeaderPhase
from zkembed.zab.core import Core
from zkembed.zab.disk import Disk
from zkembed.zab.history import History
from zkembed.zab.leader import Leader
from zkembed.zab.learner import Learner, LearnerPhase
from zkembed.zab.messages import Ack, AckNewLeader, LeaderInfo, NewLeader, Sync, Vote
from zkembed.zab.proposals import Proposals
from zkembed.zab.quorum import Configuration
from zkembed.zab.table import FROM_LEADER

SEEDS = 60


def caught(n: int = 3) -> bool:
    """Whether some seed trips the judge, an assertion of the core, or ends without agreement."""
    for seed in range(SEEDS):
        try:
            soak(n, seed)
        except (Violation, InternalError, AssertionError):
            return True
    return False


def replace(patch: pytest.MonkeyPatch, kind: type, handler: Callable[..., None]) -> None:
    """Put another handler into the learner's table."""
    for handling in FROM_LEADER.values():
        if kind in handling:
            patch.setitem(handling, kind, handler)


def ack_before_fsync(patch: pytest.MonkeyPatch) -> None:
    """B-4: a follower acknowledges what it has only queued."""

    def flush(self: Learner) -> None:
        end = self._core.history.end
        if self.phase in (LearnerPhase.ACKED, LearnerPhase.SERVING) and self._staged is None and end > self._acked:
            self._acked = end
            self._send(Ack(self.epoch, end))
        if self.serving:
            self._core.deliver()

    patch.setattr(Learner, "flush", flush)


def own_append_counts(patch: pytest.MonkeyPatch) -> None:
    """B-4: the leader counts its append, not its fsync."""
    patch.setattr(History, "durable", property(lambda self: self.end, lambda self, value: None), raising=False)


def epoch_before_history(patch: pytest.MonkeyPatch) -> None:
    """Y-6: current = e becomes durable at the head of the sync stream."""
    original = Learner.on_sync

    def on_sync(self: Learner, message: object) -> None:
        self._core.disk.set_epochs(evolve(self._core.disk.promised, current=self.epoch), None)
        original(self, message)  # type: ignore[arg-type]

    replace(patch, Sync, on_sync)


def newleader_ack_at_once(patch: pytest.MonkeyPatch) -> None:
    """Y-6: ACK_NEWLEADER leaves before the history and the epoch are durable."""
    original = Learner.on_new_leader

    def on_new_leader(self: Learner, message: object) -> None:
        original(self, message)  # type: ignore[arg-type]
        self._send(AckNewLeader(self.epoch, self._cut))

    replace(patch, NewLeader, on_new_leader)


def apply_before_commit(patch: pytest.MonkeyPatch) -> None:
    """X-4: what is durable is applied, committed or not."""
    original = Core.deliver

    def deliver(self: Core) -> None:
        self.history.committed = max(self.history.committed, self.history.durable)
        original(self)

    patch.setattr(Core, "deliver", deliver)


def commit_by_old_entries(patch: pytest.MonkeyPatch) -> None:
    """K-1: established as soon as its own history is whole, without a quorum's NEWLEADER acks."""
    original = Leader._establish

    def establish(self: Leader) -> None:
        handlers = [handler for handler in self.handlers.values() if handler.synced]
        if self.phase is LeaderPhase.SYNC and not self.quorum(handlers):
            patch_quorum = self.quorum
            self.quorum = lambda handlers: True  # type: ignore[method-assign]
            original(self)
            self.quorum = patch_quorum  # type: ignore[method-assign]
            return
        original(self)

    patch.setattr(Leader, "_establish", establish)


def any_minority_is_a_quorum(patch: pytest.MonkeyPatch) -> None:
    """Section 0: a quorum is a strict majority."""
    patch.setattr(Configuration, "quorum", property(lambda self: max(1, len(self.voters) // (2 if self.version else 1))))


def no_recency_test(patch: pytest.MonkeyPatch) -> None:
    """E-1, D-5: the least recent node wins, and nobody objects."""
    original = Leader.__init__

    def init(self: Leader, core: Core, vote: object) -> None:
        original(self, core, vote)  # type: ignore[arg-type]
        self.vote = evolve(self.vote, epoch=2**31 - 1)

    patch.setattr(Leader, "__init__", init)
    patch.setattr(Core, "own_vote", lambda self: Vote(0, 1, self.node_id))


def no_settling(patch: pytest.MonkeyPatch) -> None:
    """X-3: a new role begins while the disk still works for the old one."""
    patch.setattr(Disk, "idle", property(lambda self: True))


def promise_not_kept(patch: pytest.MonkeyPatch) -> None:
    """D-3: the promise is told before it is durable."""
    original = Learner.on_leader_info

    def on_leader_info(self: Learner, message: object) -> None:
        original(self, message)  # type: ignore[arg-type]
        if self.phase is LearnerPhase.PROMISING:
            self._ack_epoch(counts=True)

    replace(patch, LeaderInfo, on_leader_info)


def commit_without_acks(patch: pytest.MonkeyPatch) -> None:
    """B-5: the leader commits whatever it has proposed."""

    def advance(self: Proposals) -> bool:
        self.acks_moved = False
        history = self._attempt.core.history
        moved = history.end > history.committed
        history.committed = history.end
        return moved

    patch.setattr(Proposals, "_advance_commit", advance)


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    ack_before_fsync,
    own_append_counts,
    epoch_before_history,
    newleader_ack_at_once,
    apply_before_commit,
    commit_by_old_entries,
    any_minority_is_a_quorum,
    no_recency_test,
    no_settling,
    promise_not_kept,
    commit_without_acks,
]


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_a_broken_core_is_caught(mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each checker has a mutation test."""
    mutate(monkeypatch)
    assert caught(), f"no seed of {SEEDS} noticed: {mutate.__doc__}"
