"""The port a Client talks to, whatever stands behind it: today the replica in this process (node.py), later a connection.

It knows operations, outcomes and watches, and neither trio tasks of the caller nor Zab. A Client needs an Endpoint and
nothing else; what only an embedded replica has (``zk.node``, ``zk.replica``) the Client knows by shape only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import Protocol

from attrs import field, frozen

from .log.base import LogStatistics
from .tree.events import WatchedEvent
from .tree.ops import Op
from .tree.stat import Stat, Znode
from .tree.watches import WatchMode
from .zab.effects import Role
from .zxid import to_hex


class SessionState(Enum):
    """What the owner of a session knows of it (rule S-7).

    CONNECTED: nobody else can have seen it expire.  SUSPENDED: its lease has run out; it may come back.
    EXPIRED: the ensemble has ended it.  CLOSED: its owner has.
    """

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    CLOSED = "closed"


class Watcher(Protocol):
    """Whoever is told of events, told apart by identity. Both methods are plain, never block and never raise."""

    def __hash__(self) -> int: ...

    def deliver(self, event: WatchedEvent) -> None:
        """Called in zxid order, before the session can read the new state (rule W3)."""

    def end(self, error: BaseException) -> None:
        """No event will follow: the session, or the node, has ended."""


class Ticket(Protocol):
    """A submitted write: its place in the session's order is taken."""

    @property
    def settled(self) -> bool: ...
    @property
    def handed_over(self) -> bool:
        """A leader may have it: from here on it may happen, whoever gives up waiting."""


class SessionView(Protocol):
    """What an endpoint tells of a session, plainly and at once."""

    @property
    def id(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def zxid(self) -> int: ...
    @property
    def state(self) -> SessionState: ...
    def expires_in(self) -> float: ...
    def ephemerals(self, prefix: str) -> tuple[str, ...]: ...
    def on_change(self, watch: SessionWatch) -> None: ...
    def off_change(self, watch: SessionWatch) -> None: ...


class SessionWatch(Protocol):
    """Whoever wants to know when a session's state changes."""

    def session_changed(self, state: SessionState) -> None:
        """Plain and quick: it is called in the step in which the state changes."""


class HeldView(Protocol):
    """A held lock or term, as far as transactions need to know it."""

    @property
    def path(self) -> str: ...
    @property
    def token(self) -> int: ...


class ReplicaHandle(Protocol):
    """``zk.replica``: plain reads of the applied state, whatever is in flight. No checkpoint, no waiting.

    Between two of them nothing moves, so a run of them without an ``await`` is one consistent view of the tree.
    """

    @property
    def zxid(self) -> int:
        """The last entry applied here."""

    def get(self, path: str) -> Znode:
        """Raises NoNodeError."""

    def exists(self, path: str) -> Stat | None: ...
    def children(self, path: str) -> tuple[str, ...]:
        """Names, sorted. Raises NoNodeError."""

    def staleness(self) -> float:
        """Seconds since a quorum is known to have confirmed this replica's leader; inf if none has yet."""


class NodeHandle(Protocol):
    """``zk.node``: the node in this process."""

    @property
    def id(self) -> int: ...
    @property
    def role(self) -> Role: ...
    @property
    def leader_id(self) -> int | None:
        """None while looking."""

    @property
    def epoch(self) -> int:
        """The epoch being served, else 0."""

    @property
    def last_zxid(self) -> int:
        """The last entry that is durable here."""

    def statistics(self) -> NodeStatistics: ...
    async def wait_role(self, *roles: Role) -> Role:
        """Wait until the node is serving in one of ``roles``; LOOKING needs no serving."""

    async def snapshot(self) -> int:
        """Write a snapshot now; its zxid. Cancelled: none is left behind. Raises StorageError if it could not be written."""


@frozen
class NodeStatistics:
    """What a node says of itself. has_vote: counts in quorums; vote_reason: why not.  links: open links to peers.

    serving: in touch with an established leader.  staleness: see ReplicaHandle.  reads_log_from, segments, snapshots: the log's.
    """

    node_id: int
    role: Role
    leader_id: int | None
    epoch: int
    serving: bool
    has_vote: bool
    vote_reason: str
    last_zxid: int = field(repr=to_hex)
    applied_zxid: int = field(repr=to_hex)
    staleness: float
    znodes: int
    sessions: int
    local_sessions: int
    watches: int
    links: int
    calls_unresolved: int
    log: LogStatistics


class Endpoint(ABC):
    """One session's access to the replicated state.

    Order: the place of a write or read in the session's order is taken when the method is *called*, before any checkpoint.
    Errors of operations are raised as ZkError; a node that has stopped raises NodeFailedError, one that was left
    ``trio.ClosedResourceError``.
    """

    data_bytes_max: int
    txn_bytes_max: int

    @property
    @abstractmethod
    def session(self) -> SessionView:
        """The present session; another object after an expiry."""

    @abstractmethod
    def submit(self, op: Op) -> Ticket:
        """Queue a checked write. Plain."""

    @abstractmethod
    async def result(self, ticket: Ticket) -> object:
        """Wait for a write and return what it made (Created, Stat, None or a tuple of these).

        Cancelled before the write was handed to a leader: it does not happen, ever. After: unknown; it stays in the
        session's order, and ``sync`` settles it.
        """

    @abstractmethod
    async def get(self, path: str, watcher: Watcher | None) -> Znode:
        """Raises NoNodeError, and then sets no watch."""

    @abstractmethod
    async def exists(self, path: str, watcher: Watcher | None) -> Stat | None: ...

    @abstractmethod
    async def children(self, path: str, watcher: Watcher | None) -> tuple[str, ...]:
        """Raises NoNodeError, and then sets no watch."""

    @abstractmethod
    async def sync(self) -> int:
        """Quorum-checked barrier (rules R-1 to R-4); the zxid that this replica has reached."""

    @abstractmethod
    async def watch(self, path: str, mode: WatchMode, watcher: Watcher) -> int:
        """Register a persistent watcher behind the session's earlier writes; the zxid from which on nothing is missed."""

    @abstractmethod
    def unwatch(self, watcher: Watcher) -> None:
        """Forget the watcher everywhere. Plain, idempotent."""
