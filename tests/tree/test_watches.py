"""Watches (C1 to C5, C8, C10, C12; W1 to W3; WA-4)."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from zkembed.errors import InternalError, LimitReachedError
from zkembed.tree.events import EventKind, WatchedEvent
from zkembed.tree.ops import CloseSession, Create, Delete, Multi, Op, SetData
from zkembed.tree.watches import Watches, WatchMode

from .helpers import OTHER, SESSION, Scene

CREATED, DELETED, DATA, CHILDREN = (
    EventKind.CREATED,
    EventKind.DELETED,
    EventKind.DATA_CHANGED,
    EventKind.CHILDREN_CHANGED,
)
Told = list[tuple[Hashable, EventKind, str]]


class Watching:
    """A scene with watches on it."""

    def __init__(self, *paths: str) -> None:
        self.scene = Scene()
        self.scene.open()
        for path in paths:
            self.scene.create(path, b"first")
        self.watches = Watches()

    def watch(self, watcher: Hashable, path: str, mode: WatchMode) -> None:
        self.watches.add(watcher, path, mode)
        self.watches.check_invariants()

    def events(self, op: Op) -> list[tuple[Hashable, WatchedEvent]]:
        applied = self.scene.do(op)
        due = self.watches.trigger(applied)
        self.watches.check_invariants()
        assert all(event.zxid == applied.zxid for _, event in due)
        return due

    def told(self, op: Op) -> Told:
        return [(watcher, event.kind, event.path) for watcher, event in self.events(op)]


# --- one-shot --------------------------------------------------------------------------------------------------------


def test_a_data_watch_fires_once_on_change() -> None:
    """C1, W2."""
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    assert on.told(SetData("/a", b"")) == [("w", DATA, "/a")]
    assert on.told(SetData("/a", b"")) == []
    assert len(on.watches) == 0


def test_a_data_watch_fires_on_delete_and_not_for_children() -> None:
    """C1, C3."""
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    assert on.told(Create("/a/b")) == []
    assert on.told(Delete("/a", recursive=True)) == [("w", DELETED, "/a")]


def test_a_write_of_the_same_bytes_fires() -> None:
    """A19."""
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    assert on.told(SetData("/a", b"first")) == [("w", DATA, "/a")]


@pytest.mark.parametrize("op", [Create("/b"), Create("/b", ephemeral=True)])
def test_an_exists_watch_on_a_missing_znode_fires_on_creation(op: Op) -> None:
    """C2."""
    on = Watching()
    on.watch("w", "/b", WatchMode.EXISTS)
    assert on.told(op) == [("w", CREATED, "/b")]


def test_a_child_watch_is_about_membership_only() -> None:
    """C3: not the children's data, not grandchildren; the deletion of the znode itself too."""
    on = Watching("/a", "/a/b")
    on.watch("w", "/a", WatchMode.CHILDREN)
    assert on.told(SetData("/a/b", b"")) == []
    assert on.told(SetData("/a", b"")) == []
    assert on.told(Create("/a/b/c")) == []
    assert on.told(Create("/a/d")) == [("w", CHILDREN, "/a")]
    on.watch("w", "/a/d", WatchMode.CHILDREN)
    assert on.told(Delete("/a/d")) == [("w", DELETED, "/a/d")]


def test_who_watches_data_and_children_of_what_is_deleted_is_told_once() -> None:
    """C5."""
    on = Watching("/a")
    for mode in (WatchMode.DATA, WatchMode.EXISTS, WatchMode.CHILDREN):
        on.watch("w", "/a", mode)
    assert on.told(Delete("/a")) == [("w", DELETED, "/a")]
    assert len(on.watches) == 0


def test_a_fired_data_watch_leaves_the_child_watch_alone() -> None:
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    on.watch("w", "/a", WatchMode.CHILDREN)
    assert on.told(SetData("/a", b"")) == [("w", DATA, "/a")]
    assert on.told(Create("/a/b")) == [("w", CHILDREN, "/a")]


def test_a_failed_or_repeated_request_fires_nothing() -> None:
    """W2."""
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    assert on.told(SetData("/a", b"", version=9)) == []
    assert on.told(Multi((SetData("/a", b""), Delete("/no")))) == []
    again = on.scene.send(SESSION, 1, 1, SetData("/a", b""))
    assert on.watches.trigger(again) == []


# --- what an event carries -------------------------------------------------------------------------------------------


def test_an_event_carries_the_state_before_and_after() -> None:
    """C12."""
    on = Watching("/a")
    before = on.scene.tree.get("/a")
    assert before is not None
    on.watch("w", "/a", WatchMode.PERSISTENT)
    [(_, event)] = on.events(SetData("/a", b"second"))
    assert event == WatchedEvent(DATA, "/a", on.scene.tree.applied, b"second", on.scene.stat("/a"), before.znode())
    after = on.scene.tree.get("/a")
    assert after is not None
    [(_, event)] = on.events(Delete("/a"))
    assert event == WatchedEvent(DELETED, "/a", on.scene.tree.applied, None, None, after.znode())
    [(_, event)] = on.events(Create("/a", b"third"))
    assert (event.kind, event.data, event.previous) == (CREATED, b"third", None)
    [(_, event)] = on.events(Create("/a/b"))
    assert (event.kind, event.path, event.data) == (CHILDREN, "/a", b"third")
    assert event.stat == on.scene.stat("/a")


# --- persistent ------------------------------------------------------------------------------------------------------


def test_a_persistent_watch_stays_and_sees_data_and_children_of_its_path() -> None:
    """C8."""
    on = Watching()
    on.watch("w", "/a", WatchMode.PERSISTENT)
    assert on.told(Create("/a")) == [("w", CREATED, "/a")]
    assert on.told(SetData("/a", b"")) == [("w", DATA, "/a")]
    assert on.told(Create("/a/b")) == [("w", CHILDREN, "/a")]
    assert on.told(SetData("/a/b", b"")) == []
    assert on.told(Delete("/a/b")) == [("w", CHILDREN, "/a")]
    assert on.told(Delete("/a")) == [("w", DELETED, "/a")]
    assert len(on.watches) == 1


def test_a_recursive_watch_sees_the_subtree_and_never_children_changed() -> None:
    """C8."""
    on = Watching("/a", "/ab")
    on.watch("w", "/a", WatchMode.RECURSIVE)
    assert on.told(Create("/a/b/c", parents=True)) == [("w", CREATED, "/a/b"), ("w", CREATED, "/a/b/c")]
    assert on.told(SetData("/a/b/c", b"")) == [("w", DATA, "/a/b/c")]
    assert on.told(SetData("/ab", b"")) == []
    assert on.told(Delete("/a", recursive=True)) == [
        ("w", DELETED, "/a/b/c"),
        ("w", DELETED, "/a/b"),
        ("w", DELETED, "/a"),
    ]


def test_a_recursive_watch_on_the_root_sees_everything() -> None:
    on = Watching()
    on.watch("w", "/", WatchMode.RECURSIVE)
    assert on.told(Create("/x/y", parents=True)) == [("w", CREATED, "/x"), ("w", CREATED, "/x/y")]


def test_one_change_is_told_once_however_often_it_is_watched() -> None:
    """W2."""
    on = Watching("/a")
    for mode in WatchMode:
        on.watch("w", "/a", mode)
    on.watch("w", "/", WatchMode.RECURSIVE)
    assert on.told(Delete("/a")) == [("w", DELETED, "/a")]


# --- order -----------------------------------------------------------------------------------------------------------


def test_a_child_is_told_before_its_parent() -> None:
    """W3: ZooKeeper's order within one entry."""
    on = Watching("/a")
    on.watch("parent", "/a", WatchMode.CHILDREN)
    on.watch("child", "/a/b", WatchMode.EXISTS)
    assert on.told(Create("/a/b")) == [("child", CREATED, "/a/b"), ("parent", CHILDREN, "/a")]


def test_a_transaction_tells_in_the_order_of_its_operations() -> None:
    """C4, WA-4: a one-shot watch sees the first of them only."""
    on = Watching("/a")
    on.watch("once", "/b", WatchMode.EXISTS)
    on.watch("always", "/b", WatchMode.PERSISTENT)
    on.watch("other", "/a", WatchMode.DATA)
    assert on.told(Multi((Create("/b"), SetData("/a", b""), SetData("/b", b""), Delete("/b")))) == [
        ("once", CREATED, "/b"),
        ("always", CREATED, "/b"),
        ("other", DATA, "/a"),
        ("always", DATA, "/b"),
        ("always", DELETED, "/b"),
    ]


def test_the_end_of_a_session_fires_for_its_ephemerals() -> None:
    """B3, W1."""
    on = Watching()
    on.scene.open(OTHER)
    on.scene.create("/e", session=OTHER, ephemeral=True)
    on.watch("w", "/e", WatchMode.DATA)
    on.watch("s", "/zookeeper/sessions", WatchMode.CHILDREN)
    applied = on.scene.lead(CloseSession(OTHER, expired=True))
    assert [(watcher, event.kind) for watcher, event in on.watches.trigger(applied)] == [("w", DELETED), ("s", CHILDREN)]


def test_watchers_of_one_znode_are_told_in_the_order_in_which_they_came() -> None:
    """V7: no set decides."""
    on = Watching("/a")
    for watcher in "zyxab":
        on.watch(watcher, "/a", WatchMode.DATA)
    assert [watcher for watcher, _, _ in on.told(SetData("/a", b""))] == list("zyxab")


# --- removing --------------------------------------------------------------------------------------------------------


def test_a_removed_watcher_hears_nothing_more() -> None:
    """C10."""
    on = Watching("/a", "/b")
    on.watch("w", "/a", WatchMode.DATA)
    on.watch("w", "/b", WatchMode.RECURSIVE)
    on.watch("v", "/a", WatchMode.DATA)
    assert "w" in on.watches
    assert on.watches.remove("w")
    assert not on.watches.remove("w")
    assert "w" not in on.watches
    assert on.told(SetData("/a", b"")) == [("v", DATA, "/a")]
    assert on.told(SetData("/b", b"")) == []


def test_setting_a_watch_twice_is_setting_it_once() -> None:
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    on.watch("w", "/a", WatchMode.DATA)
    assert len(on.watches) == 1
    assert on.told(SetData("/a", b"")) == [("w", DATA, "/a")]


def test_the_check_of_the_table_can_fail() -> None:
    on = Watching("/a")
    on.watch("w", "/a", WatchMode.DATA)
    del on.watches._watchers["w"]
    with pytest.raises(InternalError):
        on.watches.check_invariants()


# --- a snapshot jumped over changes ----------------------------------------------------------------------------------


def jumped(modes: dict[str, WatchMode], *ops: Op) -> tuple[list[tuple[Hashable, EventKind, object]], Watches]:
    """Watches set on one state (/a, /a/b, /c), and the state that the ops make of it, not seen. Watcher = path watched."""
    old, new = Watching("/a", "/a/b", "/c"), Watching("/a", "/a/b", "/c")
    for path, mode in modes.items():
        old.watch(path, path, mode)
    for op in ops:
        new.scene.do(op)
    due = old.watches.jump(old.scene.tree.get, new.scene.tree.get, new.scene.tree.applied)
    old.watches.check_invariants()
    assert all(event.zxid == new.scene.tree.applied and event.path == watcher for watcher, event in due)
    return [(watcher, event.kind, event.data) for watcher, event in due], old.watches


def test_what_differs_after_a_jump_fires_at_once() -> None:
    """W1, C6: as ZooKeeper's setWatches."""
    modes = {"/a": WatchMode.DATA, "/c": WatchMode.EXISTS, "/new": WatchMode.EXISTS, "/a/b": WatchMode.CHILDREN}
    due, left = jumped(modes, SetData("/a", b"x"), Delete("/c"), Create("/new", b"n"), Create("/a/b/c"))
    assert due == [
        ("/a", DATA, b"x"),
        ("/c", DELETED, None),
        ("/new", CREATED, b"n"),
        ("/a/b", CHILDREN, b"first"),
    ]
    assert len(left) == 0


def test_what_does_not_differ_after_a_jump_stays_set() -> None:
    """W2: no phantom. A child's change is none of the data, and the other way round."""
    modes = {"/a": WatchMode.DATA, "/a/b": WatchMode.CHILDREN, "/no": WatchMode.EXISTS}
    due, left = jumped(modes, Create("/a/x"), SetData("/a/b", b"x"))
    assert due == []
    assert len(left) == 3


def test_a_znode_deleted_and_made_anew_differs() -> None:
    """W1: same version, same number of children, another znode."""
    due, _ = jumped({"/c": WatchMode.DATA, "/a/b": WatchMode.CHILDREN}, Delete("/c"), Create("/c", b"first"))
    assert due == [("/c", DATA, b"first")]
    due, _ = jumped({"/c": WatchMode.CHILDREN}, Delete("/c"), Create("/c", b"first"))
    assert due == [("/c", CHILDREN, b"first")]
    due, _ = jumped({"/c": WatchMode.CHILDREN}, Delete("/c"))
    assert due == [("/c", DELETED, None)]


def test_a_stream_is_told_of_the_gap_and_goes_on() -> None:
    """C9, W1: one GAP, whether or not anything there has changed."""
    due, left = jumped({"/a": WatchMode.PERSISTENT, "/": WatchMode.RECURSIVE})
    assert due == [("/a", EventKind.GAP, None), ("/", EventKind.GAP, None)]
    assert len(left) == 2


def test_after_a_jump_too_each_is_told_once() -> None:
    """C5."""
    old, new = Watching("/a"), Watching()
    for mode in WatchMode:
        old.watch("w", "/a", mode)
    due = old.watches.jump(old.scene.tree.get, new.scene.tree.get, 99)
    assert [(watcher, event.kind) for watcher, event in due] == [("w", DELETED), ("w", EventKind.GAP)]


def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """G8."""
    monkeypatch.setattr("zkembed.tree.watches.WATCHERS_MAX", 2)
    watches = Watches()
    watches.add("one", "/a", WatchMode.DATA)
    watches.add("two", "/a", WatchMode.DATA)
    watches.add("two", "/b", WatchMode.DATA)  # The same watcher may set more.
    with pytest.raises(LimitReachedError, match="2 watchers"):
        watches.add("three", "/a", WatchMode.DATA)
    watches.remove("one")
    watches.add("three", "/a", WatchMode.DATA)
