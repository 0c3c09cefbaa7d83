"""Transactions: all or nothing, one zxid, each operation sees the earlier ones (A25, Q-10)."""

from __future__ import annotations

from typing import Any

import pytest

from zkembed.errors import BadVersionError, NoNodeError, TransactionError
from zkembed.tree.ops import Check, CheckAbsent, Create, Delete, Ensure, Multi, SetData
from zkembed.tree.results import ErrorCode, Failure
from zkembed.tree.stat import Created, Stat

from .helpers import SESSION, opened


def test_later_operations_see_earlier_ones_and_all_have_one_zxid() -> None:
    """A25."""
    scene = opened()
    ops = (
        Create("/a", b"1"),
        Create("/a/b-", sequential=True),
        SetData("/a", b"2", version=0),
        Check("/a", version=1, num_children=1),
        Delete("/a/b-0000000000"),
        CheckAbsent("/a/b-0000000000"),
    )
    answers: Any = scene.answer(Multi(ops))
    created, child, stat, checked, deleted, absent = answers
    assert isinstance(created, Created)
    assert isinstance(child, Created)
    assert isinstance(stat, Stat)
    assert (created.path, child.path, stat.version) == ("/a", "/a/b-0000000000", 1)
    assert (checked, deleted, absent) == (None, None, None)
    zxid = scene.tree.applied
    assert {created.stat.czxid, child.stat.czxid, stat.mzxid, scene.stat("/a").pzxid} == {zxid}


def test_a_failure_in_the_middle_undoes_all_before_it() -> None:
    """A25: znodes, counters, children and ephemerals are as they were, and so is the digest."""
    scene = opened()
    scene.create("/a/b", b"data", parents=True)
    scene.create("/e", ephemeral=True)
    znodes, root_counter = dict(scene.tree.items()), scene.tree.get("/").created_children  # type: ignore[union-attr]
    ops = (
        SetData("/a/b", b"other"),
        Create("/x", ephemeral=True),
        Create("/y/z", parents=True),
        Delete("/e"),
        Create("/e", b"persistent now"),
        Delete("/a", recursive=True),
        Create("/a"),
        Ensure("/a/deep/er"),
        SetData("/a", b"", version=7),
        Create("/never"),
    )
    failure = scene.failure(Multi(ops))
    assert (failure.code, failure.index) == (ErrorCode.TRANSACTION, 8)
    assert failure.cause == Failure(ErrorCode.BAD_VERSION, "set", "/a", 0, 7)
    assert dict(scene.tree.items()) == znodes
    assert scene.tree.get("/").created_children == root_counter  # type: ignore[union-attr]
    assert scene.tree.ephemerals(SESSION) == ("/e",)
    assert scene.tree.children("/a") == ("b",)


def test_the_error_names_the_operation_and_its_reason() -> None:
    """A25."""
    scene = opened()
    scene.create("/a")
    with pytest.raises(TransactionError) as caught:
        scene.answer(Multi((Check("/a"), SetData("/a", b"", version=3))))
    assert caught.value.index == 1
    assert isinstance(caught.value.error, BadVersionError)
    with pytest.raises(TransactionError, match=r"operation 0 of the transaction failed: delete '/b': no such znode \(zxid 0x1"):
        scene.answer(Multi((Delete("/b"),)))
    with pytest.raises(TransactionError) as caught:
        scene.answer(Multi((Create("/b/c"),)))
    assert isinstance(caught.value.error, NoNodeError)


def test_a_failed_transaction_is_an_executed_request() -> None:
    """Q-6."""
    scene = opened()
    assert scene.do(Multi((Check("/no"),))).executed
    assert scene.tree.sessions[SESSION].last_cseq == 1


def test_an_empty_transaction_does_nothing() -> None:
    assert opened().answer(Multi(())) == ()


def test_created_and_deleted_inside_leaves_no_znode_but_counts() -> None:
    """A8, A25."""
    scene = opened()
    scene.create("/q")
    scene.answer(Multi((Create("/q/a"), Delete("/q/a"))))
    stat = scene.stat("/q")
    assert (stat.num_children, stat.cversion, stat.pzxid) == (0, 2, scene.tree.applied)


def test_undoing_during_a_freeze_leaves_both_states_right() -> None:
    """P-8 meets A25: the undo goes through the overlay."""
    scene = opened()
    scene.create("/a")
    freeze = scene.tree.freeze()
    before = dict(scene.tree.items())
    scene.failure(Multi((Create("/b"), Delete("/a"), Check("/no"))))
    assert dict(scene.tree.items()) == before
    freeze.close()
    while freeze.merge_step():
        pass
    assert dict(scene.tree.items()) == before
    scene.tree.check_invariants()
