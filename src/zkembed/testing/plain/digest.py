"""The state digest (B-15) computed a second time: a 64-bit sum of one hash for each znode, session and kept result."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Any

from ...codec import encode
from .znode import Outcome, Refusal, Znode

MASK = 2**64 - 1
_pack = Struct(">c11Q").pack


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def hash_znode(path: str, znode: Znode) -> int:
    data, czxid, mzxid, pzxid, ctime, mtime, version, owner, created, children = znode
    name = path.encode()
    return _hash(_pack(b"n", len(name), czxid, mzxid, pzxid, ctime, mtime, version, 0, owner, created, children) + name + data)


def hash_session(head: tuple[object, ...]) -> int:
    return _hash(b"s" + encode(head))


def hash_result(session: int, cseq: int, outcome: Outcome) -> int:
    return _hash(b"r" + encode((session, cseq, _row(outcome))))


def _row(outcome: Outcome) -> Any:
    """As results are kept in snapshots."""
    if outcome is None:
        return None
    if type(outcome) is Refusal:
        return (3, *outcome[:6], _row(outcome.cause))
    if outcome and outcome[0] == "created":
        return (2, outcome[1], *outcome[2])
    if outcome and type(outcome[0]) is int:
        return (1, *outcome)
    return (4, [_row(each) for each in outcome])
