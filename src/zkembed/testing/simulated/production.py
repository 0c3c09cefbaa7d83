"""A whole production replica in the world: replica, log engine and snapshots, and all that it does recorded in the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Protocol, cast

from attrs import frozen

from ...durable import SnapshotInfo
from ...errors import CorruptLogError, DecodeError, StorageError
from ...log.base import SnapshotWriter
from ...replica import effects as replica
from ...replica.pipeline import LocalSession
from ...tree.codec import Entry
from ...tree.freeze import Freeze
from ...tree.ops import CloseSession, OpLimits
from ...tree.tree import Applied as TreeApplied
from ...tree.tree import Tree
from ...zab import effects as zab
from ..history import Applied, Expiring, History, Jumped, RoleSeen, Touched, plain_outcome
from .engine_disk import EngineDisk
from .node import SimNode
from .replica_app import INTERNAL, ReplicaApp


class Observer(Protocol):
    """Whoever drives the sessions of the world's nodes."""

    def settled(self, ticket: Any) -> None: ...
    def session_changed(self, session: LocalSession, state: Any) -> None: ...


@frozen
class ReplicaOptions:
    """Knobs that a seed sets; all of them are settings of the production code. window: calls of a session under way at a time."""

    limits: OpLimits = OpLimits(4000, 16_000)
    snapshot_every: int = 100
    window: int = 1000
    apply_slice: int = 2000


class ProductionApp(ReplicaApp):
    """history: where it records.  observer: told of what local sessions wait for."""

    def __init__(
        self, node: SimNode, history: History, observer: Callable[[], Observer], options: ReplicaOptions, wall: Callable[[int], int]
    ) -> None:
        self.history = history
        self.options = options
        self._wall_of = wall
        self._observer = observer
        self._snapshotting = False
        self._chance = Random(node.cluster.rng.random())
        super().__init__(node)
        applier = self.replica._applier
        self._tell_applied, self._tell_jumped = applier._on_applied, applier._on_jump
        applier._on_applied, applier._on_jump = self._applied, self._jumped
        self.honest = False  # Walking the whole tree after each step is for small worlds; the judge compares digests.

    def replica_settings(self) -> dict[str, Any]:
        options = self.options
        return {
            "limits": options.limits,
            "snapshot_every": max(1, round(options.snapshot_every * self._chance.uniform(0.75, 1.25))),
            "window": options.window,
            "apply_slice": options.apply_slice,
        }

    @property
    def disk(self) -> EngineDisk:
        return cast(EngineDisk, self.node.disk)

    @property
    def _now(self) -> float:
        return self.node.cluster.now

    def _wall(self) -> int:
        return self._wall_of(self.node.id)

    # --- what it does, recorded

    def _applied(self, applied: TreeApplied) -> None:
        node = self.node
        tree = self.replica.tree
        node.cluster.judge.state(node, tree, applied)
        digest = tree.digest_now()
        node.cluster.judge.digest(node, applied.zxid, digest)
        self.history.record(
            Applied(
                self._now,
                node.id,
                node.life,
                applied.zxid,
                applied.session,
                applied.cseq,
                applied.executed,
                plain_outcome(applied.outcome),
                digest,
            )
        )
        self._tell_applied(applied)
        leadership = self.replica._leadership
        if leadership is not None and applied.opened is not None:
            self._touched((applied.opened,), "created")

    def _jumped(self, old: Tree) -> None:
        node, tree = self.node, self.replica.tree
        digest = tree.digest_now()
        node.cluster.judge.digest(node, tree.applied, digest)
        self.history.record(Jumped(self._now, node.id, node.life, old.applied, tree.applied, digest))
        self._tell_jumped(old)

    def _touched(self, sessions: tuple[int, ...], why: str) -> None:
        self.history.record(Touched(self._now, self.node.id, self.node.life, sessions, why))

    def _drain_for_judge(self) -> list[zab.Effect]:
        effects = self._drain_core()
        judge, node = self.node.cluster.judge, self.node
        for effect in effects:
            kind = type(effect)
            if kind in INTERNAL:
                judge.effect(node, effect)
            elif kind is zab.SessionsTouched:
                self._touched(effect.sessions, "touch")  # type: ignore[union-attr]
            elif kind is zab.Append and node.peer.role is zab.Role.LEADING:
                self._proposed(effect)
        return effects

    def _proposed(self, effect: Any) -> None:
        """A request that is proposed touches its session (S-4)."""
        sessions = []
        for record in effect.records:
            entry = record.decoded
            if type(entry) is not Entry:
                continue
            if type(entry.op) is CloseSession and entry.op.expired:
                self.history.record(Expiring(self._now, self.node.id, self.node.life, entry.op.session, record.zxid))
            elif entry.cseq:
                sessions.append(entry.session)
        if sessions:
            self._touched(tuple(dict.fromkeys(sessions)), "touch")

    # --- effects that are not network or disk

    def handle(self, effect: Any) -> None:
        kind = type(effect)
        if kind is replica.Settled:
            self._observer().settled(effect.ticket)
        elif kind is replica.Notify:
            effect.watcher.deliver(effect.event)
        elif kind is replica.EndWatcher:
            effect.watcher.end(effect.error)
        elif kind is replica.SessionChanged:
            self._observer().session_changed(effect.session, effect.state)
        elif kind is replica.LoadState:
            self.answer_load(effect)
        elif kind is replica.RoleSeen:
            self._role_seen()
        elif kind is zab.RenewStorage:
            self.node.cluster.at(self._step_time(), self._renew_storage)
        elif kind is replica.TakeSnapshot:
            self.node.cluster.at(self._step_time(), self._begin_snapshot)
        else:
            raise AssertionError(effect)

    def _role_seen(self) -> None:
        node, peer = self.node, self.replica.peer
        serving = self.replica.serving
        self.history.record(RoleSeen(self._now, node.id, node.life, peer.role.value, peer.leader_id or 0, peer.epoch, serving))
        if serving and peer.role is zab.Role.LEADING:
            self._touched(tuple(self.replica.tree.sessions), "established")

    def _renew_storage(self) -> None:
        """(I-6) An old copy of a directory becomes another storage."""
        node = self.node
        if node.app is not self:
            return
        try:
            identity = self.disk.renew()
        except StorageError as error:
            node.cluster.disk_failed(node, error)
            return
        node.cluster.call(node.id, lambda _: self.replica.storage_renewed(identity))

    # --- states read back

    def _load_state(self, effect: replica.LoadState) -> None:
        node = self.node
        if node.app is not self:
            return
        try:
            tree, chain = self.read_state_back(effect)
        except (CorruptLogError, DecodeError) as error:
            reason = str(error)
            node.cluster.call(node.id, lambda _: self.replica.state_unreadable(effect, reason))
            return
        if effect.upto == effect.base:
            node.cluster.judge.digest(node, tree.applied, tree.recompute_digest(), of="D4")
        node.cluster.call(node.id, lambda _: self.replica.state_loaded(effect, tree, chain))

    # --- own snapshots, a chunk at a time while all else goes on (P-8)

    def _step_time(self) -> float:
        return self._chance.uniform(0.0, 2 * self.node.disk.delay)

    def take_snapshot_soon(self) -> None:
        """As if enough had been applied since the last one."""
        self.node.cluster.at(0.0, self._begin_snapshot)

    def _begin_snapshot(self) -> None:
        node = self.node
        if node.app is not self or self._snapshotting:
            return
        info = self.replica.begin_snapshot() if node.halted is None else None
        if info is None:
            return
        self._snapshotting = True
        frozen = self.replica.tree.freeze()
        try:
            writer = self.disk.begin_snapshot(info)
        except StorageError:
            self._end_snapshot(frozen, None)
            return
        self._write_on(frozen, writer, frozen.chunks(), info)

    def _write_on(self, frozen: Freeze, writer: SnapshotWriter, chunks: Iterator[bytes], info: SnapshotInfo) -> None:
        node = self.node
        if node.app is not self:
            return
        try:
            chunk = next(chunks, None)
            if chunk is not None:
                writer.write(chunk)
                node.cluster.at(self._step_time(), lambda: self._write_on(frozen, writer, chunks, info))
                return
            records_from = self.disk.finish_snapshot(writer, info)
        except StorageError:
            self._end_snapshot(frozen, writer)
            return
        self._end_snapshot(frozen, None)
        if records_from is not None:
            self._check_snapshot(info)
            node.cluster.call(node.id, lambda _: self.replica.snapshot_stored(info, records_from))

    def _check_snapshot(self, info: SnapshotInfo) -> None:
        """D4: what was written is the state at its zxid."""
        _, chunks = self.disk.read_snapshot(info.zxid)
        tree = self.load_tree(chunks)
        self.node.cluster.judge.digest(self.node, tree.applied, tree.recompute_digest(), of="D4")

    def _end_snapshot(self, frozen: Freeze, writer: SnapshotWriter | None) -> None:
        if writer is not None:
            writer.abort()
        self._snapshotting = False
        frozen.close()
        while frozen.merge_step():
            pass
