"""The world: one heap of events, one seeded generator, n processes with their disks and links, and a judge that looks after every step.

A *machine* is anything with the inputs of ``zkembed.zab.peer.Peer`` and ``drain()``. Effects for the driver (network, disk) are executed
here; effects for the replica go to the node's ``App``. What survives a crash is exactly what the disk had completed.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any
from zlib import crc32

from ...errors import StorageError
from ...record import Kind
from ...zab.effects import (
    AbortInstall,
    Append,
    BeginInstall,
    CloseLink,
    CommitInstall,
    Dial,
    Effect,
    Halt,
    InstallChunk,
    InstallRecords,
    Purpose,
    Report,
    Role,
    Seal,
    Send,
    SendRecords,
    SendSnapshot,
    ServingEnded,
    SetEpochs,
    Truncate,
)
from ...zab.peer import Peer
from ...zab.settings import Settings
from ..checkers import Violation
from ..history import History
from .disk import SimDisk
from .judge import Judge
from .network import Network
from .node import App, Machine, SimNode

AT_ONCE_MAX = 100_000
DISK_OPS = frozenset({Append, SetEpochs, Truncate, BeginInstall, InstallChunk, InstallRecords, CommitInstall, AbortInstall, Seal})


class Cluster:
    """n nodes (ids 1..n), all started at once unless ``start`` is False. Same seed and script, same history."""

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        factory: Callable[[SimNode], App] = App,
        disks: Callable[[Random, int], SimDisk] = SimDisk,
        history: History | None = None,
        start: bool = True,
        wire: bool = True,
        cache_bytes_max: int = 2**20,
    ) -> None:
        """factory: makes the app of a starting node.  disks: makes its disk.  wire: messages go through the codec."""
        self.seed = seed
        self.rng = Random(seed)
        self.settings = settings or Settings()
        self.factory = factory
        self.disks = disks
        self.cache_bytes_max = cache_bytes_max
        self.now = 100.0
        self.network = Network(self, wire=wire)
        self.judge = Judge(history, lambda: self.now)
        self.watchers: list[Callable[[SimNode, Effect], None]] = []
        self.leaving: set[int] = set()
        """Nodes on their way out in good order."""
        self.trace: deque[tuple[float, int, object]] = deque(maxlen=400)
        self.trace_crc = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._at_once = 0
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

    def note(self, text: str, node_id: int = 0) -> None:
        """Something was done to the world."""
        self._trace(node_id, text)

    def _trace(self, node_id: int, what: object) -> None:
        self.trace.append((self.now, node_id, what))
        kind = what if type(what) is str else type(what).__name__
        self.trace_crc = crc32(f"{self.now!r} {node_id} {kind}".encode(), self.trace_crc)

    def story(self, last: int = 60) -> str:
        """The newest things that happened, a line each."""
        return "\n".join(
            f"{now:.6f} {node_id} {what if type(what) is str else repr(what)[:300]}" for now, node_id, what in [*self.trace][-last:]
        )

    def run(self, duration: float) -> None:
        self.run_until(lambda: False, duration, must=False)

    def run_until(self, condition: Callable[[], bool], limit: float = 30.0, *, must: bool = True) -> float:
        """Run until ``condition`` holds after a step; the time it took. AssertionError if ``limit`` seconds pass first."""
        begin, end = self.now, self.now + limit
        while not condition():
            if not self._events or self._events[0][0] > end:
                self.now = end
                assert not must, f"seed {self.seed}: {limit} s passed; {list(self)}\n{self.story(400)}"
                return limit
            time, _, event = heapq.heappop(self._events)
            if time > self.now:
                self.now = time
                self._at_once = 0
            self._at_once += 1
            if self._at_once > AT_ONCE_MAX:
                raise Violation("V5", f"time stands still: {AT_ONCE_MAX} events at {self.now}; {list(self)}")
            event()
        return self.now - begin

    # --- processes

    def start(self, node_id: int) -> None:
        """Raises StorageError where its disk has trouble; then it stays down."""
        node = self.nodes[node_id]
        assert node.app is None
        node.disk.open()
        node.life += 1
        node.blocked_until = 0.0
        node.inbox.clear()
        node.halted = None
        self.note("start", node_id)
        node.app = node.factory(node)
        self.started(node)
        self.step(node, lambda machine: machine.start(node.clock.local(self.now)), first=True)

    def started(self, node: SimNode) -> None:
        """Between recovery and the first step of the process."""
        if node.disk.epochs.damaged:
            self.judge.distrust(node.disk.storage_id)
        self.judge.started(node)

    def crash(self, *node_ids: int, silent: bool = False, power: bool = True) -> None:
        """Dead at once; operations under way to the disk are lost; links end. silent: nobody is told.

        power: like a power cut, also what the operating system had not written yet; else like kill -9.
        """
        for node_id in node_ids:
            node = self.nodes[node_id]
            self.note("crash", node_id)
            node.app = None
            node.life += 1
            node.disk.crash(power=power)
            node.disk.hold = False
            self.network.died(node_id, silent=silent)

    def leave(self, node_id: int, then: Callable[[], object], limit: float = 5.0) -> None:
        """The node leaves in good order (B-16); ``then`` runs when its process has ended. One that cannot within ``limit`` is killed."""
        node, life, until = self.nodes[node_id], self.nodes[node_id].life, self.now + limit
        self.note("leave", node_id)
        self.leaving.add(node_id)

        def look() -> None:
            if node.life != life:
                self.leaving.discard(node_id)
                return
            if self.now >= until:
                self.crash(node_id, power=False)
            elif self.now >= node.blocked_until and node.peer.left and not node.disk.queue:
                self.stopped(node)
            else:
                self.at(0.01, look)
                return
            self.leaving.discard(node_id)
            then()

        self.call(node_id, lambda peer: self.nodes[node_id].app.leave())  # type: ignore[union-attr]
        self.at(0.01, look)

    def stopped(self, node: SimNode) -> None:
        """Its process has ended in good order."""
        self.note("left", node.id)
        node.app = None
        node.life += 1
        node.disk.leave()
        self.network.died(node.id, silent=False)

    def restart(self, *node_ids: int) -> None:
        for node_id in node_ids:
            if self.nodes[node_id].up:
                self.crash(node_id)
            self.start(node_id)

    def wipe(self, node_id: int) -> None:
        """Its disk is replaced by an empty one; the node must be down."""
        assert not self.nodes[node_id].up
        self.note("wipe", node_id)
        self.nodes[node_id].disk.wipe()

    def damage(self, node_id: int) -> None:
        """Its log is found corrupt at the next start; the node must be down."""
        assert not self.nodes[node_id].up
        self.note("damage", node_id)
        self.nodes[node_id].disk.damage()
        self.judge.distrust(self.nodes[node_id].disk.storage_id)

    def pause(self, node_id: int, duration: float) -> None:
        """Its event loop is blocked: inputs queue, no timer runs."""
        node = self.nodes[node_id]
        node.blocked_until = max(node.blocked_until, self.now + duration)
        self.note(f"pause {duration}", node_id)
        life = node.life
        self.at(duration, lambda: self._resume(node, life))

    def sleep(self, node_id: int, duration: float) -> None:
        """The machine sleeps: its process does not run, and its clock stands still. A clock that goes back there is none."""
        node, life, until = self.nodes[node_id], self.nodes[node_id].life, self.now + duration
        if self.now < node.blocked_until:
            return

        def wake() -> None:
            if node.life == life and node.blocked_until == until:
                node.clock.lose(duration, self.now)

        self.at(duration, wake)
        self.pause(node_id, duration)

    def _resume(self, node: SimNode, life: int) -> None:
        if node.life == life and node.app is not None and self.now >= node.blocked_until:
            inbox, node.inbox = node.inbox, []
            self.step(node, *inbox)

    def call(self, node_id: int, action: Callable[[Peer], Any]) -> Any:
        """The application of a node does something in its own step; None, later, if its loop is blocked now."""
        node = self.nodes[node_id]
        answers: list[Any] = []
        self.step(node, lambda _: answers.append(action(node.peer)))
        return answers[0] if answers else None

    # --- network faults

    def cut(self, one: int, other: int, *, both: bool = True) -> None:
        """What ``one`` sends to ``other`` (and back, if ``both``) no longer arrives. Links stay up, silent."""
        self.note(f"cut {one} {other} {both}")
        self.network.cut(one, other, both=both)

    def heal(self, one: int, other: int) -> None:
        """Arrives again, also what was sent meanwhile."""
        self.note(f"heal {one} {other}")
        self.network.heal(one, other)

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
        self.network.break_links(one, other, purpose)

    # --- steps

    def step(self, node: SimNode, *inputs: Callable[[Machine], None], first: bool = False) -> None:
        """One wake-up of a node: tick, inputs, effects, checks."""
        if node.app is None:
            return
        if self.now < node.blocked_until:
            node.inbox.extend(inputs)
            return
        app, life = node.app, node.life
        if not first:
            app.machine.tick(node.clock.local(self.now))
        for give in inputs:
            give(app.machine)
        while effects := app.machine.drain():
            for effect in effects:
                self._execute(node, effect)
                if node.life != life:
                    return  # A watcher has killed it in the middle.
            if app.drains_once:
                break
        if app.busy:  # The rest comes in a step of its own, behind what has arrived meanwhile.
            self.at(0.0, lambda: self.give(node, life, lambda _: None))
        if node.halted is None:
            self.judge.after_step(node)
            self._schedule_tick(node)

    def _schedule_tick(self, node: SimNode) -> None:
        assert node.app is not None
        deadline = max(node.clock.world(node.app.machine.deadline(), self.now), self.now)
        if deadline == node.next_tick:
            return
        node.next_tick = deadline
        life = node.life

        def tick() -> None:
            if node.life == life and node.next_tick == deadline:
                node.next_tick = float("inf")
                self.step(node)

        self.at(deadline - self.now, tick)

    def give(self, node: SimNode, life: int, give: Callable[[Machine], None]) -> None:
        if node.life == life:
            self.step(node, give)

    def _execute(self, node: SimNode, effect: Effect) -> None:
        assert node.app is not None
        life = node.life
        for watcher in tuple(self.watchers):
            watcher(node, effect)
            if node.life != life:
                return
        self.judge.effect(node, effect)
        self._trace(node.id, effect)
        kind = type(effect)
        if kind is Send:
            self.network.send(node, effect.link, [effect.message])  # type: ignore[union-attr]
        elif kind in DISK_OPS:
            node.disk.queue.append(effect)
            if len(node.disk.queue) == 1:
                self._start_disk(node)
        else:
            self._execute_rest(node, node.app, effect)

    def _execute_rest(self, node: SimNode, app: App, effect: Effect) -> None:
        match effect:
            case Report():
                node.reports.append(effect)
                assert effect.level < logging.CRITICAL
            case Halt(error=error):
                node.halted = effect
                self.note(f"HALT {error}", node.id)
            case Dial():
                self.network.dial(node, effect)
            case SendSnapshot():
                self.network.send_snapshot(node, effect)
            case SendRecords():
                self.network.send_records(node, effect)
            case CloseLink(link=link, reason=reason, flush=flush):
                self.network.close(node, link, reason, flush=flush)
            case _:
                if isinstance(effect, ServingEnded):
                    node.ended.append(effect.reason)
                role = getattr(effect, "role", None)
                if isinstance(role, Role):
                    node.roles.append((self.now, role, getattr(effect, "leader_id", None)))
                app.handle(effect)

    # --- disks

    def _start_disk(self, node: SimNode) -> None:
        life = node.life
        self.at(node.disk.delay, lambda: self._disk_ready(node, life))

    def _disk_ready(self, node: SimNode, life: int) -> None:
        if node.life == life and node.disk.queue and not node.disk.held():
            self._complete(node)

    def _complete(self, node: SimNode, *, tell: bool = True) -> None:
        batch = node.disk.take_batch()
        try:
            node.disk.perform(batch)
        except StorageError as error:
            self.disk_failed(node, error)
            return
        for effect in batch:
            before = node.disk.live.copy() if type(effect) in (Truncate, CommitInstall) else None
            node.disk.execute(effect)
            self.judge.disk_changed(node, effect, before)
        if tell:
            self.step(node, *[lambda machine, op=effect.op: machine.disk_done(op) for effect in batch])
        if node.disk.queue and not node.disk.held():
            self._start_disk(node)

    def disk_failed(self, node: SimNode, error: StorageError) -> None:
        """(P-13) The process stops, its data stays."""
        self.note(f"the disk failed: {error}", node.id)
        self.crash(node.id, power=False)

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
