"""Scenarios HX-10 and HX-14: a stranger with a high epoch, before a real listener; bad paths and data, at every door."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from attrs import evolve

import zkembed
from tests.transport.ports import reserved_ports
from tests.transport.siege import read_to_the_end
from tests.tree.helpers import SESSION, STORAGE, opened
from zkembed import BadArgumentsError
from zkembed.errors import DecodeError, ProtocolError
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.replica.expiry import Expiry
from zkembed.replica.intake import Intake, Origin
from zkembed.transport.base import Hello
from zkembed.transport.framing import encode_frame as framed
from zkembed.transport.handshake import encode_hello
from zkembed.tree.codec import Entry, encode_entry
from zkembed.tree.ops import Check, Create, Delete, Multi, Op, OpLimits, SetData
from zkembed.tree.results import ErrorCode, Failure
from zkembed.zab import messages as m
from zkembed.zab.codec import encode_frame

EPOCH_MAX = 2**31 - 1

# --- HX-10 -----------------------------------------------------------------------------------------------------------

CLAIMS: dict[str, m.Message] = {
    "NOTIFY": m.Notify(m.NodeState.LEADING, True, 5, m.Vote(EPOCH_MAX, 2**62, 3), EPOCH_MAX, 0, False, b""),
    "FOLLOWERINFO": m.FollowerInfo(EPOCH_MAX, 2**62, False, False),
    "LEADERINFO": m.LeaderInfo(EPOCH_MAX),
    "OUTDATED": m.Outdated(bytes(16), 2**62),
}
HELLOS = {
    "no HELLO": b"",
    "another cluster's": encode_hello(Hello("another", 2, b"s" * 16, 1, "zab")),
    "no member's": encode_hello(Hello("zkembed", 99, b"s" * 16, 1, "zab")),
    "its own": encode_hello(Hello("zkembed", 1, b"s" * 16, 1, "election")),
}


async def test_HX_10_a_stranger_s_high_epoch_is_never_looked_at() -> None:
    """N-5, N-7: whatever stands behind no HELLO, or behind one that is refused, is not read; no epoch, file or role changes."""
    disk = SimulatedDisk()
    with reserved_ports(1) as (port,), trio.fail_after(30):
        config = zkembed.Config(node_id=1, cluster="zkembed", peers={1: f"127.0.0.1:{port}"}, log=MemoryLog(disk))
        async with zkembed.Node(config) as zk:
            await zk.create("/a", b"1")
            before = disk.read("epochs"), zk.node.epoch, zk.node.role
            for hello in HELLOS.values():
                for claim in CLAIMS.values():
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                    opening = framed(hello, 4096) if hello else b""
                    with suppress(trio.BrokenResourceError):  # Refused before all of it was taken.
                        await stream.send_all(opening + framed(encode_frame([claim]), 4096))
                    answer = await read_to_the_end(stream)
                    assert len(answer) < 100, "a refusal at most"
            await zk.set("/a", b"2")
            assert (disk.read("epochs"), zk.node.epoch, zk.node.role) == before


# --- HX-14 -----------------------------------------------------------------------------------------------------------

SURROGATE = "/\ud800"
BAD_PATHS = {
    "empty": "",
    "relative": "a/b",
    "double slash": "/a//b",
    "slash at the end": "/a/",
    "dot": "/a/./b",
    "dots": "/a/../b",
    "NUL": "/a\0b",
    "control": "/a\x1fb",
    "surrogate": SURROGATE,
    "private use": "/\ue000",
    "megabyte": "/" + "a" * 2**20,
    "reserved": "/zookeeper",
    "below reserved": "/zookeeper/x",
}
ORIGIN = Origin(7, 2, STORAGE, 1)
LIMITS = OpLimits(2**21, 2**22)

BAD: dict[str, Op] = {
    **{f"create {name}": Create(path, b"") for name, path in BAD_PATHS.items()},
    **{f"set {name}": SetData(path, b"") for name, path in BAD_PATHS.items()},
    **{f"delete {name}": Delete(path) for name, path in BAD_PATHS.items()},
    **{f"check {name}": Check(path) for name, path in BAD_PATHS.items() if "reserved" not in name},
    "set of a negative version": SetData("/a", b"", -1),
    "delete of a negative version": Delete("/a", -2),
    "check of a version beyond all": Check("/a", 2**63),
    "delete of the root": Delete("/"),
    "text for data": SetData("/a", "text"),  # type: ignore[arg-type]
    "a version that is a bool": SetData("/a", b"", True),
    "a path that is bytes": Delete(b"/a"),  # type: ignore[arg-type]
    "one bad in a transaction": Multi((Create("/fine", b""), Delete("/zookeeper"))),
}


def as_bytes(op: Op) -> bytes:
    """The entry that a peer without any checks would send."""
    if getattr(op, "path", "") == SURROGATE:
        # No encoder writes it: by hand, as CESU-8.
        assert isinstance(op, Create | SetData | Delete | Check)
        return encode_entry(SESSION, 1, 1, evolve(op, path="/xxx")).replace(b"\x64/xxx", b"\x64/\xed\xa0\x80")
    return encode_entry(SESSION, 1, 1, op)


@pytest.mark.parametrize("name", BAD)
def test_HX_14_bad_paths_and_data_are_refused_at_origin_leader_and_apply(name: str) -> None:
    """The same operation at each door, each without the one before it: nothing is queued, nothing is proposed, nothing changes."""
    op = BAD[name]
    with pytest.raises(BadArgumentsError):
        op.check()
    scene = opened()
    with pytest.raises((ProtocolError, DecodeError)):
        Intake(Expiry([], 0.0), LIMITS).admit(ORIGIN, as_bytes(op), scene.tree)
    before = dict(scene.tree.items())
    applied = scene.append(scene.records[-1].kind, as_bytes(op))
    assert applied.outcome == Failure(ErrorCode.MALFORMED, "apply")
    assert (applied.executed, applied.changes) == (False, ())
    assert dict(scene.tree.items()) == before


def test_HX_14_what_is_good_passes_every_door() -> None:
    """Or the doors above would be closed for everybody."""
    op = Create("/fine", b"data")
    op.check()
    scene = opened()
    assert isinstance(Intake(Expiry([], 0.0), LIMITS).admit(Origin(7, 1, STORAGE, 1), as_bytes(op), scene.tree), Entry)
    assert scene.append(scene.records[-1].kind, as_bytes(op)).executed


@pytest.mark.parametrize("path", [path for name, path in BAD_PATHS.items()], ids=BAD_PATHS)
async def test_HX_14_an_application_s_bad_path_is_refused_at_the_call(path: str, zk: zkembed.Client, autojump_clock: object) -> None:
    """Before anything is queued: by each method that takes a path to write."""
    before = zk.node.statistics().applied_zxid
    for call in (zk.create(path), zk.set(path, b""), zk.delete(path)):
        with pytest.raises(BadArgumentsError):
            await call
    assert zk.node.statistics().applied_zxid == before
