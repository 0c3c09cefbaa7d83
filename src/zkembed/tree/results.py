"""Outcomes: what became of a request, as a value that is stored, replicated and only at the origin turned into an answer.

An outcome is None (done, nothing to tell), a StatRow (set), a CreatedNode, a tuple (one for each operation of a Multi) or
a Failure. ``public`` makes of it what the caller gets: a value, or an error with a message.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from attrs import frozen

from ..errors import (
    BadArgumentsError,
    BadVersionError,
    DataTooLargeError,
    DecodeError,
    InternalError,
    LimitReachedError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    TransactionError,
    ZkError,
)
from ..zxid import to_hex
from .stat import Created, Stat, StatRow

INT_MAX = 2**63 - 1


class ErrorCode(IntEnum):
    """Why a request failed. Part of snapshots and of the log: numbers are never reused."""

    MALFORMED = 1
    TOO_LARGE = 2
    NO_NODE = 3
    NO_PARENT = 4
    NODE_EXISTS = 5
    BAD_VERSION = 6
    BAD_CZXID = 7
    BAD_CHILD_COUNT = 8
    NOT_EMPTY = 9
    EPHEMERAL_PARENT = 10
    VERSION_LIMIT = 11
    SEQUENCE_LIMIT = 12
    NODES_LIMIT = 13
    TRANSACTION = 14
    SESSION_EXPIRED = 15
    SESSION_EXISTS = 16
    GAP = 17
    RESOLVED = 18


_CODES = {int(code): code for code in ErrorCode}


class CreatedNode(NamedTuple):
    """Success of a create."""

    path: str
    row: StatRow


@frozen
class Failure:
    """A request that was executed and failed (Q-6), or was not executed at all.

    found, expected: numbers whose meaning depends on the code.  index, cause: of a transaction, which operation and why.
    """

    code: ErrorCode
    verb: str = ""
    path: str = ""
    found: int = 0
    expected: int = 0
    index: int = 0
    cause: Failure | None = None


Outcome: TypeAlias = "StatRow | CreatedNode | Failure | tuple[Outcome, ...] | None"
Answer: TypeAlias = "Stat | Created | tuple[Answer, ...] | None"


def public(outcome: Outcome, zxid: int) -> Answer:
    """What the caller of the request gets. Raises the error of a Failure. zxid: of the entry, for the message."""
    if outcome is None:
        return None
    if isinstance(outcome, Failure):
        raise to_error(outcome, zxid)
    if isinstance(outcome, StatRow):
        return outcome.public()
    if isinstance(outcome, CreatedNode):
        return Created(outcome.path, outcome.row.public())
    return tuple(public(each, zxid) for each in outcome)


# --- errors ----------------------------------------------------------------------------------------------------------

# What was found and what was expected, for each code.
_TEXTS: dict[ErrorCode, tuple[type[ZkError], Callable[[Failure], str]]] = {
    ErrorCode.MALFORMED: (BadArgumentsError, lambda f: "the request is malformed"),
    ErrorCode.TOO_LARGE: (DataTooLargeError, lambda f: "the request is larger than the leader allows"),
    ErrorCode.NO_NODE: (NoNodeError, lambda f: "no such znode"),
    ErrorCode.NO_PARENT: (NoNodeError, lambda f: "its parent does not exist; parents=True creates it"),
    ErrorCode.NODE_EXISTS: (NodeExistsError, lambda f: f"the znode exists already, since zxid {to_hex(f.found)}"),
    ErrorCode.BAD_VERSION: (BadVersionError, lambda f: f"data version is {f.found}, expected {f.expected}"),
    ErrorCode.BAD_CZXID: (BadVersionError, lambda f: f"czxid is {to_hex(f.found)}, expected {to_hex(f.expected)}"),
    ErrorCode.BAD_CHILD_COUNT: (BadVersionError, lambda f: f"number of children is {f.found}, expected {f.expected}"),
    ErrorCode.NOT_EMPTY: (NotEmptyError, lambda f: f"number of children is {f.found}, expected 0; or recursive=True"),
    ErrorCode.EPHEMERAL_PARENT: (
        NoChildrenForEphemeralsError,
        lambda f: f"above it is an ephemeral znode of session {f.found:#x}, which can have no children",
    ),
    ErrorCode.VERSION_LIMIT: (LimitReachedError, lambda f: f"data version is {f.found}, its bound"),
    ErrorCode.SEQUENCE_LIMIT: (LimitReachedError, lambda f: f"its parent has had {f.found} children, the bound"),
    ErrorCode.NODES_LIMIT: (
        LimitReachedError,
        lambda f: f"would create or delete more than {f.expected} further znodes in one entry; do it in parts",
    ),
    ErrorCode.SESSION_EXPIRED: (SessionExpiredError, lambda f: f"session {f.found:#x} is not open"),
    ErrorCode.SESSION_EXISTS: (SessionExpiredError, lambda f: f"session id {f.found:#x} is taken"),
    ErrorCode.GAP: (InternalError, lambda f: f"request {f.found} came, expected {f.expected} (rule Q-5)"),
    ErrorCode.RESOLVED: (InternalError, lambda f: f"request {f.found} was resolved, results are kept from {f.expected} on"),
}


def to_error(failure: Failure, zxid: int) -> ZkError:
    """The error for a failure: ``set '/a': data version is 7, expected 6 (zxid 0x300000011)``."""
    if failure.cause is not None:
        return TransactionError(failure.index, to_error(failure.cause, zxid))
    kind, describe = _TEXTS[failure.code]
    tried = " ".join(filter(None, (failure.verb, repr(failure.path) if failure.path else "")))
    return kind(f"{tried}: {describe(failure)} (zxid {to_hex(zxid)})")


# --- codec, for snapshots and the digest -----------------------------------------------------------------------------

_STAT, _CREATED, _FAILURE, _TUPLE = 1, 2, 3, 4


def outcome_row(outcome: Outcome) -> object:
    """An outcome as a value for CBOR. The same outcome gives the same bytes everywhere."""
    if outcome is None:
        return None
    if isinstance(outcome, StatRow):
        return (_STAT, *outcome)
    if isinstance(outcome, CreatedNode):
        return (_CREATED, outcome.path, *outcome.row)
    if isinstance(outcome, Failure):
        cause = None if outcome.cause is None else outcome_row(outcome.cause)
        return (_FAILURE, int(outcome.code), outcome.verb, outcome.path, outcome.found, outcome.expected, outcome.index, cause)
    return (_TUPLE, [outcome_row(each) for each in outcome])


def decode_outcome(row: Any) -> Outcome:
    """The outcome that ``row`` describes. Raises DecodeError."""
    match row:
        case None:
            return None
        case [int(tag), *values] if tag == _STAT:
            return _decode_stat(values)
        case [int(tag), str(path), *values] if tag == _CREATED:
            return CreatedNode(path, _decode_stat(values))
        case [int(tag), int(code), str(verb), str(path), int(found), int(expected), int(index), cause] if tag == _FAILURE:
            return _decode_failure(code, verb, path, (found, expected, index), decode_outcome(cause))
        case [int(tag), list(rows)] if tag == _TUPLE:
            return tuple(decode_outcome(each) for each in rows)
    raise DecodeError("an outcome has the wrong shape")


def _decode_stat(values: list[Any]) -> StatRow:
    if len(values) != len(StatRow._fields) or any(type(value) is not int or abs(value) > INT_MAX for value in values):
        raise DecodeError("the stat of an outcome has the wrong shape")
    return StatRow(*values)


def _decode_failure(code: int, verb: str, path: str, numbers: tuple[int, int, int], cause: Outcome) -> Failure:
    known = _CODES.get(code)
    nested = isinstance(cause, Failure) and cause.code is not ErrorCode.TRANSACTION
    if known is None or (cause is not None and not nested) or (known is ErrorCode.TRANSACTION) != nested:
        raise DecodeError("the failure of an outcome has the wrong shape")
    return Failure(known, verb, path, *numbers, cause if isinstance(cause, Failure) else None)
