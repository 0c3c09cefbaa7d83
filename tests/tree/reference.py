"""The tree once more, plainly: one dict, copied whenever something might have to be undone. No index, no digest, no speed."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from zkembed.tree.codec import Entry
from zkembed.tree.ops import (
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
)


class RefusedError(Exception):
    """Why an operation fails: the name of its code."""


class Reference:
    """znodes: path -> {data, czxid, mzxid, pzxid, version, owner, created}.  sessions: id -> {last, results, op}."""

    def __init__(self) -> None:
        self.znodes: dict[str, dict[str, Any]] = {"/": self._znode(b"", 0, 0)}
        self.sessions: dict[int, dict[str, Any]] = {}

    @staticmethod
    def _znode(data: bytes, zxid: int, owner: int) -> dict[str, Any]:
        return {"data": data, "czxid": zxid, "mzxid": zxid, "pzxid": zxid, "version": 0, "owner": owner, "created": 0}

    def children(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        return sorted(each for each in self.znodes if each != "/" and each.startswith(prefix) and "/" not in each[len(prefix) :])

    # --- entries ---

    def apply(self, zxid: int, entry: Entry | None) -> tuple[str, Any]:
        """("executed" or "ignored", result); a result is "ok" with a value, or the name of an error code."""
        if entry is None:
            return "ignored", "MALFORMED"
        if entry.cseq == 0:
            return "executed", self._unnumbered(zxid, entry)
        session = self.sessions.get(entry.session)
        if session is None:
            return "ignored", "SESSION_EXPIRED"
        if entry.cseq > session["last"] + 1:
            return "ignored", "GAP"
        if entry.cseq <= session["last"]:
            return "ignored", session["results"].get(entry.cseq, "RESOLVED")
        if isinstance(entry.op, CloseSession):
            self._close(zxid, entry.session)
            return "executed", None
        result = self._attempt(zxid, entry.session, entry.op)
        session["last"] = entry.cseq
        session["results"][entry.cseq] = result
        session["results"] = {cseq: kept for cseq, kept in session["results"].items() if cseq >= entry.ack_below}
        return "executed", result

    def _unnumbered(self, zxid: int, entry: Entry) -> Any:
        if isinstance(entry.op, OpenSession):
            if entry.session in self.sessions:
                return "SESSION_EXISTS"
            self.sessions[entry.session] = {"last": 0, "results": {}, "op": entry.op}
        elif isinstance(entry.op, CloseSession):
            self._close(zxid, entry.op.session)
        elif isinstance(entry.op, CloseIncarnations):
            for id, session in list(self.sessions.items()):
                if session["op"].storage_id == entry.op.storage_id and session["op"].incarnation < entry.op.below:
                    self._close(zxid, id)
        return None

    def _close(self, zxid: int, id: int) -> None:
        if self.sessions.pop(id, None) is not None:
            for path in [path for path, znode in self.znodes.items() if znode["owner"] == id]:
                self._remove(zxid, path)

    def _attempt(self, zxid: int, session: int, op: Op) -> Any:
        before = deepcopy(self.znodes)
        try:
            return self._run(zxid, session, op)
        except RefusedError as refused:
            self.znodes = before
            return str(refused)

    # --- operations ---

    def _run(self, zxid: int, session: int, op: Op) -> Any:
        match op:
            case Create():
                return self._create(zxid, session, op)
            case Ensure(path):
                while path not in self.znodes:
                    self._make_parents(zxid, path)
                return None
            case SetData(path, data, version):
                znode = self._find(path, version)
                znode.update(data=data, mzxid=zxid, version=znode["version"] + 1)
                return "set", znode["version"]
            case Delete(path, version, recursive):
                self._find(path, version)
                if self.children(path) and not recursive:
                    raise RefusedError("NOT_EMPTY")
                self._remove_all(zxid, path)
                return None
            case DeleteOwn(path):
                own = [each for each, znode in self.znodes.items() if znode["owner"] == session]
                for each in own:
                    if re.fullmatch(re.escape(path) + "[0-9]{10}", each):
                        self._remove(zxid, each)
                return None
            case Check(path, version, _, num_children):
                self._find(path, version)
                if num_children not in (None, len(self.children(path))):
                    raise RefusedError("BAD_CHILD_COUNT")
                return None
            case CheckAbsent(path):
                if path in self.znodes:
                    raise RefusedError("NODE_EXISTS")
                return None
            case Multi(ops):
                try:
                    return tuple(self._run(zxid, session, each) for each in ops)
                except RefusedError as refused:
                    raise RefusedError("TRANSACTION") from refused
            case Fail(code):
                raise RefusedError(code.name)
        raise AssertionError(op)

    def _find(self, path: str, version: int | None) -> dict[str, Any]:
        if path not in self.znodes:
            raise RefusedError("NO_NODE")
        if version not in (None, self.znodes[path]["version"]):
            raise RefusedError("BAD_VERSION")
        return self.znodes[path]

    def _create(self, zxid: int, session: int, op: Create) -> Any:
        parent = op.path.rsplit("/", 1)[0] or "/"
        if parent not in self.znodes:
            if not op.parents:
                raise RefusedError("NO_PARENT")
            while parent not in self.znodes:
                self._make_parents(zxid, parent)
        path = f"{op.path}{self.znodes[parent]['created']:010d}" if op.sequential else op.path
        if path in self.znodes:
            raise RefusedError("NODE_EXISTS")
        self._add(zxid, path, op.data, session if op.ephemeral else 0)
        return "created", path

    def _make_parents(self, zxid: int, path: str) -> None:
        """Make the topmost of the znodes that are missing on the way to ``path``."""
        names = path.strip("/").split("/")
        missing = ["/" + "/".join(names[: i + 1]) for i in range(len(names))]
        self._add(zxid, next(each for each in missing if each not in self.znodes), b"", 0)

    def _add(self, zxid: int, path: str, data: bytes, owner: int) -> None:
        parent = self.znodes[path.rsplit("/", 1)[0] or "/"]
        if parent["owner"]:
            raise RefusedError("EPHEMERAL_PARENT")
        parent.update(created=parent["created"] + 1, pzxid=zxid)
        self.znodes[path] = self._znode(data, zxid, owner)

    def _remove_all(self, zxid: int, path: str) -> None:
        for child in self.children(path):
            self._remove_all(zxid, child)
        self._remove(zxid, path)

    def _remove(self, zxid: int, path: str) -> None:
        del self.znodes[path]
        self.znodes[path.rsplit("/", 1)[0] or "/"]["pzxid"] = zxid
