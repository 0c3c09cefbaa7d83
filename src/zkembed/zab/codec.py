"""Messages as bytes: a frame is a CBOR array of messages, each an array ``[type, fields...]`` (rules N-1 to N-3).

Every field is checked against an exact schema before the core sees it: type (a bool is not an integer), range, length. Records and
requests stay byte strings; a record is taken apart by ``Record.decode``, its chain is the receiver's to verify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

from ..codec import decode, encode
from ..durable import STORAGE_ID_BYTES
from ..errors import DecodeError
from ..record import CHAIN_BYTES, Record
from ..zxid import EPOCH_MAX, ZXID_MAX
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    Entries,
    FollowerInfo,
    Goodbye,
    GoodbyeCode,
    KeepAlive,
    LeaderInfo,
    Message,
    NewLeader,
    NodeState,
    Notify,
    Outdated,
    Ping,
    Pong,
    Proposal,
    Reject,
    RejectCode,
    Request,
    SnapChunk,
    Sync,
    SyncMode,
    SyncOk,
    SyncReject,
    SyncRequest,
    UpToDate,
    Vote,
)
from .quorum import NODE_ID_MAX

WORD_MAX = 2**64 - 1
NUMBER_MAX = 2**63 - 1
CONFIG_BYTES_MAX = 256 * 1024
CONFIGS_MAX = 2
CHUNK_BYTES_MAX = 1024 * 1024
TEXT_CHARACTERS_MAX = 4096
RECORDS_MAX = 1_000_000
SESSIONS_MAX = 100_000

Check = Callable[[Any], Any]
"""Takes what CBOR gave for a field, returns its value, raises DecodeError."""


def _integer(most: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not int or not 0 <= value <= most:
            raise DecodeError(f"an integer from 0 to {most} was expected")
        return value

    return check


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise DecodeError("a boolean was expected")
    return value


def _octets(most: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not bytes or len(value) > most:
            raise DecodeError(f"at most {most} bytes were expected")
        return value

    return check


def _text(value: Any) -> Any:
    if type(value) is not str or len(value) > TEXT_CHARACTERS_MAX:
        raise DecodeError(f"a text of at most {TEXT_CHARACTERS_MAX} characters was expected")
    return value


def _member(kind: type[IntEnum]) -> Check:
    values = {int(value): value for value in kind}

    def check(value: Any) -> Any:
        if type(value) is not int or value not in values:
            raise DecodeError(f"a {kind.__name__} was expected")  # Without the value: it may be long, and goes to the log.
        return values[value]

    return check


def _many(item: Check, most: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not list or len(value) > most:
            raise DecodeError(f"an array of at most {most} was expected")
        return tuple([item(entry) for entry in value])

    return check


def _optional(item: Check) -> Check:
    def check(value: Any) -> Any:
        return None if value is None else item(value)

    return check


def _record(value: Any) -> Any:
    if type(value) is not bytes or len(value) <= CHAIN_BYTES:
        raise DecodeError("a record is a byte string")
    return Record.decode(value)


_epoch = _integer(EPOCH_MAX)
_zxid = _integer(ZXID_MAX)
_word = _integer(WORD_MAX)
_number = _integer(NUMBER_MAX)
_node = _integer(NODE_ID_MAX)
_records = _many(_record, RECORDS_MAX)
_anything = _octets(NUMBER_MAX)
_config = _octets(CONFIG_BYTES_MAX)
_sessions = _many(_number, SESSIONS_MAX)


def _storage(value: Any) -> Any:
    if type(value) is not bytes or len(value) != STORAGE_ID_BYTES:
        raise DecodeError(f"a storage id of {STORAGE_ID_BYTES} bytes was expected")
    return value


def _vote(value: Any) -> Any:
    if type(value) is not list or len(value) != 3:
        raise DecodeError("a vote is [epoch, zxid, leader]")
    return Vote(_epoch(value[0]), _zxid(value[1]), _node(value[2]))


_SCHEMAS: tuple[tuple[int, type, tuple[Check, ...]], ...] = (
    (1, Notify, (_member(NodeState), _boolean, _number, _optional(_vote), _epoch, _zxid, _boolean, _config)),
    (2, KeepAlive, ()),
    (3, FollowerInfo, (_epoch, _zxid, _boolean, _boolean)),
    (4, LeaderInfo, (_epoch,)),
    (5, AckEpoch, (_epoch, _boolean, _epoch, _zxid, _word, _boolean)),
    (6, Sync, (_epoch, _member(SyncMode), _zxid, _word, _zxid, _word, _config, _zxid)),
    (7, SyncReject, (_epoch, _text)),
    (8, SnapChunk, (_epoch, _zxid, _number, _octets(CHUNK_BYTES_MAX), _integer(2**32 - 1), _boolean)),
    (9, Entries, (_epoch, _records)),
    (10, NewLeader, (_epoch, _zxid, _word, _many(_config, CONFIGS_MAX))),
    (11, AckNewLeader, (_epoch, _zxid)),
    (12, UpToDate, (_epoch, _zxid)),
    (13, Proposal, (_epoch, _records, _zxid)),
    (14, Ack, (_epoch, _zxid)),
    (15, Commit, (_epoch, _zxid)),
    (16, Ping, (_epoch, _number, _zxid, _zxid, _word, _number, _sessions)),
    (17, Pong, (_epoch, _number, _number, _optional(_sessions), _zxid, _boolean, _zxid)),
    (18, Request, (_epoch, _many(_anything, RECORDS_MAX))),
    (19, Reject, (_epoch, _number, _number, _member(RejectCode))),
    (20, SyncRequest, (_epoch, _number)),
    (21, SyncOk, (_epoch, _number, _zxid)),
    (22, Goodbye, (_member(GoodbyeCode), _optional(_vote))),
    (23, Outdated, (_storage, _number)),
)

_BY_NUMBER: dict[int, tuple[type, tuple[Check, ...]]] = {number: (kind, checks) for number, kind, checks in _SCHEMAS}


def _plain(value: Any) -> Any:
    """A field as CBOR writes it."""
    if isinstance(value, Record):
        return value.encoded
    if isinstance(value, Vote):
        return (value.epoch, value.zxid, value.leader)
    if isinstance(value, IntEnum):
        return int(value)
    if type(value) is tuple:
        return [_plain(item) for item in value]
    return value


_FIELDS: dict[type, tuple[int, tuple[str, ...]]] = {
    kind: (number, tuple(attribute.name for attribute in kind.__attrs_attrs__))  # type: ignore[attr-defined]
    for number, kind, _ in _SCHEMAS
}


def _encode_proposal(message: Proposal) -> list[Any]:
    """The message of the hot path, without the walk over its fields."""
    return [13, message.epoch, [record.encoded for record in message.records], message.commit]


def _encode_message(message: Message) -> list[Any]:
    if type(message) is Proposal:
        return _encode_proposal(message)
    number, names = _FIELDS[type(message)]
    return [number, *(_plain(getattr(message, name)) for name in names)]


def encode_frame(messages: Iterable[Message]) -> bytes:
    """The body of one frame: all messages, in order."""
    return encode([_encode_message(message) for message in messages])


def decode_frame(data: bytes) -> tuple[Message, ...]:
    """The messages of one frame, in order. Raises DecodeError for whatever ``encode_frame`` cannot have made."""
    value = decode(data)
    if type(value) is not list:
        raise DecodeError("a frame is an array of messages")
    return tuple([_decode_message(item) for item in value])


def _decode_message(value: Any) -> Message:
    if type(value) is not list or not value or type(value[0]) is not int:
        raise DecodeError("a message is [type, fields...]")
    known = _BY_NUMBER.get(value[0])
    if known is None:
        raise DecodeError(f"unknown message type {value[0]}")
    kind, checks = known
    if len(value) - 1 != len(checks):
        raise DecodeError(f"{kind.__name__} has {len(checks)} fields, found {len(value) - 1}")
    try:
        message: Message = kind(*[check(field) for check, field in zip(checks, value[1:], strict=True)])
    except DecodeError as error:
        raise DecodeError(f"{kind.__name__}: {error}") from error
    return message
