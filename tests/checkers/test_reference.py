"""The reference looks back: every state there ever was (D4, D5). That it does what the tree does is in tests/tree/test_model.py."""

from __future__ import annotations

from hypothesis import given, settings

from zkembed.codec import encode
from zkembed.testing.history import Committed
from zkembed.testing.plain.names import FRAME_EVERY, Names
from zkembed.testing.reference import CONFIG_PATH, Reference
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import Create, SetData

from ..tree.generators import Step, histories, play
from ..tree.helpers import Scene
from .plainly import committed, state_at, state_of
from .story import opened


@settings(max_examples=50)
@given(histories)
def test_every_state_there_ever_was_can_be_asked_for(history: list[Step]) -> None:
    """Each znode, each list of children and the whole state, at every zxid, after all of it has happened."""
    scene, reference = Scene(checked=False), Reference(digests=False)
    states = {0: state_of(scene.tree)}
    for step in history:
        play(scene, step)
        reference.add(committed(scene.records[-1]))
        states[scene.tree.applied] = state_of(scene.tree)
    for zxid, state in states.items():
        assert state_at(reference, zxid) == state
        for path in state:
            prefix = "/" if path == "/" else path + "/"
            names = sorted(each[len(prefix) :] for each in state if each.startswith(prefix) and each != "/")
            assert reference.children_at(path, zxid) == tuple(name for name in names if "/" not in name)


def test_a_state_long_ago_is_asked_for_out_of_many() -> None:
    """Lists of children are kept as changes, with a whole one every so often: on both sides of such a one, and on it."""
    names = Names()
    expected: list[set[str]] = [set()]
    for zxid in range(1, 4 * FRAME_EVERY):
        name = str(zxid * 7 % 50)
        if name in names.live:
            names.remove(zxid, name)
        else:
            names.add(zxid, name)
        expected.append(set(names.live))
    for zxid in (*range(len(expected)), FRAME_EVERY, 1):
        assert names.at(zxid) == tuple(sorted(expected[zxid]))


def test_what_is_not_there_is_told_apart_from_what_is_not_yet() -> None:
    story = opened()
    made = story.create("/a")
    story.set("/a", b"1")
    reference = story.reference
    assert reference.znode_at("/a", made.zxid - 1) is None
    znode = reference.znode_at("/a", made.zxid)
    assert znode is not None
    assert (znode.data, znode.version) == (b"", 0)
    assert reference.znode_at("/b", reference.last) is None
    assert reference.children_at("/b", reference.last) == ()
    assert reference.entry(reference.last + 1) is None
    assert [reference.entries[reference.following(made.zxid)].op] == [("set", "/a", b"1", None)]


def test_a_configuration_is_shown_as_it_is_in_the_tree() -> None:
    """A3: a line for each member, in order of id, and the version. Storage ids are not shown."""
    zxid = 1 << 32 | 1
    rows = [[2, "b:2", 2, bytes(16)], [1, "a:1", 1, bytes(16)]]
    reference = Reference()
    reference.add(Committed(0.0, 0, 0, zxid, 0, "CONFIG", 7, encode([zxid, rows])))
    znode = reference.znode_at(CONFIG_PATH, zxid)
    assert znode is not None
    assert znode.data == b"server.1=a:1:participant\nserver.2=b:2:observer\nversion=100000001"
    assert (znode.version, znode.mzxid, znode.mtime) == (1, zxid, 7)


def test_results_are_kept_until_their_owner_has_them() -> None:
    """Q-7: a repetition gets the kept result, then RESOLVED."""
    story = opened()
    made = story.do(Create("/a", b""))
    assert story.commit(Create("/a", b""), 1, 1).result == made.result
    story.commit(None, payload=encode_entry(1, 2, 2, SetData("/a", b"", None)))
    assert story.reference.sessions[1].kept_from == 2
    assert story.commit(Create("/a", b""), 1, 1).result == ("error", ("InternalError",))
