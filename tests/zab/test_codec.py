"""Frames: what is written reads back, and nothing else does (rules N-1 to N-3; HX-3 to HX-5 for this layer)."""

from __future__ import annotations

import random
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zab.helpers import record_after, z
from zkembed.codec import encode
from zkembed.errors import DecodeError
from zkembed.zab import messages as m
from zkembed.zab.codec import decode_frame, encode_frame

FIRST = record_after(None, z("1.1"), payload=b"one")
SECOND = record_after(FIRST, z("1.2"), payload=b"two")
BIG = 2**64 - 1

MESSAGES: list[m.Message] = [
    m.Notify(m.NodeState.LEADING, True, 7, m.Vote(1, z("1.2"), 3), 1, z("1.1"), True, b"config"),
    m.Notify(m.NodeState.LOOKING, False, 0, None, 0, 0, False, b""),
    m.KeepAlive(),
    m.Outdated(b"sixteen bytes id", 7),
    m.FollowerInfo(3, z("1.1"), True, False),
    m.LeaderInfo(4),
    m.AckEpoch(4, True, 3, z("1.2"), BIG, False),
    m.Sync(4, m.SyncMode.SNAP, 0, 0, z("1.2"), BIG, b"meta", z("3.9")),
    m.SyncReject(4, "because"),
    m.SnapChunk(4, z("1.2"), 0, b"data", 0xFFFF_FFFF, True),
    m.Entries(4, (FIRST, SECOND)),
    m.NewLeader(4, z("3.9"), BIG, (b"one", b"two")),
    m.AckNewLeader(4, z("3.9")),
    m.UpToDate(4, z("3.9")),
    m.Proposal(4, (SECOND,), z("1.1")),
    m.Ack(4, z("4.1")),
    m.Commit(4, z("4.1")),
    m.Ping(4, 9, z("4.1"), z("4.1"), BIG, 8, (1, 2**63 - 1)),
    m.Pong(4, 9, 10, None, z("4.1"), True, 0),
    m.Pong(4, 9, 10, (5,), z("4.1"), False, z("4.1")),
    m.Request(4, (b"entry", b"")),
    m.Reject(4, 2**63 - 1, 3, m.RejectCode.SESSION_MOVED),
    m.SyncRequest(4, 5),
    m.SyncOk(4, 5, z("4.1")),
    m.Goodbye(m.GoodbyeCode.LEAVING, m.Vote(4, z("4.1"), 2)),
    m.Goodbye(m.GoodbyeCode.REMOVED, None),
]


def test_every_message_reads_back() -> None:
    """N-1: a frame is a list of messages, in order; every type of section 16 is tried."""
    assert decode_frame(encode_frame(MESSAGES)) == tuple(MESSAGES)
    assert {type(message) for message in MESSAGES} == set(m.Message.__args__)
    assert decode_frame(encode_frame([])) == ()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_HX_3_wrong_types_and_arity(message: m.Message) -> None:
    """N-3: one field more or less, or any field of another type, is refused; a bool is no integer and the other way round."""
    [fields] = cbor2.loads(encode_frame([message]))
    for bad in ([*fields, 0], fields[:-1] if len(fields) > 1 else [], [99, *fields[1:]], [True, *fields[1:]]):
        with pytest.raises(DecodeError):
            decode_frame(encode([bad]))
    for position in range(1, len(fields)):
        for wrong in (
            1.5,
            "text" if not isinstance(fields[position], str) else 5,
            {},
            -1,
            2**65 if isinstance(fields[position], int) else {1: 2},
        ):
            with pytest.raises(DecodeError):
                decode_frame(encode([[*fields[:position], wrong, *fields[position + 1 :]]]))
        swapped = int(fields[position]) if isinstance(fields[position], bool) else True
        with pytest.raises(DecodeError):
            decode_frame(encode([[*fields[:position], swapped, *fields[position + 1 :]]]))


def test_HX_3_mutated_frames_never_raise_anything_else() -> None:
    """HX-3: flipped, cut and doubled bytes of valid frames give messages or a DecodeError. Seed 20 is printed by the name of this test."""
    rng = random.Random(20)
    frame = encode_frame(MESSAGES)
    for _ in range(3000):
        data = bytearray(frame)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            data = data[: rng.randrange(len(data))]
        try_decode(bytes(data))


def try_decode(data: bytes) -> Any:
    try:
        return decode_frame(data)
    except DecodeError:
        return None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(max_size=64))
def test_random_bytes(data: bytes) -> None:
    """N-4: whatever the bytes, a DecodeError or messages."""
    try_decode(data)


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x80\x80", b"\xa0", b"\x9f\xff", b"\x81" * 100 + b"\x80", b"\x81\xc2\x41\x01", b"\x81\x81\x18\x63", b"\x81\x80", b"\xff"],
    ids=["empty", "trailing", "map", "indefinite", "deep", "tag", "unknown type", "no type", "break"],
)
def test_HX_4_HX_5_forms_that_are_not_allowed(frame: bytes) -> None:
    """N-2."""
    with pytest.raises(DecodeError):
        decode_frame(frame)


def test_records_are_checked_as_records() -> None:
    """N-3: a byte string that is no record is refused where a record belongs."""
    for bad in (b"", b"12345678", FIRST.encoded[1:], b"\x86" + FIRST.encoded):
        with pytest.raises(DecodeError):
            decode_frame(encode([[13, 4, [bad], 0]]))
