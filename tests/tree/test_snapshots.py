"""Snapshots: exactly the state at one zxid, written while it goes on changing (P-8, D18, SN-4, invariant D4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkembed.codec import decode, encode
from zkembed.errors import DecodeError, InternalError
from zkembed.tree.digest import hash_header
from zkembed.tree.freeze import CHUNK_BYTES_MAX, ENDS, PAGE_ROWS, ZNODES
from zkembed.tree.ops import Create, Delete, Multi, SetData
from zkembed.tree.snapshot import Loader, load
from zkembed.tree.tree import Tree

from .generators import Step, histories, play
from .helpers import OTHER, SESSION, Scene, catch_up, opened, replay
from .test_digest import lived_through


def taken(tree: Tree) -> list[bytes]:
    """A whole snapshot, and the tree as before."""
    freeze = tree.freeze()
    chunks = list(freeze.chunks())
    while freeze.merge_step():
        pass
    return chunks


def assert_same(one: Tree, other: Tree) -> None:
    assert (one.applied, one.feature_level) == (other.applied, other.feature_level)
    assert dict(one.items()) == dict(other.items())
    assert one.digest_now() == other.digest_now()
    assert list(one.sessions) == list(other.sessions)
    for id, entry in one.sessions.items():
        assert (entry.head(), list(entry.results)) == (other.sessions[id].head(), list(other.sessions[id].results))
        assert entry.ephemerals == other.sessions[id].ephemerals


def test_a_snapshot_loads_to_the_same_tree() -> None:
    """P-8: znodes, sessions, kept results, digest."""
    scene = lived_through()
    loaded = load(taken(scene.tree))
    loaded.check_invariants()
    assert_same(loaded, scene.tree)
    assert loaded.boundary == (scene.tree.applied, scene.tree.digest_now())


def test_a_fresh_tree_has_a_snapshot_too() -> None:
    assert_same(load(taken(Tree())), Tree())


def test_a_loaded_tree_goes_on_where_the_other_stopped() -> None:
    """Q-7: duplicates are known there, the sequence goes on, ephemerals are still owned."""
    scene = opened()
    scene.send(SESSION, 1, 1, Create("/n-", sequential=True, ephemeral=True))
    other = Scene()
    other.records, other.tree, other._cseq = list(scene.records), load(taken(scene.tree), 4), {SESSION: 1}
    for each in (scene, other):
        assert not each.send(SESSION, 1, 1, Create("/n-", sequential=True)).executed
        each.send(SESSION, 2, 1, Create("/n-", sequential=True))
        assert each.tree.children("/") == ("n-0000000000", "n-0000000001", "zookeeper")
    assert_same(scene.tree, other.tree)


def test_SN_4_writes_during_a_snapshot_do_not_get_into_it() -> None:
    """Nothing of what comes between two chunks, whatever it is."""
    scene = opened()
    for number in range(3 * PAGE_ROWS):
        scene.checked = number % 500 == 0
        scene.create(f"/{number}")
    at = list(scene.records)
    freeze = scene.tree.freeze()
    chunks = []
    for number, chunk in enumerate(freeze.chunks()):
        chunks.append(chunk)
        scene.create("/during", b"x", ephemeral=True)
        scene.answer(Multi((SetData("/7", b"changed"), Delete(f"/{1000 + number}"), Delete("/during"))))
        scene.open(OTHER + number)
    assert len(chunks) > 4
    assert_same(load(chunks), replay(at))
    while freeze.merge_step():
        pass
    scene.tree.check_invariants()
    assert_same(scene.tree, replay(scene.records))


@settings(max_examples=80)
@given(histories, histories, st.lists(st.integers(0, 3), max_size=12))
def test_SN_4_any_suffix_over_any_snapshot_is_the_whole(before: list[Step], after: list[Step], rhythm: list[int]) -> None:
    """D18, invariant D4: the snapshot is exact however chunks and writes interleave, and replay over it gives the same state."""
    scene = Scene()
    for step in before:
        play(scene, step)
    at = list(scene.records)
    freeze = scene.tree.freeze()
    chunks, rest = [], iter(after)
    for number, chunk in enumerate(freeze.chunks()):
        chunks.append(chunk)
        for _ in range(rhythm[number % len(rhythm)] if rhythm else 1):
            if (due := next(rest, None)) is not None:
                play(scene, due)
    for step in rest:
        freeze.merge_step()
        play(scene, step)
    loaded = load(chunks, digest_every=4)
    assert_same(loaded, replay(at))
    catch_up(loaded, scene.records)
    loaded.check_invariants()
    assert_same(loaded, scene.tree)
    assert loaded.digest_now() == replay(scene.records).digest_now()


def test_kept_results_fill_several_pages() -> None:
    scene = opened(checked=False)
    for cseq in range(1, 2 * PAGE_ROWS + 2):
        scene.send(SESSION, cseq, 1, SetData("/" if cseq % 2 else "/no", b""))
    loaded = load(taken(scene.tree))
    assert_same(loaded, scene.tree)
    assert loaded.sessions[SESSION].kept_from == 1


def test_no_chunk_is_large_whatever_a_znode_holds() -> None:
    """A value of 1 MiB is cut into several."""
    scene = opened()
    for number in range(3):
        scene.create(f"/{number}", bytes([number]) * 2**20)
    chunks = taken(scene.tree)
    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX
    assert_same(load(chunks), scene.tree)


# --- one at a time ---------------------------------------------------------------------------------------------------


def test_a_second_freeze_waits_for_the_first_to_close() -> None:
    scene = opened()
    freeze = scene.tree.freeze()
    with pytest.raises(InternalError):
        scene.tree.freeze()
    freeze.close()
    freeze.close()
    assert_same(load(taken(scene.tree)), scene.tree)


def test_closing_early_ends_the_chunks_and_harms_nothing() -> None:
    """The tree changes again at once, under the feet of whoever still holds the iterator."""
    scene = opened()
    freeze = scene.tree.freeze()
    chunks = freeze.chunks()
    next(chunks)
    scene.create("/a")
    freeze.close()
    while freeze.merge_step():
        pass
    scene.create("/b")
    assert list(chunks) == []
    scene.tree.check_invariants()
    assert_same(load(taken(scene.tree)), scene.tree)


# --- what is refused -------------------------------------------------------------------------------------------------

Page = list[Any]


def pages(tree: Tree) -> list[Page]:
    """All the pages of a small snapshot: none is cut."""
    return [decode(chunk[1:]) for chunk in taken(tree)]


def reload(changed: list[Page]) -> Tree:
    return load(ENDS + encode(page) for page in changed)


def rehead(changed: list[Page], index: int, value: object) -> None:
    """Another header, sealed like a true one."""
    changed[0][index] = value
    changed[0][8] = hash_header(tuple(changed[0][3:8]))


def small() -> Tree:
    scene = opened()
    scene.create("/a/b", b"data", parents=True)
    scene.create("/e", ephemeral=True)
    scene.send(SESSION, 3, 1, SetData("/a", b"x"))
    return scene.tree


def znode(changed: list[Page], path: str) -> Page:
    return next(row for page in changed if page[0] == ZNODES for row in page[1] if row[0] == path)


def test_what_is_not_changed_is_accepted() -> None:
    assert_same(reload(pages(small())), small())


# Pages of the small snapshot: 0 header, 1 sessions, 2 results, 3 znodes.
DAMAGE: dict[str, Callable[[list[Page]], object]] = {
    "another value": lambda p: znode(p, "/a").__setitem__(1, b"y"),
    "another version": lambda p: znode(p, "/a").__setitem__(7, 5),
    "another timeout": lambda p: p[1][1][0].__setitem__(1, 5000),
    "another result": lambda p: p[2][2].__setitem__(0, None),
    "another digest": lambda p: rehead(p, 5, p[0][5] ^ 1),
    "a znode twice": lambda p: p[3][1].append(znode(p, "/e")),
    "a znode missing": lambda p: p[3][1].remove(znode(p, "/e")),
    "a parent missing": lambda p: (znode(p, "/a").__setitem__(0, "/x"), znode(p, "/").__setitem__(11, 3)),
    "a child too many": lambda p: znode(p, "/a/b").__setitem__(11, 1),
    "a reserved znode renamed": lambda p: znode(p, "/zookeeper/quota").__setitem__(0, "/zookeeper/other"),
    "an owner that is not open": lambda p: znode(p, "/e").__setitem__(9, 0x99),
    "an ephemeral with children": lambda p: znode(p, "/a").__setitem__(9, SESSION),
    "a znode from the future": lambda p: znode(p, "/a").__setitem__(3, p[0][4] + 1),
    "a negative number": lambda p: znode(p, "/a").__setitem__(8, -1),
    "a number of the wrong type": lambda p: znode(p, "/a").__setitem__(8, 1.0),
    "data of the wrong type": lambda p: znode(p, "/a").__setitem__(1, "text"),
    "a path that is not allowed": lambda p: znode(p, "/e").__setitem__(0, "/e/"),
    "a short znode": lambda p: znode(p, "/a").pop(),
    "a znode that is no list": lambda p: p[3][1].append(1),
    "a session twice": lambda p: p[1][1].append(p[1][1][0]),
    "a session not listed": lambda p: znode(p, "/zookeeper/sessions/0x11").__setitem__(0, "/zookeeper/sessions/0x12"),
    "a session of the wrong shape": lambda p: p[1][1][0].pop(),
    "a session with a bad owner": lambda p: p[1][1][0].__setitem__(3, b"short"),
    "more results than requests": lambda p: p[1][1][0].__setitem__(7, 9),
    "results missing": lambda p: p.pop(2),
    "results twice": lambda p: p.insert(2, p[2]),
    "results of nobody": lambda p: p[2].__setitem__(1, 0x99),
    "results without a session": lambda p: p[2].__setitem__(1, "x"),
    "no sessions": lambda p: p.pop(1),
    "no znodes": lambda p: p.pop(3),
    "no header": lambda p: p.pop(0),
    "two headers": lambda p: p.insert(1, p[0]),
    "another magic": lambda p: p[0].__setitem__(1, "zkembed-log"),
    "a later format": lambda p: p[0].__setitem__(2, 2),
    "a later feature level": lambda p: rehead(p, 3, 2),
    "no feature level": lambda p: rehead(p, 3, 0),
    "a zxid out of range": lambda p: rehead(p, 4, 2**63),
    "a header that was not sealed": lambda p: p[0].__setitem__(4, p[0][4] + 1),
    "a header too short": lambda p: p[0].pop(),
    "an unknown page": lambda p: p.append([9, []]),
    "a page without a kind": lambda p: p.append([]),
    "a page that is no list": lambda p: p.append({}),  # type: ignore[arg-type]
    "a page of too many parts": lambda p: p[3].append(1),
    "a page of something else": lambda p: p[3].__setitem__(1, 5),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_snapshot_that_is_not_right_is_refused(what: str) -> None:
    """Section 18, item 9: if nothing else notices, the digest does."""
    changed = pages(small())
    DAMAGE[what](changed)
    with pytest.raises(DecodeError, match=r"^snapshot"):
        reload(changed)


def test_children_are_counted_even_where_the_digest_agrees() -> None:
    """Written by a defective tree: the digest is that of what it wrote."""
    tree = small()
    node = tree.get("/a/b")
    assert node is not None
    node.num_children = 1
    changed = pages(tree)
    rehead(changed, 5, tree.recompute_digest())
    with pytest.raises(DecodeError, match="znodes count"):
        reload(changed)


@pytest.mark.parametrize("keep", range(4))
def test_a_snapshot_that_ends_early_is_refused(keep: int) -> None:
    with pytest.raises(DecodeError):
        load(taken(small())[:keep])


def test_a_cut_page_must_be_ended() -> None:
    loader = Loader()
    for chunk in taken(small()):
        loader.feed(chunk)
    loader.feed(b"\0rest to come")
    with pytest.raises(DecodeError, match="ends too early"):
        loader.finish()


@settings(max_examples=200)
@given(st.data())
def test_flipped_bits_are_refused_whatever_they_hit(data: st.DataObject) -> None:
    """N-2: DecodeError and nothing else, or the very same tree."""
    chunks = [bytearray(chunk) for chunk in taken(small())]
    chunk = chunks[data.draw(st.integers(0, len(chunks) - 1))]
    chunk[data.draw(st.integers(0, len(chunk) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        loaded = load(map(bytes, chunks))
    except DecodeError:
        return
    assert_same(loaded, small())
