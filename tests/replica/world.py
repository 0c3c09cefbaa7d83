"""Whole replicas (protocol, tree, sessions, watches) in the simulated world of ``tests/sim.py``: no trio, seeded, stepwise.

Sessions are driven by hand: ``submit`` returns the replica's own Call, and what a node told its watchers is kept in order, so a
test reads as a transcript.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from zkembed.durable import Identity, SnapshotInfo
from zkembed.endpoint import SessionState
from zkembed.replica.config_text import config_text
from zkembed.replica.effects import Effect, EndWatcher, LoadState, Notify, RoleSeen, SessionChanged, Settled, TakeSnapshot
from zkembed.replica.pipeline import Barrier, Call, LocalSession, Read
from zkembed.replica.replica import Replica
from zkembed.tree.events import WatchedEvent
from zkembed.tree.ops import Create, Op, OpLimits, SetData
from zkembed.tree.results import public
from zkembed.tree.snapshot import Loader
from zkembed.tree.tree import Tree
from zkembed.tree.watches import WatchMode
from zkembed.zab import effects as zab
from zkembed.zab.effects import Purpose
from zkembed.zab.messages import Message
from zkembed.zab.settings import Settings

from ..sim import App, Cluster, SimNode

LIMITS = OpLimits(1000, 4000)
INTERNAL = (zab.Deliver, zab.LoadSnapshot, zab.RoleChanged, zab.Serving, zab.ServingEnded)


class Watcher:
    """Keeps what it is told: (zxid applied at that moment, event)."""

    def __init__(self, app: ReplicaApp) -> None:
        self._app = app
        self.events: list[WatchedEvent] = []
        self.ended: BaseException | None = None

    def deliver(self, event: WatchedEvent) -> None:
        self.events.append(event)
        self._app.story.append(("event", event.path, event.kind.name, event.zxid))

    def end(self, error: BaseException) -> None:
        self.ended = error


class ReplicaApp(App):
    """The production composition in the place of the stand-in; the judge sees what its core delivers."""

    def __init__(self, node: SimNode) -> None:
        super().__init__(node)
        peer = self.peer
        world = node.cluster
        info, chunks = node.disk.newest_snapshot()
        rng = Random(world.rng.random())
        identity = Identity("simulated", node.id, node.disk.storage_id, node.disk.incarnation)
        self.replica = Replica(
            peer=peer,
            tree=load(chunks),
            chain=info.chain,
            identity=identity,
            limits=LIMITS,
            snapshot_every=10**9,
            ids=lambda: rng.getrandbits(63),
        )
        self.machine = self  # type: ignore[assignment]
        self.story: list[tuple[Any, ...]] = []
        self.states: list[tuple[float, int, SessionState]] = []
        self.honest = True  # False: a test has corrupted its memory, so its invariants are not looked at
        self._drain_core = peer.drain
        peer.drain = self._drain_for_judge  # type: ignore[method-assign]

    def read_state(self, chunks: tuple[bytes, ...]) -> list[bytes]:
        """The state is the replica's tree."""
        return []

    def _drain_for_judge(self) -> list[zab.Effect]:
        effects = self._drain_core()
        for effect in effects:
            if isinstance(effect, INTERNAL):
                self.node.cluster.judge.effect(self.node, effect)
        return effects

    # The driver's inputs, with the time of day added.

    def _wall(self) -> int:
        return int(self.node.cluster.now * 1_000_000)

    def start(self, now: float) -> None:
        self.replica.start(now, self._wall())

    def tick(self, now: float) -> None:
        self.replica.tick(now, self._wall())

    def deadline(self) -> float:
        return self.replica.deadline()

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, outbound: bool) -> None:
        self.replica.link_up(link, node_id, storage_id, incarnation, purpose, outbound)

    def link_down(self, link: int, reason: str) -> None:
        self.replica.link_down(link, reason)

    def dial_failed(self, node_id: int, purpose: Purpose, refused: bool, reason: str) -> None:
        self.replica.dial_failed(node_id, purpose, refused, reason)

    def receive(self, link: int, message: Message) -> None:
        self.replica.receive(link, message)

    def disk_done(self, op: int) -> None:
        self.replica.disk_done(op)

    def drain(self) -> list[Effect]:
        effects = self.replica.drain()
        if self.honest:
            self.replica.check_invariants()
        return effects

    # Effects that are not network or disk.

    def handle(self, effect: Any) -> None:
        match effect:
            case Settled(ticket=ticket):
                self.story.append(("settled", ticket))
            case Notify(watcher=watcher, event=event):
                watcher.deliver(event)
            case EndWatcher(watcher=watcher, error=error):
                watcher.end(error)
            case SessionChanged(session=session, state=state):
                self.states.append((self.node.cluster.now, session.id, state))
            case LoadState():
                self.answer_load(effect)
            case RoleSeen() | TakeSnapshot():
                pass
            case _:
                raise AssertionError(effect)

    def answer_load(self, effect: LoadState) -> None:
        """A while later."""
        self.node.cluster.at(self.node.disk.delay, lambda: self._load_state(effect))

    def _load_state(self, effect: LoadState) -> None:
        if self.node.app is not self:
            return
        disk = self.node.disk
        if effect.base and effect.base not in disk.live.snapshots:
            self.node.cluster.call(self.node.id, lambda _: self.replica.state_unreadable(effect, "the snapshot is gone"))
            return
        info, chunks = disk.live.snapshots[effect.base] if effect.base else (SnapshotInfo(), ())
        tree, chain = load(chunks), info.chain
        for record in (record for record in disk.live.records if effect.base < record.zxid <= effect.upto):
            tree.apply(record, config_text(record))
            chain = record.chain
        self.node.cluster.call(self.node.id, lambda _: self.replica.state_loaded(effect, tree, chain))

    def apply(self) -> None:
        """The replica applies by itself."""

    def take_snapshot(self, *, purge: bool = True) -> int:
        info = self.replica.begin_snapshot()
        assert info is not None
        frozen = self.replica.tree.freeze()
        chunks = tuple(frozen.chunks())
        while frozen.merge_step():
            pass
        self.replica.snapshot_stored(info, self.node.disk.store_snapshot(info, chunks, purge=purge))
        return info.zxid


def load(chunks: tuple[bytes, ...]) -> Tree:
    if not chunks:
        return Tree(digest_every=1)
    loader = Loader(digest_every=1)
    for chunk in chunks:
        loader.feed(chunk)
    return loader.finish()


class World(Cluster):
    """Replicas 1..n. Times in seconds; sessions have a timeout of 6 s unless said."""

    def __init__(self, n: int = 3, *, seed: int = 0, settings: Settings | None = None, start: bool = True) -> None:
        super().__init__(n, seed=seed, settings=settings, factory=ReplicaApp, start=start)

    def app(self, node_id: int) -> ReplicaApp:
        app = self.nodes[node_id].app
        assert isinstance(app, ReplicaApp), f"node {node_id} is down"
        return app

    def replica(self, node_id: int) -> Replica:
        return self.app(node_id).replica

    def tree(self, node_id: int) -> Tree:
        return self.replica(node_id).tree

    def act(self, node_id: int, action: Callable[[Replica], Any]) -> Any:
        """Something local clients of a node do, in one step of it."""
        return self.call(node_id, lambda _: action(self.replica(node_id)))

    # --- sessions

    def open(self, node_id: int, timeout: float = 6.0, *, wait: bool = True) -> LocalSession:
        session: LocalSession = self.act(node_id, lambda replica: replica.open_session(timeout))
        if wait:
            self.run_until(lambda: session.state is SessionState.CONNECTED)
        return session

    def submit(self, node_id: int, session: LocalSession, *ops: Op) -> list[Call]:
        """All in one step."""
        calls: list[Call] = self.act(node_id, lambda replica: [replica.submit(session, op) for op in ops])
        return calls

    def write(self, node_id: int, session: LocalSession, op: Op, limit: float = 40.0) -> Any:
        """Submit, wait, and the public result."""
        [call] = self.submit(node_id, session, op)
        return self.result(call, limit)

    def result(self, call: Call, limit: float = 40.0) -> Any:
        self.run_until(lambda: call.settled, limit)
        if call.error is not None:
            raise call.error
        return public(call.outcome, call.zxid)

    def sync(self, node_id: int, session: LocalSession, limit: float = 40.0) -> int:
        barrier: Barrier = self.act(node_id, lambda replica: replica.sync(session))
        self.run_until(lambda: barrier.settled, limit)
        assert barrier.error is None
        return int(barrier.result)  # type: ignore[call-overload]

    def read(self, node_id: int, session: LocalSession, path: str) -> Read:
        read: Read = self.act(node_id, lambda replica: replica.read(session, lambda: data(self.tree(node_id), path)))
        return read

    def watch(self, node_id: int, session: LocalSession | None, path: str, mode: WatchMode) -> Watcher:
        watcher = Watcher(self.app(node_id))
        self.act(node_id, lambda replica: replica.watch(session, watcher, path, mode))
        return watcher

    def agree(self, *node_ids: int) -> None:
        """All of them reach the same state, sessions and results included."""
        ids = node_ids or tuple(id for id in self.nodes if self.nodes[id].up)
        self.run_until(lambda: len({(self.tree(id).applied, self.tree(id).digest_now()) for id in ids}) == 1)


def data(tree: Tree, path: str) -> bytes | None:
    node = tree.get(path)
    return None if node is None else node.data


def create(path: str, value: bytes = b"", **flags: bool) -> Create:
    return Create(path, value, **flags)


def put(path: str, value: bytes) -> SetData:
    return SetData(path, value, None)
