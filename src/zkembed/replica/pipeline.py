"""The origin's side of requests: every local session's order, from the call to its outcome (rules Q-1 to Q-9).

A session's unresolved calls stand in one queue: first those handed to a leader (they have a cseq and stay whatever
happens), then those that wait for a leader or for room in the window (they may be withdrawn, and leave no hole). Reads
and barriers stand behind the call they were issued after. This file knows no leader, no link and no clock: ``hand_over``
says what to send, ``resolve`` takes what was applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from ..endpoint import SessionState
from ..errors import InternalError, SessionExpiredError, ZkError
from ..tree.codec import encode_entry
from ..tree.ops import CloseSession, Fail, Op, OpenSession
from ..tree.results import ErrorCode, Failure, Outcome

WINDOW = 1000
"""Calls of one session that may be with the ensemble at a time; the rest wait at the origin (D30)."""

WINDOW_BYTES = 16 * 2**20
"""Encoded bytes of all sessions of a node that may be under way. Less than a link's budget (B-13), or a node that hands over what it
may, or sends it again to the next leader, would lose its link for it, for ever."""


class Call:
    """One write. ``cseq`` is 0 until it is handed over; ``outcome`` is what the tree made of it.

    waiter: the driver's; whoever is woken when it settles.  error: instead of an outcome, when the session ended.
    """

    __slots__ = ("cseq", "entry", "error", "op", "orphan", "outcome", "session", "settled", "waiter", "zxid")

    def __init__(self, session: LocalSession, op: Op) -> None:
        self.session = session
        self.op = op
        self.cseq = 0
        self.entry = b""
        self.orphan = False
        self.settled = False
        self.outcome: Outcome = None
        self.zxid = 0
        self.error: ZkError | None = None
        self.waiter: object = None

    @property
    def handed_over(self) -> bool:
        return self.cseq > 0


class Read:
    """A read that waits for the session's earlier writes (Q-9). ``evaluate`` is asked in the step that resolves the last of them."""

    __slots__ = ("after", "error", "evaluate", "result", "session", "settled", "waiter")

    def __init__(self, session: LocalSession, evaluate: Callable[[], object], after: Call | None) -> None:
        self.session = session
        self.evaluate = evaluate
        self.after = after
        self.settled = False
        self.result: object = None
        self.error: ZkError | None = None
        self.waiter: object = None


class Barrier:
    """A ``sync`` (rules R-1 to R-4). zxid: the barrier, once a leader has answered.  after: the last call issued before it."""

    __slots__ = ("after", "error", "id", "result", "session", "settled", "waiter", "zxid")

    def __init__(self, session: LocalSession, id: int, after: Call | None) -> None:
        self.session = session
        self.id = id
        self.after = after
        self.zxid: int | None = None
        self.settled = False
        self.result: object = None
        self.error: ZkError | None = None
        self.waiter: object = None


class LocalSession:
    """One session hosted by this process, as its owner sees it.

    Invariant: ``handed`` holds cseqs that rise by one and end at ``next_cseq - 1``; ``queued`` holds calls without one.
    """

    def __init__(self, id: int, open_op: OpenSession, opened_at: float, window: int = WINDOW) -> None:
        self.id = id
        self._window = window
        self.open_op = open_op
        self.timeout = open_op.timeout_ms / 1000
        self.state = SessionState.SUSPENDED  # Until its creation is applied and confirmed nobody owns anything through it.
        self.created = False
        self.creation_sent = False
        self.confirmed = opened_at
        self.opened_at = opened_at
        self.zxid = 0
        self.next_cseq = 1
        self.closing = False
        self.handed: deque[Call] = deque()
        self.handed_bytes = 0
        self.queued: deque[Call] = deque()
        self.reads: deque[Read] = deque()
        self.barriers: list[Barrier] = []
        self.gone = False
        self.observer: Callable[[SessionState], None] | None = None  # the driver's

    @property
    def idle(self) -> bool:
        """No write is unresolved: a read may be answered at once."""
        return not self.handed and not self.queued

    @property
    def last_call(self) -> Call | None:
        if self.queued:
            return self.queued[-1]
        return self.handed[-1] if self.handed else None

    def submit(self, op: Op) -> Call:
        """Take the next place in the session's order (Q-1). Plain: two calls in one step keep their order."""
        if self.gone or self.closing:
            raise self.ended_error(())
        call = Call(self, op)
        self.queued.append(call)
        if type(op) is CloseSession:
            self.closing = True
        return call

    def withdraw(self, call: Call) -> bool:
        """Its caller gave up. True: it was never handed over and will never happen; False: it stays, as an orphan (Q-8).

        Those queued behind it move up; reads that waited for it wait for the call before it.
        """
        if call.cseq or call.settled:
            call.orphan = True
            return False
        place = self.queued.index(call)
        before = self.queued[place - 1] if place else (self.handed[-1] if self.handed else None)
        del self.queued[place]
        behind: list[Read | Barrier] = [*self.reads, *self.barriers]
        for waiting in behind:
            if waiting.after is call:
                waiting.after = before
        return True

    def hand_over(self, room: int = WINDOW_BYTES) -> Iterator[Call]:
        """Give the next calls their cseq, as many as the window and ``room`` bytes let, and yield them in order, encoded."""
        while self.queued and len(self.handed) < self._window and room > 0:
            call = self.queued.popleft()
            if type(call.op) is CloseSession:
                call.op = CloseSession(self.id, call.op.expired)  # Its creation may have gone out under a fresh id since (S-1).
            call.cseq = self.next_cseq
            self.next_cseq += 1
            self.handed.append(call)
            call.entry = encode_entry(self.id, call.cseq, self.handed[0].cseq, call.op)
            room -= len(call.entry)
            self.handed_bytes += len(call.entry)
            yield call

    def unresolved(self) -> Iterator[bytes]:
        """What was handed over before and has no outcome yet, to be sent again in order (Q-4)."""
        return (call.entry for call in self.handed)

    def refused(self, cseq: int, code: ErrorCode) -> list[bytes]:
        """The leader will not propose ``cseq`` for a limit: what to send instead of it, and behind it again (Q-2).

        The empty operation goes out even if ``cseq`` was resolved meanwhile, else the leader would wait for it for ever.
        """
        entries = []
        fail = Fail(code)
        for call in self.handed:
            if call.cseq == cseq:
                call.op = fail
                self.handed_bytes -= len(call.entry)
                call.entry = encode_entry(self.id, cseq, self.handed[0].cseq, fail)
                self.handed_bytes += len(call.entry)
        if not self.handed or self.handed[0].cseq > cseq:
            entries.append(encode_entry(self.id, cseq, cseq, fail))
        entries.extend(call.entry for call in self.handed if call.cseq >= cseq)
        return entries

    def resolve(self, cseq: int, outcome: Outcome, zxid: int) -> Call | None:
        """The outcome of ``cseq``, applied here. None if it is not unresolved any more (a duplicate)."""
        if not self.handed or cseq < self.handed[0].cseq:
            return None
        call = self.handed.popleft()
        self.handed_bytes -= len(call.entry)
        if call.cseq != cseq:
            raise InternalError(f"session {self.id:#x}: outcome of request {cseq}, expected {call.cseq} first")
        if isinstance(outcome, Failure) and outcome.code is ErrorCode.GAP:
            raise InternalError(f"session {self.id:#x}: request {cseq} was executed out of order")
        call.outcome = outcome
        call.zxid = zxid
        call.settled = True
        return call

    def due_reads(self) -> Iterator[Read]:
        """Reads that no write stands before any more, in order; their turn is now."""
        while self.reads and (self.reads[0].after is None or self.reads[0].after.settled):
            yield self.reads.popleft()

    def due_barriers(self, applied: int) -> list[Barrier]:
        """Barriers that are answered, reached by the replica, and behind which no earlier call is unresolved (R-3)."""
        due = [
            barrier
            for barrier in self.barriers
            if barrier.zxid is not None and barrier.zxid <= applied and (barrier.after is None or barrier.after.settled)
        ]
        for barrier in due:
            self.barriers.remove(barrier)
            barrier.settled = True
            barrier.result = applied
        return due

    def end(self) -> list[Call | Read | Barrier]:
        """The session is over: every call ends, those handed over with an unknown outcome, an own close as done (Q-8)."""
        self.gone = True
        waiting: list[Call | Read | Barrier] = [*self.handed, *self.queued, *self.reads, *self.barriers]
        self.handed.clear()
        self.handed_bytes = 0
        self.queued.clear()
        self.reads.clear()
        self.barriers.clear()
        for item in waiting:
            item.settled = True
            if isinstance(item, Call):
                if type(item.op) is not CloseSession:
                    item.error = self.ended_error((describe(item.op),) if item.cseq else ())
            else:
                item.error = self.ended_error(())
        return waiting

    def ended_error(self, unknown: tuple[str, ...]) -> SessionExpiredError:
        how = "was closed" if self.closing or self.state is SessionState.CLOSED else "has expired"
        doubt = f"; whether this took effect is not known: {', '.join(unknown)}" if unknown else ""
        return SessionExpiredError(f"session {self.id:#x} {how}{doubt}", unknown)

    def check_invariants(self) -> None:
        """Raises InternalError."""
        expected = self.next_cseq - len(self.handed)
        for call in self.handed:
            if call.cseq != expected:
                raise InternalError(f"session {self.id:#x}: handed over {call.cseq}, expected {expected}")
            expected += 1
        if self.handed_bytes != sum(len(call.entry) for call in self.handed):
            raise InternalError(f"session {self.id:#x}: the count of bytes under way is off")
        if any(call.cseq for call in self.queued):
            raise InternalError(f"session {self.id:#x}: a queued call has a cseq already")


def describe(op: Op) -> str:
    """A call in a few words, without its data: ``create '/a'``."""
    path = getattr(op, "path", None)
    return op.verb if path is None else f"{op.verb} {path!r}"
