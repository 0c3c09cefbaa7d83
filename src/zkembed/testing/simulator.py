"""Whole ensembles of production replicas, each from a seed, under faults and in judgement: one run, from its seed to its verdict.

No trio, no clock, no files: one heap of events. A run has two phases. In the first, clients work while faults happen. Then a core of nodes
is healed, the rest stays as it is (down, cut off, one-way), and the core must come to rest: a leader in time, no change of it, every
call ended, all equal (V1 to V3). Checkers read along from the first event to the last.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Any

from attrs import evolve, frozen

from ..zab.effects import Effect, Send, ServingEnded
from ..zab.messages import Sync
from .checkers import Checker, Violation, client_checkers
from .history import Applied, Calm, Committed, Crashed, Event, Expiring, Fault, History, Jumped, Quiet, RoleSeen, Started, Touched
from .nemesis import Nemesis
from .reference import Reference
from .simulated.cluster import Cluster
from .simulated.engine_disk import EngineDisk
from .simulated.host import Host
from .simulated.node import SimNode
from .simulated.production import ProductionApp
from .swarm import Options, draw
from .workload.options import WorkloadOptions, draw_options
from .workload.workload import Workload

EPOCH_S = 1_700_000_000.0
DISK_DELAY_S = (0.0, 0.0005, 0.005)
SLICE_S = 0.1
STABLE_S = 3.0
TRANSFER_S = 10.0
EXPIRY_S = 40.0
AWAKE_S = 30.0
LINKS_MAX = 8
"""Of one node, for each node there is: a few in each direction and purpose, while old ones close."""
LAST_EVENTS = 60
COMMON = frozenset({"Ping", "Pong", "KeepAlive", "Notify", "Proposal", "Ack", "Commit", "Request"})


@frozen
class Verdict:
    """One run. violation: id of what was broken, "" if nothing was; text: how.  judged: how often each invariant was.

    planned: how many faults; happened: how often each kind.  disturbed: an entry was committed after a fault.
    marks: roles, messages and rare branches that were seen.  fingerprint: of the whole history.  story: the last events, for people.
    """

    seed: int
    violation: str
    text: str
    judged: Counter[str]
    planned: int
    happened: Counter[str]
    disturbed: bool
    marks: Counter[str]
    operations: int
    events: int
    simulated_s: float
    fingerprint: str
    story: str = ""

    @property
    def ok(self) -> bool:
        return not self.violation

    def failing(self, violation: str, text: str) -> Verdict:
        return evolve(self, violation=violation, text=text)


class Simulation(Cluster):
    """One run. Build, ``run`` once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.history = History()
        self.reference = Reference()
        self.checkers: list[Checker] = client_checkers(self.reference)
        self.marks: Counter[str] = Counter()
        self.wall_offset: dict[int, float] = {}
        self.core: tuple[int, ...] = ()
        rng = Random(f"zkembed world {options.seed}")
        self.disk_delay = rng.choice(DISK_DELAY_S)
        for checker in self.checkers:
            self.history.listen(checker.see)
        super().__init__(
            options.nodes,
            seed=rng.getrandbits(60),
            settings=options.settings,
            factory=self._make_app,
            disks=self._make_disk,
            history=self.history,
            start=False,
            wire=options.wire,
            cache_bytes_max=options.settings.cache_bytes_max,
        )
        self.network.delay = options.delay
        self.network.together = options.together
        self.judge.check_every = 25
        self.nemesis = Nemesis(self)
        self.hosts = {node.id: Host(node) for node in self}
        self.workload = Workload(self, Random(f"zkembed workload {options.seed}"), self._workload_options())

    def _workload_options(self) -> WorkloadOptions:
        """Calls are spread over the time in which faults happen, some runs ask faster."""
        options = self.options
        rng = Random(f"zkembed clients {options.seed}")
        drawn = draw_options(rng, operations=options.operations, limits=options.replica.limits)
        even = options.duration * drawn.sessions * (1 + drawn.burst) / 2 / options.operations
        return evolve(drawn, think=even * rng.choice([0.2, 0.6, 1.0]))

    def _make_disk(self, rng: Random, node_id: int) -> EngineDisk:
        disk = EngineDisk(rng, node_id, self.options.disk, self._count_judged)
        disk.delay = self.disk_delay
        return disk

    def _count_judged(self, id: str) -> None:
        self.judge.judged[id] += 1

    def _make_app(self, node: SimNode) -> ProductionApp:
        return ProductionApp(node, self.history, lambda: self.workload, self.options.replica, self._wall_us)

    def _wall_us(self, node_id: int) -> int:
        return max(0, int((EPOCH_S + self.now + self.wall_offset.get(node_id, 0.0)) * 1_000_000))

    def app(self, node_id: int) -> ProductionApp:
        app = self.nodes[node_id].app
        assert isinstance(app, ProductionApp), f"node {node_id} is down"
        return app

    # --- lives, recorded

    def started(self, node: SimNode) -> None:
        """Between recovery and the first step of the process."""
        super().started(node)
        disk = node.disk
        assert isinstance(disk, EngineDisk)
        recovered = disk.recovered
        assert recovered is not None
        self.history.record(
            Started(
                self.now,
                node.id,
                node.life,
                disk.storage_id,
                disk.incarnation,
                disk.epochs.accepted,
                disk.epochs.current,
                recovered.snapshot.zxid,
                recovered.last_zxid,
                recovered.last_chain,
                disk.epochs.damaged,
                recovered.fresh,
            )
        )
        if disk.epochs.damaged:
            self.marks["damaged"] += 1

    def crash(self, *node_ids: int, silent: bool = False, power: bool = True) -> None:
        lives = {node_id: self.nodes[node_id].life for node_id in node_ids}
        super().crash(*node_ids, silent=silent, power=power)
        for node_id, life in lives.items():
            self._ended(node_id, life, "power" if power else "killed")

    def stopped(self, node: SimNode) -> None:
        life = node.life
        super().stopped(node)
        self._ended(node.id, life, "left")

    def _ended(self, node_id: int, life: int, how: str) -> None:
        self.history.record(Crashed(self.now, node_id, life, how))
        self.workload.node_ended(node_id)

    def whole(self, node_id: int) -> bool:
        """A voter that has all it ever promised to have, by a configuration whose commit is on the disks (I-3)."""
        disk, ruling = self.nodes[node_id].disk, self.judge.configurations[-1]
        assert isinstance(disk, EngineDisk)
        known = ruling.voters.get(node_id) == disk.storage_id and self.judge.end > ruling.version
        return known and not (disk.epochs.damaged or disk.tampered or self.judge.distrusted(disk.storage_id))

    def connected(self) -> bool:
        """Nothing is cut or slow."""
        return self.network.whole

    # --- the run

    def run_all(self) -> Verdict:
        """Both phases; whatever goes wrong becomes the verdict."""
        options, violation, text = self.options, "", ""
        nodes: tuple[int, ...] = ()
        try:
            self._disturbed()
            if not options.beyond:
                self._calm()
            self._finish()
        except Violation as error:
            violation, text, nodes = error.id, error.text, error.nodes
        except Exception as error:
            violation, text = type(error).__name__, str(error)
            logging.getLogger(__name__).debug("seed %d", self.options.seed, exc_info=True)
            self._error = error
        judged = self.judge.judged + sum((checker.judged for checker in self.checkers), Counter())
        return Verdict(
            seed=self.options.seed,
            violation=violation,
            text=text,
            judged=judged,
            planned=options.planned,
            happened=self.nemesis.happened,
            disturbed=self._disturbed_commit(),
            marks=self._seen(),
            operations=self.workload.journal.invoked,
            events=len(self.history),
            simulated_s=self.now - 100.0,
            fingerprint=fingerprint(self.history),
            story=self.tell(nodes) if violation else "",
        )

    def _disturbed(self) -> None:
        for node_id in self.nodes:
            self.start(node_id)
        self.at(Random(f"zkembed begin {self.options.seed}").choice([0.0, 1.0, 2.0]), self.nemesis.begin)
        self.workload.start()
        end = self.now + self.options.duration + 2.0
        while self.now < end:
            self._run_slice()

    def _run_slice(self) -> None:
        self.run(SLICE_S)
        self._check_halted()
        self._check_bounds()

    def _check_halted(self) -> None:
        """No node stops itself; but one that was made to distrust its state may, once it finds no leader to give it another (B-15)."""
        for node in self:
            if node.halted is None or not node.up:
                continue
            if not (self.nemesis.happened["resync"] and "state" in str(node.halted.error)):
                raise Violation("section 18", f"node {node.id} has stopped itself: {node.halted.error}", (node.id,))
            self.marks["halted for its state"] += 1
            self.crash(node.id, power=False)
            self.nemesis.look_after(node.id)

    def _check_bounds(self) -> None:
        """V5: what queues stays within its named limits."""
        settings, window = self.settings, self.options.replica.window
        self.judge.judged["V5"] += 1
        for node in self:
            if node.app is None:
                continue
            history = node.peer.history
            cached, limit = (
                history.size(history.committed, history.end),
                settings.outstanding_bytes_max + self.options.replica.limits.txn_bytes_max,
            )
            if cached > limit:
                raise Violation("V5", f"node {node.id} holds {cached} bytes that are not committed, {limit} are allowed", (node.id,))
            for session in self.app(node.id).replica.sessions.values():
                if len(session.handed) > window:
                    raise Violation("V5", f"session {session.id:#x} has {len(session.handed)} calls under way", (node.id,))

    # --- the liveness phase

    def _calm(self) -> None:
        rng = Random(f"zkembed calm {self.options.seed}")
        core = self.core = self._choose_core(rng)
        self.nemesis.rest()
        self._heal(core)
        self._set_apart([node_id for node_id in self.nodes if node_id not in core], core, rng)
        self.history.record(Calm(self.now, 0, 0, core))
        self.note(f"CALM, core {core}")
        leader = self._await_leader(core)
        self._await_rest(core, leader)

    def _choose_core(self, rng: Random) -> tuple[int, ...]:
        """Everybody, or just a majority of whole voters; where not all have founded yet, or a configuration is being changed, everybody."""
        everybody = tuple(self.nodes)
        if not self.judge.configurations or any(not self.whole(node_id) for node_id in everybody) or rng.random() < 0.5:
            return everybody
        size = rng.randint(len(everybody) // 2 + 1, len(everybody))
        return tuple(sorted(rng.sample(everybody, size)))

    def _heal(self, core: tuple[int, ...]) -> None:
        for node_id in core:
            node, disk = self.nodes[node_id], self.nodes[node_id].disk
            assert isinstance(disk, EngineDisk)
            disk.delay = self.disk_delay
            disk.empty_out()
            disk.device.fail_at.clear()
            self.release_disk(node_id)
            if not node.up:
                self.start(node_id)
        for one in core:
            for other in core:
                self.network.slow.pop((one, other), None)
                self.network.clogged.pop((one, other), None)
                if one < other:
                    self.heal(one, other)

    def _set_apart(self, outside: list[int], core: tuple[int, ...], rng: Random) -> None:
        """Who is not in the core is down, cut off, deaf or mute. (A node that a part of the core reaches could lead, for that part.)"""
        for node_id in outside:
            how = rng.choice(["cut off", "deaf", "mute"])
            self.marks[f"outside: {how if self.nodes[node_id].up else 'down'}"] += 1
            for member in core:
                if how != "mute":
                    self.cut(member, node_id, both=False)
                if how != "deaf":
                    self.cut(node_id, member, both=False)

    def _leader_of(self, core: tuple[int, ...]) -> int | None:
        """Who leads, if every core node serves under it."""
        if not all(self.nodes[id].up and self.app(id).replica.serving for id in core):
            return None
        leaders = {(self.nodes[id].peer.leader_id, self.nodes[id].peer.epoch) for id in core}
        leader, _ = min(leaders)
        return leader if len(leaders) == 1 and leader in core else None

    def _wait(self, what: Callable[[], Any], limit: float) -> bool:
        end = self.now + limit
        while not what():
            if self.now >= end:
                return False
            self._run_slice()
        return True

    def _wait_while_it_moves(self, what: Callable[[], Any], limit: float) -> bool:
        """Like ``_wait``, but the limit counts from the last call that ended or entry that was committed: contenders have their turns."""
        while not what():
            moved = (len(self.workload.waiting()), self.judge.end)
            if not self._wait(lambda: what() or (len(self.workload.waiting()), self.judge.end) != moved, limit):  # noqa: B023
                return False
        return True

    def _awake(self, node: SimNode) -> bool:
        return self.now >= node.blocked_until and node.id not in self.leaving

    def _await_leader(self, core: tuple[int, ...]) -> int:
        """V1: within 4 notify_max + init_limit + transfer, from when the last of the core is awake; everybody there joins it (D-8 once)."""
        settings = self.settings
        self._wait(lambda: all(self._awake(self.nodes[id]) for id in core), AWAKE_S)
        self.judge.judged["V1"] += 1
        bound = 4 * settings.notify_max + settings.init_limit + TRANSFER_S
        self._wait(lambda: False, settings.sync_limit + 2 * settings.tick)  # What the last fault has set off shows by then.
        serves = lambda: any(self.nodes[id].up and self.nodes[id].peer.serving for id in core)  # noqa: E731
        if not self._wait(serves, bound):
            raise Violation("V1", f"no leader in the core {core} after {bound:.1f} s: {list(self)}", core)
        if not self._wait(lambda: self._leader_of(core) is not None, bound + settings.reepoch_interval):
            raise Violation("V1", f"the core {core} does not come together: {list(self)}", core)
        leader = self._leader_of(core)
        assert leader is not None
        return leader

    def _await_rest(self, core: tuple[int, ...], leader: int) -> None:
        """V2: it stays leader. V3: calls end, dead sessions go, all become equal. V4: with a minority down, too."""
        epoch = self.nodes[core[0]].peer.epoch
        begin = self.now
        self.workload.stop()
        bound = 4 * self.settings.notify_max + self.settings.init_limit
        self.judge.judged["V3"] += 1
        self._wait(lambda: self.now > begin + STABLE_S, STABLE_S + 1.0)
        if not self._wait_while_it_moves(lambda: self.workload.idle_on(core), bound):
            raise Violation("V3", f"calls of the core {core} do not end: {'; '.join(self.workload.waiting())}", core)
        if not self._wait(lambda: self._only_live_sessions(core), EXPIRY_S):
            raise Violation("V3", f"sessions of processes that are gone do not end in the core {core}", core)
        if not self._wait(lambda: self._equal(core), bound):
            raise Violation("V3", f"the core {core} does not become equal: {list(self)}", core)
        self.judge.judged["V2"] += 1
        if self._leader_of(core) != leader or self.nodes[core[0]].peer.epoch != epoch:
            raise Violation("V2", f"node {leader} led epoch {epoch}, and without a fault no longer: {list(self)}", core)
        if len(core) < len(self.nodes):
            self.judge.judged["V4"] += 1

    def _only_live_sessions(self, core: tuple[int, ...]) -> bool:
        living = {(node.disk.storage_id, node.disk.incarnation) for node in self if node.up}
        tree = self.app(core[0]).replica.tree
        return all((entry.storage_id, entry.incarnation) in living for entry in tree.sessions.values())

    def _equal(self, core: tuple[int, ...]) -> bool:
        return len({(self.nodes[id].peer.history.end, self.app(id).replica.tree.applied) for id in core}) == 1 and all(
            self.app(id).replica.tree.applied == self.nodes[id].peer.history.end for id in core
        )

    def _finish(self) -> None:
        """The last word of every checker."""
        up = [node.id for node in self if node.up]
        for node_id in up:
            self.app(node_id).replica.check_invariants()
        applied = tuple((node_id, self.app(node_id).replica.tree.applied) for node_id in up)
        calm = not self.options.beyond
        if calm:
            self.history.record(Quiet(self.now, 0, 0, applied))
        for checker in self.checkers:
            checker.finish(calm=calm)

    # --- for people

    def _execute(self, node: SimNode, effect: Effect) -> None:
        kind = type(effect)
        if kind is Send:
            message = effect.message  # type: ignore[union-attr]
            self.marks[f"Sync {message.mode.name}" if type(message) is Sync else type(message).__name__] += 1
        elif kind is ServingEnded:
            self.marks["end: " + re.sub(r"[0-9][0-9.]*", "#", effect.reason)[:60]] += 1  # type: ignore[union-attr]
        super()._execute(node, effect)

    def _seen(self) -> Counter[str]:
        marks = Counter({name: count for name, count in self.marks.items() if name not in COMMON})
        for event in self.history:
            kind = type(event)
            if kind is RoleSeen:
                marks[f"role {event.role}"] += 1  # type: ignore[union-attr]
            elif kind in (Started, Crashed, Jumped, Expiring):
                marks[kind.__name__] += 1
        return marks

    def _disturbed_commit(self) -> bool:
        """Whether an entry was committed after a fault: only then does the run count as coverage."""
        faulty = False
        for event in self.history:
            kind = type(event)
            faulty = faulty or kind is Fault
            if faulty and kind is Committed:
                return True
        return False

    def tell(self, nodes: tuple[int, ...]) -> str:
        """The last events, of the nodes concerned and of nobody in particular."""
        lines = [
            describe(event)
            for event in self.history.events[-20 * LAST_EVENTS :]
            if (not nodes or event.node in nodes or event.node == 0) and not isinstance(event, Touched | Applied)
        ]
        last_steps = self.story(LAST_EVENTS)
        return "\n".join([*lines[-LAST_EVENTS:], "", "and what the processes did last:", last_steps])


def describe(event: Event) -> str:
    fields = ", ".join(f"{name}={value!r}"[:120] for name, value in zip(event._fields[3:], event[3:], strict=True))
    return f"{event.t:12.6f}  node {event.node}.{event.life}  {type(event).__name__:<12} {fields}"


def fingerprint(history: History) -> str:
    """Of every event, bit for bit (V7)."""
    hash = blake2b(digest_size=8)
    for event in history:
        hash.update(repr((type(event).__name__, *event)).encode())
    return hash.hexdigest()


def simulate(seed: int, **wishes: Any) -> Verdict:
    """One run of the seed. wishes: see ``swarm.draw``."""
    return Simulation(draw(seed, **wishes)).run_all()
