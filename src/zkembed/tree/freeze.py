"""A snapshot being written: the state as it was at one zxid, in chunks, while the tree goes on changing (rule P-8).

Format. The snapshot is a run of pages, each one CBOR array that begins with its kind:

1. HEADER   ``[1, "zkembed-tree", format, feature level, zxid, digest, sessions, znodes, seal]``, first and once;
            the seal is a hash of the five before it: the digest vouches for the state, not for what is said of it
2. SESSIONS ``[2, [head of a session, ...]]``, see ``SessionEntry.head``
3. RESULTS  ``[3, session, [outcome, ...]]``, oldest first, behind its session
4. ZNODES   ``[4, [[path, data, czxid, mzxid, pzxid, ctime, mtime, version, aversion, owner, created, children], ...]]``

A page is cut into chunks of at most CHUNK_BYTES_MAX: one byte, CONTINUES or ENDS, and a part of the page. There is no
index of children and no list of ephemerals: they follow from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..codec import encode
from .digest import hash_header
from .results import Outcome, outcome_row
from .sessions import SessionEntry
from .store import Store
from .znode import TreeNode

MAGIC = "zkembed-tree"
FORMAT = 1
FEATURE_LEVEL = 1
CHUNK_BYTES_MAX = 256 * 1024
# A page ends at this many rows or bytes, whichever comes first: about a millisecond of work.
PAGE_ROWS = 500
PAGE_BYTES = 192 * 1024
ROW_BYTES = 80

HEADER, SESSIONS, RESULTS, ZNODES = 1, 2, 3, 4
CONTINUES, ENDS = b"\0", b"\1"


class Freeze:
    """Made by ``Tree.freeze``. Take all of ``chunks`` or call ``close``; then call ``merge_step`` until it says False.

    Until then writes cost a little more. An abandoned one keeps the tree frozen.  zxid, digest: of the frozen state.
    """

    def __init__(self, store: Store, sessions: dict[int, SessionEntry], zxid: int, digest: int, feature_level: int) -> None:
        self.zxid = zxid
        self.digest = digest
        self.feature_level = feature_level
        self._store = store
        self._nodes_count = len(store)
        # Sessions are few next to znodes, so their heads and references to their results are copied at once.
        self._sessions = [(entry.head(), tuple(entry.results)) for entry in sessions.values()]
        self._nodes = store.freeze()
        self._closed = False

    def chunks(self) -> Iterator[bytes]:
        """The snapshot. Each step is one slice of work; let others run between two of them. Closes itself at the end."""
        try:
            for page in self._pages():
                data = encode(page)
                last = (len(data) - 1) // (CHUNK_BYTES_MAX - 1)
                for index in range(last + 1):
                    part = data[index * (CHUNK_BYTES_MAX - 1) : (index + 1) * (CHUNK_BYTES_MAX - 1)]
                    yield (ENDS if index == last else CONTINUES) + part
                    if self._closed:
                        # The base is changing again; its iterator must not be touched.
                        return
        finally:
            self.close()

    def close(self) -> None:
        """The frozen state is needed no more; idempotent. Closing before the end leaves ``chunks`` short."""
        if not self._closed:
            self._closed = True
            self._nodes = iter(())
            self._sessions = []
            self._store.thaw()

    def merge_step(self) -> bool:
        """One slice of bringing back what was written meanwhile; whether there is more to do. False before ``close``."""
        return self._store.merge_step()

    def _pages(self) -> Iterator[tuple[object, ...]]:
        fields = (self.feature_level, self.zxid, self.digest, len(self._sessions), self._nodes_count)
        yield (HEADER, MAGIC, FORMAT, *fields, hash_header(fields))
        yield from self._session_pages()
        yield from self._node_pages()

    def _session_pages(self) -> Iterator[tuple[object, ...]]:
        sessions = self._sessions
        for start in range(0, len(sessions), PAGE_ROWS):
            yield (SESSIONS, [head for head, _ in sessions[start : start + PAGE_ROWS]])
        for head, results in sessions:
            yield from _result_pages(head[0], results)

    def _node_pages(self) -> Iterator[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        size = 0
        for path, node in self._nodes:
            rows.append(node_row(path, node))
            size += len(path) + len(node.data) + ROW_BYTES
            if len(rows) >= PAGE_ROWS or size >= PAGE_BYTES:
                yield (ZNODES, rows)
                rows = []
                size = 0
        if rows:
            yield (ZNODES, rows)


def _result_pages(session: int, results: tuple[Outcome, ...]) -> Iterator[tuple[object, ...]]:
    """A transaction's outcome counts by its parts: one of 10,000 fills a page."""
    rows: list[object] = []
    count = 0
    for outcome in results:
        rows.append(outcome_row(outcome))
        count += len(outcome) if type(outcome) is tuple else 1
        if count >= PAGE_ROWS:
            yield (RESULTS, session, rows)
            rows = []
            count = 0
    if rows:
        yield (RESULTS, session, rows)


def node_row(path: str, node: TreeNode) -> tuple[object, ...]:
    return (
        path,
        node.data,
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_us,
        node.mtime_us,
        node.version,
        node.aversion,
        node.ephemeral_owner,
        node.created_children,
        node.num_children,
    )
