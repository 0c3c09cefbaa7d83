"""One open session as replicated state: who owns it, how far it has got, and what its latest requests came to.

A session executes its requests in order and without gap (Q-5), so kept results are a run of consecutive cseq that ends at
``last_cseq``: a queue, dropped at the front as the origin reports them resolved (Q-7).
"""

from __future__ import annotations

from collections import deque

from ..errors import InternalError
from .digest import DIGEST_MASK, hash_result, hash_session
from .results import ErrorCode, Failure, Outcome


class SessionEntry:
    """Read it from outside; only ``Tree.apply`` changes it.

    timeout_ms: milliseconds.  node_id, storage_id, incarnation: the owner (S-1).  czxid: of the creation.  last_cseq: of the
    last executed request.  results: outcomes of the last ``len(results)`` requests.  ephemerals: paths it owns, unordered.
    """

    __slots__ = (
        "_digest",
        "_hashes",
        "_hashes_sum",
        "czxid",
        "ephemerals",
        "id",
        "incarnation",
        "last_cseq",
        "node_id",
        "results",
        "storage_id",
        "timeout_ms",
    )

    def __init__(self, id: int, timeout_ms: int, node_id: int, storage_id: bytes, incarnation: int, czxid: int) -> None:
        self.id = id
        self.timeout_ms = timeout_ms
        self.node_id = node_id
        self.storage_id = storage_id
        self.incarnation = incarnation
        self.czxid = czxid
        self.last_cseq = 0
        self.results: deque[Outcome] = deque()
        self.ephemerals: set[str] = set()
        # Invariant: _hashes[i] is the hash of results[i]; results behind len(_hashes) came after the last ``rehash``.
        self._hashes: deque[int] = deque()
        self._hashes_sum = 0
        # Invariant: what this session contributed to the digest at its last ``rehash``.
        self._digest = 0

    @property
    def kept_from(self) -> int:
        """The lowest cseq whose result is kept; last_cseq + 1 if none is."""
        return self.last_cseq - len(self.results) + 1

    def outcome_of(self, cseq: int) -> Outcome:
        """What became of an executed request. Failure(RESOLVED) if the origin has said that it knows."""
        if cseq > self.last_cseq:
            raise InternalError(f"session {self.id:#x}: request {cseq} is not executed, the last is {self.last_cseq}")
        if cseq < self.kept_from:
            return Failure(ErrorCode.RESOLVED, found=cseq, expected=self.kept_from)
        return self.results[cseq - self.kept_from]

    def executed(self, cseq: int, ack_below: int, outcome: Outcome) -> None:
        """Request ``cseq`` was executed: keep its outcome, drop those that are resolved (Q-5, Q-7)."""
        results = self.results
        results.append(outcome)
        self.last_cseq = cseq
        drop = ack_below - cseq - 1 + len(results)
        while drop > 0:
            results.popleft()
            if self._hashes:
                self._hashes_sum -= self._hashes.popleft()
            drop -= 1

    # --- digest (B-15) ---

    def rehash(self) -> int:
        """How much the digest changes by what happened to this session since the last call.

        Only results that are kept and were not hashed before are hashed now: a result that lived shorter costs nothing.
        """
        first = self.kept_from
        for index in range(len(self._hashes), len(self.results)):
            value = hash_result(self.id, first + index, self.results[index])
            self._hashes.append(value)
            self._hashes_sum += value
        digest = (self._hash_head() + self._hashes_sum) & DIGEST_MASK
        change = digest - self._digest
        self._digest = digest
        return change

    @property
    def digested(self) -> int:
        """What the digest holds of this session now, and must lose when it closes."""
        return self._digest

    def digest(self) -> int:
        """The contribution computed from nothing, for checks."""
        results = sum(hash_result(self.id, self.kept_from + i, outcome) for i, outcome in enumerate(self.results))
        return (self._hash_head() + results) & DIGEST_MASK

    def head(self) -> tuple[int, int, int, bytes, int, int, int, int]:
        """Everything but the results themselves, as a snapshot stores it."""
        return (
            self.id,
            self.timeout_ms,
            self.node_id,
            self.storage_id,
            self.incarnation,
            self.czxid,
            self.last_cseq,
            len(self.results),
        )

    def _hash_head(self) -> int:
        return hash_session(self.head())

    def check_invariants(self) -> None:
        if len(self.results) > self.last_cseq or len(self._hashes) > len(self.results):
            raise InternalError(f"session {self.id:#x}: more results than requests")
        if sum(self._hashes) != self._hashes_sum:
            raise InternalError(f"session {self.id:#x}: the sum of its results' hashes is off")
        first = self.kept_from
        for index, value in enumerate(self._hashes):
            if value != hash_result(self.id, first + index, self.results[index]):
                raise InternalError(f"session {self.id:#x}: the hash of request {first + index} is off")
