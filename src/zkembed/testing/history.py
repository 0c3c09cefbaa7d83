"""What a run records: one append-only list of events, in the order in which they happened, for checkers to read.

Every event begins with ``t`` (seconds, of the run's own clock), ``node`` (id) and ``life`` (which start of that node; 0 where it does
not matter). Events of clients come from whoever drives sessions, in a simulation or in real processes; events of replicas come
from the simulated world alone. ``Committed`` stands for the committed sequence C: simulated, an entry is added in the moment in
which it is safe; from real processes the whole of C is read from their logs and stands first.

All fields are plain values (numbers, strings, bytes, None, and tuples of them), so that an event can be a line in a file:
``to_row``, ``from_row``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from attrs import fields

from ..errors import DecodeError, TransactionError
from ..tree.ops import Multi, Op
from ..tree.results import CreatedNode, Failure, Outcome, to_error
from ..tree.stat import Created, Stat, StatRow

Plain: TypeAlias = Any
"""None, bool, int, float, str, bytes, or a tuple of such."""


# --- clients ---------------------------------------------------------------------------------------------------------


class Invoke(NamedTuple):
    """A client calls. id: of the call, unique in the run.  client: number of the session handle that calls, unique in the run.

    op: ``(verb, path, ...)``, see ``plain_op``; verbs that are no writes: get, exists, children, sync, open.
    """

    t: float
    node: int
    life: int
    id: int
    client: int
    op: tuple[Plain, ...]


class Return(NamedTuple):
    """The end of a call; exactly one for each Invoke, unless its process died or it was still running at the run's end.

    status: "ok", "error" (value: see ``plain_error``), "unknown" (it may have happened, or still happen),
    "not done" (it has not happened and never will).
    value: of get ``(data, stat)``, of exists a stat or None, of children the names, of a write see ``plain_answer``.
    session, cseq, zxid: of a write that has an entry, else 0 (cseq is 0 too where the client cannot know it).
    applied: of a read or sync, the zxid of the state it is answered from (a sync's: the barrier reached); of a write 0.
    """

    t: float
    node: int
    life: int
    id: int
    client: int
    status: str
    value: Plain
    session: int
    cseq: int
    zxid: int
    applied: int


class SessionSeen(NamedTuple):
    """What the owner of a session knows of it from now on. state: "created", "connected", "suspended", "expired", "closed"."""

    t: float
    node: int
    life: int
    client: int
    session: int
    state: str


class WatchSet(NamedTuple):
    """watch: unique in the run.  mode: name of a WatchMode.  zxid: of the state that the setter had read.  client: 0: of no session."""

    t: float
    node: int
    life: int
    watch: int
    client: int
    path: str
    mode: str
    zxid: int


class WatchFired(NamedTuple):
    """kind: name of an EventKind.  data, stat: as the event has them (stat: eleven numbers, see ``plain_stat``)."""

    t: float
    node: int
    life: int
    watch: int
    kind: str
    path: str
    zxid: int
    data: Plain
    stat: Plain


class WatchEnded(NamedTuple):
    """No event will follow: removed by its owner ("removed"), or its session or node has ended ("ended")."""

    t: float
    node: int
    life: int
    watch: int
    how: str


class LockSeen(NamedTuple):
    """A contender for ``path``. token: fencing token, 0 unless it holds or held.

    state: "waits" (its znode exists), "holds", "doubts" (it must not act any more), "released" (its znode is gone, or was asked to go
    and the session's order makes sure of it), "gave up" (likewise, without having held).
    """

    t: float
    node: int
    life: int
    client: int
    path: str
    znode: str
    token: int
    state: str


class GuardedWrite(NamedTuple):
    """A write to a resource outside the ensemble that refuses a token lower than one it has seen."""

    t: float
    node: int
    life: int
    client: int
    path: str
    token: int
    accepted: bool


# --- replicas --------------------------------------------------------------------------------------------------------


class Started(NamedTuple):
    """What recovery reported. base: zxid of the snapshot its state begins at.  end, chain: of its log.  fresh: an empty disk."""

    t: float
    node: int
    life: int
    storage: bytes
    incarnation: int
    accepted: int
    current: int
    base: int
    end: int
    chain: int
    damaged: bool
    fresh: bool


class Crashed(NamedTuple):
    """how: "killed" (its process), "power" (unsynced data is lost), "halted" (it stopped itself), "left" (in good order)."""

    t: float
    node: int
    life: int
    how: str


class Fault(NamedTuple):
    """Something was done to the world. kind: name of a fault.  node: 0 where it concerns more than one.

    Checkers read those after which leases promise nothing, or deadlines come sooner: see ``checks.pauses``.
    """

    t: float
    node: int
    life: int
    kind: str
    detail: str


class RoleSeen(NamedTuple):
    t: float
    node: int
    life: int
    role: str
    leader: int
    epoch: int
    serving: bool


class Applied(NamedTuple):
    """An entry has become state. outcome: see ``plain_outcome``; digest: of the state behind it."""

    t: float
    node: int
    life: int
    zxid: int
    session: int
    cseq: int
    executed: bool
    outcome: Plain
    digest: int


class Jumped(NamedTuple):
    """The state that readers see was replaced by a loaded one, without the entries between. digest: of the new state."""

    t: float
    node: int
    life: int
    before: int
    after: int
    digest: int


class Expiring(NamedTuple):
    """The leader ``node`` proposes the close of a session whose time is over."""

    t: float
    node: int
    life: int
    session: int
    zxid: int


class Touched(NamedTuple):
    """The leader ``node`` has moved the deadline of sessions: to its time + their timeout. why: "touch", "established", "created"."""

    t: float
    node: int
    life: int
    sessions: tuple[int, ...]
    why: str


class Committed(NamedTuple):
    """The next entry of C. time: the leader's stamp in microseconds.  kind: name of a record kind.  payload: its bytes."""

    t: float
    node: int
    life: int
    zxid: int
    chain: int
    kind: str
    time: int
    payload: bytes


class Calm(NamedTuple):
    """Faults have stopped and a core was healed. core: the nodes from which liveness is demanded."""

    t: float
    node: int
    life: int
    core: tuple[int, ...]


class Quiet(NamedTuple):
    """The end: calls have ended, the core had time to become equal. applied: zxid of the state that each core node shows, by node."""

    t: float
    node: int
    life: int
    applied: tuple[tuple[int, int], ...]


Event: TypeAlias = (
    Invoke
    | Return
    | SessionSeen
    | WatchSet
    | WatchFired
    | WatchEnded
    | LockSeen
    | GuardedWrite
    | Started
    | Crashed
    | Fault
    | RoleSeen
    | Applied
    | Jumped
    | Expiring
    | Touched
    | Committed
    | Calm
    | Quiet
)

KINDS: dict[str, Any] = {kind.__name__: kind for kind in Event.__args__}


class History:
    """The list, and who reads along. ``record`` tells each listener at once, in the order in which they were added."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._listeners: list[Callable[[Event], None]] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def record(self, event: Event) -> None:
        """Raises what a listener raises; the event stays in the list."""
        self.events.append(event)
        for listener in self._listeners:
            listener(event)


def to_row(event: Event) -> list[Plain]:
    """An event as a value for a file."""
    return [type(event).__name__, *event]


def from_row(row: Any) -> Event:
    """The event that ``row`` describes; lists in it become tuples. Raises DecodeError."""
    kind = KINDS.get(row[0]) if type(row) is list and row and type(row[0]) is str else None
    if kind is None or len(row) != len(kind._fields) + 1:
        raise DecodeError("not a row of a history")
    event: Event = kind(*(_frozen(field) for field in row[1:]))
    return event


def _frozen(value: Any) -> Plain:
    return tuple(_frozen(each) for each in value) if type(value) in (list, tuple) else value


# --- plain values ----------------------------------------------------------------------------------------------------


def plain_stat(stat: Stat | None) -> Plain:
    """Eleven numbers; times in microseconds, 0 for no owner."""
    if stat is None:
        return None
    return (
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        round(stat.ctime * 1_000_000),
        round(stat.mtime * 1_000_000),
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner or 0,
        stat.data_length,
        stat.num_children,
    )


def plain_answer(answer: Any) -> Plain:
    """What a write returned to its caller: None, a stat, ``("created", path, stat)``, or a tuple of such."""
    if answer is None:
        return None
    if isinstance(answer, Created):
        return ("created", answer.path, plain_stat(answer.stat))
    if isinstance(answer, Stat):
        return plain_stat(answer)
    return tuple(plain_answer(each) for each in answer)


def plain_error(error: BaseException) -> Plain:
    """``(class name,)``, of a transaction ``("TransactionError", index, class name of the cause)``."""
    if isinstance(error, TransactionError):
        return (type(error).__name__, error.index, type(error.error).__name__)
    return (type(error).__name__,)


def plain_outcome(outcome: Outcome) -> tuple[str, Plain]:
    """What the tree made of a write, as (status, value) of a Return."""
    if isinstance(outcome, Failure):
        return "error", plain_error(to_error(outcome, 0))
    return "ok", _plain_value(outcome)


def _plain_value(outcome: Outcome) -> Plain:
    if outcome is None:
        return None
    if isinstance(outcome, StatRow):
        return tuple(outcome)
    if isinstance(outcome, CreatedNode):
        return ("created", outcome.path, tuple(outcome.row))
    assert not isinstance(outcome, Failure)
    return tuple(_plain_value(each) for each in outcome)


def plain_op(op: Op) -> tuple[Plain, ...]:
    """A write as ``(verb, fields in their order...)``; of a transaction ``("transaction", (operation, ...))``."""
    if isinstance(op, Multi):
        return (op.verb, tuple(plain_op(each) for each in op.ops))
    return (op.verb, *(getattr(op, each.name) for each in fields(type(op))))
