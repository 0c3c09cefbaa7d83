"""The map of znodes, and freezing it (P-8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zkembed.errors import InternalError
from zkembed.tree.store import Store
from zkembed.tree.znode import TreeNode


def planted(*paths: str) -> Store:
    """A store with the root and these children of it."""
    store = Store()
    store.insert("/", TreeNode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    for path in paths:
        plant(store, path)
    return store


def plant(store: Store, path: str, data: bytes = b"") -> None:
    store.insert(path, TreeNode.new(data, 1, 0))
    adjust_root(store, +1)


def uproot(store: Store, path: str) -> None:
    node = store.get(path)
    assert node is not None
    store.remove(path, node)
    adjust_root(store, -1)


def adjust_root(store: Store, by: int) -> None:
    root = store.get("/")
    assert root is not None
    store.replace("/", root.with_child(1) if by > 0 else root.without_child(1), root)


def merged(store: Store) -> Store:
    while store.merge_step(1):
        store.check_invariants()
    return store


def test_a_frozen_store_keeps_its_state_for_the_iterator_and_changes_for_everyone_else() -> None:
    """P-8."""
    store = planted("/a", "/b")
    frozen = store.freeze()
    uproot(store, "/a")
    plant(store, "/c", b"new")
    old_b = store.get("/b")
    assert old_b is not None
    store.replace("/b", old_b.with_data(b"x", 2, 0), old_b)
    assert dict(frozen) == {**dict(planted("/a", "/b").items())}
    assert store.get("/a") is None
    assert store.children("/") == ("b", "c")
    assert sorted(path for path, _ in store.items()) == ["/", "/b", "/c"]
    store.check_invariants()


def test_thawing_brings_everything_back_in_slices() -> None:
    """P-8: each slice as small as asked for, nothing lost between them."""
    store = planted("/a", "/b")
    store.freeze()
    uproot(store, "/a")
    plant(store, "/c")
    assert not store.merge_step(1)
    store.thaw()
    steps = 1
    while store.merge_step(1):
        steps += 1
        assert store.children("/") == ("b", "c")
        assert store.get("/a") is None
    assert steps == 3
    assert sorted(path for path, _ in store.items()) == ["/", "/b", "/c"]


def test_a_write_during_the_merge_is_not_undone_by_it() -> None:
    store = planted("/a")
    store.freeze()
    plant(store, "/b", b"old")
    store.thaw()
    uproot(store, "/b")
    plant(store, "/b", b"new")
    merged(store)
    node = store.get("/b")
    assert node is not None
    assert node.data == b"new"


def test_only_one_freeze_at_a_time() -> None:
    store = planted()
    store.freeze()
    with pytest.raises(InternalError, match="frozen already"):
        store.freeze()


def test_a_freeze_finishes_the_merge_of_the_one_before() -> None:
    store = planted("/a")
    store.freeze()
    plant(store, "/b")
    store.thaw()
    assert sorted(path for path, _ in store.freeze()) == ["/", "/a", "/b"]


def test_the_first_old_value_of_what_changed_is_kept() -> None:
    """B-15: so a hot znode costs one update a boundary."""
    store = planted("/a")
    store.take_dirty()
    first = store.get("/a")
    assert first is not None
    store.replace("/a", first.with_data(b"1", 2, 0), first)
    second = store.get("/a")
    assert second is not None
    store.replace("/a", second.with_data(b"2", 3, 0), second)
    assert store.take_dirty() == {"/a": first}
    assert store.take_dirty() == {}


def test_a_broken_store_is_noticed() -> None:
    """The checks themselves can fail."""
    for path, node in (("/a/b", TreeNode.new(b"", 1, 0)), ("/a", TreeNode(b"", 1, 1, 1, 0, 0, 0, 0, 0, 1, 1))):
        store = planted("/x")
        store.load(path, node)
        with pytest.raises(InternalError):
            store.check_invariants()
    with pytest.raises(InternalError, match="there already"):
        store.load("/x", TreeNode.new(b"", 1, 0))


PATHS = st.sampled_from([f"/{name}" for name in "abcdef"])


class Freezing(RuleBasedStateMachine):
    """A plain dict beside the store, and beside each freeze a copy of that dict."""

    def __init__(self) -> None:
        super().__init__()
        self.store = planted()
        self.plain: dict[str, bytes] = {}
        self.expected: dict[str, bytes] = {}
        self.seen: dict[str, bytes] = {}
        self.frozen: Iterator[tuple[str, TreeNode]] = iter(())

    @rule(path=PATHS, data=st.binary(max_size=2))
    def write(self, path: str, data: bytes) -> None:
        node = self.store.get(path)
        if node is None:
            plant(self.store, path, data)
        else:
            self.store.replace(path, node.with_data(data, 1, 0), node)
        self.plain[path] = data

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        if self.plain.pop(path, None) is not None:
            uproot(self.store, path)

    @precondition(lambda self: not self.store.frozen)
    @rule()
    def freeze(self) -> None:
        self.frozen = self.store.freeze()
        self.expected, self.seen = dict(self.plain), {}

    @precondition(lambda self: self.store.frozen)
    @rule(count=st.integers(1, 3))
    def read_slice(self, count: int) -> None:
        for _ in range(count):
            found = next(self.frozen, None)
            if found is None:
                self.seen.pop("/", None)
                assert self.seen == self.expected
                self.store.thaw()
                return
            self.seen[found[0]] = found[1].data

    @precondition(lambda self: not self.store.frozen)
    @rule()
    def merge(self) -> None:
        self.store.merge_step(1)

    @invariant()
    def agrees(self) -> None:
        self.store.check_invariants()
        assert {path: node.data for path, node in self.store.items() if path != "/"} == self.plain
        assert len(self.store) == len(self.plain) + 1


TestFreezing = Freezing.TestCase
TestFreezing.settings = settings(max_examples=60, stateful_step_count=40)
