"""Entries read from their bytes a second time, without the tree's decoder: numbers and ranges as docs/protocol.md section 10 has them.

An operation is a plain tuple ``(verb, fields...)``, the same as ``history.plain_op`` makes of the real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from ...codec import decode_prefix
from ...errors import DecodeError

INT_MAX = 2**63 - 1
PATH_CHARS_MAX = 4096
SUFFIX_CHARS_MAX = 19
OPS_MAX = 10_000
STORAGE_BYTES = 16

Op = tuple[Any, ...]

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")


class Request(NamedTuple):
    session: int
    cseq: int
    ack_below: int
    op: Op


# --- fields -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def _is_path(path: str) -> bool:
    if path == "/":
        return True
    names = path.split("/")
    return (
        len(path) <= PATH_CHARS_MAX
        and names[0] == ""
        and len(names) > 1
        and not any(name in ("", ".", "..") for name in names[1:])
        and _FORBIDDEN.search(path) is None
    )


def _reserved(path: str) -> bool:
    return path == "/zookeeper" or path.startswith("/zookeeper/")


def _path(value: object) -> bool:
    return type(value) is str and _is_path(value)


def _writable(value: object) -> bool:
    return type(value) is str and _is_path(value) and not _reserved(value)


def _deletable(value: object) -> bool:
    return _writable(value) and value != "/"


def _stem(value: object) -> bool:
    """Of a sequential create: digits will follow."""
    return type(value) is str and len(value) <= PATH_CHARS_MAX - SUFFIX_CHARS_MAX and _is_path(value + "1") and not _reserved(value + "1")


def _data(value: object) -> bool:
    return type(value) is bytes


def _flag(value: object) -> bool:
    return type(value) is bool


def _storage(value: object) -> bool:
    return type(value) is bytes and len(value) == STORAGE_BYTES


def _within(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_number = _or_none(_within(0, INT_MAX))
_zxid = _or_none(_within(0, (2**31 - 1) << 32 | 0xFFFF_FFFF))
_any = _or_none(lambda value: True)


def _create_fits(fields: list[Any]) -> bool:
    return _stem(fields[0]) if fields[3] else _writable(fields[0])


# code: verb, checks of its fields, how many of them must be there, check of all together
_Row = tuple[str, tuple[Callable[[object], bool], ...], tuple[Any, ...], Callable[[list[Any]], bool] | None]
_ZNODE_OPS: dict[int, _Row] = {
    1: ("create", (_any, _data, _flag, _flag, _flag), (b"", False, False, False), _create_fits),
    2: ("ensure", (_writable,), (), None),
    3: ("set", (_writable, _data, _number), (None,), None),
    4: ("delete", (_deletable, _number, _flag), (None, False), None),
    5: ("check", (_path, _number, _zxid, _number), (None, None, None), None),
    6: ("check_absent", (_path,), (), None),
    12: ("delete own", (_stem,), (), None),
}
_OTHER_OPS: dict[int, _Row] = {
    8: ("open session", (_within(1, 2**31 - 1), _within(1, 255), _storage, _within(0, INT_MAX)), (), None),
    9: ("close session", (_within(1, INT_MAX), _flag), (), None),
    10: ("close incarnations", (_storage, _within(0, INT_MAX)), (), None),
    11: ("request", (_within(1, 2),), (), None),
}
_TRANSACTION = 7
_NUMBERED = {row[0] for row in _ZNODE_OPS.values()} | {"transaction", "request"}


# --- entries ----------------------------------------------------------------------------------------------------------


def decode_request(payload: bytes) -> Request | None:
    """None for what no origin could have sent: every replica takes that for malformed (D22)."""
    try:
        values = decode_prefix(payload)
    except DecodeError:
        return None
    if type(values) is not list or len(values) < 4:
        return None
    session, cseq, ack_below, code, *fields = values
    op = _decode_transaction(fields) if code == _TRANSACTION else _decode_op(code, fields, _ZNODE_OPS | _OTHER_OPS)
    if op is None or not type(session) is type(cseq) is type(ack_below) is int:
        return None
    return Request(session, cseq, ack_below, op) if _header_fits(session, cseq, ack_below, op) else None


def _decode_op(code: object, fields: list[Any], rows: dict[int, _Row]) -> Op | None:
    row = rows.get(code) if type(code) is int else None
    if row is None:
        return None
    verb, checks, defaults, together = row
    missing = len(checks) - len(fields)
    if missing < 0 or missing > len(defaults):
        return None
    if missing:
        fields = [*fields, *defaults[len(defaults) - missing :]]
    for check, value in zip(checks, fields, strict=True):
        if not check(value):
            return None
    return (verb, *fields) if together is None or together(fields) else None


def _decode_transaction(fields: list[Any]) -> Op | None:
    if len(fields) != 1 or type(fields[0]) is not list or len(fields[0]) > OPS_MAX:
        return None
    ops = []
    for row in fields[0]:
        op = _decode_op(row[0], row[1:], _ZNODE_OPS) if type(row) is list and row else None
        if op is None:
            return None
        ops.append(op)
    return "transaction", tuple(ops)


def _header_fits(session: int, cseq: int, ack_below: int, op: Op) -> bool:
    """(Q-1, Q-2, S-1, S-5, S-8) A session's request is numbered; a creation names the new session; the leader's own name nobody."""
    verb = op[0]
    if cseq:
        owner = 0 < session <= INT_MAX and 0 < ack_below <= cseq <= INT_MAX
        return owner and (verb in _NUMBERED or op == ("close session", session, False))
    if ack_below:
        return False
    if verb == "open session":
        return 0 < session <= INT_MAX
    return session == 0 and (verb == "close incarnations" or (verb == "close session" and op[2] is True))
