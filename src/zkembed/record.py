"""A log record: what the leader proposes, what disks and learners keep, byte for byte the same everywhere.

Encoded once, by the leader: a CBOR array ``[zxid, prev_zxid, time, kind, commit_hint, payload]`` and behind it the
8 bytes of the chain. The chain covers all records before it as well, so that comparing one chain value compares two
histories (rules P-4, Y-6). It finds defects, not forgers: CRC-32 in the upper half, Adler-32 in the lower, both of
them running sums, so a run of records is verified by one pass over its bytes.

This file knows neither disks nor the network, and of the payload only that it is bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from zlib import adler32, crc32

from .codec import decode_prefix, encode
from .errors import DecodeError, InternalError
from .zxid import ZXID_MAX, follows, to_hex

CHAIN_BYTES = 8
CHAIN_EMPTY = 0
TIME_MAX = 2**63 - 1


class Kind(IntEnum):
    """What a record's payload is. EPOCH and CONFIG belong to zab/, REQUEST to tree/."""

    EPOCH = 1
    CONFIG = 2
    REQUEST = 3


_KINDS = {int(kind): kind for kind in Kind}


def extend_chain(chain: int, body: bytes) -> int:
    """The chain value behind ``body`` (one encoded record without its chain, or several joined)."""
    return (crc32(body, chain >> 32) << 32) | adler32(body, chain & 0xFFFF_FFFF)


class Record:
    """One entry of the log. Treat as frozen; slotted and mutable only because that is three times cheaper to make.

    time: the leader's wall clock, microseconds since 1970.  commit_hint: the leader's commit point when it proposed.
    encoded: the bytes that go to disk and to learners, unchanged; the payload is the last part of them, so it is cut out when asked
    for and kept nowhere else.  decoded: what the payload holds, from whoever proposed it to whoever applies it.
    """

    __slots__ = ("_payload_bytes", "chain", "commit_hint", "decoded", "encoded", "kind", "prev_zxid", "time", "zxid")

    def __init__(
        self,
        zxid: int,
        prev_zxid: int,
        time: int,
        kind: Kind,
        commit_hint: int,
        payload_bytes: int,
        chain: int,
        encoded: bytes,
    ) -> None:
        self.zxid = zxid
        self.prev_zxid = prev_zxid
        self.time = time
        self.kind = kind
        self.commit_hint = commit_hint
        self._payload_bytes = payload_bytes
        self.chain = chain
        self.encoded = encoded
        self.decoded: object = None

    @property
    def payload(self) -> bytes:
        return self.encoded[-CHAIN_BYTES - self._payload_bytes : -CHAIN_BYTES]

    @classmethod
    def make(cls, zxid: int, prev_zxid: int, time: int, kind: Kind, commit_hint: int, payload: bytes, prev_chain: int) -> Record:
        """A new record behind the one with ``prev_zxid`` and ``prev_chain``. Raises InternalError for what could not be read back (Q-2)."""
        if not (0 < zxid <= ZXID_MAX and 0 <= time <= TIME_MAX):
            raise InternalError(f"a record with zxid {to_hex(zxid)} and time {time} could not be read back")
        body = encode((zxid, prev_zxid, time, int(kind), commit_hint, payload))
        chain = extend_chain(prev_chain, body)
        return cls(zxid, prev_zxid, time, kind, commit_hint, len(payload), chain, body + chain.to_bytes(CHAIN_BYTES, "big"))

    @classmethod
    def decode(cls, encoded: bytes) -> Record:
        """Take a record's bytes apart and check each field's type and range. The chain is *not* verified here.

        Raises DecodeError.
        """
        values = decode_prefix(encoded[:-CHAIN_BYTES])
        if type(values) is not list or len(values) != 6:
            raise DecodeError("a record is an array of six")
        zxid, prev_zxid, time, kind, commit_hint, payload = values
        if not (
            type(zxid) is type(prev_zxid) is type(time) is type(kind) is type(commit_hint) is int
            and type(payload) is bytes
            and encoded.endswith(payload, 0, -CHAIN_BYTES)
            and 0 <= prev_zxid < zxid <= ZXID_MAX
            and 0 <= commit_hint < zxid
            and 0 <= time <= TIME_MAX
            and kind in _KINDS
        ):
            raise DecodeError("a field of the record has the wrong type or range")
        chain = int.from_bytes(encoded[-CHAIN_BYTES:], "big")
        return cls(zxid, prev_zxid, time, _KINDS[kind], commit_hint, len(payload), chain, encoded)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        return f"<Record {to_hex(self.zxid)} {self.kind.name} {self._payload_bytes} bytes>"


def verify_run(records: Iterable[Record], prev_zxid: int, prev_chain: int) -> None:
    """Check that records stand behind each other and behind ``prev_zxid`` without gap, chain included (P-4, B-3).

    Raises DecodeError naming the first record that does not fit.
    """
    for record in records:
        if record.prev_zxid != prev_zxid or not follows(record.zxid, prev_zxid):
            raise DecodeError(f"record {to_hex(record.zxid)} says it follows {to_hex(record.prev_zxid)}, here ends {to_hex(prev_zxid)}")
        prev_chain = extend_chain(prev_chain, record.encoded[:-CHAIN_BYTES])
        if record.chain != prev_chain:
            raise DecodeError(f"record {to_hex(record.zxid)}: the chain does not match")
        prev_zxid = record.zxid
