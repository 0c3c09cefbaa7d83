"""The tree against the reference, which shares no code with it: same outcomes, same znodes, same sessions (D18, D21, Q-5 to Q-7)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from zkembed.testing.history import plain_outcome
from zkembed.testing.reference import Reference
from zkembed.tree.events import EventKind
from zkembed.tree.tree import Applied

from ..checkers.plainly import committed, events_due, events_of, state_at, state_of
from .generators import Step, draw_step, histories, play
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


def assert_same(scene: Scene, reference: Reference, applied: Applied) -> None:
    """Of one entry: outcome, effect, events in their order, sessions with what they keep, and the digest behind it (B-15)."""
    entry = reference.add(committed(scene.records[-1]))
    assert (entry.zxid, entry.session, entry.cseq, entry.executed) == (applied.zxid, applied.session, applied.cseq, applied.executed)
    assert entry.result == plain_outcome(applied.outcome)
    assert (entry.opened or None, entry.closed) == (applied.opened, applied.closed)
    assert events_due(entry) == events_of(applied)
    heads = {each.id: each.head() for each in scene.tree.sessions.values()}
    assert {each.id: each.head() for each in reference.sessions_at(entry.zxid)} == heads
    assert {id: reference.ephemerals(id) for id in heads} == {id: scene.tree.ephemerals(id) for id in heads}
    assert reference.digest_at(entry.zxid) == scene.tree.digest_now()


@settings(max_examples=100)
@given(histories)
def test_the_tree_does_what_the_reference_does(history: list[Step]) -> None:
    """Invariants hold, and changes account for every difference, after each step."""
    scene, reference = Scene(), Reference()
    for step in history:
        before = dict(scene.tree.items())
        applied = play(scene, step)
        assert isinstance(applied, Applied)
        assert_changes_lead_from(before, applied, dict(scene.tree.items()))
        assert_same(scene, reference, applied)
    assert state_at(reference, reference.last) == state_of(scene.tree)


@pytest.mark.parametrize("seed", range(12))
def test_so_it_does_over_long_histories(seed: int) -> None:
    """Znodes that grow old: many versions, deep trees, long sequences."""
    rng = Random(seed)
    scene, reference = Scene(checked=False), Reference()
    for _ in range(300):
        applied = play(scene, draw_step(rng, scene.tree))
        assert isinstance(applied, Applied)
        assert_same(scene, reference, applied)
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
