"""The tree against a plain one, over random histories: same outcomes, same znodes, same sessions (D18, D21, Q-5 to Q-7)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from zkembed.errors import DecodeError
from zkembed.tree.codec import decode_entry
from zkembed.tree.events import EventKind
from zkembed.tree.results import CreatedNode, Failure, Outcome
from zkembed.tree.stat import StatRow
from zkembed.tree.tree import Applied, Tree

from .generators import Step, histories, play
from .helpers import Scene, replay
from .reference import Reference


def plain(outcome: Outcome) -> Any:
    """An outcome in the words of the reference."""
    if isinstance(outcome, Failure):
        return outcome.code.name
    if isinstance(outcome, CreatedNode):
        return "created", outcome.path
    if isinstance(outcome, StatRow):
        return "set", outcome.version
    return None if outcome is None else tuple(map(plain, outcome))


def assert_same_state(tree: Tree, reference: Reference) -> None:
    znodes = {path: node for path, node in tree.items() if not path.startswith("/zookeeper")}
    assert znodes.keys() == reference.znodes.keys()
    for path, expected in reference.znodes.items():
        stat = znodes[path].stat()
        children = reference.children(path)
        hidden = path == "/"  # the reserved subtree, which the reference does not have
        assert (znodes[path].data, stat.czxid, stat.mzxid, stat.pzxid) == (
            expected["data"],
            expected["czxid"],
            expected["mzxid"],
            expected["pzxid"],
        )
        assert (stat.version, stat.ephemeral_owner or 0) == (expected["version"], expected["owner"])
        assert stat.num_children == len(children) + hidden
        assert stat.cversion == 2 * expected["created"] - stat.num_children
        assert [name for name in tree.children(path) if name != "zookeeper"] == [child.rsplit("/", 1)[1] for child in children]
    for id, session in reference.sessions.items():
        assert tree.sessions[id].last_cseq == session["last"]
        assert tree.sessions[id].kept_from == session["last"] + 1 - len(session["results"])
        assert list(tree.ephemerals(id)) == sorted(path for path, znode in reference.znodes.items() if znode["owner"] == id)
    assert tree.sessions.keys() == reference.sessions.keys()


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
def test_the_tree_does_what_a_plain_one_does(history: list[Step]) -> None:
    """Invariants hold, and changes account for every difference, after each step."""
    scene, reference = Scene(), Reference()
    scene.open()
    reference.apply(scene.tree.applied, decode_entry(scene.records[0].payload))
    for step in history:
        before = dict(scene.tree.items())
        applied = play(scene, step)
        assert isinstance(applied, Applied)
        try:
            entry = decode_entry(scene.records[-1].payload)
        except DecodeError:
            entry = None
        expected = reference.apply(applied.zxid, entry)
        assert ("executed" if applied.executed else "ignored", plain(applied.outcome)) == expected
        assert_same_state(scene.tree, reference)
        assert_changes_lead_from(before, applied, dict(scene.tree.items()))


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
