"""A snapshot being read: chunks in, a verified tree out. The format is described in freeze.py.

What comes in was checked by sums on its way, but it may be another version's, or a defect's: so every field is checked,
and the digest is computed anew and compared (section 18, item 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..codec import decode
from ..durable import STORAGE_ID_BYTES
from ..errors import BadArgumentsError, DecodeError, InternalError
from ..zxid import ZXID_MAX, to_hex
from .digest import DIGEST_MASK, hash_header, hash_node
from .freeze import CONTINUES, ENDS, FEATURE_LEVEL, FORMAT, HEADER, MAGIC, RESULTS, SESSIONS, ZNODES
from .ops import CSEQ_MAX, INCARNATION_MAX, NODE_ID_MAX, SESSION_MAX, TIMEOUT_MS_MAX
from .path import check_path
from .results import decode_outcome
from .sessions import SessionEntry
from .store import Store
from .tree import CONFIG_PATH, DIGEST_EVERY, QUOTA_PATH, SESSIONS_PATH, Tree, session_path
from .znode import CREATED_CHILDREN_MAX, TreeNode

# One page holds at most one znode or outcome more than fits in its usual size.
PAGE_BYTES_MAX = 2**30
_INT_MAX = 2**63 - 1
_NODE_FIELDS = 12
_HEAD_FIELDS = 8


class Loader:
    """``feed`` it every chunk in order, one slice of work each, then ``finish`` gives the tree. Both raise DecodeError."""

    def __init__(self, digest_every: int = DIGEST_EVERY) -> None:
        self._digest_every = digest_every
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._header: tuple[int, int, int, int, int] | None = None
        self._zxid = 0
        self._sum = 0
        self._children_sum = 0
        self._store = Store()
        self._sessions: dict[int, SessionEntry] = {}
        self._results_count: dict[int, int] = {}
        self._pages: dict[int, Callable[..., None]] = {
            HEADER: self._take_header,
            SESSIONS: self._take_sessions,
            RESULTS: self._take_results,
            ZNODES: self._take_nodes,
        }

    def feed(self, chunk: bytes) -> None:
        flag, part = chunk[:1], chunk[1:]
        if flag not in (CONTINUES, ENDS):
            raise DecodeError("snapshot: a chunk begins with an unknown byte")
        self._parts_bytes += len(part)
        if self._parts_bytes > PAGE_BYTES_MAX:
            raise DecodeError(f"snapshot: a page is larger than {PAGE_BYTES_MAX} bytes")
        self._parts.append(part)
        if flag == ENDS:
            page = b"".join(self._parts)
            self._parts.clear()
            self._parts_bytes = 0
            self._take_page(decode(page))

    def finish(self) -> Tree:
        """The tree, verified. The loader is used up."""
        if self._header is None or self._parts:
            raise DecodeError("snapshot: it ends too early")
        feature_level, zxid, digest, sessions, nodes = self._header
        if (len(self._sessions), len(self._store)) != (sessions, nodes):
            raise DecodeError(f"snapshot: {len(self._sessions)} sessions and {len(self._store)} znodes, announced {sessions} and {nodes}")
        self._check_sessions()
        self._check_shape()
        found = (self._sum + sum(entry.rehash() for entry in self._sessions.values())) & DIGEST_MASK
        if found != digest:
            raise DecodeError(f"snapshot at {to_hex(zxid)}: digest is {found:#018x}, expected {digest:#018x}")
        return Tree.restored(self._store, self._sessions, zxid, digest, feature_level, self._digest_every)

    # --- pages ---

    def _take_page(self, page: Any) -> None:
        if type(page) is not list or not page or type(page[0]) is not int or page[0] not in self._pages:
            raise DecodeError("snapshot: unknown page")
        if (page[0] == HEADER) != (self._header is None):
            raise DecodeError("snapshot: the header comes first, and once")
        try:
            self._pages[page[0]](*page[1:])
        except TypeError as error:
            # A wrong number of fields, or a row that is no list.
            raise DecodeError("snapshot: a page has the wrong shape") from error

    def _take_header(self, magic: object, format: object, *fields: Any) -> None:
        if magic != MAGIC or format != FORMAT:
            raise DecodeError(f"snapshot: format {format!r:.40} is not {FORMAT}, or this is no snapshot of a tree")
        if len(fields) != 6 or any(type(field) is not int for field in fields) or fields[5] != hash_header(fields[:5]):
            raise DecodeError("snapshot: the header has the wrong shape or seal")
        feature_level, zxid, digest, sessions, nodes, _ = fields
        if not 1 <= feature_level <= FEATURE_LEVEL:
            raise DecodeError(f"snapshot: feature level is {feature_level}, this version knows 1 to {FEATURE_LEVEL}")
        if not 0 <= zxid <= ZXID_MAX:
            raise DecodeError("snapshot: the header's zxid is out of range")
        self._zxid = zxid
        self._header = (feature_level, zxid, digest, sessions, nodes)

    def _take_sessions(self, heads: list[list[Any]]) -> None:
        for head in heads:
            entry, results = self._make_session(head)
            if entry.id in self._sessions:
                raise DecodeError(f"snapshot: session {entry.id:#x} comes twice")
            self._sessions[entry.id] = entry
            self._results_count[entry.id] = results

    def _make_session(self, head: list[Any]) -> tuple[SessionEntry, int]:
        if type(head) is not list or len(head) != _HEAD_FIELDS:
            raise DecodeError("snapshot: a session has the wrong shape")
        id, timeout_ms, node_id, storage_id, incarnation, czxid, last_cseq, results = head
        numbers = (id, timeout_ms, node_id, incarnation, czxid, last_cseq, results)
        if not (
            all(type(number) is int for number in numbers)
            and type(storage_id) is bytes
            and len(storage_id) == STORAGE_ID_BYTES
            and 1 <= id <= SESSION_MAX
            and 1 <= timeout_ms <= TIMEOUT_MS_MAX
            and 1 <= node_id <= NODE_ID_MAX
            and 0 <= incarnation <= INCARNATION_MAX
            and 1 <= czxid <= self._zxid
            and 0 <= results <= last_cseq <= CSEQ_MAX
        ):
            raise DecodeError("snapshot: a field of a session has the wrong type or range")
        entry = SessionEntry(id, timeout_ms, node_id, storage_id, incarnation, czxid)
        entry.last_cseq = last_cseq
        return entry, results

    def _take_results(self, session: Any, rows: list[Any]) -> None:
        entry = self._sessions.get(session) if type(session) is int else None
        if entry is None:
            raise DecodeError("snapshot: results of a session that is not there")
        entry.results.extend(map(decode_outcome, rows))
        if len(entry.results) > self._results_count[entry.id]:
            raise DecodeError(f"snapshot: session {entry.id:#x} has more results than announced")

    def _take_nodes(self, rows: list[list[Any]]) -> None:
        store = self._store
        digest = 0
        for row in rows:
            path, node = self._make_node(row)
            if store.get(path) is not None:
                raise DecodeError(f"snapshot: {path!r} comes twice")
            store.load(path, node)
            digest += hash_node(path, node)
            self._children_sum += node.num_children
            if node.ephemeral_owner:
                self._own(path, node.ephemeral_owner)
        self._sum += digest

    def _make_node(self, row: list[Any]) -> tuple[str, TreeNode]:
        if type(row) is not list or len(row) != _NODE_FIELDS:
            raise DecodeError("snapshot: a znode has the wrong shape")
        path, data, czxid, mzxid, pzxid, ctime_us, mtime_us, version, aversion, owner, created, children = row
        numbers = row[2:]
        if type(data) is not bytes or any(type(number) is not int for number in numbers):
            raise DecodeError("snapshot: a field of a znode has the wrong type")
        if min(numbers) < 0 or max(numbers) > _INT_MAX or max(czxid, mzxid, pzxid) > self._zxid or created > CREATED_CHILDREN_MAX:
            raise DecodeError("snapshot: a field of a znode is out of range")
        try:
            check_path(path)
        except BadArgumentsError as error:
            raise DecodeError(f"snapshot: {error}") from error
        # Equal numbers share one object, as they do where the znode was made: a hundred bytes less for each.
        if mzxid == czxid:
            mzxid = czxid
        if pzxid == czxid:
            pzxid = czxid
        if mtime_us == ctime_us:
            mtime_us = ctime_us
        return path, TreeNode(data, czxid, mzxid, pzxid, ctime_us, mtime_us, version, aversion, owner, created, children)

    def _own(self, path: str, owner: int) -> None:
        session = self._sessions.get(owner)
        if session is None:
            raise DecodeError(f"snapshot: ephemeral {path!r} without its session {owner:#x} (section 18, item 8)")
        session.ephemerals.add(path)

    # --- at the end ---

    def _check_sessions(self) -> None:
        for id, entry in self._sessions.items():
            if len(entry.results) != self._results_count[id]:
                raise DecodeError(f"snapshot: session {id:#x} has fewer results than announced")
            if self._store.get(session_path(id)) is None:
                raise DecodeError(f"snapshot: session {id:#x} is not listed below {SESSIONS_PATH}")
        listed = self._store.get(SESSIONS_PATH)
        if listed is None or listed.num_children != len(self._sessions):
            raise DecodeError(f"snapshot: {SESSIONS_PATH} does not list the open sessions")

    def _check_shape(self) -> None:
        if self._store.get(CONFIG_PATH) is None or self._store.get(QUOTA_PATH) is None:
            raise DecodeError("snapshot: a reserved znode is missing")
        try:
            self._store.check_children()
        except InternalError as error:
            raise DecodeError(f"snapshot: {error}") from error
        if self._children_sum != len(self._store) - 1:
            raise DecodeError(f"snapshot: znodes count {self._children_sum} children, there are {len(self._store) - 1}")


def load(chunks: Iterable[bytes], digest_every: int = DIGEST_EVERY) -> Tree:
    """The tree of a whole snapshot, without pauses. Raises DecodeError."""
    loader = Loader(digest_every)
    for chunk in chunks:
        loader.feed(chunk)
    return loader.finish()
