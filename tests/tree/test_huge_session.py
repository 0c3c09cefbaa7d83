"""SE-5 on the bare tree: closing a session that owns very much is one small entry, and takes the loop no longer than it must."""

from __future__ import annotations

import time

import pytest

from zkembed.tree.events import EventKind, Removals
from zkembed.tree.ops import CloseIncarnations, CloseSession, Create
from zkembed.tree.tree import Applied
from zkembed.tree.watches import Watches, WatchMode
from zkembed.zab.settings import Settings

from .helpers import OTHER, SESSION, STORAGE, Scene, opened

HUGE = 100_000
ENTRY_BYTES_MAX = 100

DELETED, CHILDREN_CHANGED = EventKind.DELETED, EventKind.CHILDREN_CHANGED


def owning(paths: list[str]) -> Scene:
    scene = opened(checked=False, digest_every=1024)
    for cseq, path in enumerate(paths, start=1):
        scene.send(SESSION, cseq, cseq, Create(path, b"", ephemeral=True))
    return scene


def test_SE_5_the_close_of_a_hundred_thousand_ephemerals_is_one_small_entry_and_quick() -> None:
    """S-6, ZK-4306: its size does not depend on what the session owns; applied within the stall limit, much faster than made."""
    began = time.process_time()
    scene = owning([f"/e{number:06d}" for number in range(HUGE)])
    made = time.process_time() - began
    began = time.process_time()
    applied = scene.lead(CloseSession(SESSION, expired=True))
    took = time.process_time() - began
    assert len(scene.records[-1].encoded) <= ENTRY_BYTES_MAX
    assert (applied.closed, len(applied.changes)) == ((SESSION,), 2 * HUGE + 2)
    assert scene.tree.children("/") == ("zookeeper",)
    assert took < min(Settings().stall_limit * 2, made / 3), "twice the limit: the machine of a test may be busy"
    scene.tree.check_invariants()


PLACES = ["/a/1", "/a/2", "/b/x/1", "/a/3", "/top", "/b/1", "/b/x/2"]


def closed() -> tuple[Scene, Applied]:
    scene = opened()
    scene.open(OTHER)
    for path in ("/a", "/b", "/b/x"):
        scene.create(path)
    scene.create("/a/0", session=OTHER, ephemeral=True)
    for path in PLACES:
        scene.create(path, ephemeral=True)
    return scene, scene.lead(CloseSession(SESSION, expired=True))


def test_SE_5_what_a_close_lists_is_each_deletion_and_its_parents_change_in_order_of_path() -> None:
    """S-6, W2: taken out together, told one by one; each child before its parent, which has one child less each time."""
    scene, applied = closed()
    listed = [(change.kind, change.path) for change in applied.changes]
    parents = {path: path.rpartition("/")[0] or "/" for path in (*PLACES, "/zookeeper/sessions/0x11")}
    assert listed == [each for path in sorted(parents) for each in ((DELETED, path), (CHILDREN_CHANGED, parents[path]))]
    counts = [change.after.num_children for change in applied.changes if change.path == "/a" and change.after is not None]
    assert counts == [3, 2, 1]
    changed = {change.path: change.after for change in applied.changes}
    assert {path: scene.tree.get(path) for path in changed} == changed
    assert next(iter(applied.changes)) in applied.changes


WATCHES = [
    ("/a/2", WatchMode.DATA, [(DELETED, "/a/2")]),
    ("/a/2", WatchMode.EXISTS, [(DELETED, "/a/2")]),
    ("/a", WatchMode.CHILDREN, [(CHILDREN_CHANGED, "/a")]),
    ("/a", WatchMode.PERSISTENT, [(CHILDREN_CHANGED, "/a")] * 3),
    ("/b", WatchMode.RECURSIVE, [(DELETED, "/b/1"), (DELETED, "/b/x/1"), (DELETED, "/b/x/2")]),
    ("/b/x/1", WatchMode.RECURSIVE, [(DELETED, "/b/x/1")]),
    ("/", WatchMode.RECURSIVE, [(DELETED, path) for path in (*sorted(PLACES), "/zookeeper/sessions/0x11")]),
    ("/a/0", WatchMode.DATA, []),
    ("/nothing", WatchMode.RECURSIVE, []),
]


@pytest.mark.parametrize(("path", "mode", "told"), WATCHES, ids=[f"{path}-{mode.name}" for path, mode, _ in WATCHES])
def test_SE_5_whoever_watches_any_of_it_is_told(path: str, mode: WatchMode, told: list[tuple[EventKind, str]]) -> None:
    """W1: siblings that nobody watches are passed over together, and no others."""
    _, applied = closed()
    watches = Watches()
    watches.add("watcher", path, mode)
    assert [(event.kind, event.path) for _, event in watches.trigger(applied)] == told
    watches.check_invariants()


def test_SE_5_a_close_while_the_tree_is_frozen_leaves_the_snapshot_as_it_was() -> None:
    """P-8: the snapshot under way still has them, the state behind it has not."""
    scene = opened()
    for path in ("/a", "/b"):
        scene.create(path, ephemeral=True)
    frozen = scene.tree.freeze()
    scene.lead(CloseSession(SESSION, expired=True))
    assert b"".join(frozen.chunks()).count(b"/a") == 1
    while frozen.merge_step():
        pass
    assert scene.tree.get("/a") is None
    scene.tree.check_invariants()


def test_SE_5_several_sessions_closed_by_one_entry() -> None:
    """S-8: each with what it owns, lowest id first."""
    scene = opened()
    scene.open(OTHER)
    scene.create("/b", ephemeral=True)
    scene.create("/a", session=OTHER, ephemeral=True)
    applied = scene.lead(CloseIncarnations(STORAGE, below=2))
    assert isinstance(applied.changes, Removals)
    deleted = [change.path for change in applied.changes if change.kind is DELETED]
    assert deleted == ["/b", "/zookeeper/sessions/0x11", "/a", "/zookeeper/sessions/0x22"]
