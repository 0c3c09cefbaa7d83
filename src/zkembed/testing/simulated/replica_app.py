"""A whole replica as the machine of a simulated process: the production composition, unchanged, but listened to.

Protocol, tree, sessions and watches.
"""

from __future__ import annotations

from random import Random
from typing import Any

from ...durable import Identity, SnapshotInfo
from ...endpoint import SessionState
from ...replica.config_text import config_text
from ...replica.effects import Effect, EndWatcher, LoadState, Notify, RoleSeen, SessionChanged, Settled, TakeSnapshot
from ...replica.replica import Replica
from ...tree.ops import OpLimits
from ...tree.snapshot import Loader
from ...tree.tree import Tree
from ...zab import effects as zab
from ...zab.effects import Purpose
from ...zab.messages import Message
from .node import CLUSTER, App, SimNode

LIMITS = OpLimits(1000, 4000)
INTERNAL = frozenset({zab.Deliver, zab.LoadSnapshot, zab.RoleChanged, zab.Serving, zab.ServingEnded})
"""What the replica takes from its core; the judge looks at it on the way."""


class ReplicaApp(App):
    """The production composition in the place of the stand-in; the judge sees what its core delivers."""

    drains_once = True

    def __init__(self, node: SimNode) -> None:
        super().__init__(node)
        peer = self.peer
        world = node.cluster
        info, chunks = node.disk.newest_snapshot()
        rng = Random(world.rng.random())
        identity = Identity(CLUSTER, node.id, node.disk.storage_id, node.disk.incarnation)
        self.replica = Replica(
            peer=peer,
            tree=load_tree(chunks),
            chain=info.chain,
            identity=identity,
            **self.replica_settings(),
            ids=lambda: rng.getrandbits(63),
        )
        self.machine = self  # type: ignore[assignment]
        self.story: list[tuple[Any, ...]] = []
        self.states: list[tuple[float, int, SessionState]] = []
        self.honest = True  # False: a test has corrupted its memory, so its invariants are not looked at
        self._drain_core = peer.drain
        peer.drain = self._drain_for_judge  # type: ignore[method-assign]

    def replica_settings(self) -> dict[str, Any]:
        """limits, snapshot_every."""
        return {"limits": LIMITS, "snapshot_every": 10**9}

    def load_tree(self, chunks: tuple[bytes, ...]) -> Tree:
        return load_tree(chunks)

    def leave(self) -> None:
        self.replica.leave()

    @property
    def busy(self) -> bool:
        return self.replica.busy

    def read_state(self, chunks: tuple[bytes, ...]) -> list[bytes]:
        """The state is the replica's tree."""
        return []

    def _drain_for_judge(self) -> list[zab.Effect]:
        effects = self._drain_core()
        for effect in effects:
            if type(effect) in INTERNAL:
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
        tree, chain = self.read_state_back(effect)
        self.node.cluster.call(self.node.id, lambda _: self.replica.state_loaded(effect, tree, chain))

    def read_state_back(self, effect: LoadState) -> tuple[Tree, int]:
        """The state that is asked for, and the chain there. Raises CorruptLogError or DecodeError."""
        disk = self.node.disk
        info, chunks = disk.read_snapshot(effect.base) if effect.base else (SnapshotInfo(), ())
        tree, chain = load_tree(chunks), info.chain
        for record in disk.read_records(effect.base, effect.upto) if effect.upto > effect.base else ():
            tree.apply(record, config_text(record))
            chain = record.chain
        return tree, chain

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


def load_tree(chunks: tuple[bytes, ...]) -> Tree:
    if not chunks:
        return Tree(digest_every=1)
    loader = Loader(digest_every=1)
    for chunk in chunks:
        loader.feed(chunk)
    return loader.finish()
