"""The reference against the real tree, over random histories: what one says of an entry, the other says too (D4, D5, D18, Q-5 to Q-7)."""

from __future__ import annotations

from hypothesis import given, settings

from zkembed.record import Kind, Record
from zkembed.testing.history import Committed, plain_outcome, plain_stat
from zkembed.testing.reference import CONFIG_PATH, Reference
from zkembed.tree.tree import Applied, Tree
from zkembed.zab.quorum import Configuration

from ..tree.generators import Step, histories, play
from ..tree.helpers import Scene


def committed(record: Record) -> Committed:
    return Committed(0.0, 0, 0, record.zxid, record.chain, record.kind.name, record.time, record.payload)


def plain_state(tree: Tree) -> dict[str, tuple[bytes, object]]:
    return {path: (node.data, plain_stat(node.stat())) for path, node in tree.items()}


def reference_state(reference: Reference, zxid: int) -> dict[str, tuple[bytes, object]]:
    return {path: (data, stat) for path, data, stat in reference.state_at(zxid)}


def plain_changes(applied: Applied) -> list[object]:
    events = [change.event(applied.zxid) for change in applied.changes]
    return [(event.kind.name, event.path, event.zxid, event.data, plain_stat(event.stat)) for event in events]


@settings(max_examples=150)
@given(histories)
def test_the_reference_says_of_each_entry_what_the_tree_does(history: list[Step]) -> None:
    """Outcome, effect, events in their order, sessions with what they keep, and the digest."""
    scene, reference = Scene(checked=False), Reference()
    for step in history:
        applied = play(scene, step)
        assert isinstance(applied, Applied)
        entry = reference.add(committed(scene.records[-1]))
        assert (entry.zxid, entry.session, entry.cseq, entry.executed) == (applied.zxid, applied.session, applied.cseq, applied.executed)
        assert entry.result == plain_outcome(applied.outcome)
        assert (entry.opened or None, entry.closed) == (applied.opened, applied.closed)
        assert [(each.kind, each.path, each.zxid, each.data, each.stat) for each in entry.changes] == plain_changes(applied)
        assert {each.id: each.head() for each in reference.sessions_at(entry.zxid)} == {
            each.id: each.head() for each in scene.tree.sessions.values()
        }
        assert reference.digest_at(entry.zxid) == scene.tree.digest_now()
    assert reference_state(reference, reference.last) == plain_state(scene.tree)


@settings(max_examples=50)
@given(histories)
def test_every_state_there_ever_was_can_be_asked_for(history: list[Step]) -> None:
    """Each znode, each list of children and the whole state, at every zxid, after all of it has happened."""
    scene, reference = Scene(checked=False), Reference(digests=False)
    states = {0: plain_state(scene.tree)}
    for step in history:
        play(scene, step)
        reference.add(committed(scene.records[-1]))
        states[scene.tree.applied] = plain_state(scene.tree)
    for zxid, state in states.items():
        assert reference_state(reference, zxid) == state
        for path in state:
            prefix = "/" if path == "/" else path + "/"
            names = sorted(each[len(prefix) :] for each in state if each.startswith(prefix) and each != "/")
            assert reference.children_at(path, zxid) == tuple(name for name in names if "/" not in name)


def test_a_configuration_is_shown_as_it_is_in_the_tree() -> None:
    """A3: one line for each member, and the version."""
    reference = Reference()
    payload = (
        Configuration(0x100000001, Configuration.founding({2: "b:2", 1: "a:1"}).members).encode().replace(b"\x40", b"\x50" + bytes(16))
    )
    record = Record.make(0x100000001, 0, 7, Kind.CONFIG, 0, payload, 0)
    reference.add(committed(record))
    znode = reference.znode_at(CONFIG_PATH, 0x100000001)
    assert znode is not None
    assert znode.data == b"server.1=a:1:participant\nserver.2=b:2:participant\nversion=100000001"
