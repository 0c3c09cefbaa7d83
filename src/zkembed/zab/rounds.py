"""PING rounds of one leader, and the barrier reads that wait for one (rules B-9, R-1, R-2, S-4).

A round is answered once a quorum has answered it or a later one. Only rounds sent since establishment confirm anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from attrs import frozen

SYNC_REQUESTS_MAX = 100_000
_ROUNDS_MAX = 64


@frozen
class Round:
    """heard: by link, the highest PONG received before this round was sent (what its answer lets the leader echo)."""

    seq: int
    sent_at: float
    heard: Mapping[int, int]


@frozen
class SyncWaiting:
    """link: whose request; None: the leader's own.  barrier: the commit point at receipt.  seq: the first round that may confirm it."""

    link: int | None
    id: int
    barrier: int
    seq: int


class Rounds:
    """seq: of the newest round sent.  answered: newest round that a quorum answered."""

    def __init__(self) -> None:
        self.seq = 0
        self.answered = 0
        self._rounds: deque[Round] = deque(maxlen=_ROUNDS_MAX)
        self._waiting: deque[SyncWaiting] = deque()

    def send(self, now: float, heard: Mapping[int, int], *, established: bool) -> int:
        """A new round goes out."""
        self.seq += 1
        if established:
            self._rounds.append(Round(self.seq, now, heard))
        return self.seq

    def answer(self, point: int) -> Round | None:
        """A quorum has answered ``point``: the newest round this settles, if that is news."""
        self.answered = max(self.answered, point)
        settled = None
        while self._rounds and self._rounds[0].seq <= point:
            settled = self._rounds.popleft()
        return settled

    @property
    def outstanding(self) -> bool:
        return bool(self._rounds)

    def wait(self, link: int | None, number: int, barrier: int) -> bool:
        """A sync request; only a PING sent after this can confirm it (R-2). False: too many wait."""
        if len(self._waiting) >= SYNC_REQUESTS_MAX:
            return False
        self._waiting.append(SyncWaiting(link, number, barrier, self.seq + 1))
        return True

    @property
    def wanted(self) -> bool:
        """A round should go out at once: requests wait that no round on its way covers."""
        return bool(self._waiting) and self._waiting[-1].seq > self.seq and not self.outstanding

    def take_confirmed(self, settled: Round) -> list[SyncWaiting]:
        confirmed = []
        while self._waiting and self._waiting[0].seq <= settled.seq:
            confirmed.append(self._waiting.popleft())
        return confirmed
