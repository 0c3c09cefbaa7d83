"""What all checkers of clients need to know of a history so far: who called what when, which lives have ended, who was paused.

The book stands before them in the list and alone feeds the reference, so that each of them finds both up to date. It judges nothing.
"""

from __future__ import annotations

from ..checkers import Checker
from ..history import (
    Calm,
    Committed,
    Crashed,
    Fault,
    Invoke,
    Plain,
    Return,
    SessionSeen,
    Started,
)
from ..reference import Entry, Reference
from .pauses import Pauses

READS = frozenset({"get", "exists", "children"})
NO_WRITES = READS | {"sync", "open"}
CLOSE = "close session"


class Call:
    """One call. order: place among its client's calls.  writes_before: how many of them were writes.

    floor: highest zxid of any write that had returned anywhere when it was invoked.  seen, synced: newest state that its client
    had seen then, and that a completed sync of its client had promised.  returned: its end.  invokes, returns: how often.
    entry: of a write or an opening, as soon as it is known to be in C.
    """

    __slots__ = (
        "client",
        "entry",
        "floor",
        "id",
        "invokes",
        "life",
        "node",
        "op",
        "order",
        "returned",
        "returns",
        "seen",
        "synced",
        "writes_before",
    )

    def __init__(self, event: Invoke, client: Client, floor: int) -> None:
        self.id = event.id
        self.node = event.node
        self.life = event.life
        self.op: tuple[Plain, ...] = event.op
        self.client = client
        self.order = len(client.calls)
        self.writes_before = len(client.writes)
        self.floor = floor
        self.seen = client.seen
        self.synced = client.synced
        self.returned: Return | None = None
        self.invokes = 1
        self.returns = 0
        self.entry: Entry | None = None

    @property
    def verb(self) -> str:
        return str(self.op[0])

    @property
    def is_write(self) -> bool:
        return self.op[0] not in NO_WRITES

    @property
    def answered(self) -> bool:
        return self.returned is not None and self.returned.status in ("ok", "error")

    def __str__(self) -> str:
        return f"call {self.id} of client {self.client.number} ({' '.join(map(repr, self.op[:2]))})"


class Client:
    """One session handle. seen: newest state that an answer has shown it.  synced: what its completed syncs have promised."""

    __slots__ = ("calls", "life", "node", "number", "seen", "session", "synced", "writes")

    def __init__(self, number: int, node: int, life: int) -> None:
        self.number = number
        self.node = node
        self.life = life
        self.session = 0
        self.calls: list[Call] = []
        self.writes: list[Call] = []
        self.seen = 0
        self.synced = 0


class Book(Checker):
    """returned: the highest zxid of any write that has returned.  core: the nodes of the liveness phase; None: all, or not yet known.

    live: the events stand in the order of a simulation, where ``Committed`` comes before what reveals it, an answer is recorded in the step
    that gives it, and times compare. Else they were merged from processes, and the whole of C stands first.
    """

    ids = ()

    def __init__(self, reference: Reference, *, live: bool = True) -> None:
        super().__init__()
        self.reference = reference
        self.live = live
        self.calls: dict[int, Call] = {}
        self.clients: dict[int, Client] = {}
        self.owners: dict[int, Client] = {}
        self.returned = 0
        self.core: frozenset[int] | None = None
        self.pauses = Pauses()
        self._ended: set[tuple[int, int]] = set()
        self._newest_life: dict[int, int] = {}
        self._on = {
            Committed: self._committed,
            Invoke: self._invoke,
            Return: self._return,
            SessionSeen: self._session,
            Started: self._started,
            Crashed: self._crashed,
            Fault: self.pauses.fault,
            Calm: self._calm,
        }

    # --- questions ----------------------------------------------------------------------------------------------------

    def alive(self, node: int, life: int) -> bool:
        """As far as the history says, that process still runs."""
        return (node, life) not in self._ended and life >= self._newest_life.get(node, life)

    def in_core(self, node: int) -> bool:
        """Whether liveness may be demanded of the node."""
        return self.core is None or node in self.core

    # --- events -------------------------------------------------------------------------------------------------------

    def client(self, number: int, node: int, life: int) -> Client:
        found = self.clients.get(number)
        if found is None:
            found = self.clients[number] = Client(number, node, life)
        return found

    def _committed(self, event: Committed) -> None:
        self.reference.add(event)

    def _invoke(self, event: Invoke) -> None:
        if event.id in self.calls:
            self.calls[event.id].invokes += 1
            return
        client = self.client(event.client, event.node, event.life)
        call = self.calls[event.id] = Call(event, client, self.returned)
        client.calls.append(call)
        if call.is_write:
            client.writes.append(call)

    def _return(self, event: Return) -> None:
        call = self.calls.get(event.id)
        if call is None:
            return
        call.returns += 1
        if call.returned is not None:
            return
        call.returned = event
        client = call.client
        if event.session:
            self._own(client, event.session)
        call.entry = entry = self.find_entry(call)
        if entry is not None and call.answered and entry.zxid > self.returned:
            self.returned = entry.zxid

    def find_entry(self, call: Call) -> Entry | None:
        """What the call came to in C; None: nothing so far, or nobody can say."""
        event, reference = call.returned, self.reference
        if event is None:
            return None
        if call.op[0] in NO_WRITES:
            session = reference.sessions.get(event.session) if call.op[0] == "open" and event.session else None
            return None if session is None else reference.entry(session.opened)
        if event.cseq:
            return reference.executed.get((event.session, event.cseq))
        return reference.entry(event.zxid) if event.zxid else None

    def _session(self, event: SessionSeen) -> None:
        if event.session:
            self._own(self.client(event.client, event.node, event.life), event.session)

    def _own(self, client: Client, session: int) -> None:
        client.session = session
        self.owners[session] = client

    def _started(self, event: Started) -> None:
        self._newest_life[event.node] = max(event.life, self._newest_life.get(event.node, event.life))
        self.pauses.ended(event.node, event.t)

    def _crashed(self, event: Crashed) -> None:
        self._ended.add((event.node, event.life))
        self.pauses.ended(event.node, event.t)

    def _calm(self, event: Calm) -> None:
        self.core = frozenset(event.core)
