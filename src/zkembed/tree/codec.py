"""Entries as bytes: what a REQUEST record carries, encoded once at its origin and passed on as it is.

An entry is one flat CBOR array ``[session, cseq, ack_below, op code, fields...]``; a Multi's only field is a list of
``[op code, fields...]``. Three kinds of header exist, and each operation allows but one of them:

1. a session's request: session, cseq >= 1, 1 <= ack_below <= cseq (Q-1, Q-2);
2. a session's creation: the new id, 0, 0 (S-1);
3. the leader's own: 0, 0, 0 (S-5, S-8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

from ..codec import decode, decode_prefix, encode
from ..errors import DecodeError, ZkError
from .ops import (
    CSEQ_MAX,
    SESSION_MAX,
    ZNODE_OPS,
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
    ZnodeOp,
)
from .results import ErrorCode


class Entry(NamedTuple):
    """ack_below: all smaller cseq are resolved at the origin, their results need not be kept (Q-7)."""

    session: int
    cseq: int
    ack_below: int
    op: Op


Row: TypeAlias = tuple[object, ...]

_HEADER = 3
# Never reuse a number: entries with it may lie in logs.
_CREATE, _ENSURE, _SET, _DELETE, _CHECK, _ABSENT, _MULTI, _OPEN, _CLOSE, _CLOSE_INCARNATIONS, _FAIL, _DELETE_OWN = range(1, 13)


def encode_entry(session: int, cseq: int, ack_below: int, op: Op) -> bytes:
    """``op`` must have passed ``ops.check``."""
    return encode((session, cseq, ack_below, *_ENCODERS[type(op)](op)))


def decode_entry(data: bytes, *, exact: bool = False) -> Entry:
    """Take an entry apart and check each field's type and range. Raises DecodeError, whatever the bytes.

    exact: refuse trailing bytes too. The leader does so once, before it proposes; after that the chain vouches for the bytes.
    """
    values = decode(data) if exact else decode_prefix(data)
    if type(values) is not list or len(values) <= _HEADER:
        raise DecodeError("an entry is an array of at least four")
    op = _decode_op(values[_HEADER], values[_HEADER + 1 :])
    session, cseq, ack_below = values[:_HEADER]
    if type(session) is type(cseq) is type(ack_below) is int:
        if 0 < ack_below <= cseq <= CSEQ_MAX and 0 < session <= SESSION_MAX and type(op) in _REQUESTS:
            return Entry(session, cseq, ack_below, op)
        if _header_fits(session, cseq, ack_below, op):
            return Entry(session, cseq, ack_below, op)
    raise DecodeError("the header of the entry does not fit its operation")


def _header_fits(session: int, cseq: int, ack_below: int, op: Op) -> bool:
    """The rarer cases: the owner's own close, a creation, and what the leader asks for itself."""
    if cseq:
        numbered = 0 < ack_below <= cseq <= CSEQ_MAX
        return numbered and type(op) is CloseSession and op.session == session and not op.expired
    if ack_below:
        return False
    if type(op) is OpenSession:
        return 0 < session <= SESSION_MAX
    return session == 0 and ((type(op) is CloseSession and op.expired) or type(op) is CloseIncarnations)


def _decode_op(code: object, fields: list[Any]) -> Op:
    make = _DECODERS.get(code) if type(code) is int else None
    if make is None:
        raise DecodeError("unknown operation")
    try:
        op = make(*fields)
        op.check()
    except (ZkError, TypeError) as error:
        # TypeError: a wrong number of fields; every field's own type is looked at by ``check``.
        raise DecodeError(f"malformed operation {code}: {error}") from error
    return op


def _decode_multi(rows: object) -> Multi:
    if type(rows) is not list:
        raise DecodeError("a transaction is an array of operations")
    ops: list[Op] = []
    for row in rows:
        # Refused before it is decoded: a Multi in a Multi would recurse.
        if type(row) is not list or not row or type(row[0]) is not int or row[0] not in _ZNODE_CODES:
            raise DecodeError("not an operation of a transaction")
        ops.append(_DECODERS[row[0]](*row[1:]))
    return Multi(cast(tuple[ZnodeOp, ...], tuple(ops)))


def _decode_fail(code: object) -> Fail:
    if type(code) is not int or code not in _ERROR_CODES:
        raise DecodeError("unknown error code")
    return Fail(_ERROR_CODES[code])


_ZNODE_CODES = (_CREATE, _ENSURE, _SET, _DELETE, _CHECK, _ABSENT, _DELETE_OWN)
_REQUESTS = ZNODE_OPS | {Multi, Fail}
_ERROR_CODES = {int(code): code for code in ErrorCode}

_DECODERS: dict[int, Callable[..., Op]] = {
    _CREATE: Create,
    _ENSURE: Ensure,
    _SET: SetData,
    _DELETE: Delete,
    _CHECK: Check,
    _ABSENT: CheckAbsent,
    _MULTI: _decode_multi,
    _OPEN: OpenSession,
    _CLOSE: CloseSession,
    _CLOSE_INCARNATIONS: CloseIncarnations,
    _FAIL: _decode_fail,
    _DELETE_OWN: DeleteOwn,
}

_ENCODERS: dict[type, Callable[[Any], Row]] = {
    Create: lambda op: (_CREATE, op.path, op.data, op.ephemeral, op.sequential, op.parents),
    Ensure: lambda op: (_ENSURE, op.path),
    SetData: lambda op: (_SET, op.path, op.data, op.version),
    Delete: lambda op: (_DELETE, op.path, op.version, op.recursive),
    Check: lambda op: (_CHECK, op.path, op.version, op.czxid, op.num_children),
    CheckAbsent: lambda op: (_ABSENT, op.path),
    Multi: lambda op: (_MULTI, [_ENCODERS[type(each)](each) for each in op.ops]),
    OpenSession: lambda op: (_OPEN, op.timeout_ms, op.node_id, op.storage_id, op.incarnation),
    CloseSession: lambda op: (_CLOSE, op.session, op.expired),
    CloseIncarnations: lambda op: (_CLOSE_INCARNATIONS, op.storage_id, op.below),
    Fail: lambda op: (_FAIL, int(op.code)),
    DeleteOwn: lambda op: (_DELETE_OWN, op.path),
}
