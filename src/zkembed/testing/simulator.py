"""Whole ensembles of production replicas, each from a seed, under faults and in judgement: one run, from its seed to its verdict.

No trio, no clock, no files: one heap of events. A run has two phases. In the first, clients work while faults happen. Then a core of nodes
is healed, the rest stays as it is (down, cut off, one-way), and the core must come to rest: a leader in time, no change of it, every
call ended, all equal (V1 to V3). Checkers read along from the first event to the last.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from random import Random
from typing import Any

from attrs import evolve, frozen

from ..zab.effects import Effect, Role, Send, ServingEnded
from ..zab.messages import Sync
from ..zxid import epoch_of
from .checkers import Checker, Violation, client_checkers
from .history import Committed, Crashed, Expiring, Fault, History, Jumped, Quiet, RoleSeen, Started
from .liveness import Liveness
from .nemesis import Nemesis
from .reference import Reference
from .simulated.cluster import Cluster
from .simulated.engine_disk import EngineDisk
from .simulated.host import Host
from .simulated.node import SimNode
from .simulated.production import ProductionApp
from .story import LAST_EVENTS, fingerprint, last_events
from .swarm import Options, draw
from .workload.options import WorkloadOptions, draw_options
from .workload.workload import Workload

EPOCH_S = 1_700_000_000.0
DISK_DELAY_S = (0.0, 0.0005, 0.005)
SLICE_S = 0.1
FRAMES = 4
LINKS_MAX = 8
"""Of one node, for each node there is: a few in each direction and purpose, while old ones close."""
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
        self.liveness = Liveness(self)
        self.hosts = {node.id: Host(node) for node in self}
        self.workload = Workload(self, Random(f"zkembed workload {options.seed}"), self._workload_options())

    def _workload_options(self) -> WorkloadOptions:
        """Calls are spread over the time in which faults happen, some runs ask faster."""
        options = self.options
        rng = Random(f"zkembed clients {options.seed}")
        drawn = draw_options(rng, operations=options.operations, limits=options.replica.limits)
        even = options.duration * drawn.sessions * (1 + drawn.burst) / 2 / options.operations
        return evolve(drawn, **{"think": even * rng.choice([0.2, 0.6, 1.0]), **options.workload})

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
        self._check_survivors()
        for node_id, life in lives.items():
            self._ended(node_id, life, "power" if power else "killed")

    def wipe(self, node_id: int) -> None:
        super().wipe(node_id)
        self._check_survivors()

    def _check_survivors(self) -> None:
        """D1, at each loss: every quorum of voters has a member whose disk still holds all that is committed."""
        if not self.options.beyond:
            disks = {node.id: node.disk for node in self if isinstance(node.disk, EngineDisk) and node.disk.trusted}
            self.judge.survived({(id, disk.storage_id): disk.surely for id, disk in disks.items()})

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
        known = ruling.voters.get(node_id) == disk.storage_id and self.judge.told >= ruling.version
        return known and not (disk.epochs.damaged or disk.tampered or disk.outdated or self.judge.distrusted(disk.storage_id))

    def connected(self) -> bool:
        """Nothing is cut or slow."""
        return self.network.whole

    # --- the run

    def run_all(self) -> Verdict:
        """Both phases; whatever goes wrong becomes the verdict."""
        options, violation, text, trace = self.options, "", "", ""
        nodes: tuple[int, ...] = ()
        try:
            self._disturbed()
            if not options.beyond:
                self.liveness.demand()
            self._finish()
        except Violation as error:
            violation, text, nodes = error.id, error.text, error.nodes
        except Exception as error:
            violation, text = type(error).__name__, str(error)
            trace = "".join(traceback.format_exception(error)[-FRAMES:])
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
            story=trace + self._tell(nodes) if violation else "",
        )

    def _disturbed(self) -> None:
        for node_id in self.nodes:
            self.start(node_id)
        self.at(Random(f"zkembed begin {self.options.seed}").choice([0.0, 1.0, 2.0]), self.nemesis.begin)
        self.workload.start()
        end = self.now + self.options.duration + 2.0
        while self.now < end:
            self.run_slice()

    def run_slice(self) -> None:
        """A little while, and a look at what must hold at any time."""
        self.run(SLICE_S)
        self._check_halted()
        self._check_bounds()

    def _check_halted(self) -> None:
        """No node stops itself; but one that was made to distrust its state may, once it finds no leader to give it another (B-15)."""
        for node in self:
            if node.halted is None or not node.up:
                continue
            if (node.id, node.life) not in self.nemesis.distrusting:
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
            cached = history.size(history.committed, history.end)
            limit = settings.outstanding_bytes_max + self.options.replica.limits.txn_bytes_max
            links = self.network.count(node.id)
            if links > LINKS_MAX * len(self.nodes):
                raise Violation("V5", f"node {node.id} has {links} links open", (node.id,))
            if cached > limit:
                raise Violation("V5", f"node {node.id} holds {cached} bytes that are not committed, {limit} are allowed", (node.id,))
            self._check_outstanding(node)
            for session in self.app(node.id).replica.sessions.values():
                if len(session.handed) > window:
                    raise Violation("V5", f"session {session.id:#x} has {len(session.handed)} calls under way", (node.id,))

    def _check_outstanding(self, node: SimNode) -> None:
        """(B-13) Of the leader. What ends sessions is proposed together, whatever room there is; EPOCH and CONFIG need none."""
        history, limit = node.peer.history, self.settings.outstanding_max
        if not (node.peer.serving and node.peer.role is Role.LEADING and epoch_of(history.committed) == epoch_of(history.end)):
            return
        outstanding, spared = history.end - history.committed, len(self.app(node.id).replica.tree.sessions) + 2
        if outstanding > limit + spared:
            raise Violation("V5", f"node {node.id} has {outstanding} entries under way, {limit} are allowed", (node.id,))

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

    def _tell(self, nodes: tuple[int, ...]) -> str:
        return "\n".join([last_events(self.history, nodes), "", "and what the processes did last:", self.story(LAST_EVENTS)])

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


def simulate(seed: int, **wishes: Any) -> Verdict:
    """One run of the seed. wishes: see ``swarm.draw``."""
    return Simulation(draw(seed, **wishes)).run_all()
