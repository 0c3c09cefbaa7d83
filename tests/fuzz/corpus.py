"""Valid inputs of each kind, as ordinary use makes them."""

from __future__ import annotations

from functools import cache

from attrs import evolve

from tests.tree.helpers import SESSION, STORAGE, Scene
from tests.zab.test_codec import FIRST, MESSAGES, SECOND
from zkembed.record import Record
from zkembed.transport.base import Hello, Refusal
from zkembed.transport.framing import encode_frame as frame
from zkembed.transport.handshake import encode_hello, encode_refusal
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import (
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
    SetData,
)
from zkembed.tree.results import ErrorCode
from zkembed.zab.codec import encode_frame
from zkembed.zab.history import encode_configurations
from zkembed.zab.quorum import Configuration
from zkembed.zxid import make

HELLO = Hello("cluster", 1, STORAGE, 7, "zab")


@cache
def frames() -> tuple[bytes, ...]:
    """Bodies of frames: each message alone, and all of them together."""
    return (*(encode_frame([message]) for message in MESSAGES), encode_frame(MESSAGES))


@cache
def streams() -> tuple[bytes, ...]:
    """What arrives on a link: frames with their lengths."""
    return tuple(b"".join(frame(body, 2**20) for body in bodies) for bodies in (frames(), frames()[:3], frames()[-1:]))


@cache
def hellos() -> tuple[bytes, ...]:
    return encode_hello(HELLO), encode_hello(evolve(HELLO, purpose="election")), *(encode_refusal(refusal) for refusal in Refusal)


@cache
def records() -> tuple[bytes, ...]:
    return tuple(record.encoded for record in (FIRST, SECOND, *_scene().records))


@cache
def configurations() -> tuple[Configuration, ...]:
    founding = Configuration.founding({1: "127.0.0.1:7101", 2: "127.0.0.1:7102", 3: "127.0.0.1:7103"})
    members = tuple(evolve(member, storage_id=bytes([member.node_id]) * 16) for member in founding.members)
    return founding, Configuration(make(1, 1), members), Configuration(make(3, 9), members[:2])


@cache
def configuration_bytes() -> tuple[bytes, ...]:
    return tuple(configuration.encode() for configuration in configurations())


@cache
def metas() -> tuple[bytes, ...]:
    """Of snapshots: the configurations known there."""
    founding, first, second = configurations()
    return b"", encode_configurations((first,)), encode_configurations((founding, first)), encode_configurations((first, second))


@cache
def entries() -> tuple[bytes, ...]:
    """One of each operation."""
    znode_ops = (
        Create("/a", b"data", True, True, True),
        Ensure("/a/b"),
        SetData("/a", b"data", 3),
        Delete("/a", None, True),
        Check("/a", 1, make(1, 2), 4),
        CheckAbsent("/b"),
        DeleteOwn("/a/c-"),
    )
    requests = (*znode_ops, Multi(znode_ops), Fail(ErrorCode.TOO_LARGE), CloseSession(SESSION, expired=False))
    return (
        *(encode_entry(SESSION, 7, 3, op) for op in requests),
        encode_entry(SESSION, 0, 0, OpenSession(4000, 2, STORAGE, 9)),
        encode_entry(0, 0, 0, CloseSession(SESSION, expired=True)),
        encode_entry(0, 0, 0, CloseIncarnations(STORAGE, below=4)),
    )


@cache
def _scene() -> Scene:
    """A state with everything in it that a state can have."""
    scene = Scene()
    scene.open(SESSION)
    scene.open(0x22, node_id=2)
    ops: tuple[Op, ...] = (
        *(Create(f"/z{number}", b"data" * number) for number in range(12)),
        Create("/z1/below", b"", True),
        Create("/z2/row-", b"", False, True),
        SetData("/z3", b"new", None),
        SetData("/z3", b"newer", 7),
        Multi((Check("/z1", 0, None, None), Create("/z4/m", b"m"))),
        Multi((Create("/z5/m", b"m"), Delete("/nowhere", None, False))),
        Delete("/z11", None, False),
    )
    for cseq, op in enumerate(ops, 1):
        scene.send(SESSION, cseq, max(1, cseq - 8), op)
    return scene


@cache
def snapshot() -> tuple[bytes, ...]:
    """The chunks of its snapshot."""
    return tuple(_scene().tree.freeze().chunks())


def records_of_state() -> list[Record]:
    return _scene().records
