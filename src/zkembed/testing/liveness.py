"""The second phase of a run: faults have stopped, a core of nodes is healed, and has to come to rest (V1 to V4)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from ..errors import ZkError
from ..tree.ops import Ensure
from .checkers import Violation
from .history import Calm
from .simulated.engine_disk import EngineDisk
from .simulated.node import SimNode

if TYPE_CHECKING:
    from .simulator import Simulation

STABLE_S = 3.0
TRANSFER_S = 10.0
EXPIRY_S = 40.0
PROBE_TIMEOUT_S = 12.0
AWAKE_S = 30.0
MOVES_MAX = 20
SLOW_S = 0.1


class Liveness:
    """Of one run. core: from whom liveness is demanded; everybody else is down, cut off, deaf or mute."""

    def __init__(self, world: Simulation) -> None:
        self._world = world
        self.core: tuple[int, ...] = ()

    def demand(self) -> None:
        """Heal, wait, judge. Raises Violation."""
        rng = Random(f"zkembed calm {self._world.options.seed}")
        core = self.core = self._choose_core(rng)
        self._world.nemesis.rest()
        self._heal(core)
        self._set_apart([node_id for node_id in self._world.nodes if node_id not in core], core, rng)
        self._world.history.record(Calm(self._world.now, 0, 0, core))
        self._world.note(f"CALM, core {core}")
        leader = self._await_leader(core)
        if len(core) < len(self._world.nodes):
            self._await_write(core)
        self._await_rest(core, leader)

    def _choose_core(self, rng: Random) -> tuple[int, ...]:
        """Everybody, or just a majority of whole voters; where not all have founded yet, or a configuration is being changed, everybody."""
        everybody = tuple(self._world.nodes)
        if not self._world.judge.configurations or any(not self._world.whole(node_id) for node_id in everybody) or rng.random() < 0.5:
            return everybody
        size = rng.randint(len(everybody) // 2 + 1, len(everybody))
        return tuple(sorted(rng.sample(everybody, size)))

    def _heal(self, core: tuple[int, ...]) -> None:
        network = self._world.network
        if network.delay[1] > SLOW_S:  # A line on which each message waits for the one before is as good as clogged.
            network.together = max(network.together, 0.8)
        for node_id in core:
            node, disk = self._world.nodes[node_id], self._world.nodes[node_id].disk
            assert isinstance(disk, EngineDisk)
            disk.delay = self._world.disk_delay
            disk.empty_out()
            disk.device.fail_at.clear()
            self._world.release_disk(node_id)
            if not node.up:
                self._world.start(node_id)
        for one in core:
            for other in core:
                self._world.network.slow.pop((one, other), None)
                self._world.network.clogged.pop((one, other), None)
                if one < other:
                    self._world.heal(one, other)

    def _set_apart(self, outside: list[int], core: tuple[int, ...], rng: Random) -> None:
        """Who is not in the core is down, cut off, deaf or mute. (A node that a part of the core reaches could lead, for that part.)"""
        for node_id in outside:
            how = rng.choice(["cut off", "deaf", "mute"])
            self._world.marks[f"outside: {how if self._world.nodes[node_id].up else 'down'}"] += 1
            for member in core:
                if how != "mute":
                    self._world.cut(member, node_id, both=False)
                if how != "deaf":
                    self._world.cut(node_id, member, both=False)

    def _leader_of(self, core: tuple[int, ...]) -> int | None:
        """Who leads, if every core node serves under it."""
        if not all(self._world.nodes[id].up and self._world.app(id).replica.serving for id in core):
            return None
        leaders = {(self._world.nodes[id].peer.leader_id, self._world.nodes[id].peer.epoch) for id in core}
        leader, _ = min(leaders)
        return leader if len(leaders) == 1 and leader in core else None

    def _wait(self, what: Callable[[], Any], limit: float) -> bool:
        end = self._world.now + limit
        while not what():
            if self._world.now >= end:
                return False
            self._world.run_slice()
        return True

    def _wait_while_it_moves(self, what: Callable[[], Any], limit: float) -> bool:
        """Like ``_wait``, but the limit counts from the last call that ended or entry that was committed: contenders have their turns.

        Not for ever: what goes on and on without an end is no progress.
        """
        end = self._world.now + MOVES_MAX * limit
        while not what():
            if self._world.now > end:
                return False
            moved = (len(self._world.workload.waiting()), self._world.judge.end)
            if not self._wait(lambda: what() or (len(self._world.workload.waiting()), self._world.judge.end) != moved, limit):  # noqa: B023
                return False
        return True

    def _awake(self, node: SimNode) -> bool:
        return self._world.now >= node.blocked_until and node.id not in self._world.leaving

    def _await_leader(self, core: tuple[int, ...]) -> int:
        """V1: within 4 notify_max + init_limit + transfer, from when the last of the core is awake; everybody there joins it (D-8 once)."""
        settings = self._world.settings
        self._wait(lambda: all(self._awake(self._world.nodes[id]) for id in core), AWAKE_S)
        self._world.judge.judged["V1"] += 1
        bound = 4 * settings.notify_max + settings.init_limit + TRANSFER_S
        self._wait(lambda: False, settings.sync_limit + 2 * settings.tick)  # What the last fault has set off shows by then.
        serves = lambda: any(self._world.nodes[id].up and self._world.nodes[id].peer.serving for id in core)  # noqa: E731
        if not self._wait(serves, bound):
            raise Violation("V1", f"no leader in the core {core} after {bound:.1f} s: {list(self._world)}", core)
        if not self._wait(lambda: self._leader_of(core) is not None, bound + settings.reepoch_interval):
            raise Violation("V1", f"the core {core} does not come together: {list(self._world)}", core)
        leader = self._leader_of(core)
        assert leader is not None
        return leader

    def _await_write(self, core: tuple[int, ...]) -> None:
        """V4: with a minority down or cut off, or half so, a session opens and its write is done."""
        world = self._world
        host, bound = world.hosts[core[0]], 4 * world.settings.notify_max + world.settings.init_limit
        client = world.workload.open(host, PROBE_TIMEOUT_S)
        probe = host.act(lambda _: client.write(Ensure("/probe")))
        world.judge.judged["V4"] += 1
        if not self._wait(lambda: probe.over, bound):
            raise Violation("V4", f"a write of the core {core} is not done within {bound} s: {list(world)}", core)
        try:
            probe.result()
        except ZkError as error:
            raise Violation("V4", f"a write of the core {core} fails: {error!r}", core) from error

    def _await_rest(self, core: tuple[int, ...], leader: int) -> None:
        """V2: it stays leader. V3: calls end, dead sessions go, all become equal. L3: nobody waits for a lock for ever."""
        epoch = self._world.nodes[core[0]].peer.epoch
        begin = self._world.now
        self._world.workload.stop()
        bound = 4 * self._world.settings.notify_max + self._world.settings.init_limit
        self._world.judge.judged["V3"] += 1
        self._wait(lambda: self._world.now > begin + STABLE_S, STABLE_S + 1.0)
        if not self._wait_while_it_moves(lambda: self._world.workload.idle_on(core), bound):
            id = "V3" if self._world.workload.calling_on(core) else "L3"
            raise Violation(id, f"calls of the core {core} do not end: {'; '.join(self._world.workload.waiting())}", core)
        if not self._wait(lambda: self._only_live_sessions(core), EXPIRY_S):
            raise Violation("V3", f"sessions of processes that are gone do not end in the core {core}", core)
        if not self._wait(lambda: self._equal(core), bound):
            raise Violation("V3", f"the core {core} does not become equal: {list(self._world)}", core)
        self._world.judge.judged["V2"] += 1
        if self._leader_of(core) != leader or self._world.nodes[core[0]].peer.epoch != epoch:
            raise Violation("V2", f"node {leader} led epoch {epoch}, and without a fault no longer: {list(self._world)}", core)

    def _only_live_sessions(self, core: tuple[int, ...]) -> bool:
        living = {(node.disk.storage_id, node.disk.incarnation) for node in self._world if node.up}
        tree = self._world.app(core[0]).replica.tree
        return all((entry.storage_id, entry.incarnation) in living for entry in tree.sessions.values())

    def _equal(self, core: tuple[int, ...]) -> bool:
        return len({(self._world.nodes[id].peer.history.end, self._world.app(id).replica.tree.applied) for id in core}) == 1 and all(
            self._world.app(id).replica.tree.applied == self._world.nodes[id].peer.history.end for id in core
        )
