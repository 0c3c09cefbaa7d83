"""A simulated world for pure machines: time, links, disks, faults, and a judge that looks after every step.

No trio, no clock: one heap of events, one seeded generator. A *machine* is anything with the inputs of ``zkembed.zab.peer.Peer`` and
``drain()``. Effects for the driver (network, disk) are executed here; effects for the replica go to the node's ``App``, which a test of a
higher floor replaces. What survives a crash is exactly what the disk had completed.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, Protocol
from zlib import crc32

from attrs import define, evolve, field, frozen

from zkembed.codec import decode, encode
from zkembed.durable import Epochs, Identity, SnapshotInfo
from zkembed.errors import InternalError
from zkembed.record import Kind, Record
from zkembed.zab.codec import decode_frame, encode_frame
from zkembed.zab.effects import (
    AbortInstall,
    Append,
    BeginInstall,
    CloseLink,
    CommitInstall,
    Deliver,
    Dial,
    DiskOp,
    Effect,
    Halt,
    InstallChunk,
    InstallRecords,
    LoadSnapshot,
    PingArrived,
    PingDue,
    Purpose,
    Report,
    RequestsArrived,
    Role,
    RoundAnswered,
    Seal,
    Send,
    SendRecords,
    SendSnapshot,
    Serving,
    ServingEnded,
    SetEpochs,
    SyncAnswered,
    Truncate,
)
from zkembed.zab.history import History
from zkembed.zab.messages import Ack, AckEpoch, AckNewLeader, Entries, LeaderInfo, Message, NewLeader, SnapChunk, Sync
from zkembed.zab.peer import Peer
from zkembed.zab.quorum import Configuration
from zkembed.zab.settings import Settings
from zkembed.zxid import EMPTY, epoch_of, to_hex

DIAL_TIMEOUT = 1.0
TINY = 1e-9
CLUSTER = "simulated"
DISK_OPS = (Append, SetEpochs, Truncate, BeginInstall, InstallChunk, InstallRecords, CommitInstall, AbortInstall, Seal)


class Violation(AssertionError):
    """An invariant of the protocol was broken; the message names it."""


# --- disk ------------------------------------------------------------------------------------------------------------


@define
class Generation:
    """What one generation of a data directory holds. base: its log begins behind this zxid."""

    base: SnapshotInfo = SnapshotInfo()
    snapshots: dict[int, tuple[SnapshotInfo, tuple[bytes, ...]]] = field(factory=dict)
    records: list[Record] = field(factory=list)

    @property
    def end(self) -> int:
        return self.records[-1].zxid if self.records else self.base.zxid

    @property
    def end_chain(self) -> int:
        return self.records[-1].chain if self.records else self.base.chain

    def chain_at(self, zxid: int) -> int | None:
        if zxid == self.base.zxid:
            return self.base.chain
        return next((record.chain for record in reversed(self.records) if record.zxid == zxid), None)


class SimDisk:
    """One data directory. Operations complete in order, each ``delay`` after the one before; consecutive Appends are one batch.

    hold: operations wait until ``Cluster.step_disk``; may be a predicate: stop before such an operation.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.storage_id = rng.randbytes(16)
        self.incarnation = 0
        self.epochs = Epochs()
        self.live = Generation()
        self.staged: Generation | None = None
        self.queue: deque[Any] = deque()
        self.delay = 0.0005
        self.hold: bool | Callable[[DiskOp], bool] = False
        self.done_ops: list[DiskOp] = []

    def held(self) -> bool:
        if not self.queue:
            return True
        return self.hold(self.queue[0]) if callable(self.hold) else self.hold

    def take_batch(self) -> list[Any]:
        """The next operation, with the Appends behind an Append."""
        batch = [self.queue.popleft()]
        while type(batch[0]) is Append and self.queue and type(self.queue[0]) is Append and not self.held():
            batch.append(self.queue.popleft())
        return batch

    def execute(self, effect: Any) -> None:
        """The operation has become durable."""
        match effect:
            case Append(records=records):
                self.live.records.extend(records)
            case SetEpochs(epochs=epochs):
                self.epochs = epochs
            case Truncate(zxid=zxid):
                self.live.records = [record for record in self.live.records if record.zxid <= zxid]
            case BeginInstall(info=info):
                self.staged = Generation(info)
                if info.zxid != EMPTY:
                    self.staged.snapshots[info.zxid] = (info, ())
            case InstallChunk(data=data):
                assert self.staged is not None
                info, chunks = self.staged.snapshots[self.staged.base.zxid]
                self.staged.snapshots[info.zxid] = (info, (*chunks, data))
            case InstallRecords(records=records):
                assert self.staged is not None
                self.staged.records.extend(records)
            case CommitInstall():
                assert self.staged is not None
                self.live, self.staged = self.staged, None
            case AbortInstall():
                self.staged = None
            case Seal():
                pass
        self.done_ops.append(effect)

    def crash(self) -> None:
        """What was not complete is gone."""
        self.queue.clear()
        self.staged = None
        self.done_ops.clear()

    def wipe(self) -> None:
        """An empty directory: a new storage id (rule I-1)."""
        self.crash()
        self.storage_id = self._rng.randbytes(16)
        self.incarnation = 0
        self.epochs = Epochs()
        self.live = Generation()

    def damage(self) -> None:
        """Recovery found corruption: the promises hold, the log is not offered (rule P-12)."""
        self.epochs = evolve(self.epochs, damaged=True)
        self.live = Generation()

    def newest_snapshot(self) -> tuple[SnapshotInfo, tuple[bytes, ...]]:
        return self.live.snapshots[max(self.live.snapshots)] if self.live.snapshots else (SnapshotInfo(), ())

    def store_snapshot(self, info: SnapshotInfo, chunks: tuple[bytes, ...], *, purge: bool) -> int:
        """An own snapshot; with ``purge`` the log behind it goes (P-9 keeps an older one; no test needs it). Returns records_from."""
        self.live.snapshots[info.zxid] = (info, chunks)
        if purge:
            self.live.records = [record for record in self.live.records if record.zxid > info.zxid]
            self.live.base = info
            self.live.snapshots = {info.zxid: (info, chunks)}
        return self.live.base.zxid


# --- app -------------------------------------------------------------------------------------------------------------


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

    def __init__(self, node: SimNode) -> None:
        self.node = node
        disk = node.disk
        info, chunks = disk.newest_snapshot()
        self.state: list[bytes] = self.read_state(chunks)
        history = History(info, cache_bytes_max=node.cluster.cache_bytes_max)
        history.recover(record for record in disk.live.records if record.zxid > info.zxid)
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
        chunks = self.node.disk.live.snapshots[base][1] if base != EMPTY else ()
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


# --- nodes -----------------------------------------------------------------------------------------------------------


class SimNode:
    """One process with its disk. app: None while it is down.  inbox: inputs that wait while its loop is blocked."""

    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self.cluster = cluster
        self.id = node_id
        self.disk = SimDisk(cluster.rng)
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


# --- network ---------------------------------------------------------------------------------------------------------


@define(eq=False)
class Pipe:
    """One direction of a connection: frames in order, each with the time it arrives; ``closing``: an end of the stream stands behind them.

    sent_at: when the newest frame was sent; what leaves in one step mostly arrives together.
    """

    source: int
    target: int
    target_link: int
    frames: deque[tuple[float, bytes | tuple[Message, ...]]] = field(factory=deque)
    ready_at: float = 0.0
    sent_at: float = -1.0
    closing: str = ""
    broken: bool = False


@define(eq=False)
class Connection:
    """links: the link number at each end; a node may be connected with itself only by mistake, so node ids name the ends."""

    purpose: Purpose
    dialler: int
    acceptor: int
    links: dict[int, int]
    pipes: dict[int, Pipe]
    open_at: set[int]
    lives: dict[int, int]


# --- the judge -------------------------------------------------------------------------------------------------------


@frozen
class Committed:
    """One entry of the committed sequence."""

    zxid: int
    chain: int
    encoded: bytes


class Judge:
    """Checks of docs/invariants that can be made online, from the disks and the messages, not from what the machines believe.

    committed: the sequence C. An entry of epoch e is in it once a quorum of voters have each held it durably, at some moment while their
    current = accepted = e; no node needs to know.
    """

    def __init__(self) -> None:
        self.committed: list[Committed] = []
        self.position: dict[int, int] = {EMPTY: 0}
        self.proposed: dict[int, bytes] = {}
        self.established: dict[int, int] = {}
        self.established_count = 0
        self._held: dict[tuple[int, int, bytes], int] = {}
        self._epochs: dict[bytes, Epochs] = {}
        self._commit_points: dict[tuple[int, int], int] = {}
        self._applied: dict[tuple[int, int], int] = {}
        self._configuration: Configuration | None = None
        self._distrusted: set[bytes] = set()
        self._initial: dict[int, tuple[int, int]] = {}

    @property
    def end(self) -> int:
        return self.committed[-1].zxid if self.committed else EMPTY

    def _fail(self, check: str, text: str) -> None:
        raise Violation(f"{check}: {text}")

    def distrust(self, storage_id: bytes) -> None:
        """A DAMAGED log's copies do not count until it is whole again."""
        self._distrusted.add(storage_id)

    # disks

    def disk_changed(self, node: SimNode, effect: Any, before: Generation) -> None:
        disk = node.disk
        known = self._epochs.get(disk.storage_id, Epochs())
        epochs = disk.epochs
        if epochs.accepted < known.accepted or epochs.current < known.current or epochs.current > epochs.accepted:
            self._fail("A6", f"node {node.id}: epochs went from {known} to {epochs}")
        self._epochs[disk.storage_id] = epochs
        if epochs.current > known.current:
            self._check_initial(node)
        if type(effect) is SetEpochs and not epochs.damaged:
            self._distrusted.discard(disk.storage_id)
        if type(effect) in (Truncate, CommitInstall):
            self._check_cut(node, before)
        if type(effect) in (Append, SetEpochs, CommitInstall):
            self._note_held(node)

    def _check_initial(self, node: SimNode) -> None:
        """A8: current = e becomes durable only on top of the whole of I_e (rules Y-6, D-6); the leader's own log is I_e."""
        epochs, live = node.disk.epochs, node.disk.live
        if epochs.accepted_leader == node.id:
            self._initial.setdefault(epochs.current, (live.end, live.end_chain))
        zxid, chain = self._initial.get(epochs.current, (EMPTY, 0))
        if live.base.zxid < zxid and live.chain_at(zxid) != chain:
            self._fail("A8", f"node {node.id} has current = {epochs.current} without its initial history up to {to_hex(zxid)}")

    def _check_cut(self, node: SimNode, before: Generation) -> None:
        """A11: a log is never cut below what is committed and it held."""
        held = [entry for entry in self.committed if before.chain_at(entry.zxid) == entry.chain]
        live = node.disk.live
        if held and node.disk.storage_id not in self._distrusted and not self._covers(live, held[-1]):
            self._fail("A11", f"node {node.id} cut its log to {to_hex(live.end)}, committed entry {to_hex(held[-1].zxid)} was there")

    @staticmethod
    def _covers(live: Generation, entry: Committed) -> bool:
        return live.base.zxid >= entry.zxid or live.chain_at(entry.zxid) == entry.chain

    def _note_held(self, node: SimNode) -> None:
        disk = node.disk
        if disk.epochs.current != disk.epochs.accepted or disk.epochs.current == 0 or disk.storage_id in self._distrusted:
            return
        epoch, live = disk.epochs.current, disk.live
        key = (epoch, node.id, disk.storage_id)
        if live.end > self._held.get(key, 0):
            self._held[key] = live.end
            self._extend(epoch, live)

    def _extend(self, epoch: int, live: Generation) -> None:
        for record in live.records[:1] if self._configuration is None else ():
            if record.kind is Kind.CONFIG:
                self._configuration = Configuration.decode(record.payload)
        if self._configuration is None:
            return
        voters = {(member.node_id, member.storage_id) for member in self._configuration.members}
        held = [end for (held_epoch, node_id, storage), end in self._held.items() if held_epoch == epoch and (node_id, storage) in voters]
        if len(held) * 2 <= len(voters):
            return
        point = min(sorted(held, reverse=True)[len(voters) // 2], live.end)
        if point <= self.end:
            return
        if live.base.zxid > self.end or live.chain_at(self.end) != (self.committed[-1].chain if self.committed else 0):
            self._fail("A2", f"epoch {epoch} commits up to {to_hex(point)}, but its log lacks committed {to_hex(self.end)}")
        for record in live.records:
            if self.end < record.zxid <= point:
                self.position[record.zxid] = len(self.committed) + 1
                self.committed.append(Committed(record.zxid, record.chain, record.encoded))

    # effects

    def effect(self, node: SimNode, effect: Effect) -> None:
        match effect:
            case Append(records=records) | InstallRecords(records=records):
                for record in records:
                    known = self.proposed.setdefault(record.zxid, record.encoded)
                    if known != record.encoded:
                        self._fail("A1", f"two different records for {to_hex(record.zxid)}")
            case Deliver(records=records):
                self._check_delivery(node, records)
            case LoadSnapshot(base=base):
                if base not in self.position:
                    self._fail("A9", f"node {node.id} loads a snapshot at {to_hex(base)}, which is not committed")
                self._applied[node.id, node.life] = self.position[base]
            case Serving(epoch=epoch):
                if node.peer.role is Role.LEADING:
                    self._check_established(node, epoch)
            case Send(message=message):
                self._check_message(node, message)

    def _check_delivery(self, node: SimNode, records: Iterable[Record]) -> None:
        position = self._applied.get((node.id, node.life))
        if position is None:
            self._fail("A2", f"node {node.id} delivers before it has started")
            return
        for record in records:
            if position >= len(self.committed) or self.committed[position].encoded != record.encoded:
                self._fail("A2/A9", f"node {node.id} delivers {to_hex(record.zxid)}, place {position} of {len(self.committed)} committed")
            if node.disk.live.chain_at(record.zxid) != record.chain:
                self._fail("A9", f"node {node.id} delivers {to_hex(record.zxid)}, which is not on its disk")
            position += 1
        self._applied[node.id, node.life] = position

    def _check_established(self, node: SimNode, epoch: int) -> None:
        if self.established.setdefault(epoch, node.id) != node.id:
            self._fail("A5", f"nodes {self.established[epoch]} and {node.id} are both established in epoch {epoch}")
        self.established_count += 1
        lower = [entry for entry in self.committed if epoch_of(entry.zxid) < epoch]
        if lower and not self._covers(node.disk.live, lower[-1]):
            self._fail("A5", f"node {node.id} leads epoch {epoch} without committed {to_hex(lower[-1].zxid)}")

    def _check_message(self, node: SimNode, message: Message) -> None:
        """A7, A8: what a message promises is on the disk before it leaves."""
        disk = node.disk
        epochs, end = disk.epochs, disk.live.end
        match message:
            case LeaderInfo(epoch=epoch):
                fits = epochs.accepted == epoch and epochs.accepted_leader == node.id
            case AckEpoch(epoch=epoch, last_zxid=last):
                fits = epochs.accepted == epoch and last == end
            case Sync(epoch=epoch) | NewLeader(epoch=epoch):
                fits = epochs.current == epoch == epochs.accepted
            case AckNewLeader(epoch=epoch, cut=zxid) | Ack(epoch=epoch, zxid=zxid):
                fits = epochs.current == epoch == epochs.accepted and zxid <= end
            case _:
                return
        if not fits:
            self._fail("A7/A8", f"node {node.id} says {message} with {epochs} and a log up to {to_hex(end)}")

    def started(self, node: SimNode) -> None:
        """A new life: its state is that of its snapshot."""
        self._epochs.setdefault(node.disk.storage_id, node.disk.epochs)
        base = node.disk.newest_snapshot()[0].zxid
        if base not in self.position:
            self._fail("A9", f"node {node.id} starts from a snapshot at {to_hex(base)}, which is not committed")
        self._applied[node.id, node.life] = self.position[base]

    def after_step(self, node: SimNode) -> None:
        if node.app is None:
            return
        peer = node.app.peer
        peer.check_invariants()
        committed = peer.history.committed
        key = (node.id, node.life)
        if committed < self._commit_points.get(key, 0):
            self._fail("A10", f"the commit point of node {node.id} fell to {to_hex(committed)}")
        if committed > self.end:
            self._fail("A10", f"node {node.id} takes {to_hex(committed)} for committed, a quorum has {to_hex(self.end)}")
        self._commit_points[key] = committed


# --- the world -------------------------------------------------------------------------------------------------------


class Cluster:
    """n nodes (ids 1..n), all started at once unless ``start`` is False. Same seed and script, same history."""

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        factory: Callable[[SimNode], App] = App,
        start: bool = True,
        wire: bool = True,
        cache_bytes_max: int = 2**20,
    ) -> None:
        """factory: makes the app of a starting node.  wire: messages go through the codec."""
        self.seed = seed
        self.rng = Random(seed)
        self.settings = settings or Settings()
        self.factory = factory
        self.wire = wire
        self.cache_bytes_max = cache_bytes_max
        self.now = 100.0
        self.delay = (0.0002, 0.001)
        self.together = 0.8  # How often a message arrives together with the one sent before it in the same step.
        self.judge = Judge()
        self.watchers: list[Callable[[SimNode, Effect], None]] = []
        self.trace: deque[str] = deque(maxlen=400)
        self.trace_crc = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._link = 0
        self._cuts: set[tuple[int, int]] = set()
        self._connections: dict[tuple[int, int], Connection] = {}
        self.addresses = {node_id: f"node-{node_id}" for node_id in range(1, n + 1)}
        self.nodes = {node_id: SimNode(self, node_id) for node_id in self.addresses}
        if start:
            for node_id in self.nodes:
                self.start(node_id)

    def __getitem__(self, node_id: int) -> SimNode:
        return self.nodes[node_id]

    def __iter__(self) -> Iterator[SimNode]:
        return iter(self.nodes.values())

    # --- time

    def at(self, delay: float, event: Callable[[], object]) -> None:
        """Run ``event`` after ``delay`` seconds."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, event))

    def note(self, text: str) -> None:
        line = f"{self.now:.6f} {text}"
        self.trace.append(line)
        self.trace_crc = crc32(line.encode(), self.trace_crc)

    def run(self, duration: float) -> None:
        self.run_until(lambda: False, duration, must=False)

    def run_until(self, condition: Callable[[], bool], limit: float = 30.0, *, must: bool = True) -> float:
        """Run until ``condition`` holds after a step; the time it took. AssertionError if ``limit`` seconds pass first."""
        begin, end = self.now, self.now + limit
        while not condition():
            if not self._events or self._events[0][0] > end:
                self.now = end
                assert not must, f"seed {self.seed}: {limit} s passed; {list(self)}\n" + "\n".join(self.trace)
                return limit
            time, _, event = heapq.heappop(self._events)
            self.now = max(self.now, time)
            event()
        return self.now - begin

    # --- processes

    def start(self, node_id: int) -> None:
        node = self.nodes[node_id]
        assert node.app is None
        node.life += 1
        node.disk.incarnation += 1
        node.blocked_until = 0.0
        node.inbox.clear()
        node.halted = None
        self.note(f"start {node_id}")
        node.app = node.factory(node)
        self.judge.started(node)
        self._step(node, lambda machine: machine.start(self.now), first=True)

    def crash(self, *node_ids: int, silent: bool = False) -> None:
        """kill -9: unsynced disk operations are lost; links end. silent: like a power cut, nobody is told."""
        for node_id in node_ids:
            node = self.nodes[node_id]
            self.note(f"crash {node_id}")
            node.app = None
            node.life += 1
            node.disk.crash()
            node.disk.hold = False
            for connection in [c for c in self._connections.values() if node_id in c.links]:
                self._end(connection, node_id, "the process died", tell=not silent)

    def restart(self, *node_ids: int) -> None:
        for node_id in node_ids:
            if self.nodes[node_id].up:
                self.crash(node_id)
            self.start(node_id)

    def wipe(self, node_id: int) -> None:
        """Its disk is replaced by an empty one; the node must be down."""
        assert not self.nodes[node_id].up
        self.note(f"wipe {node_id}")
        self.nodes[node_id].disk.wipe()

    def damage(self, node_id: int) -> None:
        """Its log is found corrupt at the next start; the node must be down."""
        assert not self.nodes[node_id].up
        self.note(f"damage {node_id}")
        self.nodes[node_id].disk.damage()
        self.judge.distrust(self.nodes[node_id].disk.storage_id)

    def pause(self, node_id: int, duration: float) -> None:
        """Its event loop is blocked: inputs queue, no timer runs."""
        node = self.nodes[node_id]
        node.blocked_until = max(node.blocked_until, self.now + duration)
        self.note(f"pause {node_id} {duration}")
        life = node.life
        self.at(duration, lambda: self._resume(node, life))

    def _resume(self, node: SimNode, life: int) -> None:
        if node.life == life and node.app is not None and self.now >= node.blocked_until:
            inbox, node.inbox = node.inbox, []
            self._step(node, *inbox)

    def call(self, node_id: int, action: Callable[[Peer], Any]) -> Any:
        """The application of a node does something in its own step; None, later, if its loop is blocked now."""
        node = self.nodes[node_id]
        answers: list[Any] = []
        self._step(node, lambda _: answers.append(action(node.peer)))
        return answers[0] if answers else None

    # --- network faults

    def cut(self, one: int, other: int, *, both: bool = True) -> None:
        """What ``one`` sends to ``other`` (and back, if ``both``) no longer arrives. Links stay up, silent."""
        self.note(f"cut {one} {other} {both}")
        self._cuts.add((one, other))
        if both:
            self._cuts.add((other, one))

    def heal(self, one: int, other: int) -> None:
        """Arrives again, also what was sent meanwhile."""
        self.note(f"heal {one} {other}")
        self._cuts -= {(one, other), (other, one)}
        for connection in list(self._connections.values()):
            if set(connection.links) == {one, other}:
                for pipe in connection.pipes.values():
                    self._pump(connection, pipe)

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut between the groups, heal within."""
        group_of = {node_id: index for index, group in enumerate(groups) for node_id in group}
        for one in self.nodes:
            for other in self.nodes:
                if one < other:
                    if group_of.get(one, -1) == group_of.get(other, -2):
                        self.heal(one, other)
                    else:
                        self.cut(one, other)

    def heal_all(self) -> None:
        for one in self.nodes:
            for other in self.nodes:
                if one < other:
                    self.heal(one, other)

    def drop_links(self, one: int, other: int, purpose: Purpose | None = None) -> None:
        """Their connections break; both ends are told."""
        for connection in list(self._connections.values()):
            if set(connection.links) == {one, other} and purpose in (None, connection.purpose):
                for node_id in sorted(connection.open_at):
                    self._end(connection, node_id, "connection reset", tell=True)

    def reachable(self, source: int, target: int) -> bool:
        return (source, target) not in self._cuts

    # --- steps

    def _step(self, node: SimNode, *inputs: Callable[[Machine], None], first: bool = False) -> None:
        """One wake-up of a node: tick, inputs, effects, checks."""
        if node.app is None:
            return
        if self.now < node.blocked_until:
            node.inbox.extend(inputs)
            return
        app, life = node.app, node.life
        if not first:
            app.machine.tick(self.now)
        for give in inputs:
            give(app.machine)
        while effects := app.machine.drain():
            for effect in effects:
                self._execute(node, effect)
                if node.life != life:
                    return  # A watcher has killed it in the middle.
        if node.halted is None:
            self.judge.after_step(node)
            self._schedule_tick(node)

    def _schedule_tick(self, node: SimNode) -> None:
        assert node.app is not None
        deadline = max(node.app.machine.deadline(), self.now)
        if deadline == node.next_tick:
            return
        node.next_tick = deadline
        life = node.life

        def tick() -> None:
            if node.life == life and node.next_tick == deadline:
                node.next_tick = float("inf")
                self._step(node)

        self.at(deadline - self.now, tick)

    def _input(self, node: SimNode, life: int, give: Callable[[Machine], None]) -> None:
        if node.life == life:
            self._step(node, give)

    def _execute(self, node: SimNode, effect: Effect) -> None:
        assert node.app is not None
        life = node.life
        for watcher in tuple(self.watchers):
            watcher(node, effect)
            if node.life != life:
                return
        self.judge.effect(node, effect)
        self.note(f"{node.id} {effect!r}"[:300])
        match effect:
            case Report():
                node.reports.append(effect)
                assert effect.level < logging.CRITICAL
            case Halt(error=error):
                node.halted = effect
                self.note(f"{node.id} HALT {error}")
            case Dial():
                self._dial(node, effect)
            case Send(link=link, message=message):
                self._send(node, link, [message])
            case SendSnapshot(link=link, epoch=epoch, base=base):
                self._send(node, link, self._snapshot_messages(node, epoch, base))
            case SendRecords(link=link, epoch=epoch, after=after, upto=upto):
                records = tuple(record for record in node.disk.live.records if after < record.zxid <= upto)
                self._send(node, link, [Entries(epoch, records[start : start + 3]) for start in range(0, len(records), 3)])
            case CloseLink(link=link, reason=reason, flush=flush):
                connection = self._connections.get((node.id, link))
                if connection is not None:
                    self._end(connection, node.id, reason, tell=False, flush=flush)
            case _ if isinstance(effect, DISK_OPS):
                node.disk.queue.append(effect)
                if len(node.disk.queue) == 1:
                    self._start_disk(node)
            case _:
                if isinstance(effect, ServingEnded):
                    node.ended.append(effect.reason)
                role = getattr(effect, "role", None)
                if isinstance(role, Role):
                    node.roles.append((self.now, role, getattr(effect, "leader_id", None)))
                node.app.handle(effect)

    # --- disks

    def _start_disk(self, node: SimNode) -> None:
        life = node.life
        self.at(node.disk.delay, lambda: self._disk_ready(node, life))

    def _disk_ready(self, node: SimNode, life: int) -> None:
        if node.life == life and node.disk.queue and not node.disk.held():
            self._complete(node)

    def _complete(self, node: SimNode, *, tell: bool = True) -> None:
        batch = node.disk.take_batch()
        for effect in batch:
            before = evolve(node.disk.live, records=list(node.disk.live.records))
            node.disk.execute(effect)
            self.judge.disk_changed(node, effect, before)
        if tell:
            self._step(node, *[lambda machine, op=effect.op: machine.disk_done(op) for effect in batch])
        if node.disk.queue and not node.disk.held():
            self._start_disk(node)

    def step_disk(self, node_id: int, *, tell: bool = True) -> Any:
        """Complete the next held operation; returns it. tell: whether the machine hears of it."""
        node = self.nodes[node_id]
        effect = node.disk.queue[0]
        self._complete(node, tell=tell)
        return effect

    def release_disk(self, node_id: int) -> None:
        """No longer hold operations."""
        node = self.nodes[node_id]
        node.disk.hold = False
        if node.disk.queue:
            self._start_disk(node)

    @staticmethod
    def _snapshot_messages(node: SimNode, epoch: int, base: int) -> list[Message]:
        chunks = node.disk.live.snapshots[base][1]
        return [SnapChunk(epoch, base, index, chunk, crc32(chunk), index == len(chunks) - 1) for index, chunk in enumerate(chunks)]

    # --- links

    def _delay(self) -> float:
        return self.rng.uniform(*self.delay)

    def _dial(self, node: SimNode, effect: Dial) -> None:
        life, target = node.life, self.nodes.get(effect.node_id)
        if target is None or not self.reachable(node.id, target.id) or not self.reachable(target.id, node.id):
            fail = lambda machine: machine.dial_failed(effect.node_id, effect.purpose, False, "no answer")  # noqa: E731
            self.at(DIAL_TIMEOUT, lambda: self._input(node, life, fail))
        else:
            self.at(self._delay(), lambda: self._arrive(node, life, target, effect))

    def _arrive(self, node: SimNode, life: int, target: SimNode, effect: Dial) -> None:
        if node.life != life:
            return
        if target.app is None or target.halted is not None:
            refuse = lambda machine: machine.dial_failed(target.id, effect.purpose, True, "refused")  # noqa: E731
            self.at(self._delay(), lambda: self._input(node, life, refuse))
            return
        self._link += 2
        links = {node.id: self._link, target.id: self._link + 1}
        pipes = {
            node.id: Pipe(node.id, target.id, links[target.id], ready_at=self.now),
            target.id: Pipe(target.id, node.id, links[node.id], ready_at=self.now),
        }
        connection = Connection(
            effect.purpose, node.id, target.id, links, pipes, {node.id, target.id}, {node.id: life, target.id: target.life}
        )
        self._connections[node.id, links[node.id]] = connection
        self._connections[target.id, links[target.id]] = connection
        self._give_link(connection, target, node, outbound=False)
        # The acceptor may speak at once; the dialler's end is up first all the same.
        self.at(0.0, lambda: self._give_link(connection, node, target, outbound=True))

    def _give_link(self, connection: Connection, node: SimNode, other: SimNode, *, outbound: bool) -> None:
        if node.id not in connection.open_at and not outbound:
            return
        storage_id, incarnation = other.disk.storage_id, other.disk.incarnation
        link = connection.links[node.id]
        self._input(
            node,
            connection.lives[node.id],
            lambda machine: machine.link_up(link, other.id, storage_id, incarnation, connection.purpose, outbound),
        )
        if outbound and connection.pipes[other.id].closing:
            self._pump(connection, connection.pipes[other.id])

    def _send(self, node: SimNode, link: int, messages: list[Message]) -> None:
        connection = self._connections.get((node.id, link))
        if connection is None or node.id not in connection.open_at or not messages:
            return
        pipe = connection.pipes[node.id]
        if pipe.broken:
            return
        together = pipe.sent_at == self.now and self.rng.random() < self.together
        if not together:
            pipe.ready_at = max(pipe.ready_at, self.now + self._delay()) if pipe.sent_at != self.now else pipe.ready_at + self._delay()
            self.at(pipe.ready_at - self.now, lambda: self._pump(connection, pipe))
        pipe.sent_at = self.now
        pipe.frames.append((pipe.ready_at, encode_frame(messages) if self.wire else tuple(messages)))

    def _pump(self, connection: Connection, pipe: Pipe) -> None:
        """Deliver what has arrived, together, if the way is open."""
        if not self.reachable(pipe.source, pipe.target):
            return
        target = self.nodes[pipe.target]
        if pipe.target not in connection.open_at:
            pipe.frames.clear()
            return
        arrived = []
        while pipe.frames and pipe.frames[0][0] <= self.now + TINY:
            arrived.append(pipe.frames.popleft()[1])
        messages = [message for frame in arrived for message in (decode_frame(frame) if isinstance(frame, bytes) else frame)]
        if messages and target.life == connection.lives[pipe.target]:
            link = pipe.target_link
            self._step(target, *[lambda machine, message=message: machine.receive(link, message) for message in messages])
        if pipe.frames:
            return
        if pipe.closing and pipe.target in connection.open_at:
            reason = pipe.closing
            connection.open_at.discard(pipe.target)
            self._connections.pop((pipe.target, pipe.target_link), None)
            self._input(target, connection.lives[pipe.target], lambda machine: machine.link_down(pipe.target_link, reason))

    def _end(self, connection: Connection, node_id: int, reason: str, *, tell: bool, flush: bool = True) -> None:
        """``node_id``'s end closes; the other end hears of it behind what was sent. tell: a dying process tells its peer as well."""
        if node_id not in connection.open_at:
            return
        connection.open_at.discard(node_id)
        self._connections.pop((node_id, connection.links[node_id]), None)
        node = self.nodes[node_id]
        if reason == "connection reset":
            link = connection.links[node_id]
            self.at(0.0, lambda: self._input(node, connection.lives[node_id], lambda machine: machine.link_down(link, reason)))
        pipe = connection.pipes[node_id]
        if reason == "the process died" and not tell:
            pipe.broken = True
            return
        if reason == "connection reset" or (not flush and self.rng.random() < 0.5):
            pipe.frames.clear()
        pipe.closing = reason
        self.at(max(pipe.ready_at - self.now, 0.0) + self._delay(), lambda: self._pump(connection, pipe))

    # --- questions and wishes

    def leader(self) -> int | None:
        """The established leader of the highest epoch among the nodes that are up and not blocked."""
        able = [node for node in self if node.up and self.now >= node.blocked_until]
        leaders = [(node.peer.epoch, node.id) for node in able if node.peer.role is Role.LEADING and node.peer.serving]
        return max(leaders)[1] if leaders else None

    def wait_leader(self, *among: int, limit: float = 40.0) -> int:
        """Run until a leader is established (one of ``among``, if given) whose quorum serves; its id."""
        self.run_until(lambda: self._settled_leader(among) is not None, limit)
        leader = self._settled_leader(among)
        assert leader is not None
        return leader

    def _settled_leader(self, among: tuple[int, ...]) -> int | None:
        leader = self.leader()
        if leader is None or (among and leader not in among):
            return None
        epoch = self.nodes[leader].peer.epoch
        serving = [node for node in self if node.up and node.peer.epoch == epoch]
        return leader if len(serving) > len(self.nodes) // 2 else None

    def wait_serving(self, *node_ids: int, limit: float = 40.0) -> None:
        """Run until these nodes (all that are up, if none is named) serve in one epoch."""

        def together() -> bool:
            nodes = [self.nodes[node_id] for node_id in node_ids] or [node for node in self if node.up]
            return all(node.up and node.peer.serving for node in nodes) and len({node.peer.epoch for node in nodes}) == 1

        self.run_until(together, limit)

    def wait_equal(self, *node_ids: int, limit: float = 40.0) -> None:
        """V3: run until these nodes have equal, fully applied histories."""

        def equal() -> bool:
            nodes = [self.nodes[node_id] for node_id in node_ids] or [node for node in self if node.up]
            if not all(node.up and node.app is not None for node in nodes):
                return False
            points = {(n.peer.history.end, n.peer.history.end_chain, n.peer.history.durable, n.app.applied) for n in nodes if n.app}
            first = next(iter(points))
            return len(points) == 1 and first[0] == first[2] == first[3]

        self.run_until(equal, limit)

    def propose(self, node_id: int, *payloads: bytes) -> int:
        """The leader ``node_id`` proposes requests; the zxid of the last one."""
        return int(self.call(node_id, lambda peer: [peer.propose(Kind.REQUEST, payload, 0).zxid for payload in payloads][-1]))

    def write(self, payload: bytes, limit: float = 40.0) -> int:
        """Propose at whoever leads, and run until it is committed; its zxid."""
        leader = self.leader() or self.wait_leader(limit=limit)
        zxid = self.propose(leader, payload)
        self.run_until(lambda: self.judge.end >= zxid, limit)
        return zxid

    def app(self, node_id: int) -> App:
        """Of a node that is up."""
        app = self.nodes[node_id].app
        assert app is not None
        return app

    def states(self) -> dict[int, list[bytes]]:
        return {node.id: node.app.state for node in self if node.app is not None}


__all__ = ["App", "Cluster", "InternalError", "Judge", "Machine", "SimDisk", "SimNode", "Violation"]
