"""Sessions in the replicated state and what makes a request happen once (S-1, S-6, S-8, Q-2, Q-5 to Q-7)."""

from __future__ import annotations

import json

import pytest

from zkembed.errors import DataTooLargeError, InternalError, SessionExpiredError
from zkembed.record import Kind, Record
from zkembed.tree.codec import Entry, encode_entry
from zkembed.tree.events import EventKind
from zkembed.tree.execution import Execution
from zkembed.tree.ops import CloseIncarnations, CloseSession, Create, Delete, Fail, Multi, Op, SetData
from zkembed.tree.results import ErrorCode, Failure, public
from zkembed.tree.store import Store
from zkembed.tree.tree import session_path
from zkembed.tree.znode import TreeNode

from .helpers import OTHER, SESSION, STORAGE, Scene, opened, replay

THIRD = 0x33


# --- opening and closing ---------------------------------------------------------------------------------------------


def test_opening_a_session_puts_it_into_the_table_and_the_tree() -> None:
    """S-1, A3: it is listed with who owns it."""
    scene = Scene()
    applied = scene.open(SESSION, node_id=3, incarnation=7)
    assert (applied.opened, applied.outcome, applied.executed) == (SESSION, None, True)
    entry = scene.tree.sessions[SESSION]
    assert (entry.timeout_ms, entry.node_id, entry.storage_id, entry.incarnation) == (4000, 3, STORAGE, 7)
    assert (entry.last_cseq, entry.czxid) == (0, applied.zxid)
    assert scene.tree.children("/zookeeper/sessions") == ("0x11",)
    node = scene.tree.get(session_path(SESSION))
    assert node is not None
    assert json.loads(node.data) == {"node_id": 3, "incarnation": 7, "timeout_ms": 4000}


def test_a_session_is_not_opened_twice() -> None:
    """S-1: create with an existing id fails, and the session that has the id is untouched."""
    scene = opened()
    scene.create("/e", ephemeral=True)
    applied = scene.open(SESSION, node_id=2)
    assert applied.outcome == Failure(ErrorCode.SESSION_EXISTS, "open session", found=SESSION)
    assert (applied.opened, applied.changes) == (None, ())
    assert scene.tree.sessions[SESSION].node_id == 1
    assert scene.tree.ephemerals(SESSION) == ("/e",)


def test_closing_deletes_exactly_the_sessions_ephemerals_in_one_entry() -> None:
    """S-6, B3, E2: in order of path, then the session itself."""
    scene = opened()
    scene.open(OTHER)
    scene.create("/p")
    for path in ("/p/b", "/a", "/p/c"):
        scene.create(path, ephemeral=True)
    scene.create("/others", session=OTHER, ephemeral=True)
    applied = scene.lead(CloseSession(SESSION, expired=True))
    assert applied.closed == (SESSION,)
    deleted = [change.path for change in applied.changes if change.kind is EventKind.DELETED]
    assert deleted == ["/a", "/p/b", "/p/c", "/zookeeper/sessions/0x11"]
    assert list(scene.tree.sessions) == [OTHER]
    assert scene.tree.get("/p") is not None
    assert scene.tree.get("/others") is not None


def test_closing_an_unknown_session_has_no_effect() -> None:
    """S-6."""
    scene = opened()
    scene.lead(CloseSession(SESSION, expired=True))
    applied = scene.lead(CloseSession(SESSION, expired=True))
    assert (applied.outcome, applied.changes, applied.closed) == (None, (), ())


def test_nothing_of_a_closed_session_executes() -> None:
    """S-6, E3, SE-4: an ephemeral pipelined behind the close is not created."""
    scene = opened()
    scene.lead(CloseSession(SESSION, expired=True))
    applied = scene.send(SESSION, 1, 1, Create("/e", ephemeral=True))
    assert not applied.executed
    assert scene.tree.get("/e") is None
    with pytest.raises(SessionExpiredError, match="session 0x11 is not open"):
        public(applied.outcome, applied.zxid)


def test_the_owners_close_has_its_place_in_the_order_of_requests() -> None:
    """S-6, Q-5: behind a gap it does nothing; in turn it closes."""
    scene = opened()
    early = scene.send(SESSION, 2, 1, CloseSession(SESSION, expired=False))
    assert (early.executed, early.closed) == (False, ())
    scene.send(SESSION, 1, 1, Create("/e", ephemeral=True))
    late = scene.send(SESSION, 2, 1, CloseSession(SESSION, expired=False))
    assert (late.executed, late.closed, late.outcome) == (True, (SESSION,), None)
    assert scene.tree.get("/e") is None


def test_a_new_incarnation_closes_the_older_ones_and_no_others() -> None:
    """S-8, B8, SE-10."""
    scene = Scene()
    scene.open(0x33, incarnation=1)
    scene.open(0x22, incarnation=2)
    scene.open(0x11, incarnation=3)
    scene.open(0x44, incarnation=1, storage_id=b"another-storage.")
    scene.create("/old", session=0x22, ephemeral=True)
    scene.create("/new", session=0x11, ephemeral=True)
    applied = scene.lead(CloseIncarnations(STORAGE, below=3))
    assert applied.closed == (0x22, 0x33)
    assert sorted(scene.tree.sessions) == [0x11, 0x44]
    assert scene.tree.get("/old") is None
    assert scene.tree.get("/new") is not None


def test_an_ephemeral_without_its_session_stops_the_node() -> None:
    """Section 18, item 8."""
    store = Store()
    store.insert("/", TreeNode.new(b"", 0, 0))
    execution = Execution(store, {}, 1, 0, SESSION)
    with pytest.raises(InternalError, match="without its session"):
        execution.run(Create("/e", ephemeral=True))


# --- at most once ----------------------------------------------------------------------------------------------------


def test_a_duplicate_changes_nothing_and_is_answered_with_the_stored_result() -> None:
    """Q-5, A10, D17: the retry of a sequential create learns the name it got the first time."""
    scene = opened()
    first = scene.send(SESSION, 1, 1, Create("/n-", sequential=True))
    scene.send(SESSION, 2, 1, Create("/m-", sequential=True))
    again = scene.send(SESSION, 1, 1, Create("/n-", sequential=True))
    assert again.outcome == first.outcome
    assert (again.executed, again.changes) == (False, ())
    assert scene.tree.sessions[SESSION].last_cseq == 2
    assert scene.tree.children("/") == ("m-0000000001", "n-0000000000", "zookeeper")


def test_a_failure_uses_its_number_and_is_stored() -> None:
    """Q-6: else the retry could succeed, out of order."""
    scene = opened()
    failed = scene.send(SESSION, 1, 1, Create("/a/b"))
    scene.send(SESSION, 2, 1, Create("/a"))
    again = scene.send(SESSION, 1, 1, Create("/a/b"))
    assert again.outcome == failed.outcome == Failure(ErrorCode.NO_PARENT, "create", "/a/b")
    assert scene.tree.get("/a/b") is None


def test_a_gap_changes_nothing() -> None:
    """Q-5."""
    scene = opened()
    applied = scene.send(SESSION, 2, 1, Create("/a"))
    assert applied.outcome == Failure(ErrorCode.GAP, "create", found=2, expected=1)
    assert (applied.executed, applied.changes) == (False, ())
    assert scene.tree.sessions[SESSION].last_cseq == 0


def test_results_below_ack_below_are_dropped_at_apply() -> None:
    """Q-7."""
    scene = opened()
    for cseq in range(1, 6):
        scene.send(SESSION, cseq, 1, Create(f"/{cseq}"))
    entry = scene.tree.sessions[SESSION]
    assert (entry.kept_from, len(entry.results)) == (1, 5)
    scene.send(SESSION, 6, 4, Create("/6"))
    assert (entry.kept_from, len(entry.results)) == (4, 3)
    assert scene.send(SESSION, 3, 1, Create("/3")).outcome == Failure(ErrorCode.RESOLVED, found=3, expected=4)
    assert scene.send(SESSION, 4, 1, Create("/4")).outcome == entry.outcome_of(4)
    assert entry.kept_from == 4


def test_outcome_of_answers_for_every_executed_request_and_no_other() -> None:
    """Q-7: what a node that jumped over entries settles with."""
    scene = opened()
    done = [scene.send(SESSION, cseq, 1, Create("/a")).outcome for cseq in (1, 2, 3)]
    entry = scene.tree.sessions[SESSION]
    assert [entry.outcome_of(cseq) for cseq in (1, 2, 3)] == done
    with pytest.raises(InternalError):
        entry.outcome_of(4)


def test_a_refused_request_is_replaced_by_one_that_fails() -> None:
    """Q-2: it uses the number, so what follows is no gap."""
    scene = opened()
    applied = scene.do(Fail(ErrorCode.TOO_LARGE))
    assert applied.executed
    with pytest.raises(DataTooLargeError):
        public(applied.outcome, applied.zxid)
    assert scene.do(Create("/a")).executed


def test_a_middle_that_fails_does_not_stop_those_behind_it() -> None:
    """SE-8, Q-6."""
    scene = opened()
    outcomes = [scene.do(op).outcome for op in (Create("/a"), SetData("/b", b""), Create("/c"))]
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [False, True, False]


def test_every_entry_applied_twice_equals_once() -> None:
    """D18: requests that come in two entries, with everything between them."""
    scene = opened()
    ops: list[Op] = [
        Create("/a", b"x", ephemeral=True),
        Create("/s-", sequential=True),
        SetData("/a", b"y"),
        Delete("/nothing"),
        Multi((Create("/m"), SetData("/m", b"z"))),
        Delete("/a"),
    ]
    for cseq, op in enumerate(ops, 1):
        scene.send(SESSION, cseq, 1, op)
    digest = scene.tree.digest_now()
    for cseq, op in enumerate(ops, 1):
        assert not scene.send(SESSION, cseq, 1, op).executed
    assert scene.tree.digest_now() == digest


# --- apply is total and in order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x80", b"\x84\x01\x01\x01\x01", b"garbage" * 100, b"\xc1\x00"])
def test_a_malformed_payload_is_an_outcome_and_changes_nothing(payload: bytes) -> None:
    """D22."""
    scene = opened()
    digest = scene.tree.digest_now()
    applied = scene.append(Kind.REQUEST, payload)
    assert applied.outcome == Failure(ErrorCode.MALFORMED, "apply")
    assert (applied.session, applied.cseq, applied.op, applied.executed, applied.changes) == (0, 0, None, False, ())
    assert scene.tree.digest_now() == digest
    assert scene.tree.applied == applied.zxid


def test_an_epochs_first_record_changes_nothing_but_applied() -> None:
    scene = opened()
    digest = scene.tree.digest_now()
    scene.next_epoch()
    applied = scene.append(Kind.EPOCH, b"whatever")
    assert (applied.outcome, applied.changes, scene.tree.applied) == (None, (), 2 << 32 | 1)
    assert scene.tree.digest_now() == digest


def test_apply_out_of_order_or_twice_stops_the_node() -> None:
    """Section 18, item 3."""
    scene = opened()
    scene.create("/a")
    with pytest.raises(InternalError, match="applied is 0x100000002"):
        scene.tree.apply(scene.records[-1])
    first = scene.make(Kind.EPOCH, b"")
    skipped = Record.make(first.zxid + 1, first.zxid, first.time, Kind.EPOCH, 0, b"", first.chain)
    with pytest.raises(InternalError):
        scene.tree.apply(skipped)


def test_an_entry_that_comes_decoded_is_used_and_not_kept() -> None:
    """Decode once per replica; the record outlives its apply in the log's cache, and takes the entry along no further."""
    scene = opened()
    record = scene.make(Kind.REQUEST, encode_entry(SESSION, 1, 1, Create("/bytes")))
    record.decoded = Entry(SESSION, 1, 1, Create("/decoded"))
    scene.tree.apply(record)
    assert scene.tree.get("/decoded") is not None
    assert record.decoded is None


def test_a_replica_that_gets_the_same_bytes_is_the_same() -> None:
    """D21."""
    scene = opened()
    scene.open(OTHER)
    scene.create("/a/b/c", b"x", parents=True)
    scene.create("/e-", ephemeral=True, sequential=True)
    scene.failure(Delete("/a"))
    scene.lead(CloseSession(SESSION, expired=True))
    other = replay(scene.records)
    assert (other.applied, other.boundary) == (scene.tree.applied, scene.tree.boundary)
    assert dict(other.items()) == dict(scene.tree.items())
    assert other.digest_now() == scene.tree.digest_now()
