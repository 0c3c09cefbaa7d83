"""One znode at one zxid, and the results of requests, as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from ..history import Plain

Stat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""czxid, mzxid, pzxid, ctime, mtime (microseconds), version, cversion, aversion, owner, length of data, number of children."""


class Znode(NamedTuple):
    """ctime, mtime: microseconds.  owner: of an ephemeral, else 0.  created: children ever made here (A8).  children: those there are."""

    data: bytes
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int
    owner: int
    created: int
    children: int

    def stat(self) -> Stat:
        """(A29)"""
        _, czxid, mzxid, pzxid, ctime, mtime, version, owner, created, children = self
        return (czxid, mzxid, pzxid, ctime, mtime, version, 2 * created - children, 0, owner, len(self.data), children)


class Change(NamedTuple):
    """What watches are told of (C12), in ZooKeeper's order within an entry. znode: after it; None: it was deleted."""

    zxid: int
    kind: str
    path: str
    before: Znode | None
    znode: Znode | None

    @property
    def data(self) -> bytes | None:
        return None if self.znode is None else self.znode.data

    @property
    def stat(self) -> Stat | None:
        return None if self.znode is None else self.znode.stat()


class Refusal(NamedTuple):
    """Why a request failed (Q-6). code: as in results that are kept; found, expected: numbers whose meaning depends on it.

    at, cause: of a transaction, which of its operations, and why.
    """

    code: int
    verb: str = ""
    path: str = ""
    found: int = 0
    expected: int = 0
    at: int = 0
    cause: Any = None


MALFORMED, TOO_LARGE, NO_NODE, NO_PARENT, NODE_EXISTS, BAD_VERSION, BAD_CZXID, BAD_CHILD_COUNT, NOT_EMPTY = range(1, 10)
EPHEMERAL_PARENT, VERSION_LIMIT, SEQUENCE_LIMIT, NODES_LIMIT, TRANSACTION, SESSION_EXPIRED, SESSION_EXISTS, GAP, RESOLVED = range(10, 19)

_ERRORS = {
    MALFORMED: "BadArgumentsError",
    TOO_LARGE: "DataTooLargeError",
    NO_NODE: "NoNodeError",
    NO_PARENT: "NoNodeError",
    NODE_EXISTS: "NodeExistsError",
    BAD_VERSION: "BadVersionError",
    BAD_CZXID: "BadVersionError",
    BAD_CHILD_COUNT: "BadVersionError",
    NOT_EMPTY: "NotEmptyError",
    EPHEMERAL_PARENT: "NoChildrenForEphemeralsError",
    VERSION_LIMIT: "LimitReachedError",
    SEQUENCE_LIMIT: "LimitReachedError",
    NODES_LIMIT: "LimitReachedError",
    SESSION_EXPIRED: "SessionExpiredError",
    SESSION_EXISTS: "SessionExpiredError",
    GAP: "InternalError",
    RESOLVED: "InternalError",
}

Outcome: TypeAlias = Any
"""A Refusal, or the value: None, a stat, ``("created", path, stat)``, a tuple of these."""


def plain_result(outcome: Outcome) -> tuple[str, Plain]:
    """(status, value) as a Return has them."""
    if type(outcome) is not Refusal:
        return "ok", outcome
    if outcome.code == TRANSACTION:
        return "error", ("TransactionError", outcome.at, _ERRORS[outcome.cause.code])
    return "error", (_ERRORS[outcome.code],)
