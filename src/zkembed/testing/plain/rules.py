"""What each operation does to the znodes: section A of docs/semantics.md, written down a second time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import znode as codes
from .request import Op
from .znode import Change, Outcome, Refusal, Stat, Znode
from .znodes import Znodes, parent_of

VERSION_MAX = 2**63 - 1
CREATED_MAX = 2**62
UNNAMED_MAX = 10_000

_DIGITS = re.compile(r"[0-9]{10,}")


class Rules:
    """Evaluates one entry. session: whose ephemerals it makes."""

    __slots__ = ("_session", "_time", "_unnamed", "_znodes", "_zxid")

    def __init__(self, znodes: Znodes, zxid: int, time: int, session: int) -> None:
        self._znodes = znodes
        self._zxid = zxid
        self._time = time
        self._session = session
        self._unnamed = 0

    def run(self, op: Op) -> Outcome:
        """The outcome; of a Refusal nothing is left in the znodes."""
        verb = op[0]
        if verb == "transaction":
            return self._transaction(op[1])
        return _RULES[verb](self, *op[1:])

    def _transaction(self, ops: tuple[Op, ...]) -> Outcome:
        """(A25)"""
        values = []
        for index, op in enumerate(ops):
            outcome = _RULES[op[0]](self, *op[1:])
            if type(outcome) is Refusal:
                self._znodes.undo()
                return Refusal(codes.TRANSACTION, "transaction", at=index, cause=outcome)
            values.append(outcome)
        return tuple(values)

    # --- create -------------------------------------------------------------------------------------------------------

    def _create(self, path: str, data: bytes, ephemeral: bool, sequential: bool, parents: bool) -> Outcome:
        """(A5, A8, A13)"""
        now = self._znodes.now
        if path == "/" and not sequential:
            return self._taken("create", path)
        above = parent_of(path)
        missing = self._missing(above)
        if missing and not parents:
            return Refusal(codes.NO_PARENT, "create", path)
        if sequential:
            path += f"{0 if missing else now[above].created:010d}"
        if path in now:
            return self._taken("create", path)
        refusal = self._refuse_child("create", path, parent_of(missing[0]) if missing else above, len(missing))
        if refusal is not None:
            return refusal
        for each in missing:
            self._add(each, b"", 0)
        return "created", path, self._add(path, data, self._session if ephemeral else 0)

    def _ensure(self, path: str) -> Outcome:
        missing = self._missing(path)
        if missing:
            refusal = self._refuse_child("ensure", path, parent_of(missing[0]), len(missing) - 1)
            if refusal is not None:
                return refusal
        for each in missing:
            self._add(each, b"", 0)
        return None

    def _taken(self, verb: str, path: str) -> Refusal:
        return Refusal(codes.NODE_EXISTS, verb, path, found=self._znodes.now[path].czxid)

    def _missing(self, path: str) -> list[str]:
        """Of the path and all above it, those that do not exist, topmost first."""
        missing: list[str] = []
        while path not in self._znodes.now:
            missing.insert(0, path)
            path = parent_of(path)
        return missing

    def _refuse_child(self, verb: str, path: str, parent: str, unnamed: int) -> Refusal | None:
        above = self._znodes.now[parent]
        if above.owner:
            return Refusal(codes.EPHEMERAL_PARENT, verb, path, found=above.owner)
        if above.created >= CREATED_MAX:
            return Refusal(codes.SEQUENCE_LIMIT, verb, path, found=above.created)
        return self._refuse_unnamed(verb, path, unnamed)

    def _refuse_unnamed(self, verb: str, path: str, count: int) -> Refusal | None:
        if self._unnamed + count > UNNAMED_MAX:
            return Refusal(codes.NODES_LIMIT, verb, path, expected=UNNAMED_MAX)
        self._unnamed += count
        return None

    # --- set, delete, check -------------------------------------------------------------------------------------------

    def _set(self, path: str, data: bytes, version: int | None) -> Outcome:
        """(A19, A20)"""
        znode = self._znodes.now.get(path)
        if znode is None:
            return Refusal(codes.NO_NODE, "set", path)
        if version is not None and znode.version != version:
            return Refusal(codes.BAD_VERSION, "set", path, znode.version, version)
        if znode.version >= VERSION_MAX:
            return Refusal(codes.VERSION_LIMIT, "set", path, znode.version)
        return self.write(path, data)

    def _delete(self, path: str, version: int | None, recursive: bool) -> Outcome:
        """(A15, A16)"""
        znode = self._znodes.now.get(path)
        if znode is None:
            return Refusal(codes.NO_NODE, "delete", path)
        if version is not None and znode.version != version:
            return Refusal(codes.BAD_VERSION, "delete", path, znode.version, version)
        if znode.children and not recursive:
            return Refusal(codes.NOT_EMPTY, "delete", path, znode.children)
        below = list(self._below(path)) if znode.children else []
        if below:
            if self._unnamed + len(below) > UNNAMED_MAX:
                return Refusal(codes.NODES_LIMIT, "delete", path, expected=UNNAMED_MAX)
            self._unnamed += len(below)
        for each in below:
            self.remove(each)
        self.remove(path)
        return None

    def _below(self, path: str) -> list[str]:
        """Children before parents, siblings by name."""
        paths: list[str] = []
        for name in sorted(self._znodes.names(path).live):
            child = f"{path}/{name}"
            if self._znodes.now[child].children:
                paths.extend(self._below(child))
            paths.append(child)
        return paths

    def _delete_own(self, stem: str) -> Outcome:
        own = self._znodes.owned.get(self._session, ())
        found = sorted(path for path in own if path.startswith(stem) and _DIGITS.fullmatch(path, len(stem)))
        if found:
            refusal = self._refuse_unnamed("delete own", stem, len(found) - 1)
            if refusal is not None:
                return refusal
        for path in found:
            self.remove(path)
        return None

    def _check(self, path: str, version: int | None, czxid: int | None, children: int | None) -> Outcome:
        """(A26)"""
        znode = self._znodes.now.get(path)
        if znode is None:
            return Refusal(codes.NO_NODE, "check", path)
        if czxid is not None and znode.czxid != czxid:
            return Refusal(codes.BAD_CZXID, "check", path, znode.czxid, czxid)
        if version is not None and znode.version != version:
            return Refusal(codes.BAD_VERSION, "check", path, znode.version, version)
        if children is not None and znode.children != children:
            return Refusal(codes.BAD_CHILD_COUNT, "check", path, znode.children, children)
        return None

    def _check_absent(self, path: str) -> Outcome:
        return self._taken("check_absent", path) if path in self._znodes.now else None

    def _request(self, code: int) -> Outcome:
        """Stands in for a request over a limit (Q-2)."""
        return Refusal(code, "request")

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes) -> Stat:
        """(A19) The path must exist."""
        zxid, znodes = self._zxid, self._znodes
        old = znodes.now[path]
        _, czxid, _, pzxid, ctime, _, version, owner, created, children = old
        new = Znode(data, czxid, zxid, pzxid, ctime, self._time, version + 1, owner, created, children)
        znodes.write(path, old, new)
        znodes.pending.append(Change(zxid, "DATA_CHANGED", path, old, new))
        return new.stat()

    def make(self, path: str, data: bytes) -> Refusal | None:
        """(A3) A znode of the ensemble's own; its parent must exist."""
        refusal = self._refuse_child("create", path, parent_of(path), 0)
        if refusal is None:
            self._add(path, data, 0)
        return refusal

    def _add(self, path: str, data: bytes, owner: int) -> Stat:
        zxid, time = self._zxid, self._time
        new = Znode(data, zxid, zxid, zxid, time, time, 0, owner, 0, 0)
        self._znodes.insert(zxid, path, new)
        self._znodes.pending.append(Change(zxid, "CREATED", path, None, new))
        self._count(parent_of(path), 1, 1)
        return new.stat()

    def remove(self, path: str) -> None:
        """The path must exist and have no children."""
        old = self._znodes.now[path]
        self._znodes.remove(self._zxid, path, old)
        self._znodes.pending.append(Change(self._zxid, "DELETED", path, old, None))
        self._count(parent_of(path), 0, -1)

    def _count(self, path: str, made: int, more: int) -> None:
        """(A29) A child has come or gone."""
        old = self._znodes.now[path]
        data, czxid, mzxid, _, ctime, mtime, version, owner, created, children = old
        new = Znode(data, czxid, mzxid, self._zxid, ctime, mtime, version, owner, created + made, children + more)
        self._znodes.write(path, old, new)
        self._znodes.pending.append(Change(self._zxid, "CHILDREN_CHANGED", path, old, new))


_RULES: dict[str, Callable[..., Any]] = {
    "create": Rules._create,
    "ensure": Rules._ensure,
    "set": Rules._set,
    "delete": Rules._delete,
    "delete own": Rules._delete_own,
    "check": Rules._check,
    "check_absent": Rules._check_absent,
    "request": Rules._request,
}
