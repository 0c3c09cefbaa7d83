"""Configurations, quorums and the decide point (section 0, rules I-1, I-4, B-5, C-3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zab.helpers import z
from zkembed.codec import encode
from zkembed.errors import DecodeError
from zkembed.zab.quorum import ActiveConfigurations, Configuration, Member, MemberRole


def storage(node_id: int) -> bytes:
    return bytes([node_id]) * 16


def config(version: str, *node_ids: int, observers: tuple[int, ...] = ()) -> Configuration:
    voters = [Member(node_id, f"node-{node_id}", storage_id=storage(node_id)) for node_id in node_ids]
    others = [Member(node_id, f"node-{node_id}", MemberRole.OBSERVER, storage(node_id)) for node_id in observers]
    return Configuration(z(version), (*voters, *others))


def present(*node_ids: int) -> dict[int, bytes]:
    return {node_id: storage(node_id) for node_id in node_ids}


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_is_a_strict_majority(size: int, needed: int) -> None:
    """Section 0."""
    configuration = config("1.1", *range(1, size + 1))
    assert configuration.has_quorum(present(*range(1, needed + 1)))
    assert not configuration.has_quorum(present(*range(1, needed)))


def test_votes_belong_to_storage_ids() -> None:
    """I-1: the same node id with another disk is no voter; observers and strangers never count."""
    configuration = config("1.1", 1, 2, 3, observers=(4, 5))
    assert not configuration.has_quorum({1: storage(1), 2: storage(9), 4: storage(4), 5: storage(5), 6: storage(6)})


def test_founding_needs_everybody() -> None:
    """I-4: v0 knows no storage ids and needs every member."""
    founding = Configuration.founding({1: "a", 2: "b", 3: "c"})
    assert founding.quorum == 3
    assert not founding.has_quorum(present(1, 2))
    assert founding.has_quorum({1: b"x" * 16, 2: b"y" * 16, 3: b"z" * 16})


def test_every_active_configuration_needs_its_quorum() -> None:
    """C-3: while a change is under way, a majority of one alone decides nothing."""
    active = ActiveConfigurations((config("1.1", 1, 2, 3), config("1.9", 3, 4, 5)))
    assert not active.has_quorum(present(1, 2, 3))
    assert not active.has_quorum(present(3, 4, 5))
    assert active.has_quorum(present(1, 3, 4))
    assert active.voter_ids == (1, 2, 3, 4, 5)


def reached(**points: str) -> dict[tuple[int, bytes], int]:
    return {(int(name[1:]), storage(int(name[1:]))): z(point) for name, point in points.items()}


def test_b_5_decide_point_around_a_config() -> None:
    """B-5: before the CONFIG the old quorum decides; it and what follows need both; once it is committed the new one alone."""
    old, new = config("1.1", 1, 2, 3), config("1.9", 3, 4, 5)
    active = ActiveConfigurations((old, new))
    acks = reached(n1="1.8", n2="1.8", n3="1.7")
    assert active.decide_point(acks, z("1.5"), z("1.8")) == z("1.8")
    acks = reached(n1="1.12", n2="1.12", n3="1.12")
    assert active.decide_point(acks, z("1.5"), z("1.8")) == z("1.8"), "the new one has not decided"
    acks = reached(n1="1.12", n2="1.10", n3="1.12", n4="1.11")
    assert active.decide_point(acks, z("1.5"), z("1.8")) == z("1.11")
    acks = reached(n1="1.1", n2="1.1", n3="1.12", n4="1.12")
    assert active.decide_point(acks, z("1.9"), z("1.8")) == z("1.12"), "committed: the old one has no say"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(points=st.lists(st.integers(0, 20), min_size=1, max_size=7))
def test_quorum_point_is_what_a_majority_has(points: list[int]) -> None:
    """B-5: the greatest value that a strict majority has reached."""
    configuration = config("1.1", *range(1, len(points) + 1))
    acks = {(node_id, storage(node_id)): point for node_id, point in enumerate(points, 1)}
    best = max((p for p in {0, *points} if sum(other >= p for other in points) * 2 > len(points)), default=0)
    assert configuration.quorum_point(acks) == best


def test_encoding_round_trip() -> None:
    """C-1: members in any order are one configuration."""
    one = config("1.1", 3, 1, 2, observers=(9,))
    assert Configuration.decode(one.encode()) == one
    assert one == config("1.1", 1, 2, 3, observers=(9,))
    founding = Configuration.founding({2: "b", 1: "a"})
    assert Configuration.decode(founding.encode()) == founding


ROW = [1, "a", 1, bytes(16)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1],
        [True, [ROW]],
        [-1, [ROW]],
        [2**70, [ROW]],
        [1, []],
        [1, [ROW, ROW]],
        [1, [ROW, [2, "a", 1, bytes(16)]]],
        [1, [[1, "a", 2, bytes(16)]]],
        [1, [[1, "a", 3, bytes(16)]]],
        [1, [[1, "a", 1, b"short"]]],
        [0, [ROW]],
        [1, [[1, "", 1, bytes(16)]]],
        [1, [[True, "a", 1, bytes(16)]]],
        [1, [[1, "a", 1]]],
    ],
    ids=str,
)
def test_malformed_configurations_are_refused(value: object) -> None:
    """C-5, N-3: wrong types and ranges, no voters, duplicate ids or addresses."""
    with pytest.raises(DecodeError):
        Configuration.decode(encode(value))
