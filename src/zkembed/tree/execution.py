"""One entry being evaluated: the rules of each operation on znodes, in ZooKeeper's order of checks.

Each operation looks first and writes afterwards, so one that fails has changed nothing. A Multi is the exception: it
is undone from its own list of changes. Failures are values, never exceptions (D22): the same on every replica.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from ..errors import InternalError
from .events import Change, EventKind, Removal
from .ops import Check, CheckAbsent, Create, Delete, DeleteOwn, Ensure, Fail, Multi, SetData
from .path import ROOT, format_sequence, is_sequence_of, parent_of
from .results import CreatedNode, ErrorCode, Failure, Outcome
from .sessions import SessionEntry
from .stat import StatRow
from .store import Store
from .znode import CREATED_CHILDREN_MAX, VERSION_MAX, TreeNode

# How many znodes one entry may create or delete beyond those that its operations name: missing parents, and what is
# below a recursive delete. A constant of the tree, the same on every replica: apply must not differ (A16).
IMPLIED_NODES_MAX = 10_000


class Execution:
    """zxid, time_us: of the entry.  session: who asks, 0 for the leader.  changes: what was done so far, in order.

    removals: what ``remove_all`` did. An entry has changes of one form or the other: only the closing of sessions makes removals.
    """

    __slots__ = ("_implied", "_sessions", "_store", "changes", "removals", "session", "time_us", "zxid")

    def __init__(self, store: Store, sessions: dict[int, SessionEntry], zxid: int, time_us: int, session: int) -> None:
        self._store = store
        self._sessions = sessions
        self.zxid = zxid
        self.time_us = time_us
        self.session = session
        self.changes: list[Change] = []
        self.removals: list[Removal] = []
        self._implied = 0

    def run(self, op: Any) -> Outcome:
        """Evaluate one operation on znodes, a Multi, or a Fail."""
        return _RULES[type(op)](self, op)

    # --- create ---

    def _create(self, op: Create) -> Outcome:
        """A5: parent exists, target exists, parent is ephemeral, bounds. The path's form was checked before it got here."""
        if op.path == ROOT and not op.sequential:
            return self._exists(op.verb, op.path)
        parent_path = parent_of(op.path)
        parent = self._store.get(parent_path)
        missing: list[str] = []
        if parent is None:
            if not op.parents:
                return Failure(ErrorCode.NO_PARENT, op.verb, op.path)
            missing, parent = self._missing(parent_path)
        # A parent that is only now being made has had no children yet.
        number = 0 if missing else parent.created_children
        path = op.path + format_sequence(number) if op.sequential else op.path
        if self._store.get(path) is not None:
            return self._exists(op.verb, path)
        if refused := self._refuse_children(op.verb, path, parent, len(missing)):
            return refused
        self._add_parents(missing)
        node = self._add(path, op.data, self.session if op.ephemeral else 0)
        return CreatedNode(path, node.row())

    def _ensure(self, op: Ensure) -> Outcome:
        missing, parent = self._missing(op.path)
        if not missing:
            return None
        if refused := self._refuse_children(op.verb, op.path, parent, len(missing) - 1):
            return refused
        self._add_parents(missing)
        return None

    def _exists(self, verb: str, path: str) -> Failure:
        node = self._store.get(path)
        return Failure(ErrorCode.NODE_EXISTS, verb, path, found=0 if node is None else node.czxid)

    def _missing(self, path: str) -> tuple[list[str], TreeNode]:
        """Which of ``path`` and the znodes above it do not exist, topmost first, and the one above those."""
        missing = []
        while (node := self._store.get(path)) is None:
            missing.append(path)
            path = parent_of(path)
        missing.reverse()
        return missing, node

    def _refuse_children(self, verb: str, path: str, parent: TreeNode, implied: int) -> Failure | None:
        """Why nothing can be created below ``parent``, if so."""
        if parent.ephemeral_owner:
            return Failure(ErrorCode.EPHEMERAL_PARENT, verb, path, found=parent.ephemeral_owner)
        if parent.created_children >= CREATED_CHILDREN_MAX:
            return Failure(ErrorCode.SEQUENCE_LIMIT, verb, path, found=parent.created_children)
        return self._refuse_implied(verb, path, implied)

    def _refuse_implied(self, verb: str, path: str, count: int) -> Failure | None:
        if self._implied + count > IMPLIED_NODES_MAX:
            return Failure(ErrorCode.NODES_LIMIT, verb, path, expected=IMPLIED_NODES_MAX)
        self._implied += count
        return None

    def _add_parents(self, paths: list[str]) -> None:
        for path in paths:
            self._add(path, b"", 0)

    # --- set, delete, check ---

    def _set(self, op: SetData) -> Outcome:
        node = self._store.get(op.path)
        if node is None:
            return Failure(ErrorCode.NO_NODE, op.verb, op.path)
        if op.version is not None and op.version != node.version:
            return Failure(ErrorCode.BAD_VERSION, op.verb, op.path, node.version, op.version)
        if node.version >= VERSION_MAX:
            return Failure(ErrorCode.VERSION_LIMIT, op.verb, op.path, node.version)
        return self.write(op.path, node, op.data)

    def _delete(self, op: Delete) -> Outcome:
        """A15: NoNode, BadVersion, NotEmpty. A16: children before parents."""
        node = self._store.get(op.path)
        if node is None:
            return Failure(ErrorCode.NO_NODE, op.verb, op.path)
        if op.version is not None and op.version != node.version:
            return Failure(ErrorCode.BAD_VERSION, op.verb, op.path, node.version, op.version)
        if not node.num_children:
            self.remove(op.path)
            return None
        if not op.recursive:
            return Failure(ErrorCode.NOT_EMPTY, op.verb, op.path, node.num_children)
        paths = self._store.subtree(op.path, IMPLIED_NODES_MAX - self._implied + 1)
        if paths is None:
            return Failure(ErrorCode.NODES_LIMIT, op.verb, op.path, expected=IMPLIED_NODES_MAX)
        self._implied += len(paths) - 1
        for path in paths:
            self.remove(path)
        return None

    def _delete_own(self, op: DeleteOwn) -> Outcome:
        session = self._sessions.get(self.session)
        if session is None:
            return None  # The leader owns nothing.
        paths = sorted(path for path in session.ephemerals if is_sequence_of(path, op.path))
        if paths and (refused := self._refuse_implied(op.verb, op.path, len(paths) - 1)):
            return refused
        for path in paths:
            self.remove(path)
        return None

    def _check(self, op: Check) -> Outcome:
        node = self._store.get(op.path)
        if node is None:
            return Failure(ErrorCode.NO_NODE, op.verb, op.path)
        for code, found, expected in (
            (ErrorCode.BAD_CZXID, node.czxid, op.czxid),
            (ErrorCode.BAD_VERSION, node.version, op.version),
            (ErrorCode.BAD_CHILD_COUNT, node.num_children, op.num_children),
        ):
            if expected is not None and found != expected:
                return Failure(code, op.verb, op.path, found, expected)
        return None

    def _check_absent(self, op: CheckAbsent) -> Outcome:
        return None if self._store.get(op.path) is None else self._exists(op.verb, op.path)

    def _fail(self, op: Fail) -> Outcome:
        return Failure(op.code, op.verb)

    # --- transactions ---

    def _multi(self, op: Multi) -> Outcome:
        """A25: all or nothing; each operation sees what those before it did."""
        outcomes: list[Outcome] = []
        for index, each in enumerate(op.ops):
            outcome = self.run(each)
            if isinstance(outcome, Failure):
                self._undo()
                return Failure(ErrorCode.TRANSACTION, op.verb, index=index, cause=outcome)
            outcomes.append(outcome)
        return tuple(outcomes)

    def _undo(self) -> None:
        """Put every znode back as it was before this entry, last change first."""
        store = self._store
        for _, path, before, after in reversed(self.changes):
            if before is None:
                assert after is not None
                store.remove(path, after)
                self._disown(path, after)
            elif after is None:
                store.insert(path, before)
                self._own(path, before)
            else:
                store.replace(path, before, after)
        self.changes.clear()

    # --- writing: every change of a znode goes through these three, and is listed ---

    def write(self, path: str, node: TreeNode, data: bytes) -> StatRow:
        after = node.with_data(data, self.zxid, self.time_us)
        self._store.replace(path, after, node)
        self.changes.append(Change(EventKind.DATA_CHANGED, path, node, after))
        return after.row()

    def _add(self, path: str, data: bytes, owner: int) -> TreeNode:
        node = TreeNode.new(data, self.zxid, self.time_us, owner)
        parent_path = parent_of(path)
        parent = self._existing(parent_path)
        after = parent.with_child(self.zxid)
        self._store.insert(path, node)
        self._store.replace(parent_path, after, parent)
        self._own(path, node)
        self.changes.append(Change(EventKind.CREATED, path, None, node))
        self.changes.append(Change(EventKind.CHILDREN_CHANGED, parent_path, parent, after))
        return node

    def add(self, path: str, data: bytes) -> Failure | None:
        """Create a persistent znode for the tree itself, below an existing parent (A3)."""
        parent = self._existing(parent_of(path))
        if refused := self._refuse_children("create", path, parent, 0):
            return refused
        self._add(path, data, 0)
        return None

    def remove_all(self, paths: Iterable[str]) -> None:
        """Delete existing znodes without children, in this order.

        Siblings in a row are taken out in one go and listed as one Removal: a session may own very many, and the loop waits (S-6).
        """
        for parent_path, siblings in groupby(paths, parent_of):
            nodes = {path: self._existing(path) for path in siblings}
            removal = Removal(parent_path, self._existing(parent_path), nodes, self.zxid)
            self._store.remove_siblings(parent_path, nodes)
            self._store.replace(parent_path, removal.before.without_children(len(nodes), self.zxid), removal.before)
            for path, node in nodes.items():
                self._disown(path, node)
            self.removals.append(removal)

    def remove(self, path: str) -> None:
        """Delete an existing znode without children."""
        node = self._existing(path)
        parent_path = parent_of(path)
        parent = self._existing(parent_path)
        after = parent.without_child(self.zxid)
        self._store.remove(path, node)
        self._store.replace(parent_path, after, parent)
        self._disown(path, node)
        self.changes.append(Change(EventKind.DELETED, path, node, None))
        self.changes.append(Change(EventKind.CHILDREN_CHANGED, parent_path, parent, after))

    def _existing(self, path: str) -> TreeNode:
        node = self._store.get(path)
        if node is None:
            raise InternalError(f"{path!r} must exist")
        return node

    def _own(self, path: str, node: TreeNode) -> None:
        if owner := node.ephemeral_owner:
            session = self._sessions.get(owner)
            if session is None:
                raise InternalError(f"ephemeral {path!r} without its session {owner:#x} (section 18, item 8)")
            session.ephemerals.add(path)

    def _disown(self, path: str, node: TreeNode) -> None:
        if owner := node.ephemeral_owner:
            self._sessions[owner].ephemerals.discard(path)


_RULES: dict[type, Callable[[Execution, Any], Outcome]] = {
    Create: Execution._create,
    Ensure: Execution._ensure,
    SetData: Execution._set,
    Delete: Execution._delete,
    DeleteOwn: Execution._delete_own,
    Check: Execution._check,
    CheckAbsent: Execution._check_absent,
    Multi: Execution._multi,
    Fail: Execution._fail,
}
