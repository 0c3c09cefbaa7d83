"""One replica without its machine: protocol core, tree, local sessions and watches, composed. Inputs in, effects out.

This is the router between rooms that do not know each other: what the core delivers goes to the applier; what an entry
changed goes to watches, then to local sessions, then to the leader's deadlines; what local sessions ask goes to the leader,
which may be this node. The rules live with their nouns: order and at-most-once in pipeline.py and origin.py, leases in
lease.py, deadlines in expiry.py, checks before proposing in intake.py, the state in applier.py.

It refuses to know trio, files, sockets and clocks: ``tick`` brings the time, and every effect is a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import cast

from ..durable import Identity, SnapshotInfo
from ..endpoint import Watcher
from ..errors import InternalError, ProtocolError
from ..tree.codec import Entry, encode_entry
from ..tree.events import WatchedEvent
from ..tree.ops import Op, OpLimits
from ..tree.tree import Applied, Tree
from ..tree.watches import Watches, WatchMode
from ..zab import effects as zab
from ..zab.messages import Message
from ..zab.peer import Peer
from ..zxid import to_hex
from .applier import Applier
from .effects import Effect, LoadState, Notify, RoleSeen
from .intake import WAITING_BYTES_MAX, Origin
from .leadership import Leadership, drop_link
from .origin import Origination
from .pipeline import WINDOW, Barrier, Call, LocalSession, Read
from .shared import Shared

APPLY_SLICE = 2000
"""Records applied in one step at most, as a default; the driver comes back for the rest, so that a long backlog does not hold the loop."""


class Replica:
    """See the module's text. ids: a source of fresh 63-bit session ids.  snapshot_every: entries between own snapshots.

    window: calls of one session under way at a time.  apply_slice: records applied in one step at most.
    """

    def __init__(
        self,
        *,
        peer: Peer,
        tree: Tree,
        chain: int,
        identity: Identity,
        limits: OpLimits,
        snapshot_every: int,
        ids: Callable[[], int],
        window: int = WINDOW,
        apply_slice: int = APPLY_SLICE,
    ) -> None:
        self.peer = peer
        self.watches = Watches()
        self._shared = Shared(peer, tree, identity, limits)
        self._applier = Applier(self._shared, chain, snapshot_every, self._applied, self._jumped)
        self._origin = Origination(self._shared, ids, window, self.watches.remove)
        self._apply_slice = apply_slice
        self._serving: zab.Serving | None = None
        self._leadership: Leadership | None = None
        self._learners: dict[int, Origin] = {}
        self._early: list[zab.RequestsArrived] = []

    # --- what can be seen ---------------------------------------------------------------------------------------------

    @property
    def tree(self) -> Tree:
        """The state that local readers see; it never goes back."""
        return self._shared.tree

    @property
    def sessions(self) -> dict[int, LocalSession]:
        return self._shared.sessions

    @property
    def healthy(self) -> bool:
        """The state may be served (B-15)."""
        return self._shared.healthy

    @property
    def serving(self) -> bool:
        """In touch with an established leader (or being it), applied as far as it had committed when we joined it."""
        return self._origin.accepting

    @property
    def quorum_seen(self) -> float | None:
        """When we sent what a leader with a quorum behind it is known to have received; None: never yet."""
        return self._origin.quorum_seen

    @property
    def busy(self) -> bool:
        """Work is left over from this step: call ``drain`` again soon."""
        return self._applier.busy

    # --- inputs from the driver ---------------------------------------------------------------------------------------

    def start(self, now: float, wall_us: int) -> None:
        self._shared.now, self._shared.wall_us = now, wall_us
        self.peer.start(now)
        self._remember_owners()

    def _remember_owners(self) -> None:
        """Which starts of which storages the sessions name: so an old copy of one is recognised after a restart of all, too (I-6)."""
        newest: dict[tuple[int, bytes], int] = {}
        for session in self.tree.sessions.values():
            owner = (session.node_id, session.storage_id)
            newest[owner] = max(session.incarnation, newest.get(owner, 0))
        for (node_id, storage_id), incarnation in newest.items():
            self.peer.remember(node_id, storage_id, incarnation)

    def tick(self, now: float, wall_us: int) -> None:
        """First input of every wake-up (B-12): timers are handled before anything that queued meanwhile."""
        self._shared.now, self._shared.wall_us = now, wall_us
        self.peer.tick(now)
        self._origin.refresh_states()
        self._route()  # A leader that the tick has ended must not expire or touch anything.
        if self._leadership is not None:
            self._leadership.tick()

    def deadline(self) -> float:
        """When ``tick`` must come next."""
        deadline = min(self.peer.deadline(), self._origin.deadline())
        return deadline if self._leadership is None else min(deadline, self._leadership.deadline())

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: zab.Purpose, outbound: bool) -> None:
        self.peer.link_up(link, node_id, storage_id, incarnation, purpose, outbound)

    def link_down(self, link: int, reason: str) -> None:
        self.peer.link_down(link, reason)

    def dial_failed(self, node_id: int, purpose: zab.Purpose, refused: bool, reason: str) -> None:
        self.peer.dial_failed(node_id, purpose, refused, reason)

    def outdated(self) -> None:
        """Another node refuses ours since it knows of a later start of this storage (I-6)."""
        self.peer.outdated()

    def storage_renewed(self, identity: Identity) -> None:
        """The directory is another storage now (I-6). Sessions opened in the name of the old one are its sessions for ever, and expire."""
        self._shared.identity = identity
        self._origin.storage_renewed()
        self.peer.storage_renewed(identity)

    def receive(self, link: int, message: Message) -> None:
        self.peer.receive(link, message)

    def disk_done(self, op: int) -> None:
        self.peer.disk_done(op)

    def begin_snapshot(self) -> SnapshotInfo | None:
        """See Applier.begin_snapshot; the driver freezes the tree in the same step."""
        return self._applier.begin_snapshot()

    def snapshot_stored(self, info: SnapshotInfo, records_from: int) -> None:
        self.peer.snapshot_stored(info, records_from)

    def state_loaded(self, load: LoadState, tree: Tree, chain: int) -> None:
        """The answer to LoadState; ignored if another state is being loaded by now."""
        self._applier.loaded(load, tree, chain)
        self._advanced()

    def state_unreadable(self, load: LoadState, reason: str) -> None:
        """LoadState failed; ignored if another state is being loaded by now."""
        self._applier.unreadable(load, reason)

    def leave(self) -> None:
        """Orderly end (B-16); ``peer.left`` says when."""
        self.peer.leave()

    # --- inputs from local clients ------------------------------------------------------------------------------------

    def open_session(self, timeout: float) -> LocalSession:
        """Begin a session; its calls wait until it exists."""
        session = self._origin.open_session(timeout)
        if self._origin.accepting:
            self._send((encode_entry(*self._origin.creation(session)),))
        return session

    def submit(self, session: LocalSession, op: Op) -> Call:
        """Take the next place in the session's order, now; it goes out with the next ``drain``. Raises SessionExpiredError."""
        return self._origin.submit(session, op)

    def withdraw(self, call: Call) -> bool:
        """Its caller gave up. True: it never happens; False: it was handed over, and stays."""
        return self._origin.withdraw(call)

    def read(self, session: LocalSession, evaluate: Callable[[], object]) -> Read:
        """A read in the session's order (Q-9). Raises SessionExpiredError."""
        return self._origin.read(session, evaluate)

    def sync(self, session: LocalSession) -> Barrier:
        """Begin a barrier (R-1). Raises SessionExpiredError."""
        barrier = self._origin.sync(session)
        if self._origin.accepting:
            self.peer.request_sync(barrier.id)
        return barrier

    def forget(self, waiting: Read | Barrier) -> None:
        """Nobody waits for it any more. Idempotent."""
        self._origin.forget(waiting)

    def watch(self, session: LocalSession | None, watcher: Watcher, path: str, mode: WatchMode) -> None:
        """Register; a watch with a session ends with it, one without with the node."""
        self.watches.add(watcher, path, mode)
        if session is not None:
            self._origin.owns(watcher, session)

    def unwatch(self, watcher: Watcher) -> None:
        """Idempotent."""
        self.watches.remove(watcher)
        self._origin.disown(watcher)

    # --- outputs ------------------------------------------------------------------------------------------------------

    def drain(self) -> list[Effect]:
        """Take the effects. Ends the step: hands over what local sessions queued, flushes the core, applies what it delivers."""
        room = self._apply_slice
        while True:
            if self._origin.accepting:
                self._hand_over()
            routed = self._route()
            if room and self._applier.busy:
                room -= self._applier.work(room)
                self._advanced()
            elif not routed:
                break
        shared = self._shared
        out, shared.out = shared.out, []
        return out

    def _route(self) -> bool:
        """What the core asks for: to the part that does it, or on to the driver. Whether there was anything."""
        effects = self.peer.drain()
        emit = self._shared.out.append
        for effect in effects:
            handler = _HANDLERS.get(type(effect))
            if handler is None:
                emit(effect)  # type: ignore[arg-type]  # the driver's
            else:
                handler(self, effect)
        return bool(effects)

    # --- applying -----------------------------------------------------------------------------------------------------

    def _applied(self, applied: Applied) -> None:
        """One entry became state: who watches learns of it first, then whoever waits for it (W3), then the leader's deadlines."""
        events = self.watches.trigger(applied)
        if events:
            self._notify(events)
        self._origin.applied(applied)
        if applied.opened is not None:
            session = self.tree.sessions[applied.opened]
            self.peer.remember(session.node_id, session.storage_id, session.incarnation)
        if self._leadership is not None and (applied.opened is not None or applied.closed):
            self._leadership.applied(applied)

    def _jumped(self, old: Tree) -> None:
        """The state was replaced by a later one: watches see the difference, local calls find their results (W1, Q-7)."""
        self._notify(self.watches.jump(old.get, self.tree.get, self.tree.applied))
        self._origin.settle()
        self._remember_owners()

    def _notify(self, events: Iterable[tuple[Hashable, WatchedEvent]]) -> None:
        for hashable, event in events:
            watcher = cast(Watcher, hashable)
            self._shared.emit(Notify(watcher, event))
            if watcher not in self.watches:
                self._origin.disown(watcher)

    def _advanced(self) -> None:
        """The state has grown, or was replaced."""
        if self.healthy:
            self._origin.serve_again()
        self._consider_service()
        self._origin.release_barriers()

    def _deliver(self, effect: zab.Deliver) -> None:
        self._applier.deliver(effect.records)

    def _load_snapshot(self, effect: zab.LoadSnapshot) -> None:
        self._applier.load(effect.base)

    # --- roles --------------------------------------------------------------------------------------------------------

    def _role_changed(self, effect: zab.RoleChanged) -> None:
        self._origin.touches.reset()
        self._shared.emit(RoleSeen())

    def _serving_began(self, effect: zab.Serving) -> None:
        if self._applier.hopeless and self.peer.role is zab.Role.LEADING:
            # Nobody can give a leader its state; it stops with its data, and the others go on without it (B-15).
            self._shared.emit(zab.Halt(InternalError("the state of this node is wrong, and it is the one to lead")))
            return
        self._serving = effect
        self._consider_service()

    def _consider_service(self) -> None:
        """Applied through the commit point of UPTODATE: everything unresolved goes out, first and in order (Q-4)."""
        serving = self._serving
        if serving is None or self._origin.accepting or not self._applier.settled or self.tree.applied < serving.commit:
            return
        if self.peer.role is zab.Role.LEADING:
            self._leadership = Leadership(self._shared)
        self._origin.accepting = True
        self._send(tuple(self._origin.resend()))
        for id in self._origin.unanswered():
            self.peer.request_sync(id)
        early, self._early = self._early, []
        for arrived in early:
            self._requests_arrived(arrived)
        self._shared.emit(RoleSeen())

    def _serving_ended(self, effect: zab.ServingEnded) -> None:
        self._serving = None
        self._leadership = None
        self._origin.accepting = False
        self._learners.clear()
        self._early.clear()
        self._shared.emit(RoleSeen())

    # --- requests -----------------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """What local sessions have queued. At the leader an entry keeps its decoded form, and is never decoded here."""
        leadership = self._leadership
        if leadership is None:
            outgoing = tuple(call.entry for call in self._origin.hand_over())
            if outgoing:
                self.peer.send_requests(outgoing)
            return
        for call in self._origin.hand_over():
            session = call.session
            entry = Entry(session.id, call.cseq, session.handed[0].cseq, call.op)
            rejected = leadership.take_own(call.entry, entry)
            if rejected is not None:
                self._rejected(zab.RequestRejected(rejected.session, rejected.cseq, rejected.code))

    def _send(self, entries: tuple[bytes, ...]) -> None:
        """Entries made before, in order."""
        if self._leadership is None:
            if entries:
                self.peer.send_requests(entries)
            return
        for encoded in entries:
            rejected = self._leadership.take_own(encoded)
            if rejected is not None:
                self._rejected(zab.RequestRejected(rejected.session, rejected.cseq, rejected.code))

    def _rejected(self, effect: zab.RequestRejected) -> None:
        self._send(tuple(self._origin.rejected(effect.session, effect.cseq, effect.code)))

    def _requests_arrived(self, effect: zab.RequestsArrived) -> None:
        if self._leadership is not None:
            self._leadership.arrived(effect)
            return
        # Established, but I_e is not applied to its end yet: what arrives meanwhile waits, bounded.
        self._early.append(effect)
        if sum(len(entry) for arrived in self._early if arrived.link == effect.link for entry in arrived.entries) > WAITING_BYTES_MAX:
            self._learner_gone(zab.LearnerGone(effect.link, effect.node_id))
            drop_link(self._shared, effect.link, ProtocolError(f"node {effect.node_id} sent more requests than may wait"))

    def _proposals_done(self, effect: zab.ProposalsDone) -> None:
        if self._leadership is not None:
            for rejected in self._leadership.room():
                self._rejected(zab.RequestRejected(rejected.session, rejected.cseq, rejected.code))

    def _sync_answered(self, effect: zab.SyncAnswered) -> None:
        self._origin.barrier_answered(effect.id, effect.barrier)

    # --- learners, PINGs, digests -------------------------------------------------------------------------------------

    def _learner_serving(self, effect: zab.LearnerServing) -> None:
        self._learners[effect.link] = Origin(effect.link, effect.node_id, effect.storage_id, effect.incarnation)

    def _learner_gone(self, effect: zab.LearnerGone) -> None:
        self._learners.pop(effect.link, None)
        self._early = [arrived for arrived in self._early if arrived.link != effect.link]
        if self._leadership is not None:
            self._leadership.learner_gone(effect.link)

    def _sessions_touched(self, effect: zab.SessionsTouched) -> None:
        """Also of a learner that still syncs: what this PONG says will be confirmed to it, so it has to count here (S-4)."""
        if self._leadership is not None:
            origin = Origin(effect.link, effect.node_id, effect.storage_id, effect.incarnation)
            self._leadership.touched(origin, effect.sessions)

    def _ping_due(self, effect: zab.PingDue) -> None:
        """Before we lead in full nothing is confirmed: every listed session counts as not open (S-4)."""
        leadership = self._leadership
        not_open = {link: listed if leadership is None else leadership.not_open(listed) for link, listed in effect.listed}
        self.peer.ping(*self.tree.boundary, not_open)

    def _ping_arrived(self, effect: zab.PingArrived) -> None:
        origin = self._origin
        origin.echoed(effect.echo, effect.not_open)
        mismatch = self._applier.leader_says(effect.digest_zxid, effect.digest)
        live = origin.live()
        seq = self.peer.pong(origin.touches.listing(live), mismatch)
        origin.touches.sent(seq, self._shared.now, live)
        if seq:
            self._applier.told()

    def _round_answered(self, effect: zab.RoundAnswered) -> None:
        if self._leadership is not None:
            self._leadership.confirm_own(effect.sent_at)
        self._origin.confirmed(effect.sent_at)

    def check_invariants(self) -> None:
        """For tests; raises InternalError."""
        self.peer.check_invariants()
        self.tree.check_invariants()
        self._origin.check_invariants()
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
}
