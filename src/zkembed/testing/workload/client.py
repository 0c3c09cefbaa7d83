"""One session handle of a node's application, and all that is under way in it.

It uses the replica as the driver's endpoint does (local.py), and turns what the replica tells of the session into history.
"""

from __future__ import annotations

from collections.abc import Callable

from ...endpoint import SessionState
from ...errors import SessionExpiredError, ZkError
from ...replica.pipeline import LocalSession
from ...tree.ops import CloseSession, Op, OpLimits, check
from ...tree.watches import WatchMode
from ..history import SessionSeen
from .calls import Opening, Pending, Reading, Syncing, Write
from .journal import Journal
from .port import Host
from .watches import RecordedWatch

ENDED = (SessionState.EXPIRED, SessionState.CLOSED)
WATCH_MODES = {"get": WatchMode.DATA, "exists": WatchMode.EXISTS, "children": WatchMode.CHILDREN}


class Client:
    """Made within a step of its node. All methods but those that tell are for steps of that node, while it is up.

    alive: its process is.  calls: that have not returned, by id.  watches: set, and neither fired nor ended, in the order in which
    they were.  on_change: whoever wants to know of a new state; told in the step in which it changes.
    """

    def __init__(self, journal: Journal, host: Host, timeout: float, limits: OpLimits) -> None:
        self.journal = journal
        self.host = host
        self.life = host.life
        self.replica = host.replica
        self.number = journal.next_client()
        self.limits = limits
        self.alive = True
        self.calls: dict[int, Pending] = {}
        self.watches: dict[RecordedWatch, None] = {}
        self.on_change: dict[Callable[[SessionState], None], None] = {}
        self.session: LocalSession = self.replica.open_session(timeout)
        self.session.observer = self._changed
        self._seen: SessionState | None = None
        self._opening: Opening | None = Opening(self)

    @property
    def state(self) -> SessionState:
        """Within a step the replica has looked at its clock, so this is as true as the endpoint's."""
        return self.session.state

    @property
    def over(self) -> bool:
        """Nothing can be asked through it any more."""
        return not self.alive or self.session.gone or self.session.closing

    # --- calls --------------------------------------------------------------------------------------------------------

    def write(self, op: Op, *, unchecked: bool = False) -> Write:
        """unchecked: as from a node whose limits are higher than its leader's. Refused: it has returned at once."""
        call = Write(self, op)
        try:
            if not unchecked:
                check(op, self.limits)
            call.submit()
        except ZkError as error:
            call.refuse(error)
        return call

    def read(self, verb: str, path: str, watch: RecordedWatch | None = None) -> Reading:
        """watch: made for this read, with the mode that goes with its verb."""
        call = Reading(self, verb, path, watch)
        try:
            call.submit()
        except SessionExpiredError as error:
            call.refuse(error)
        return call

    def sync(self) -> Syncing:
        call = Syncing(self)
        try:
            call.submit()
        except SessionExpiredError as error:
            call.refuse(error)
        return call

    def close(self) -> Write:
        return self.write(CloseSession(self.session.id, False))

    def stream(self, path: str, mode: WatchMode) -> RecordedWatch:
        """A persistent watch; set behind the session's earlier writes (Client.watch)."""
        watch = RecordedWatch(self, path, mode)
        self.replica.read(self.session, lambda: watch.set(self.replica.tree.applied))
        return watch

    # --- what the replica tells ---------------------------------------------------------------------------------------

    def _changed(self, state: SessionState) -> None:
        """The end of a session that was closed is told twice: at the call, and when it is done."""
        first = self._seen is None
        if self.session.created and first and state is not SessionState.CLOSED:
            self._note("created")
        if state is not self._seen:
            self._seen = state
            self._note(state.value)
        if self._opening is not None and (state is SessionState.CONNECTED or self.session.gone):
            opening, self._opening = self._opening, None
            opening.settle()
        for tell in tuple(self.on_change):
            tell(state)

    def _note(self, state: str) -> None:
        journal = self.journal
        journal.record(SessionSeen(journal.now, self.host.id, self.life, self.number, self.session.id, state))

    def node_ended(self) -> None:
        """Its process is gone: its calls never return, and its watches hear nothing more."""
        self.alive = False
        self.calls.clear()
        for watch in tuple(self.watches):
            watch.note_end("ended")
