"""The state digest (rule B-15): a 64-bit sum of one hash for each znode, session and kept result.

A sum, so that the order of changes does not matter and one item is exchanged by a subtraction and an addition. It finds
replicas that have drifted apart; it does not defend against forgers.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from ..codec import encode
from .results import Outcome, outcome_row
from .znode import TreeNode

DIGEST_MASK = 2**64 - 1
_HASH_BYTES = 8
_pack_node = Struct(">c11Q").pack


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=_HASH_BYTES).digest(), "big")


def hash_node(path: str, node: TreeNode) -> int:
    name = path.encode()
    head = _pack_node(
        b"n",
        len(name),
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_us,
        node.mtime_us,
        node.version,
        node.aversion,
        node.ephemeral_owner,
        node.created_children,
        node.num_children,
    )
    return _hash(head + name + node.data)


def hash_session(values: tuple[object, ...]) -> int:
    """values: whatever a session is besides its kept results."""
    return _hash(b"s" + encode(values))


def hash_header(values: tuple[int, ...]) -> int:
    """The seal of a snapshot's header; no part of the digest."""
    return _hash(b"h" + encode(values))


def hash_result(session: int, cseq: int, outcome: Outcome) -> int:
    return _hash(b"r" + encode((session, cseq, outcome_row(outcome))))
