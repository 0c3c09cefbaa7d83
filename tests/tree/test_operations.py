"""Create, set, delete, check: each gotcha of the table of features, one test (A4 to A31)."""

from __future__ import annotations

import pytest

from zkembed.errors import (
    BadVersionError,
    LimitReachedError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from zkembed.record import Kind
from zkembed.tree.events import EventKind
from zkembed.tree.execution import IMPLIED_NODES_MAX
from zkembed.tree.ops import Check, CheckAbsent, Create, Delete, DeleteOwn, Ensure, SetData
from zkembed.tree.results import CreatedNode, ErrorCode
from zkembed.tree.stat import Created, Stat
from zkembed.tree.znode import CREATED_CHILDREN_MAX, VERSION_MAX, TreeNode

from .helpers import OTHER, SESSION, STEP_US, Scene, opened


def changes(applied: object) -> list[tuple[EventKind, str]]:
    return [(change.kind, change.path) for change in applied.changes]  # type: ignore[attr-defined]


# --- a fresh tree ----------------------------------------------------------------------------------------------------


def test_a_fresh_tree_has_the_reserved_znodes_with_a_fresh_zookeepers_stats() -> None:
    """A3."""
    tree = Scene().tree
    tree.check_invariants()
    assert tree.children("/") == ("zookeeper",)
    assert tree.children("/zookeeper") == ("config", "quota", "sessions")
    root = tree.get("/")
    assert root is not None
    assert root.stat() == Stat(0, 0, 0, 0.0, 0.0, 0, -1, 0, None, 0, 1)


def test_the_first_sequential_znode_below_the_root_is_number_zero() -> None:
    """A8: the reserved subtree does not count, as in ZooKeeper."""
    assert opened().create("/job-", sequential=True) == "/job-0000000000"


def test_a_configuration_becomes_the_data_of_its_znode() -> None:
    """A3: written by apply alone."""
    scene = Scene()
    applied = scene.append(Kind.CONFIG, b"opaque here", b"server.1=...")
    assert changes(applied) == [(EventKind.DATA_CHANGED, "/zookeeper/config")]
    node = scene.tree.get("/zookeeper/config")
    assert node is not None
    assert (node.data, node.mzxid, node.version) == (b"server.1=...", applied.zxid, 1)


# --- create ----------------------------------------------------------------------------------------------------------


def test_create_answers_with_path_and_stat() -> None:
    """A4, A6, A29, A30: one zxid in three fields, the leader's time in two."""
    scene = opened()
    answer = scene.answer(Create("/a", b"hello"))
    zxid, time = scene.tree.applied, scene.time_us / 1e6
    assert answer == Created("/a", Stat(zxid, zxid, zxid, time, time, 0, 0, 0, None, 5, 0))
    assert scene.stat("/a") == answer.stat


def test_create_looks_for_the_parent_first_then_the_target_then_an_ephemeral_parent() -> None:
    """A5."""
    scene = opened()
    assert scene.failure(Create("/no/a")).code is ErrorCode.NO_PARENT
    scene.create("/e", ephemeral=True)
    assert scene.failure(Create("/e/a")).code is ErrorCode.EPHEMERAL_PARENT
    assert scene.failure(Create("/e")).code is ErrorCode.NODE_EXISTS
    with pytest.raises(NoNodeError, match=r"create '/no/a': its parent does not exist"):
        scene.answer(Create("/no/a"))
    with pytest.raises(NodeExistsError, match=r"create '/e': .* since zxid 0x100000003"):
        scene.answer(Create("/e"))
    with pytest.raises(NoChildrenForEphemeralsError, match="session 0x11"):
        scene.answer(Create("/e/a"))


def test_the_root_exists_already() -> None:
    assert opened().failure(Create("/")).code is ErrorCode.NODE_EXISTS


def test_an_ephemeral_belongs_to_its_session_and_may_be_deleted_by_anyone() -> None:
    """A7."""
    scene = opened()
    scene.open(OTHER)
    scene.create("/e", ephemeral=True)
    scene.create("/p")
    assert (scene.stat("/e").ephemeral_owner, scene.stat("/p").ephemeral_owner) == (SESSION, None)
    assert scene.tree.ephemerals(SESSION) == ("/e",)
    assert scene.answer(Delete("/e"), OTHER) is None
    assert scene.tree.ephemerals(SESSION) == ()


def test_ephemerals_are_listed_by_prefix_in_order() -> None:
    """A24."""
    scene = opened()
    scene.create("/x")
    for path in ("/x/b", "/x/a", "/y"):
        scene.create(path, ephemeral=True)
    assert scene.tree.ephemerals(SESSION) == ("/x/a", "/x/b", "/y")
    assert scene.tree.ephemerals(SESSION, "/x/") == ("/x/a", "/x/b")
    assert scene.tree.ephemerals(OTHER) == ()


def test_the_sequence_counts_all_children_ever_created() -> None:
    """A8, A9: plain creates count, deletes do not, and it is not the reported cversion."""
    scene = opened()
    scene.create("/q")
    assert scene.create("/q/n-", sequential=True) == "/q/n-0000000000"
    scene.create("/q/plain")
    assert scene.create("/q/n-", sequential=True, ephemeral=True) == "/q/n-0000000002"
    scene.answer(Delete("/q/plain"))
    assert scene.stat("/q").cversion == 4
    assert scene.create("/q/", sequential=True) == "/q/0000000003"


def test_the_sequence_starts_anew_with_its_parent() -> None:
    """A8."""
    scene = opened()
    scene.create("/q")
    scene.create("/q/n-", sequential=True)
    scene.answer(Delete("/q", recursive=True))
    scene.create("/q")
    assert scene.create("/q/n-", sequential=True) == "/q/n-0000000000"


def test_a_sequential_create_may_meet_a_name_that_is_taken() -> None:
    """A5 for the name with its number, as in ZooKeeper; the counter goes on with the next create that succeeds."""
    scene = opened()
    scene.create("/q")
    scene.create("/q/n-0000000001")
    failure = scene.failure(Create("/q/n-", sequential=True))
    assert (failure.code, failure.path) == (ErrorCode.NODE_EXISTS, "/q/n-0000000001")


def test_the_eleventh_digit_is_added_and_nothing_wraps() -> None:
    """A8, Z-3."""
    scene = opened(checked=False)
    scene.create("/q")
    set_counter(scene, "/q", 10**10)
    assert scene.create("/q/n-", sequential=True) == "/q/n-10000000000"


def set_counter(scene: Scene, path: str, created_children: int) -> None:
    """As if that many children had come and gone."""
    node = scene.tree.get(path)
    assert node is not None
    node.created_children = created_children


def test_the_counter_of_children_has_a_bound() -> None:
    """Z-3: an explicit error, sequential or not."""
    scene = opened(checked=False)
    scene.create("/q")
    set_counter(scene, "/q", CREATED_CHILDREN_MAX)
    assert scene.failure(Create("/q/n-", sequential=True)).code is ErrorCode.SEQUENCE_LIMIT
    with pytest.raises(LimitReachedError):
        scene.answer(Create("/q/n"))


def test_missing_parents_are_created_in_one_entry() -> None:
    """A13: persistent and empty, whatever the znode itself is; topmost first."""
    scene = opened()
    applied = scene.do(Create("/a/b/c", b"x", ephemeral=True, parents=True))
    assert changes(applied) == [
        (EventKind.CREATED, "/a"),
        (EventKind.CHILDREN_CHANGED, "/"),
        (EventKind.CREATED, "/a/b"),
        (EventKind.CHILDREN_CHANGED, "/a"),
        (EventKind.CREATED, "/a/b/c"),
        (EventKind.CHILDREN_CHANGED, "/a/b"),
    ]
    assert {scene.stat(path).czxid for path in ("/a", "/a/b", "/a/b/c")} == {applied.zxid}
    assert [scene.stat(path).ephemeral_owner for path in ("/a", "/a/b", "/a/b/c")] == [None, None, SESSION]


def test_parents_may_exist_and_may_be_refused() -> None:
    """A13 keeps the checks of A5."""
    scene = opened()
    assert scene.create("/a/b/n-", sequential=True, parents=True) == "/a/b/n-0000000000"
    assert scene.create("/a/b/n-", sequential=True, parents=True) == "/a/b/n-0000000001"
    assert scene.failure(Create("/a/b", parents=True)).code is ErrorCode.NODE_EXISTS
    scene.create("/e", ephemeral=True)
    assert scene.failure(Create("/e/x/y", parents=True)).code is ErrorCode.EPHEMERAL_PARENT


def test_ensure_makes_what_is_missing_and_is_content_with_what_is_there() -> None:
    """A14."""
    scene = opened()
    assert scene.answer(Ensure("/a/b")) is None
    assert scene.tree.get("/a/b") is not None
    assert scene.do(Ensure("/a/b")).changes == ()
    assert scene.do(Ensure("/")).changes == ()
    scene.create("/e", ephemeral=True)
    assert scene.failure(Ensure("/e/x")).code is ErrorCode.EPHEMERAL_PARENT


# --- set -------------------------------------------------------------------------------------------------------------


def test_set_moves_version_mzxid_and_mtime_and_nothing_else() -> None:
    """A19, A29: also with the same bytes."""
    scene = opened()
    scene.create("/a", b"x")
    before = scene.stat("/a")
    answer = scene.answer(SetData("/a", b"x"))
    assert answer == scene.stat("/a")
    assert answer == Stat(before.czxid, scene.tree.applied, before.pzxid, before.ctime, scene.time_us / 1e6, 1, 0, 0, None, 1, 0)
    assert round((scene.stat("/a").mtime - before.mtime) * 1e6) == STEP_US


def test_set_compares_the_version_if_asked_to() -> None:
    """A19."""
    scene = opened()
    scene.create("/a")
    scene.answer(SetData("/a", b"1", version=0))
    with pytest.raises(BadVersionError, match=r"^set '/a': data version is 1, expected 0 \(zxid 0x100000004\)$"):
        scene.answer(SetData("/a", b"2", version=0))
    with pytest.raises(NoNodeError, match=r"^set '/b': no such znode"):
        scene.answer(SetData("/b", b"2", version=0))
    assert scene.tree.get("/a").data == b"1"  # type: ignore[union-attr]


def test_the_root_holds_data() -> None:
    scene = opened()
    scene.answer(SetData("/", b"x"))
    assert scene.stat("/").data_length == 1


def test_the_version_has_a_bound_and_never_wraps() -> None:
    """A20, Z-3."""
    scene = opened(checked=False)
    scene.create("/a")
    node = scene.tree.get("/a")
    assert node is not None
    node.version = VERSION_MAX
    assert scene.failure(SetData("/a", b"")).code is ErrorCode.VERSION_LIMIT


# --- delete ----------------------------------------------------------------------------------------------------------


def test_delete_looks_for_the_znode_then_its_version_then_its_children() -> None:
    """A15: BadVersion before NotEmpty."""
    scene = opened()
    scene.create("/a/b", parents=True)
    assert scene.failure(Delete("/no/such")).code is ErrorCode.NO_NODE
    assert scene.failure(Delete("/a", version=7)).code is ErrorCode.BAD_VERSION
    with pytest.raises(NotEmptyError, match="number of children is 1"):
        scene.answer(Delete("/a", version=0))


def test_deleting_a_child_moves_the_parents_pzxid_and_cversion() -> None:
    """A29: pzxid moves on create and on delete of a child, not with its data."""
    scene = opened()
    scene.create("/a/b", parents=True)
    created = scene.stat("/a")
    scene.answer(SetData("/a/b", b"x"))
    assert scene.stat("/a") == created
    applied = scene.do(Delete("/a/b"))
    stat = scene.stat("/a")
    assert (stat.pzxid, stat.cversion, stat.num_children, stat.mzxid) == (applied.zxid, 2, 0, created.mzxid)


def test_a_recursive_delete_is_one_entry_and_tells_children_first() -> None:
    """A16."""
    scene = opened()
    for path in ("/a/b/y", "/a/b/x", "/a/c"):
        scene.create(path, parents=True)
    scene.create("/a/c/e", ephemeral=True)
    applied = scene.do(Delete("/a", recursive=True))
    deleted = [path for kind, path in changes(applied) if kind is EventKind.DELETED]
    assert deleted == ["/a/b/x", "/a/b/y", "/a/b", "/a/c/e", "/a/c", "/a"]
    assert scene.tree.children("/") == ("zookeeper",)
    assert scene.tree.ephemerals(SESSION) == ()


def test_a_recursive_delete_compares_the_version_of_its_top() -> None:
    """A15, A16."""
    scene = opened()
    scene.create("/a/b", parents=True)
    assert scene.failure(Delete("/a", version=1, recursive=True)).code is ErrorCode.BAD_VERSION


def test_a_recursive_delete_has_a_bound_that_is_the_same_everywhere() -> None:
    """A16: at the bound it works, one more and nothing is deleted."""
    scene = opened(checked=False)
    scene.create("/a")
    for number in range(IMPLIED_NODES_MAX + 1):
        scene.create(f"/a/{number}")
    assert scene.failure(Delete("/a", recursive=True)).code is ErrorCode.NODES_LIMIT
    scene.answer(Delete("/a/0"))
    assert scene.answer(Delete("/a", recursive=True)) is None
    scene.tree.check_invariants()


def test_take_back_deletes_what_this_session_made_under_a_name_it_never_learnt() -> None:
    """RE-3: behind a sequential create whose answer was lost; others' znodes, and those of other names, stay."""
    scene = opened()
    scene.open(OTHER)
    scene.create("/q")
    for session in (SESSION, OTHER):
        scene.create("/q/x-", ephemeral=True, sequential=True, session=session)
    scene.create("/q/x-a-", ephemeral=True, sequential=True)
    scene.create("/q/x-", sequential=True)
    assert scene.tree.children("/q") == ("x-0000000000", "x-0000000001", "x-0000000003", "x-a-0000000002")
    applied = scene.do(DeleteOwn("/q/x-"))
    assert applied.outcome is None
    assert changes(applied) == [(EventKind.DELETED, "/q/x-0000000000"), (EventKind.CHILDREN_CHANGED, "/q")]
    assert scene.do(DeleteOwn("/q/x-")).changes == ()
    assert scene.do(DeleteOwn("/no/such-")).changes == ()


def test_take_back_finds_all_that_one_name_made_in_order_of_path() -> None:
    scene = opened()
    for _ in range(3):
        scene.create("/x-", ephemeral=True, sequential=True)
    deleted = [path for kind, path in changes(scene.do(DeleteOwn("/x-"))) if kind is EventKind.DELETED]
    assert deleted == ["/x-0000000000", "/x-0000000001", "/x-0000000002"]


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_compares_what_it_is_given() -> None:
    """A26: existence always, the rest if asked; czxid tells a znode from its successor of the same version."""
    scene = opened()
    scene.create("/a/b", parents=True)
    stat = scene.stat("/a")
    assert scene.answer(Check("/a")) is None
    assert scene.answer(Check("/a", version=0, czxid=stat.czxid, num_children=1)) is None
    assert scene.failure(Check("/b")).code is ErrorCode.NO_NODE
    assert scene.failure(Check("/a", version=1)).code is ErrorCode.BAD_VERSION
    assert scene.failure(Check("/a", num_children=0)).code is ErrorCode.BAD_CHILD_COUNT
    scene.answer(Delete("/a", recursive=True))
    scene.create("/a")
    assert scene.failure(Check("/a", version=0, czxid=stat.czxid)).code is ErrorCode.BAD_CZXID


def test_check_absent() -> None:
    """A26."""
    scene = opened()
    assert scene.answer(CheckAbsent("/a")) is None
    scene.create("/a")
    assert scene.failure(CheckAbsent("/a")).code is ErrorCode.NODE_EXISTS


# --- reads -----------------------------------------------------------------------------------------------------------


def test_children_are_sorted_names() -> None:
    """A21."""
    scene = opened()
    for name in ("b", "a", "ä", "B", "a1"):
        scene.create(f"/{name}")
    assert scene.tree.children("/") == ("B", "a", "a1", "b", "zookeeper", "ä")
    assert scene.tree.children("/a") == scene.tree.children("/no") == ()


def test_a_result_does_not_hold_on_to_the_data() -> None:
    """The dedup table keeps stats, not values: it would else double the memory of whoever writes."""
    outcome = opened().do(Create("/a", b"x" * 1000)).outcome
    assert isinstance(outcome, CreatedNode)
    assert not any(isinstance(value, bytes) for value in outcome.row)


def test_a_znode_in_a_readers_hand_never_moves() -> None:
    """D32."""
    scene = opened()
    scene.create("/a", b"old")
    held = scene.tree.get("/a")
    assert held is not None
    kept = TreeNode(*(getattr(held, name) for name in TreeNode.__init__.__annotations__ if name != "return"))
    scene.answer(SetData("/a", b"new"))
    scene.create("/a/b")
    scene.answer(Delete("/a", recursive=True))
    assert held == kept
