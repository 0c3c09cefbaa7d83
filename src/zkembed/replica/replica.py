"""One replica without its machine: protocol core, tree, local sessions and watches, composed. Inputs in, effects out.

This is the router between rooms that do not know each other: what the core delivers is applied to the tree; what the
tree changed goes to watches, local sessions and the leader's deadlines; what local sessions ask goes to the core. The
rules live with their nouns: order and at-most-once in pipeline.py, leases in lease.py, deadlines in expiry.py, checks
before proposing in intake.py, comparing digests in agreement.py.

It refuses to know trio, files, sockets and clocks: ``tick`` brings the time, and every effect is a value.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from ..durable import Identity, SnapshotInfo
from ..endpoint import SessionState, Watcher
from ..errors import InternalError, ProtocolError, ZkError
from ..record import Kind, Record
from ..tree.codec import Entry, encode_entry
from ..tree.ops import CloseIncarnations, CloseSession, Op, OpenSession, OpLimits
from ..tree.results import ErrorCode
from ..tree.tree import Applied, Tree
from ..tree.watches import Watches, WatchMode
from ..zab import effects as zab
from ..zab.messages import Message, RejectCode
from ..zab.peer import Peer
from ..zxid import to_hex
from .agreement import Agreement
from .config_text import config_text
from .effects import Effect, EndWatcher, LoadState, Notify, RoleSeen, SessionChanged, Settled, TakeSnapshot
from .expiry import Expiry
from .intake import WAITING_BYTES_MAX, Intake, Origin, Rejected
from .lease import Touches, confirm, lease_end
from .pipeline import Barrier, Call, LocalSession, Read

APPLY_SLICE = 2000
"""Records applied in one step at most; the driver comes back for the rest, so that a long backlog does not hold the loop."""

_LIMITS = {RejectCode.TOO_LARGE: ErrorCode.TOO_LARGE, RejectCode.MALFORMED: ErrorCode.MALFORMED}


class Replica:
    """See the module's text.

    identity: who we are.  ids: a source of fresh 63-bit session ids.  snapshot_every: entries between own snapshots.
    Invariant: ``tree`` is what local readers see; it never goes back. ``_incoming`` is a tree that has been loaded from
    a snapshot and is not yet as far as ``tree`` was.
    """

    def __init__(
        self,
        *,
        peer: Peer,
        tree: Tree,
        applied_chain: int,
        identity: Identity,
        limits: OpLimits,
        snapshot_every: int,
        ids: Callable[[], int],
    ) -> None:
        self.peer = peer
        self.tree = tree
        self.watches = Watches()
        self.sessions: dict[int, LocalSession] = {}
        self.healthy = True
        self.quorum_seen: float | None = None  # when we sent what a quorum-backed leader is known to have received
        self._identity = identity
        self._own_origin = Origin(0, identity.node_id, identity.storage_id, identity.incarnation)
        self._limits = limits
        self._ids = ids
        self._now = 0.0
        self._wall_us = 0
        self._out: list[Effect] = []
        # Applying.
        self._backlog: deque[Record] = deque()
        self._applied_chain = applied_chain
        self._loading: int | None = None  # base of the snapshot being read
        self._incoming: Tree | None = None
        self._incoming_base = 0
        self._mark = tree.applied  # last zxid applied as an entry or settled at
        self._snapshot_every = snapshot_every
        self._snapshot_at = tree.applied
        self._since_snapshot = 0
        self._snapshot_asked = False
        self._agreement = Agreement()
        # Origin.
        self._serving: zab.Serving | None = None
        self._accepting = False  # requests may be handed over
        self._touches = Touches()
        self._barriers: dict[int, Barrier] = {}
        self._barrier_ids = 0
        self._parked: list[Read] = []
        self._watch_owner: dict[Watcher, LocalSession] = {}
        self._old_incarnations_closed = identity.incarnation <= 1
        # Leader.
        self._expiry: Expiry | None = None
        self._intake: Intake | None = None
        self._origins: dict[int, Origin] = {}
        self._early: list[zab.RequestsArrived] = []

    # --- inputs from the driver: time, network, disk ------------------------------------------------------------------

    def start(self, now: float, wall_us: int) -> None:
        self._now, self._wall_us = now, wall_us
        self.peer.start(now)

    def tick(self, now: float, wall_us: int) -> None:
        """First input of every wake-up (B-12): timers are handled before anything that queued meanwhile."""
        self._now, self._wall_us = now, wall_us
        self.peer.tick(now)
        self._refresh_states()
        if self._expiry is not None:
            self._touch_own(self._expiry)
            self._expire(self._expiry)

    def deadline(self) -> float:
        """When ``tick`` must come next."""
        deadline = self.peer.deadline()
        for session in self.sessions.values():
            if session.state is SessionState.CONNECTED:
                deadline = min(deadline, lease_end(session))
        if self._expiry is not None and self.peer.can_propose:
            deadline = min(deadline, self._expiry.next_deadline())
        return deadline

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: zab.Purpose, outbound: bool) -> None:
        self.peer.link_up(link, node_id, storage_id, incarnation, purpose, outbound)

    def link_down(self, link: int, reason: str) -> None:
        self.peer.link_down(link, reason)

    def dial_failed(self, node_id: int, purpose: zab.Purpose, refused: bool, reason: str) -> None:
        self.peer.dial_failed(node_id, purpose, refused, reason)

    def receive(self, link: int, message: Message) -> None:
        self.peer.receive(link, message)

    def disk_done(self, op: int) -> None:
        self.peer.disk_done(op)

    # --- inputs from the driver: snapshots ----------------------------------------------------------------------------

    def begin_snapshot(self) -> SnapshotInfo | None:
        """What a snapshot taken in this very step (``tree.freeze()``) is the state of; None if there is nothing new, or no sound state."""
        self._snapshot_asked = False
        if not self.healthy or self._loading is not None or self._incoming is not None or self.tree.applied == self._snapshot_at:
            return None
        self._since_snapshot = 0
        self._snapshot_at = self.tree.applied
        return SnapshotInfo(self.tree.applied, self._applied_chain, self.peer.snapshot_meta())

    def snapshot_stored(self, info: SnapshotInfo, records_from: int) -> None:
        self.peer.snapshot_stored(info, records_from)

    def state_loaded(self, tree: Tree, chain: int) -> None:
        """The answer to LoadState: the state at its base, or replayed behind it from the own log as far as it was applied before."""
        self._loading = None
        self._incoming = tree
        self._incoming_base = tree.applied
        self._applied_chain = chain
        self._adopt_incoming()

    def state_unreadable(self, reason: str) -> None:
        """LoadState failed: what is on this disk can't give the state again; a peer's snapshot can."""
        self._loading = None
        self._say(logging.ERROR, f"own snapshot cannot be read ({reason}); asking the leader for its own")
        self.peer.resync()

    # --- inputs from local clients ------------------------------------------------------------------------------------

    def open_session(self, timeout: float) -> LocalSession:
        """Begin a session; it is usable at once, its calls wait until it exists."""
        identity = self._identity
        op = OpenSession(round(timeout * 1000), identity.node_id, identity.storage_id, identity.incarnation)
        session = LocalSession(self._fresh_id(), op, self._now)
        self.sessions[session.id] = session
        if self._accepting:
            self._send_creation(session)
        return session

    def submit(self, session: LocalSession, op: Op) -> Call:
        """Take the next place in the session's order, now. It goes out with the next ``drain``."""
        call = session.submit(op)
        if type(op) is CloseSession:
            self._change_state(session, SessionState.CLOSED)  # Ownership ends at the call (S-7).
        return call

    def withdraw(self, call: Call) -> bool:
        """See LocalSession.withdraw."""
        withdrawn = call.session.withdraw(call)
        if withdrawn:
            self._release(call.session)
        return withdrawn

    def forget(self, waiting: Read | Barrier) -> None:
        """Whoever waited for it gave up: it is not evaluated any more. Idempotent."""
        if isinstance(waiting, Barrier):
            self._barriers.pop(waiting.id, None)
            if waiting in waiting.session.barriers:
                waiting.session.barriers.remove(waiting)
        elif waiting in self._parked:
            self._parked.remove(waiting)
        elif waiting in waiting.session.reads:
            waiting.session.reads.remove(waiting)

    def read(self, session: LocalSession, evaluate: Callable[[], object]) -> Read:
        """A read in the session's order (Q-9): settled on return if nothing of the session is under way."""
        if session.gone:
            raise session.ended_error(())
        read = Read(session, evaluate, session.last_call)
        if not self.healthy:
            self._parked.append(read)
        elif read.after is None:
            self._answer(read)
        else:
            session.reads.append(read)
        return read

    def sync(self, session: LocalSession) -> Barrier:
        """Begin a barrier (R-1)."""
        if session.gone:
            raise session.ended_error(())
        self._barrier_ids += 1
        barrier = Barrier(session, self._barrier_ids, session.last_call)
        session.barriers.append(barrier)
        self._barriers[barrier.id] = barrier
        if self._accepting:
            self.peer.request_sync(barrier.id)
        return barrier

    def watch(self, session: LocalSession | None, watcher: Watcher, path: str, mode: WatchMode) -> None:
        """Register; one-shot watches end with their session, those without a session with the node."""
        self.watches.add(watcher, path, mode)
        if session is not None:
            self._watch_owner[watcher] = session

    def unwatch(self, watcher: Watcher) -> None:
        self.watches.remove(watcher)
        self._watch_owner.pop(watcher, None)

    def leave(self) -> None:
        """Orderly end (B-16); ``peer.left`` says when."""
        self.peer.leave()

    # --- outputs ------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Work is left over from this step: call ``drain`` again soon."""
        return bool(self._backlog) and self._loading is None

    @property
    def serving(self) -> bool:
        """In touch with an established leader (or being it), applied as far as it had committed when we joined it."""
        return self._accepting

    def drain(self) -> list[Effect]:
        """Take the effects. Ends the step: hands over what local sessions queued, flushes the core, applies what it delivers."""
        work = APPLY_SLICE
        while True:
            if self._accepting:
                self._hand_over()
            effects = self.peer.drain()
            for effect in effects:
                handler = _HANDLERS.get(type(effect))
                if handler is None:
                    self._out.append(effect)  # type: ignore[arg-type]  # the driver's
                else:
                    handler(self, effect)
            before = len(self._backlog)
            if before and self._loading is None and work:
                self._apply_some(work)
                work -= before - len(self._backlog)
            elif not effects:
                break
        out, self._out = self._out, []
        return out

    # --- applying -----------------------------------------------------------------------------------------------------

    def _deliver(self, effect: zab.Deliver) -> None:
        self._backlog.extend(effect.records)

    def _apply_some(self, count: int) -> None:
        backlog = self._backlog
        record = None
        while backlog and count:
            record = backlog.popleft()
            count -= 1
            if self._incoming is not None:
                self._apply_incoming(record)
            else:
                self._apply(record)
        if record is None:
            return
        self._applied_chain = record.chain
        self.peer.applied(record.zxid)
        mismatch = self._agreement.passed(self.tree)
        if mismatch:
            self._disagree(mismatch)
        self._consider_service()
        self._release_barriers()
        if self._since_snapshot >= self._snapshot_every and not self._snapshot_asked:
            self._snapshot_asked = True
            self._out.append(TakeSnapshot())

    def _apply(self, record: Record) -> None:
        """One entry becomes state; then who watches, who waits and who keeps deadlines learns of it, in this order (W3)."""
        applied = self.tree.apply(record, config_text(record))
        self._mark = record.zxid
        self._since_snapshot += 1
        for watcher, event in self.watches.trigger(applied):
            self._out.append(Notify(watcher, event))  # type: ignore[arg-type]
            if watcher not in self.watches:
                self._watch_owner.pop(watcher, None)  # type: ignore[call-overload]
        if applied.opened is not None or applied.closed:
            self._sessions_changed(applied)
        session = self.sessions.get(applied.session)
        if session is not None and applied.cseq:
            call = session.resolve(applied.cseq, applied.outcome, applied.zxid)
            if call is not None:
                self._out.append(Settled(call))
                self._release(session)

    def _sessions_changed(self, applied: Applied) -> None:
        if applied.opened is not None:
            if self._expiry is not None:
                self._expiry.opened(applied.opened, self.tree.sessions[applied.opened].timeout_ms / 1000, self._now)
            session = self.sessions.get(applied.opened)
            if session is not None:
                self._created(session)
        for closed in applied.closed:
            if self._expiry is not None:
                self._expiry.closed(closed)
            session = self.sessions.get(closed)
            if session is not None:
                self._end(session)
        if type(applied.op) is CloseIncarnations and applied.op.storage_id == self._identity.storage_id:
            self._old_incarnations_closed = True

    def _apply_incoming(self, record: Record) -> None:
        """Entries up to the mark were applied, answered and announced before the state was replaced (Q-7)."""
        assert self._incoming is not None
        self._incoming.apply(record, config_text(record))
        self._adopt_incoming()

    def _adopt_incoming(self) -> None:
        """Show the loaded state as soon as it is as far as what local readers have seen; until then they see the old one."""
        tree = self._incoming
        if tree is None or tree.applied < self._mark:
            return
        old, self.tree, self._incoming = self.tree, tree, None
        if not self.healthy:
            self.healthy = True
            self._say(logging.WARNING, f"state rebuilt as of {to_hex(tree.applied)}; serving again")
        if tree.applied > self._mark:
            self._mark = tree.applied
            for watcher, event in self.watches.jump(old, tree):
                self._out.append(Notify(watcher, event))  # type: ignore[arg-type]
                if watcher not in self.watches:
                    self._watch_owner.pop(watcher, None)  # type: ignore[call-overload]
            self._settle()
        self._snapshot_at = max(self._snapshot_at, self._incoming_base)
        self.peer.applied(tree.applied)
        parked, self._parked = self._parked, []
        for read in parked:
            self._answer(read)
        self._consider_service()
        self._release_barriers()

    def _settle(self) -> None:
        """The state jumped over entries: our unresolved requests among them have their results in it (Q-7)."""
        for session in list(self.sessions.values()):
            entry = self.tree.sessions.get(session.id)
            if entry is None:
                if session.created:
                    self._end(session)
                continue
            if not session.created:
                self._created(session)
            while session.handed and session.handed[0].cseq <= entry.last_cseq:
                cseq = session.handed[0].cseq
                if cseq not in entry.results:
                    raise InternalError(f"session {session.id:#x}: the result of request {cseq} was dropped before its owner had it")
                call = session.resolve(cseq, entry.results[cseq], self.tree.applied)
                assert call is not None
                self._out.append(Settled(call))
            self._release(session)

    def _load_snapshot(self, effect: zab.LoadSnapshot) -> None:
        """The history jumped; Delivers from here on start behind ``base``, and wait for the state there."""
        self._loading = effect.base
        self._incoming = None
        self._backlog.clear()
        self._out.append(LoadState(effect.base, effect.base))

    # --- sessions: the owner's side -----------------------------------------------------------------------------------

    def _fresh_id(self) -> int:
        while True:
            id = self._ids()
            if id and id not in self.sessions and id not in self.tree.sessions:
                return id

    def _send_creation(self, session: LocalSession) -> None:
        """(S-1) Sent before and unresolved: under a fresh id, lest a creation that committed unseen runs a second time."""
        if session.creation_sent:
            del self.sessions[session.id]
            session.id = self._fresh_id()
            self.sessions[session.id] = session
        session.creation_sent = True
        session.confirmed = self._now
        self._send((Entry(session.id, 0, 0, session.open_op),))

    def _created(self, session: LocalSession) -> None:
        session.created = True
        self._refresh_state(session)

    def _end(self, session: LocalSession) -> None:
        """Its close is in our applied state, or it is not: it is LOST, for good (S-7)."""
        del self.sessions[session.id]
        state = SessionState.CLOSED if session.closing else SessionState.EXPIRED
        for item in session.end():
            if isinstance(item, Barrier):
                self._barriers.pop(item.id, None)
            self._out.append(Settled(item))
        error: ZkError = session.ended_error(())
        for watcher in [watcher for watcher, owner in self._watch_owner.items() if owner is session]:
            self.unwatch(watcher)
            self._out.append(EndWatcher(watcher, error))
        self._change_state(session, state)

    def _change_state(self, session: LocalSession, state: SessionState) -> None:
        if session.state is not state:
            session.state = state
            self._out.append(SessionChanged(session, state))

    def _refresh_states(self) -> None:
        for session in self.sessions.values():
            self._refresh_state(session)

    def _refresh_state(self, session: LocalSession) -> None:
        if session.closing or session.gone:
            return
        held = session.created and self._now < lease_end(session)
        self._change_state(session, SessionState.CONNECTED if held else SessionState.SUSPENDED)

    def _live(self) -> tuple[int, ...]:
        return tuple(session.id for session in self.sessions.values() if session.created and not session.closing)

    # --- requests: the origin's side ----------------------------------------------------------------------------------

    def _consider_service(self) -> None:
        """Applied through the commit point of UPTODATE: everything unresolved goes out again, first and in order (Q-4)."""
        serving = self._serving
        if serving is None or self._accepting or self.tree.applied < serving.commit or self._incoming is not None or self._loading is not None:
            return
        if self.peer.role is zab.Role.LEADING:
            self._begin_leading()
        self._accepting = True
        if not self._old_incarnations_closed:
            self._send((Entry(0, 0, 0, CloseIncarnations(self._identity.storage_id, self._identity.incarnation)),))
        for session in list(self.sessions.values()):
            if not session.created:
                self._send_creation(session)
            else:
                self._send_encoded(session.unresolved())
        for barrier in self._barriers.values():
            if barrier.zxid is None:
                self.peer.request_sync(barrier.id)
        self._out.append(RoleSeen())

    def _hand_over(self) -> None:
        """Give the leader what local sessions have queued. At the leader an entry keeps its decoded form; it is never decoded here."""
        leading = self._intake is not None
        outgoing: list[bytes] = []
        for session in self.sessions.values():
            if not session.queued or not session.created:
                continue
            for call in session.hand_over():
                if leading:
                    self._take(self._own_origin, call.entry, Entry(session.id, call.cseq, session.handed[0].cseq, call.op))
                else:
                    outgoing.append(call.entry)
        if outgoing:
            self.peer.send_requests(tuple(outgoing))

    def _send(self, entries: Iterable[Entry]) -> None:
        self._send_encoded(encode_entry(*entry) for entry in entries)

    def _send_encoded(self, entries: Iterable[bytes]) -> None:
        encoded = tuple(entries)
        if not encoded:
            return
        if self._intake is not None:
            for entry in encoded:
                self._take(self._own_origin, entry)
        else:
            self.peer.send_requests(encoded)

    def _rejected(self, effect: zab.RequestRejected) -> None:
        """(Q-2) A limit: the empty operation in its place. Closing or moved: apply will say."""
        code = _LIMITS.get(effect.code)
        session = self.sessions.get(effect.session)
        if code is not None and session is not None:
            self._send_encoded(session.refused(effect.cseq, code))

    def _release(self, session: LocalSession) -> None:
        """Reads whose turn has come are answered in this very step."""
        if session.reads:
            for read in session.due_reads():
                self._answer(read)

    def _answer(self, read: Read) -> None:
        try:
            read.result = read.evaluate()
        except ZkError as error:
            read.error = error
        read.settled = True
        self._out.append(Settled(read))

    def _sync_answered(self, effect: zab.SyncAnswered) -> None:
        barrier = self._barriers.get(effect.id)
        if barrier is not None and barrier.zxid is None:
            barrier.zxid = effect.barrier
            self._release_barriers()

    def _release_barriers(self) -> None:
        if not self._barriers:
            return
        for session in self.sessions.values():
            if session.barriers:
                for barrier in session.due_barriers(self.tree.applied):
                    del self._barriers[barrier.id]
                    self._out.append(Settled(barrier))

    # --- roles --------------------------------------------------------------------------------------------------------

    def _role_changed(self, effect: zab.RoleChanged) -> None:
        self._touches.reset()
        self._out.append(RoleSeen())

    def _serving_began(self, effect: zab.Serving) -> None:
        self._serving = effect
        self._consider_service()

    def _serving_ended(self, effect: zab.ServingEnded) -> None:
        self._serving = None
        self._accepting = False
        self._expiry = None
        self._intake = None
        self._origins.clear()
        self._early.clear()
        self._agreement.forget_reports()
        self._out.append(RoleSeen())

    # --- the leader's side --------------------------------------------------------------------------------------------

    def _begin_leading(self) -> None:
        sessions = ((id, session.timeout_ms / 1000) for id, session in self.tree.sessions.items())
        self._expiry = Expiry(sessions, self._now)
        self._intake = Intake(self._expiry, self._limits)
        early, self._early = self._early, []
        for arrived in early:
            self._requests_arrived(arrived)

    def _learner_serving(self, effect: zab.LearnerServing) -> None:
        self._origins[effect.link] = Origin(effect.link, effect.node_id, effect.storage_id, effect.incarnation)

    def _learner_gone(self, effect: zab.LearnerGone) -> None:
        self._origins.pop(effect.link, None)
        self._early = [arrived for arrived in self._early if arrived.link != effect.link]
        self._agreement.forget(effect.node_id)
        if self._intake is not None:
            self._intake.forget_link(effect.link)

    def _requests_arrived(self, effect: zab.RequestsArrived) -> None:
        if self._intake is None:
            self._hold_early(effect)
            return
        origin = Origin(effect.link, effect.node_id, effect.storage_id, effect.incarnation)
        try:
            for entry in effect.entries:
                self._take(origin, entry)
        except ProtocolError as error:
            self._drop_link(effect.link, error)

    def _hold_early(self, effect: zab.RequestsArrived) -> None:
        """We are established but have not applied I_e to its end yet; what arrives meanwhile waits, bounded."""
        self._early.append(effect)
        if sum(len(entry) for arrived in self._early for entry in arrived.entries) > WAITING_BYTES_MAX:
            self._drop_link(effect.link, ProtocolError(f"node {effect.node_id} sent more requests than may wait"))

    def _drop_link(self, link: int, error: ProtocolError) -> None:
        self._say(logging.WARNING, f"link closed: {error}")
        self._out.append(zab.CloseLink(link, str(error)))
        self.peer.link_down(link, str(error))

    def _take(self, origin: Origin, encoded: bytes, entry: Entry | None = None) -> None:
        """One request at the leader: in its place behind those that wait, else checked and proposed."""
        intake = self._intake
        assert intake is not None
        if intake.waiting or not self.peer.can_propose:
            intake.hold(origin, encoded)
        else:
            self._admit(intake, origin, encoded, entry)

    def _admit(self, intake: Intake, origin: Origin, encoded: bytes, entry: Entry | None) -> None:
        decision = intake.admit(origin, encoded, self.tree, entry)
        if decision is None:
            return
        if isinstance(decision, Rejected):
            if origin.link:
                self.peer.reject(origin.link, decision.session, decision.cseq, decision.code)
            else:
                self._rejected(zab.RequestRejected(decision.session, decision.cseq, decision.code))
            return
        assert self._expiry is not None
        op = decision.op
        if type(op) is OpenSession:
            self._expiry.proposed_open(decision.session)
        elif type(op) is CloseSession:
            self._expiry.proposed_close(decision.session)
        elif type(op) is CloseIncarnations:
            for id, session in self.tree.sessions.items():
                if session.storage_id == op.storage_id and session.incarnation < op.below:
                    self._expiry.proposed_close(id)
        else:
            self._expiry.touch(decision.session, self._now)
        self.peer.propose(Kind.REQUEST, encoded, self._wall_us, decision)

    def _proposals_done(self, effect: zab.ProposalsDone) -> None:
        intake = self._intake
        if intake is None:
            return
        while intake.waiting and self.peer.can_propose:
            origin, encoded = intake.next_waiting()
            try:
                self._admit(intake, origin, encoded, None)
            except ProtocolError as error:
                intake.forget_link(origin.link)
                self._drop_link(origin.link, error)

    def _touch_own(self, expiry: Expiry) -> None:
        for session in self.sessions.values():
            if session.created and not session.closing:
                expiry.touch(session.id, self._now)

    def _expire(self, expiry: Expiry) -> None:
        """(S-5) One close for each session whose deadline has passed."""
        if not self.peer.can_propose:
            return
        for session in expiry.due(self._now):
            expiry.proposed_close(session)
            self._say(logging.INFO, f"session {session:#x} has expired")
            entry = Entry(0, 0, 0, CloseSession(session, True))
            self.peer.propose(Kind.REQUEST, encode_entry(*entry), self._wall_us, entry)

    def _sessions_touched(self, effect: zab.SessionsTouched) -> None:
        expiry, origin = self._expiry, self._origins.get(effect.link)
        if expiry is None or origin is None:
            return
        for id in effect.sessions:
            session = self.tree.sessions.get(id)
            if session is not None and session.storage_id == origin.storage_id and session.incarnation == origin.incarnation:
                expiry.touch(id, self._now)

    # --- PINGs: liveness both ways, and digests -----------------------------------------------------------------------

    def _ping_due(self, effect: zab.PingDue) -> None:
        expiry = self._expiry
        not_open = {
            link: tuple(id for id in listed if expiry is None or not expiry.is_open(id)) for link, listed in effect.listed
        }
        self.peer.ping(*self.tree.boundary, not_open)

    def _ping_arrived(self, effect: zab.PingArrived) -> None:
        touched = self._touches.echoed(effect.echo)
        if touched is not None:
            sent_at, listed = touched
            named = set(effect.not_open)
            confirm((self.sessions[id] for id in listed if id in self.sessions and id not in named), sent_at)
            self._quorum_confirmed(sent_at)
        mismatch = self._agreement.leader_says(effect.digest_zxid, effect.digest, self.tree)
        if mismatch:
            self._disagree(mismatch)
        live = self._live()
        seq = self.peer.pong(self._touches.listing(live), mismatch)
        self._touches.sent(seq, self._now, live)

    def _round_answered(self, effect: zab.RoundAnswered) -> None:
        expiry = self._expiry
        if expiry is not None:
            confirm((session for session in self.sessions.values() if expiry.is_open(session.id)), effect.sent_at)
        self._quorum_confirmed(effect.sent_at)

    def _quorum_confirmed(self, sent_at: float) -> None:
        self.quorum_seen = sent_at if self.quorum_seen is None else max(self.quorum_seen, sent_at)
        self._refresh_states()

    def _disagree(self, boundary: int) -> None:
        """(B-15) Our state is not the leader's: stop serving it, rebuild it from our own disk, and if that is wrong too, from the leader's."""
        if self._loading is not None or self._incoming is not None:
            return
        again, self._agreement.rebuilt = self._agreement.rebuilt, True
        self._agreement.forget_own()
        self.healthy = False
        self._say(logging.ERROR, f"the state here differs from the leader's at {to_hex(boundary)}; it is not served until rebuilt")
        if again:
            self.peer.resync()
        else:
            self._loading = max((info.zxid for info in self.peer.history.snapshots if info.zxid <= self.tree.applied), default=0)
            self._out.append(LoadState(self._loading, self.tree.applied))

    def _digest_reported(self, effect: zab.DigestReported) -> None:
        """A learner finds that it differs from us. If a quorum does, we are the one that is wrong."""
        differing = self._agreement.report(effect.node_id, effect.zxid)
        if self.peer.has_quorum(differing):
            error = InternalError(f"the state digest at {to_hex(effect.zxid)} differs from that of nodes {differing}, a quorum")
            self._out.append(zab.Halt(error))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _say(self, level: int, text: str) -> None:
        self._out.append(zab.Report(level, text))

    def check_invariants(self) -> None:
        """For tests; raises InternalError."""
        self.peer.check_invariants()
        self.tree.check_invariants()
        for session in self.sessions.values():
            session.check_invariants()
        if self.tree.applied > self.peer.history.durable:
            raise InternalError(f"applied {to_hex(self.tree.applied)} beyond durable {to_hex(self.peer.history.durable)}")


_HANDLERS: dict[type, Callable[..., None]] = {
    zab.Deliver: Replica._deliver,
    zab.LoadSnapshot: Replica._load_snapshot,
    zab.RoleChanged: Replica._role_changed,
    zab.Serving: Replica._serving_began,
    zab.ServingEnded: Replica._serving_ended,
    zab.RequestsArrived: Replica._requests_arrived,
    zab.RequestRejected: Replica._rejected,
    zab.SyncAnswered: Replica._sync_answered,
    zab.PingDue: Replica._ping_due,
    zab.PingArrived: Replica._ping_arrived,
    zab.SessionsTouched: Replica._sessions_touched,
    zab.LearnerServing: Replica._learner_serving,
    zab.LearnerGone: Replica._learner_gone,
    zab.RoundAnswered: Replica._round_answered,
    zab.ProposalsDone: Replica._proposals_done,
    zab.DigestReported: Replica._digest_reported,
}
