"""The tree against the reference, which shares no code with it: same outcomes, same znodes, same sessions (D18, D21, Q-5 to Q-7)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from zkembed.testing.history import plain_outcome
from zkembed.testing.reference import Reference
from zkembed.tree.events import EventKind
from zkembed.tree.tree import Applied

from ..checkers.plainly import committed, events_due, events_of, state_at, state_of
from .generators import Step, histories, play
from .helpers import Scene, replay


def assert_changes_lead_from(before: dict[str, Any], applied: Applied, after: dict[str, Any]) -> None:
    """W1, W2: the changes, replayed on the state before, give exactly the state after; each fits the one before it."""
    for change in applied.changes:
        assert before.get(change.path) is change.before
        assert (change.before is None) == (change.kind is EventKind.CREATED)
        assert (change.after is None) == (change.kind is EventKind.DELETED)
        if change.after is None:
            del before[change.path]
        else:
            before[change.path] = change.after
    assert before == after


@settings(max_examples=150)
@given(histories)
def test_the_tree_does_what_the_reference_does(history: list[Step]) -> None:
    """Of each entry: outcome, effect, events in their order, sessions with what they keep, and the digest (B-15); then the state.

    Invariants hold, and changes account for every difference, after each step.
    """
    scene, reference = Scene(), Reference()
    for step in history:
        before = dict(scene.tree.items())
        applied = play(scene, step)
        assert isinstance(applied, Applied)
        assert_changes_lead_from(before, applied, dict(scene.tree.items()))
        entry = reference.add(committed(scene.records[-1]))
        assert (entry.zxid, entry.session, entry.cseq, entry.executed) == (applied.zxid, applied.session, applied.cseq, applied.executed)
        assert entry.result == plain_outcome(applied.outcome)
        assert (entry.opened or None, entry.closed) == (applied.opened, applied.closed)
        assert events_due(entry) == events_of(applied)
        assert {each.id: each.head() for each in reference.sessions_at(entry.zxid)} == {
            each.id: each.head() for each in scene.tree.sessions.values()
        }
        for id in scene.tree.sessions:
            assert reference.ephemerals(id) == scene.tree.ephemerals(id)
        assert reference.digest_at(entry.zxid) == scene.tree.digest_now()
    assert state_at(reference, reference.last) == state_of(scene.tree)


@settings(max_examples=60)
@given(histories)
def test_two_replicas_with_the_same_log_are_the_same(history: list[Step]) -> None:
    """D21, D23: equal boundaries, equal digests, equal sessions; and the same at another spacing of boundaries."""
    scene = Scene(checked=False)
    for step in history:
        play(scene, step)
    other, sparse = replay(scene.records), replay(scene.records, digest_every=1000)
    assert other.boundary == scene.tree.boundary
    assert other.digest_now() == sparse.digest_now() == scene.tree.digest_now() == scene.tree.recompute_digest()
    assert [entry.head() for entry in other.sessions.values()] == [entry.head() for entry in scene.tree.sessions.values()]
