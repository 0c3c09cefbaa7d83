"""One process of the world: the machine it runs, what executes the effects that are not the driver's, and what the world knows of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Protocol

from ...codec import decode, encode
from ...durable import Identity, SnapshotInfo
from ...record import Kind, Record
from ...zab.effects import (
    Deliver,
    Effect,
    Halt,
    LoadSnapshot,
    PingArrived,
    PingDue,
    Purpose,
    Report,
    RequestsArrived,
    Role,
    RoundAnswered,
    Serving,
    SyncAnswered,
)
from ...zab.history import History
from ...zab.messages import Message
from ...zab.peer import Peer
from ...zxid import EMPTY, to_hex

if TYPE_CHECKING:
    from .cluster import Cluster

CLUSTER = "simulated"
RESOLUTION_S = 1e-6


class Machine(Protocol):
    """The inputs that the driver gives; see Peer."""

    def start(self, now: float) -> None: ...
    def tick(self, now: float) -> None: ...
    def deadline(self) -> float: ...
    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, outbound: bool) -> None: ...
    def link_down(self, link: int, reason: str) -> None: ...
    def dial_failed(self, node_id: int, purpose: Purpose, refused: bool, reason: str) -> None: ...
    def receive(self, link: int, message: Message) -> None: ...
    def disk_done(self, op: int) -> None: ...
    def drain(self) -> list[Effect]: ...


class App:
    """What stands where the replica will: its state is the list of applied payloads. Subclass it to plug in another machine.

    machine: gets the driver's inputs.  peer: the consensus core inside, for the judge.
    """

    peer_class = Peer
    drains_once = False
    """Executing an effect gives the machine no further input: one drain takes all."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        disk = node.disk
        info, chunks = disk.newest_snapshot()
        self.state: list[bytes] = self.read_state(chunks)
        history = History(info, cache_bytes_max=node.cluster.cache_bytes_max)
        history.recover(disk.live.behind(info.zxid))
        identity = Identity(CLUSTER, node.id, disk.storage_id, disk.incarnation)
        rng = Random(node.cluster.rng.random())
        self.peer = self.peer_class(
            identity=identity,
            peers=node.peers,
            bootstrap=node.bootstrap,
            epochs=disk.epochs,
            history=history,
            settings=node.cluster.settings,
            jitter=rng.random,
        )
        self.machine: Machine = self.peer
        self.applied = info.zxid
        self.loads: list[int] = []
        self.servings: list[Serving] = []
        self.rounds: list[RoundAnswered] = []
        self.syncs: dict[int, int] = {}
        self.touched: list[Effect] = []
        self.lists_sessions: tuple[int, ...] | None = None
        self.echo = 0
        self.mismatch = 0
        self.slow = False
        self._backlog: deque[Record] = deque()

    def leave(self) -> None:
        """Leave in good order; ``peer.left`` says when."""
        self.peer.leave()

    @property
    def busy(self) -> bool:
        """Work is left over from this step."""
        return False

    def handle(self, effect: Effect) -> None:
        """An effect that is not the driver's."""
        match effect:
            case Deliver(records=records):
                self._backlog.extend(records)
                if not self.slow:
                    self.apply()
            case LoadSnapshot(base=base):
                self._backlog.clear()
                self._load(base)
            case PingDue():
                self.peer.ping(0, 0, {})
            case PingArrived(echo=echo):
                self.echo = echo
                self.peer.pong(self.lists_sessions, self.mismatch)
            case RequestsArrived(entries=entries):
                for entry in entries:
                    if self.peer.can_propose:
                        self.peer.propose(Kind.REQUEST, entry, 0)
            case SyncAnswered(id=number, barrier=barrier):
                self.syncs[number] = barrier
            case Serving():
                self.servings.append(effect)
            case RoundAnswered():
                self.rounds.append(effect)
            case _:
                self.touched.append(effect)

    def read_state(self, chunks: tuple[bytes, ...]) -> list[bytes]:
        """What a snapshot of this app holds."""
        return list(decode(b"".join(chunks))) if chunks else []

    def _load(self, base: int) -> None:
        self.loads.append(base)
        chunks = self.node.disk.read_snapshot(base)[1] if base != EMPTY else ()
        self.state = self.read_state(chunks)
        self.applied = base

    def apply(self) -> None:
        """Apply what was delivered."""
        for record in self._backlog:
            if record.kind is Kind.REQUEST:
                self.state.append(record.payload)
            self.applied = record.zxid
        self._backlog.clear()
        if self.applied > self.peer.history.applied:
            self.peer.applied(self.applied)

    def take_snapshot(self, *, purge: bool = True) -> int:
        """Write an own snapshot at the applied point; its zxid."""
        chain = self.peer.history.chain(self.applied)
        assert chain is not None
        info = SnapshotInfo(self.applied, chain, self.peer.snapshot_meta())
        data = encode(self.state)
        chunks = tuple(data[start : start + 512] for start in range(0, len(data), 512))
        records_from = self.node.disk.store_snapshot(info, chunks, purge=purge)
        self.peer.snapshot_stored(info, records_from)
        return self.applied


class NodeClock:
    """The monotonic clock of one machine: its own rate, and how much it has lost by halting, as in a suspended laptop."""

    def __init__(self) -> None:
        self.rate = 1.0
        self._since = 0.0
        self._local = 0.0

    def local(self, now: float) -> float:
        return self._local + (now - self._since) * self.rate

    def world(self, local: float, now: float) -> float:
        """When this clock will show ``local``, for sure: never so near that rounding could bring it there too early."""
        if local == float("inf"):
            return local
        ahead = (local - self.local(now)) / self.rate
        return now + (max(ahead, RESOLUTION_S) if ahead > 0 else ahead)

    def set_rate(self, rate: float, now: float) -> None:
        self._local, self._since, self.rate = self.local(now), now, rate

    def lose(self, seconds: float, now: float) -> None:
        """It has stood still for that long."""
        self._local, self._since = self.local(now) - seconds, now


class SimNode:
    """One process with its disk. app: None while it is down.  inbox: inputs that wait while its loop is blocked."""

    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self.cluster = cluster
        self.id = node_id
        self.disk = cluster.disks(cluster.rng, node_id)
        self.clock = NodeClock()
        self.app: App | None = None
        self.factory = cluster.factory
        self.peers: Mapping[int, str] = cluster.addresses
        self.bootstrap = True
        self.life = 0
        self.blocked_until = 0.0
        self.inbox: list[Callable[[Machine], None]] = []
        self.next_tick = float("inf")
        self.reports: list[Report] = []
        self.halted: Halt | None = None
        self.roles: list[tuple[float, Role, int | None]] = []
        self.ended: list[str] = []

    @property
    def up(self) -> bool:
        return self.app is not None

    @property
    def peer(self) -> Peer:
        assert self.app is not None, f"node {self.id} is down"
        return self.app.peer

    def __repr__(self) -> str:
        if self.app is None:
            return f"<node {self.id} down, log {to_hex(self.disk.live.end)}>"
        peer = self.app.peer
        return f"<node {self.id} {peer.role.value}/{peer.phase} leader {peer.leader_id} epoch {peer.epoch} {peer.history!r}>"
