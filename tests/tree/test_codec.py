"""Entries as bytes (Q-2, N-2): they come back as they were, and anything else is refused."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkembed.codec import decode, encode
from zkembed.errors import BadArgumentsError, DataTooLargeError, DecodeError
from zkembed.record import Kind
from zkembed.tree.codec import Entry, decode_entry, encode_entry
from zkembed.tree.ops import (
    MULTI_OPS_MAX,
    Check,
    CheckAbsent,
    CloseIncarnations,
    CloseSession,
    Create,
    Delete,
    DeleteOwn,
    Ensure,
    Fail,
    Multi,
    Op,
    OpenSession,
    OpLimits,
    SetData,
    check,
)
from zkembed.tree.results import (
    CreatedNode,
    ErrorCode,
    Failure,
    Outcome,
    decode_outcome,
    outcome_row,
    public,
    to_error,
)
from zkembed.tree.stat import StatRow
from zkembed.zxid import ZXID_MAX

from .helpers import SESSION, STORAGE, opened

MAX = 2**63 - 1
ZNODE_OPS = (
    Create("/a", b"data", ephemeral=True, sequential=True, parents=True),
    Create("/"),
    Ensure("/a/b"),
    SetData("/a", b"", None),
    SetData("/", b"x", 0),
    Delete("/a", None, True),
    Delete("/a", MAX),
    DeleteOwn("/a/"),
    Check("/a", 1, ZXID_MAX, 3),
    Check("/zookeeper"),
    CheckAbsent("/ä"),
)
REQUESTS: tuple[Op, ...] = (*ZNODE_OPS, Multi(ZNODE_OPS), Multi(()), Fail(ErrorCode.TOO_LARGE), Fail(ErrorCode.MALFORMED))
ENTRIES: tuple[Entry, ...] = (
    *(Entry(SESSION, 5, 2, op) for op in REQUESTS),
    Entry(MAX, MAX, MAX, Ensure("/a")),
    Entry(SESSION, 5, 5, CloseSession(SESSION, False)),
    Entry(SESSION, 0, 0, OpenSession(4000, 255, STORAGE, 0)),
    Entry(0, 0, 0, CloseSession(SESSION, True)),
    Entry(0, 0, 0, CloseIncarnations(STORAGE, 3)),
)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    data = encode_entry(*entry)
    assert decode_entry(data) == decode_entry(data, exact=True) == entry
    assert type(decode_entry(data).op) is type(entry.op)


def test_only_the_leader_looks_for_trailing_bytes() -> None:
    """Q-2: an entry that some peer could not read is never proposed; afterwards the chain vouches for its length."""
    data = encode_entry(*ENTRIES[0]) + b"\0"
    assert decode_entry(data) == ENTRIES[0]
    with pytest.raises(DecodeError):
        decode_entry(data, exact=True)


@pytest.mark.parametrize(
    ("session", "cseq", "ack_below", "op"),
    [
        (0, 1, 1, Ensure("/a")),
        (-1, 1, 1, Ensure("/a")),
        (2**63, 1, 1, Ensure("/a")),
        (1, 0, 0, Ensure("/a")),
        (0, 0, 0, Ensure("/a")),
        (1, 1, 0, Ensure("/a")),
        (1, 1, 2, Ensure("/a")),
        (1, 2**63, 1, Ensure("/a")),
        (1, -1, -1, Ensure("/a")),
        (1, 1, 1, OpenSession(1, 1, STORAGE, 1)),
        (0, 0, 0, OpenSession(1, 1, STORAGE, 1)),
        (1, 0, 1, OpenSession(1, 1, STORAGE, 1)),
        (1, 1, 1, CloseSession(2, False)),
        (1, 1, 1, CloseSession(1, True)),
        (0, 0, 0, CloseSession(1, False)),
        (1, 0, 0, CloseSession(1, True)),
        (1, 1, 1, CloseIncarnations(STORAGE, 1)),
    ],
    ids=str,
)
def test_a_header_must_fit_its_operation(session: int, cseq: int, ack_below: int, op: Op) -> None:
    """S-1, S-5, Q-1: a session's request, a creation, or the leader's own; nothing between them."""
    with pytest.raises(DecodeError, match="header"):
        decode_entry(encode_entry(session, cseq, ack_below, op))


@pytest.mark.parametrize(
    "op",
    [
        Create("a"),
        Create("/a/"),
        Create("/zookeeper/x"),
        Create("/a", "text"),  # type: ignore[arg-type]
        Create("/a", b"", 1),  # type: ignore[arg-type]
        Create("/a", b"", False, None),  # type: ignore[arg-type]
        Create("/zookeeper/", sequential=True),
        SetData("/a", b"", -1),
        SetData("/a", b"", True),
        SetData("/a", b"", 1.0),  # type: ignore[arg-type]
        SetData("/zookeeper/config", b""),
        Delete("/"),
        Delete("/zookeeper", recursive=True),
        Ensure("/zookeeper/a"),
        DeleteOwn("/zookeeper/"),
        DeleteOwn("a"),
        Check("/a", czxid=2**63),
        Check("/a", num_children=-1),
        CheckAbsent(""),
        Fail(ErrorCode.GAP),
        Multi((Delete("/"),)),
        Multi((Multi(()),)),  # type: ignore[arg-type]
        Multi((Fail(ErrorCode.TOO_LARGE),)),  # type: ignore[arg-type]
        OpenSession(0, 1, STORAGE, 1),
        OpenSession(1, 256, STORAGE, 1),
        OpenSession(1, 1, b"short", 1),
        OpenSession(1, 1, STORAGE, -1),
        CloseSession(0, True),
        CloseIncarnations(b"", 1),
    ],
    ids=str,
)
def test_what_check_refuses_the_decoder_refuses(op: Op) -> None:
    """Q-2, D22: one set of rules, at the call, at the leader, and where an entry is read."""
    with pytest.raises(BadArgumentsError):
        check(op, OpLimits())
    with pytest.raises(DecodeError):
        decode_entry(encode_entry(0 if type(op) in (CloseSession, CloseIncarnations) else 1, 1, 1, op))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        [1, 1, 1],
        [1, 1, 1, 99],
        [1, 1, 1, "2", "/a"],
        [1, 1, 1, True, "/a"],
        [1, 1, 1, 2.0, "/a"],
        [1, 1, 1, 2],
        [1, 1, 1, 2, "/a", 1],
        [1, 1, 1, 2, b"/a"],
        ["1", 1, 1, 2, "/a"],
        [1, 1.0, 1, 2, "/a"],
        [1, 1, True, 2, "/a"],
        [1, 1, 1, [2], "/a"],
        [1, 1, 1, 7, {}],
        [1, 1, 1, 7, [[7, []]]],
        [1, 1, 1, 7, [[]]],
        [1, 1, 1, 7, [2, "/a"]],
        [1, 1, 1, 7, [[2.0, "/a"]]],
        [1, 1, 1, 7, [[2]]],
        [1, 1, 1, 11, "x"],
        [1, 1, 1, 11, 999],
    ],
    ids=str,
)
def test_a_wrong_shape_is_refused(value: object) -> None:
    """N-2: every field's type."""
    with pytest.raises(DecodeError):
        decode_entry(encode(value))


def test_tags_and_indefinite_lengths_are_refused() -> None:
    """N-2."""
    with pytest.raises(DecodeError):
        decode_entry(encode([1, 1, 1, 2, cbor2.CBORTag(32, "/a")]))
    with pytest.raises(DecodeError):
        decode_entry(b"\x9f\x01\x01\x01\x02\x62/a\xff")


@settings(max_examples=300)
@given(st.sampled_from(ENTRIES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_mutated_bytes_never_raise_from_apply_and_mean_the_same_everywhere(
    entry: Entry, edits: list[tuple[int, int]], data: st.DataObject
) -> None:
    """D22: whatever bits flip, apply gives an outcome, on two replicas the same one, and the state stays sound."""
    payload = bytearray(encode_entry(*entry))
    for position, value in edits:
        payload[position % len(payload)] = value
    del payload[data.draw(st.integers(1, len(payload))) :]
    one, two = opened(), opened()
    first, second = one.append(Kind.REQUEST, bytes(payload)), two.append(Kind.REQUEST, bytes(payload))
    assert first == second
    assert one.tree.digest_now() == two.tree.digest_now()


# --- limits ----------------------------------------------------------------------------------------------------------


def test_data_has_a_limit() -> None:
    """A31."""
    limits = OpLimits(data_bytes_max=10, txn_bytes_max=1000)
    check(Create("/a", b"x" * 10), limits)
    with pytest.raises(DataTooLargeError, match=r"create '/a': data is 11 bytes, data_bytes_max is 10"):
        check(Create("/a", b"x" * 11), limits)
    with pytest.raises(DataTooLargeError, match="set '/a'"):
        check(Multi((SetData("/a", b"x" * 11),)), limits)


def test_a_transaction_has_a_limit() -> None:
    """A31: data, paths and a little for each operation, together."""
    limits = OpLimits(data_bytes_max=100, txn_bytes_max=200)
    with pytest.raises(DataTooLargeError, match="txn_bytes_max is 200"):
        check(Multi((SetData("/a", b"x" * 90), SetData("/b", b"x" * 90))), limits)
    with pytest.raises(DataTooLargeError, match="operations"):
        check(Multi((Check("/a"),) * (MULTI_OPS_MAX + 1)), OpLimits())


# --- outcomes --------------------------------------------------------------------------------------------------------

ROW = StatRow(1, 2, 3, 4, 5, 6, -7, 8, 9, 10, 11)
OUTCOMES: tuple[Outcome, ...] = (
    None,
    ROW,
    CreatedNode("/a", ROW),
    (),
    (None, ROW, CreatedNode("/a", ROW)),
    *(Failure(code, "set", "/a", 1, 2) for code in ErrorCode if code is not ErrorCode.TRANSACTION),
    Failure(ErrorCode.TRANSACTION, "transaction", index=3, cause=Failure(ErrorCode.NO_NODE, "set", "/a")),
)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    """Q-7: kept results are part of snapshots."""
    assert decode_outcome(decode(encode(outcome_row(outcome)))) == outcome


@pytest.mark.parametrize(
    "row",
    [
        1,
        [],
        "",
        {},
        [1],
        [1, *range(10)],
        [1, *range(10), "x"],
        [2, 3, *range(11)],
        [3, 99, "", "", 0, 0, 0, None],
        [3, 14, "", "", 0, 0, 0, None],
        [3, 3, "", "", 0, 0, 0, [3, 4, "", "", 0, 0, 0, None]],
        [3, 3, "", "", 0, 0, 0, [4, []]],
        [4, [[]]],
        [4, 4],
    ],
    ids=str,
)
def test_a_malformed_outcome_is_refused(row: object) -> None:
    with pytest.raises(DecodeError):
        decode_outcome(row)


@pytest.mark.parametrize("outcome", [outcome for outcome in OUTCOMES if isinstance(outcome, Failure)], ids=str)
def test_every_failure_has_an_error_that_says_when(outcome: Failure) -> None:
    error = to_error(outcome, 0x300000011)
    assert str(error).endswith("(zxid 0x300000011)")
    with pytest.raises(type(error)):
        public(outcome, 0x300000011)


def test_the_message_says_what_was_tried_found_and_expected() -> None:
    failure = Failure(ErrorCode.BAD_VERSION, "set", "/a", 7, 6)
    assert str(to_error(failure, 0x300000011)) == "set '/a': data version is 7, expected 6 (zxid 0x300000011)"
