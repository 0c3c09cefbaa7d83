"""The replicated state: znodes and sessions, changed by ``apply`` alone, one committed record after the other.

``apply`` is total and deterministic (D21, D22): given the same records every replica reaches the same state, the same
outcomes and the same changes, and no payload makes it raise. The only errors are broken promises of the caller or of this
room itself (InternalError). It knows nothing of who waits for an outcome, of quorums, disks or clocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..errors import DecodeError, InternalError
from ..record import Kind, Record
from ..zxid import COUNTER_MAX, EMPTY, to_hex
from .codec import Entry, decode_entry
from .digest import DIGEST_MASK, hash_node
from .events import Change, Removals
from .execution import Execution
from .freeze import FEATURE_LEVEL, Freeze
from .ops import CloseIncarnations, CloseSession, Op, OpenSession
from .path import RESERVED, ROOT, join
from .results import ErrorCode, Failure, Outcome
from .sessions import SessionEntry
from .store import Store
from .znode import TreeNode

CONFIG_PATH = join(RESERVED, "config")
SESSIONS_PATH = join(RESERVED, "sessions")
QUOTA_PATH = join(RESERVED, "quota")
DIGEST_EVERY = 1024


class Applied(NamedTuple):
    """What one record did.

    session, cseq, op: of its entry; 0, 0, None for other kinds of records and for a malformed payload.
    changes: in the order in which watches see them.  executed: False if it changed nothing because it was malformed, a
    duplicate, behind a gap, or of a session that is not open (Q-5, S-6); ``outcome`` is the answer all the same.
    opened: the session that it opened.  closed: the sessions that it closed, ascending.
    """

    zxid: int
    session: int
    cseq: int
    op: Op | None
    outcome: Outcome
    changes: Collection[Change]
    executed: bool
    opened: int | None
    closed: tuple[int, ...]


class Tree:
    """Invariants: see ``check_invariants``.

    applied: zxid of the last applied record.  sessions: the open ones; read it, do not write.  boundary: (zxid, digest) of
    the newest digest boundary, or of the snapshot this tree was loaded from; (0, 0) before the first (B-15).
    """

    def __init__(self, digest_every: int = DIGEST_EVERY) -> None:
        """digest_every: how many entries there are between boundaries; the same on every replica."""
        self._digest_every = digest_every
        self.applied = EMPTY
        self.feature_level = FEATURE_LEVEL
        self.boundary = (EMPTY, 0)
        self.sessions: dict[int, SessionEntry] = {}
        # Invariant: open sessions that changed since the digest was last brought up to date.
        self._touched: dict[int, SessionEntry] = {}
        self._store = Store()
        self._digest = 0
        self._grow()

    def _grow(self) -> None:
        """A fresh tree has ZooKeeper's reserved znodes with the stats of a fresh ZooKeeper: all zero (A3)."""
        reserved = (CONFIG_PATH, QUOTA_PATH, SESSIONS_PATH)
        self._store.insert(ROOT, TreeNode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
        self._store.insert(RESERVED, TreeNode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, len(reserved)))
        for path in reserved:
            self._store.insert(path, TreeNode.new(b"", EMPTY, 0))

    @classmethod
    def restored(
        cls, store: Store, sessions: dict[int, SessionEntry], zxid: int, digest: int, feature_level: int, digest_every: int
    ) -> Tree:
        """A tree from the parts of a snapshot, which the loader has verified. A snapshot is a boundary (B-15)."""
        tree = cls(digest_every)
        tree.applied = zxid
        tree.feature_level = feature_level
        tree.boundary = (zxid, digest)
        tree.sessions = sessions
        tree._store = store
        tree._digest = digest
        return tree

    # --- reads ---

    def get(self, path: str) -> TreeNode | None:
        return self._store.get(path)

    def children(self, path: str) -> tuple[str, ...]:
        """Names, sorted; empty also where there is no such znode."""
        return self._store.children(path)

    def ephemerals(self, session: int, prefix: str = ROOT) -> tuple[str, ...]:
        """Paths of the session's ephemerals that begin with ``prefix``, sorted (A24); empty if it is not open."""
        entry = self.sessions.get(session)
        return () if entry is None else tuple(sorted(path for path in entry.ephemerals if path.startswith(prefix)))

    def items(self) -> Iterator[tuple[str, TreeNode]]:
        """Every path and znode, in no particular order. Nothing may be applied meanwhile."""
        return self._store.items()

    def __len__(self) -> int:
        return len(self._store)

    # --- apply ---

    def apply(self, record: Record, config_text: bytes | None = None) -> Applied:
        """Apply the record that stands directly behind ``applied``.

        config_text: for a CONFIG record, what becomes the data of /zookeeper/config; the same on every replica.
        Raises InternalError when applied out of order or twice (section 18, item 3); never for what a payload holds.
        """
        zxid = record.zxid
        if record.prev_zxid != self.applied or zxid <= self.applied:
            raise InternalError(f"apply {to_hex(zxid)}, which stands behind {to_hex(record.prev_zxid)}: applied is {to_hex(self.applied)}")
        if record.kind is Kind.REQUEST:
            applied = self._apply_request(record)
        elif record.kind is Kind.CONFIG:
            applied = self._apply_config(record, config_text)
        else:
            applied = Applied(zxid, 0, 0, None, None, (), True, None, ())
        self.applied = zxid
        counter = zxid & COUNTER_MAX
        if counter == 1 or not counter % self._digest_every:
            self.boundary = (zxid, self.digest_now())
        return applied

    def _apply_config(self, record: Record, config_text: bytes | None) -> Applied:
        if config_text is None:
            raise InternalError(f"apply {to_hex(record.zxid)}: a configuration needs its text")
        execution = Execution(self._store, self.sessions, record.zxid, record.time, 0)
        node = self._store.get(CONFIG_PATH)
        if node is None:
            raise InternalError(f"{CONFIG_PATH} must exist")
        execution.write(CONFIG_PATH, node, config_text)
        return Applied(record.zxid, 0, 0, None, None, tuple(execution.changes), True, None, ())

    def _apply_request(self, record: Record) -> Applied:
        """Cases: 1. malformed; 2. no session's request: a creation, or the leader's own; 3. session not open (S-6);
        4. not the next of its session (Q-5); 5. the owner's close; 6. any other, executed whether or not it fails (Q-6).
        """
        zxid = record.zxid
        entry, record.decoded = record.decoded, None  # Applied once; the log's cache keeps the record, and need not keep this.
        if type(entry) is not Entry:
            try:
                entry = decode_entry(record.payload)
            except DecodeError:
                # The reason is left out: its wording may differ between versions of the decoder.
                return Applied(zxid, 0, 0, None, Failure(ErrorCode.MALFORMED, "apply"), (), False, None, ())
        session_id, cseq, ack_below, op = entry
        execution = Execution(self._store, self.sessions, zxid, record.time, session_id)
        if not cseq:
            return self._apply_unnumbered(execution, op)
        session = self.sessions.get(session_id)
        if session is None:
            expired = Failure(ErrorCode.SESSION_EXPIRED, op.verb, found=session_id)
            return Applied(zxid, session_id, cseq, op, expired, (), False, None, ())
        if cseq != session.last_cseq + 1:
            return Applied(zxid, session_id, cseq, op, _not_next(session, cseq, op), (), False, None, ())
        if type(op) is CloseSession:
            self._close(execution, session)
            return Applied(zxid, session_id, cseq, op, None, Removals(tuple(execution.removals)), True, None, (session_id,))
        outcome = execution.run(op)
        session.executed(cseq, ack_below, outcome)
        self._touched[session_id] = session
        return Applied(zxid, session_id, cseq, op, outcome, tuple(execution.changes), True, None, ())

    def _apply_unnumbered(self, execution: Execution, op: Op) -> Applied:
        outcome: Outcome = None
        opened: int | None = None
        closing: list[SessionEntry] = []
        if isinstance(op, OpenSession):
            outcome = self._open(execution, op)
            opened = execution.session if outcome is None else None
        elif isinstance(op, CloseSession):
            # (S-6) An unknown id has no effect: it was closed by an earlier entry.
            closing = [self.sessions[op.session]] if op.session in self.sessions else []
        elif isinstance(op, CloseIncarnations):
            closing = [
                entry for _, entry in sorted(self.sessions.items()) if entry.storage_id == op.storage_id and entry.incarnation < op.below
            ]
        for entry in closing:
            self._close(execution, entry)
        closed = tuple(entry.id for entry in closing)
        changes = Removals(tuple(execution.removals)) if closed else tuple(execution.changes)
        return Applied(execution.zxid, execution.session, 0, op, outcome, changes, True, opened, closed)

    # --- sessions ---

    def _open(self, execution: Execution, op: OpenSession) -> Failure | None:
        """(S-1) Creation with an id that exists fails; the session there is somebody else's."""
        id = execution.session
        if id in self.sessions:
            return Failure(ErrorCode.SESSION_EXISTS, op.verb, found=id)
        text = f'{{"node_id": {op.node_id}, "incarnation": {op.incarnation}, "timeout_ms": {op.timeout_ms}}}'
        if refused := execution.add(session_path(id), text.encode()):
            return refused
        entry = SessionEntry(id, op.timeout_ms, op.node_id, op.storage_id, op.incarnation, execution.zxid)
        self.sessions[id] = self._touched[id] = entry
        return None

    def _close(self, execution: Execution, entry: SessionEntry) -> None:
        """(S-6) Its ephemerals in order of path, then the session, all in this one entry."""
        execution.remove_all([*sorted(entry.ephemerals), session_path(entry.id)])
        del self.sessions[entry.id]
        self._touched.pop(entry.id, None)
        self._digest -= entry.digested

    # --- digest (B-15) ---

    def digest_now(self) -> int:
        """The digest of the state as it is. Costs two hashes for each znode written since it was last asked for."""
        digest = self._digest
        for path, before in self._store.take_dirty().items():
            if before is not None:
                digest -= hash_node(path, before)
            now = self._store.get(path)
            if now is not None:
                digest += hash_node(path, now)
        for entry in self._touched.values():
            digest += entry.rehash()
        self._touched.clear()
        self._digest = digest & DIGEST_MASK
        return self._digest

    def recompute_digest(self) -> int:
        """The digest computed from nothing, for checks: all znodes at once."""
        nodes = sum(hash_node(path, node) for path, node in self._store.items())
        return (nodes + sum(entry.digest() for entry in self.sessions.values())) & DIGEST_MASK

    # --- snapshots (P-8) ---

    def freeze(self) -> Freeze:
        """Fix the state as it is now, to be written in slices while ``apply`` goes on. One at a time, else InternalError."""
        if self._store.frozen:
            raise InternalError("the tree is frozen already")
        return Freeze(self._store, self.sessions, self.applied, self.digest_now(), self.feature_level)

    # --- checks ---

    def check_invariants(self) -> None:
        """Raise InternalError if the state contradicts itself. Walks everything."""
        self._store.check_invariants()
        owned: dict[int, set[str]] = {id: set() for id in self.sessions}
        for path, node in self._store.items():
            if max(node.czxid, node.mzxid, node.pzxid) > self.applied:
                raise InternalError(f"{path!r} is newer than applied {to_hex(self.applied)}")
            if node.ephemeral_owner:
                if node.ephemeral_owner not in owned:
                    raise InternalError(f"ephemeral {path!r} without its session (section 18, item 8)")
                owned[node.ephemeral_owner].add(path)
        for id, entry in self.sessions.items():
            entry.check_invariants()
            if entry.id != id or entry.ephemerals != owned[id]:
                raise InternalError(f"session {id:#x}: its list of ephemerals is off")
        if self.children(SESSIONS_PATH) != tuple(sorted(f"{id:#x}" for id in self.sessions)):
            raise InternalError(f"{SESSIONS_PATH} does not list the open sessions")
        if self.digest_now() != self.recompute_digest():
            raise InternalError(f"the digest at {to_hex(self.applied)} is not that of the state")


def session_path(session: int) -> str:
    """Where an open session is listed (A3)."""
    return join(SESSIONS_PATH, f"{session:#x}")


def _not_next(session: SessionEntry, cseq: int, op: Op) -> Outcome:
    """The answer to a request that is not the next of its session (Q-5)."""
    if cseq <= session.last_cseq:
        return session.outcome_of(cseq)
    return Failure(ErrorCode.GAP, op.verb, found=cseq, expected=session.last_cseq + 1)
