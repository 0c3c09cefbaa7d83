"""Rules N-2, N-3, N-5, N-7 and I-6: what a HELLO may be, and who is let in. The oracle is the text of the rules."""

from __future__ import annotations

from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkembed import codec
from zkembed.errors import BadArgumentsError, DecodeError
from zkembed.transport.base import Hello, LinkError, Refusal
from zkembed.transport.handshake import Admission, encode_hello, encode_refusal, read_answer, read_hello

OWN = Hello("c", 1, b"1" * 16, 5)
REMOTE = Hello("c", 2, b"2" * 16, 7, "zab")
GOOD: list[Any] = ["zkembed", 1, 1, "c", 2, b"2" * 16, 7, "zab"]

hellos = st.builds(
    Hello,
    cluster=st.text(min_size=1, max_size=255),
    node_id=st.integers(1, 255),
    storage_id=st.binary(min_size=16, max_size=16),
    incarnation=st.integers(0, 2**63 - 1),
    purpose=st.sampled_from(["election", "zab"]),
)


def judge(admission: Admission, **changes: Any) -> Refusal | None:
    return admission.judge(attrs.evolve(REMOTE, **changes), OWN, lambda node_id: node_id in (1, 2, 3))


# --- the bytes -------------------------------------------------------------------------------------------------------


@given(hellos)
def test_a_hello_reads_back_at_both_ends(hello: Hello) -> None:
    assert read_hello(encode_hello(hello)) == hello
    assert read_answer(encode_hello(hello)) == hello


def test_the_bytes_of_a_hello_stay_as_they_are() -> None:
    assert codec.decode(encode_hello(REMOTE)) == GOOD


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refusal_says_why(refusal: Refusal) -> None:
    with pytest.raises(LinkError) as caught:
        read_answer(encode_refusal(refusal))
    assert (caught.value.refused, caught.value.refusal) == (True, refusal)


def test_a_reason_of_a_later_version_is_still_a_no() -> None:
    with pytest.raises(LinkError, match="unknown code 99") as caught:
        read_answer(codec.encode(["zkembed", 1, 1, 99]))
    assert (caught.value.refused, caught.value.refusal) == (True, None)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="nothing"),
        pytest.param(["zookeeper", *GOOD[1:]], id="other magic"),
        pytest.param([b"zkembed", *GOOD[1:]], id="magic as bytes"),
        pytest.param(["zkembed", True, 1, *GOOD[3:]], id="a bool is not an integer"),
        pytest.param(["zkembed", 1, 0, *GOOD[3:]], id="falling range"),
        pytest.param(["zkembed", -1, 1, *GOOD[3:]], id="negative version"),
        pytest.param(["zkembed", 1, 1.0, *GOOD[3:]], id="float version"),
        pytest.param(["zkembed", 1, float("nan"), *GOOD[3:]], id="nan version"),
        pytest.param(GOOD[:7], id="too few"),
        pytest.param([*GOOD, 0], id="too many"),
        pytest.param([*GOOD[:3], "", *GOOD[4:]], id="empty cluster"),
        pytest.param([*GOOD[:3], "c" * 256, *GOOD[4:]], id="long cluster"),
        pytest.param([*GOOD[:3], b"c", *GOOD[4:]], id="cluster as bytes"),
        pytest.param([*GOOD[:4], 0, *GOOD[5:]], id="node 0"),
        pytest.param([*GOOD[:4], 256, *GOOD[5:]], id="node 256"),
        pytest.param([*GOOD[:4], True, *GOOD[5:]], id="node true"),
        pytest.param([*GOOD[:5], b"2" * 15, *GOOD[6:]], id="short storage id"),
        pytest.param([*GOOD[:5], "2" * 16, *GOOD[6:]], id="storage id as text"),
        pytest.param([*GOOD[:6], -1, "zab"], id="negative incarnation"),
        pytest.param([*GOOD[:6], 2**63, "zab"], id="huge incarnation"),
        pytest.param([*GOOD[:7], ""], id="no purpose"),
        pytest.param([*GOOD[:7], "tea"], id="unknown purpose"),
        pytest.param([*GOOD[:7], ["zab"]], id="purpose as list"),
        pytest.param("zkembed", id="no list"),
        pytest.param({"zkembed": 1}, id="map"),
    ],
)
def test_HX_3_whatever_is_not_exactly_a_hello_is_malformed(fields: object) -> None:
    data = cbor2.dumps(fields)
    with pytest.raises(DecodeError):
        read_hello(data)
    with pytest.raises(DecodeError):
        read_answer(data)


@given(st.binary(max_size=200))
def test_HX_3_any_bytes_are_malformed_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_hello(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_HX_3_a_mutated_hello_is_a_hello_a_refusal_or_malformed(at: int, byte: int) -> None:
    data = bytearray(encode_hello(REMOTE))
    data[at % len(data)] = byte
    try:
        hello = read_hello(bytes(data))
    except DecodeError:
        return
    if isinstance(hello, Hello):
        assert encode_hello(hello)  # Every field is in its range.
    else:
        assert hello is Refusal.NO_COMMON_VERSION


@pytest.mark.parametrize("versions", [(0, 0), (2, 2), (2, 10)])
def test_HX_9_ranges_that_do_not_overlap_are_told_whatever_stands_behind_them(versions: tuple[int, int]) -> None:
    rests: list[list[Any]] = [GOOD[3:], [], [None, {}, "later"]]
    for rest in rests:
        data = codec.encode(["zkembed", *versions, *rest])
        assert read_hello(data) is Refusal.NO_COMMON_VERSION
        with pytest.raises(LinkError) as caught:
            read_answer(data)
        assert caught.value.refusal is Refusal.NO_COMMON_VERSION


@pytest.mark.parametrize("changes", [{"cluster": ""}, {"node_id": 0}, {"storage_id": b"x"}, {"incarnation": -1}, {"versions": (2, 1)}])
def test_an_own_hello_that_nobody_would_accept_is_not_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentsError, match="HELLO"):
        encode_hello(attrs.evolve(REMOTE, **changes))


# --- admission -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"cluster": "other"}, Refusal.WRONG_CLUSTER),
        ({"cluster": "other", "node_id": 1}, Refusal.WRONG_CLUSTER),
        ({"node_id": 1}, Refusal.OWN_NODE_ID),
        ({"node_id": 9}, Refusal.UNKNOWN_NODE),
        ({"incarnation": 6}, Refusal.STALE_INCARNATION),
        ({"incarnation": 7}, None),
        ({"incarnation": 8}, None),
        ({"storage_id": b"n" * 16, "incarnation": 0}, None),
    ],
)
def test_n7_admission(changes: dict[str, Any], refusal: Refusal | None) -> None:
    admission = Admission()
    assert judge(admission) is None
    assert judge(admission, **changes) is refusal


def test_n7_who_is_refused_changes_nothing() -> None:
    admission = Admission()
    for changes in ({"cluster": "other"}, {"node_id": 1}, {"node_id": 9}):
        judge(admission, incarnation=1000, **changes)
    assert judge(admission) is None


def test_i6_dialling_and_listening_share_one_memory() -> None:
    admission = Admission()
    assert admission.judge_answer(REMOTE, OWN, 2) is None
    assert judge(admission, incarnation=6) is Refusal.STALE_INCARNATION
    assert admission.judge_answer(attrs.evolve(REMOTE, incarnation=6), OWN, 2) is Refusal.STALE_INCARNATION


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [({"cluster": "other"}, Refusal.WRONG_CLUSTER), ({"node_id": 3}, Refusal.NOT_THE_DIALLED_NODE), ({}, None)],
)
def test_an_answer_is_judged_by_who_was_dialled(changes: dict[str, Any], refusal: Refusal | None) -> None:
    assert Admission().judge_answer(attrs.evolve(REMOTE, **changes), OWN, 2) is refusal


def test_a_flood_of_invented_storages_forgets_the_oldest_only() -> None:
    admission = Admission(storages_max=4)
    assert judge(admission) is None
    for i in range(3):
        assert judge(admission, storage_id=bytes([i]) * 16) is None
        assert judge(admission) is None  # A member that is heard of stays.
    for i in range(100, 102):
        assert judge(admission, storage_id=bytes([i]) * 16) is None
    assert judge(admission, incarnation=6) is Refusal.STALE_INCARNATION
