"""The origin's side of one replica: local sessions, what they have under way, and what they may believe (Q-1 to Q-9, S-7).

Decides when sessions are created, suspended and over, what goes to the leader, and what is sent again to the next one.
Who the leader is, and how bytes get there, is the router's business: ``outgoing`` collects what has to go, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import evolve

from ..endpoint import SessionState, Watcher
from ..errors import InternalError, ZkError
from ..tree.codec import Entry, encode_entry
from ..tree.ops import CloseIncarnations, CloseSession, Op, OpenSession
from ..tree.results import ErrorCode, Failure
from ..tree.tree import Applied
from ..zab.messages import RejectCode
from .effects import EndWatcher, SessionChanged, Settled
from .lease import Touches, confirm, lease_end
from .pipeline import WINDOW_BYTES, Barrier, Call, LocalSession, Read
from .shared import Shared

_LIMITS = {RejectCode.TOO_LARGE: ErrorCode.TOO_LARGE, RejectCode.MALFORMED: ErrorCode.MALFORMED}


class Origination:
    """accepting: a leader takes requests, and all that was unresolved has gone out again (Q-4).  unwatch: forgets a watcher's watches."""

    def __init__(self, shared: Shared, ids: Callable[[], int], window: int, unwatch: Callable[[Watcher], object]) -> None:
        self._shared = shared
        self._ids = ids
        self._window = window
        self._unwatch = unwatch
        self.accepting = False
        self.touches = Touches()
        self.quorum_seen: float | None = None
        self._barriers: dict[int, Barrier] = {}
        self._barrier_ids = 0
        self._held_back = False  # reads wait for a state that may be served
        self._watch_owner: dict[Watcher, LocalSession] = {}
        self._old_incarnations_closed = shared.identity.incarnation <= 1

    def storage_renewed(self) -> None:
        """(I-6) What is not created yet is created in the name of the new storage, which has no older incarnations, and under a fresh id:
        the original may have drawn the same one at that start."""
        identity = self._shared.identity
        for session in list(self._shared.sessions.values()):
            if not session.created:
                self._rename(session)
                session.open_op = evolve(session.open_op, storage_id=identity.storage_id, incarnation=identity.incarnation)
        self._old_incarnations_closed = True

    # --- sessions -----------------------------------------------------------------------------------------------------

    def open_session(self, timeout: float) -> LocalSession:
        identity = self._shared.identity
        op = OpenSession(round(timeout * 1000), identity.node_id, identity.storage_id, identity.incarnation)
        session = LocalSession(self._fresh_id(), op, self._shared.now, self._window)
        self._shared.sessions[session.id] = session
        return session

    def _fresh_id(self) -> int:
        while True:
            id = self._ids()
            if id and id not in self._shared.sessions and id not in self._shared.tree.sessions:
                return id

    def creation(self, session: LocalSession) -> Entry:
        """(S-1) What creates it. Sent before and unresolved: under a fresh id, lest a creation that committed unseen runs a second time."""
        if session.creation_sent:
            self._rename(session)
        session.creation_sent = True
        session.confirmed = self._shared.now
        return Entry(session.id, 0, 0, session.open_op)

    def _rename(self, session: LocalSession) -> None:
        sessions = self._shared.sessions
        del sessions[session.id]
        session.id = self._fresh_id()
        sessions[session.id] = session

    def refresh_states(self) -> None:
        """(S-7) CONNECTED or SUSPENDED, by the lease."""
        for session in self._shared.sessions.values():
            self._refresh_state(session)

    def _refresh_state(self, session: LocalSession) -> None:
        if session.closing or session.gone:
            return
        held = session.created and self._shared.now < lease_end(session)
        self._change_state(session, SessionState.CONNECTED if held else SessionState.SUSPENDED)

    def _change_state(self, session: LocalSession, state: SessionState) -> None:
        if session.state is not state:
            session.state = state
            self._shared.emit(SessionChanged(session, state))

    def _created(self, session: LocalSession) -> None:
        """A quorum has committed what was sent at ``confirmed``."""
        session.created = True
        self.confirmed(session.confirmed)

    def _end(self, session: LocalSession) -> None:
        """Its close is in our applied state, or the session is not: it is LOST, for good (S-7)."""
        del self._shared.sessions[session.id]
        for item in session.end():
            if isinstance(item, Barrier):
                self._barriers.pop(item.id, None)
            self._shared.emit(Settled(item))
        error: ZkError = session.ended_error(())
        for watcher in [watcher for watcher, owner in self._watch_owner.items() if owner is session]:
            del self._watch_owner[watcher]
            self._unwatch(watcher)
            self._shared.emit(EndWatcher(watcher, error))
        session.state = SessionState.CLOSED if session.closing else SessionState.EXPIRED
        self._shared.emit(SessionChanged(session, session.state))

    def deadline(self) -> float:
        """When the next lease runs out."""
        held = (lease_end(session) for session in self._shared.sessions.values() if session.state is SessionState.CONNECTED)
        return min(held, default=float("inf"))

    def live(self) -> tuple[int, ...]:
        """What PONGs list (S-4)."""
        return tuple(session.id for session in self._shared.sessions.values() if session.created and not session.closing)

    def echoed(self, seq: int, not_open: tuple[int, ...]) -> None:
        """A PING says that PONG ``seq`` had arrived before a round that a quorum answered was sent (S-4)."""
        touched = self.touches.echoed(seq)
        if touched is None:
            return
        sent_at, listed = touched
        sessions = self._shared.sessions
        confirm((sessions[id] for id in listed if id in sessions and id not in not_open), sent_at)
        self.confirmed(sent_at)

    def confirmed(self, sent_at: float) -> None:
        """A leader with a quorum behind it has heard what we sent then."""
        self.quorum_seen = sent_at if self.quorum_seen is None else max(self.quorum_seen, sent_at)
        self.refresh_states()

    # --- what local clients ask ---------------------------------------------------------------------------------------

    def submit(self, session: LocalSession, op: Op) -> Call:
        call = session.submit(op)
        if type(op) is CloseSession:
            self._change_state(session, SessionState.CLOSED)  # Ownership ends at the call (S-7).
        return call

    def withdraw(self, call: Call) -> bool:
        withdrawn = call.session.withdraw(call)
        if withdrawn:
            self._release(call.session)
            self.release_barriers()
        return withdrawn

    def read(self, session: LocalSession, evaluate: Callable[[], object]) -> Read:
        """Settled on return if nothing of the session is under way and the state may be served."""
        if session.gone:
            raise session.ended_error(())
        read = Read(session, evaluate, session.last_call)
        if read.after is None and self._shared.healthy:
            self._answer(read)
        else:
            session.reads.append(read)
            self._held_back = self._held_back or not self._shared.healthy
        return read

    def sync(self, session: LocalSession) -> Barrier:
        if session.gone:
            raise session.ended_error(())
        self._barrier_ids += 1
        barrier = Barrier(session, self._barrier_ids, session.last_call)
        session.barriers.append(barrier)
        self._barriers[barrier.id] = barrier
        return barrier

    def forget(self, waiting: Read | Barrier) -> None:
        """Whoever waited for it gave up. Idempotent."""
        if isinstance(waiting, Barrier):
            self._barriers.pop(waiting.id, None)
            if waiting in waiting.session.barriers:
                waiting.session.barriers.remove(waiting)
        elif waiting in waiting.session.reads:
            waiting.session.reads.remove(waiting)

    def owns(self, watcher: Watcher, session: LocalSession) -> None:
        """A one-shot watch ends with its session."""
        self._watch_owner[watcher] = session

    def disown(self, watcher: Watcher) -> None:
        self._watch_owner.pop(watcher, None)

    # --- what goes to the leader --------------------------------------------------------------------------------------

    def resend(self) -> Iterator[bytes]:
        """(Q-4) Everything unresolved, in order, for the leader that has just begun to take requests."""
        identity = self._shared.identity
        if not self._old_incarnations_closed:
            yield encode_entry(0, 0, 0, CloseIncarnations(identity.storage_id, identity.incarnation))
        for session in list(self._shared.sessions.values()):
            if session.created:
                yield from session.unresolved()
            else:
                yield encode_entry(*self.creation(session))

    def unanswered(self) -> Iterator[int]:
        """Barriers to ask for again (R-4)."""
        return (barrier.id for barrier in self._barriers.values() if barrier.zxid is None)

    def hand_over(self) -> Iterator[Call]:
        """Give the leader what was queued, session by session, each in its order (Q-1)."""
        sessions = self._shared.sessions.values()
        for session in sessions:
            if session.queued and session.created:
                yield from session.hand_over(WINDOW_BYTES - sum(each.handed_bytes for each in sessions))

    def rejected(self, session_id: int, cseq: int, code: RejectCode) -> list[bytes]:
        """(Q-2) A limit: what to send in its place, and again behind it. Closing or moved: nothing, apply will say."""
        limit = _LIMITS.get(code)
        session = self._shared.sessions.get(session_id)
        return [] if limit is None or session is None else session.refused(cseq, limit)

    # --- what was applied ---------------------------------------------------------------------------------------------

    def applied(self, applied: Applied) -> None:
        """An entry is in the state, and its watchers are told: sessions begin or end, and a call has its outcome."""
        if applied.opened is not None:
            opened = self._shared.sessions.get(applied.opened)
            if opened is not None:
                self._created(opened)
        for closed in applied.closed:
            ended = self._shared.sessions.get(closed)
            if ended is not None:
                self._end(ended)
        if type(applied.op) is CloseIncarnations and applied.op.storage_id == self._shared.identity.storage_id:
            self._old_incarnations_closed = True
        session = self._shared.sessions.get(applied.session)
        if session is not None and applied.cseq:
            call = session.resolve(applied.cseq, applied.outcome, applied.zxid)
            if call is not None:
                self._shared.emit(Settled(call))
                self._release(session)

    def settle(self) -> None:
        """The state jumped over entries: our unresolved requests among them have their results in it (Q-7)."""
        tree = self._shared.tree
        for session in list(self._shared.sessions.values()):
            entry = tree.sessions.get(session.id)
            if entry is None:
                if session.created:
                    self._end(session)
                continue
            if not session.created:
                self._created(session)
            while session.handed and session.handed[0].cseq <= entry.last_cseq:
                cseq = session.handed[0].cseq
                outcome = entry.outcome_of(cseq)
                if isinstance(outcome, Failure) and outcome.code is ErrorCode.RESOLVED:
                    raise InternalError(f"session {session.id:#x}: the result of request {cseq} was dropped before its owner had it")
                call = session.resolve(cseq, outcome, tree.applied)
                self._shared.emit(Settled(call))  # type: ignore[arg-type]  # handed[0] is resolved, so it is not None
            self._release(session)

    def serve_again(self) -> None:
        """The state may be read again: reads that were held back are answered, those behind a write when it is resolved (Q-9)."""
        if self._held_back:
            self._held_back = False
            for session in list(self._shared.sessions.values()):
                self._release(session)

    def _release(self, session: LocalSession) -> None:
        """Reads whose turn has come are answered in this very step, unless the state may not be read now."""
        if not session.reads:
            return
        if not self._shared.healthy:
            self._held_back = True
            return
        for read in session.due_reads():
            self._answer(read)

    def _answer(self, read: Read) -> None:
        try:
            read.result = read.evaluate()
        except ZkError as error:
            read.error = error
        read.settled = True
        self._shared.emit(Settled(read))

    def barrier_answered(self, id: int, zxid: int) -> None:
        barrier = self._barriers.get(id)
        if barrier is not None and barrier.zxid is None:
            barrier.zxid = zxid
            self.release_barriers()

    def release_barriers(self) -> None:
        """(R-3) Those that are reached, and behind whose session's earlier calls nothing is open."""
        if not self._barriers:
            return
        for session in self._shared.sessions.values():
            if session.barriers:
                for barrier in session.due_barriers(self._shared.tree.applied):
                    del self._barriers[barrier.id]
                    self._shared.emit(Settled(barrier))

    def check_invariants(self) -> None:
        for session in self._shared.sessions.values():
            session.check_invariants()
