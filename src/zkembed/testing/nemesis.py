"""Who brings the faults: a plan drawn from the seed, each fault with a chance of its own, so that leaving one out changes no other.

A budget keeps runs honest: at most a minority of the voters has lost *synced* data at any moment (docs/invariants.md). A fault that
would go beyond it, or finds nobody to happen to, does not happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from attrs import frozen

from ..errors import StorageError
from ..zab.effects import Role
from .history import Fault
from .simulated.engine_disk import EngineDisk

if TYPE_CHECKING:
    from .simulator import Simulation

YEAR_S = 365.0 * 86_400.0
DOWN_S = (0.02, 0.3, 1.0, 3.0, 8.0)
BROKEN_S = (0.2, 1.0, 2.5, 6.0)
PAUSE_S = (0.3, 0.8, 2.0, 4.0, 9.0)


@frozen
class Planned:
    """at: seconds behind the begin of the faults."""

    index: int
    at: float
    kind: str


def plan(seed: int, kinds: tuple[str, ...], count: int, duration: float) -> list[Planned]:
    """The faults of a run, in order of time."""
    faults = []
    for index in range(count):
        rng = Random(f"zkembed fault {seed} {index}")
        faults.append(Planned(index, rng.uniform(0.0, duration), rng.choice(kinds)))
    return sorted(faults, key=lambda fault: fault.at)


class Nemesis:
    """happened: how often each kind has.  distrusting: lives (node, life) that were made to ask for another state."""

    def __init__(self, world: Simulation) -> None:
        self._world = world
        self._calm = False
        self._pausing = False
        self.happened: Counter[str] = Counter()
        self.distrusting: set[tuple[int, int]] = set()

    def begin(self) -> None:
        options = self._world.options
        for planned in plan(options.seed, options.faults, options.planned, options.duration) if options.faults else ():
            if planned.index not in options.skipped:
                self._world.at(planned.at, lambda planned=planned: self._happen(planned))  # type: ignore[misc]

    def rest(self) -> None:
        """No further fault, and what is broken stays as it is: nobody comes back by himself."""
        self._calm = True

    def _happen(self, planned: Planned) -> None:
        if self._calm or self._pausing:
            return
        rng = Random(f"zkembed fault {self._world.options.seed} {planned.index} in detail")
        if _HAPPEN[planned.kind](self, rng):
            self.happened[planned.kind] += 1

    def _tell(self, kind: str, node: int, detail: str) -> None:
        world = self._world
        life = world.nodes[node].life if node else 0
        world.note(f"FAULT {kind}: {detail}", node)
        world.history.record(Fault(world.now, node, life, kind, detail))

    def _later(self, delay: float, act: Callable[[], object]) -> None:
        self._world.at(delay, lambda: None if self._calm else act())

    # --- whom it may happen to

    def _running(self, rng: Random) -> int:
        nodes = [node.id for node in self._world if node.up]
        return rng.choice(nodes) if nodes else 0

    def _pair(self, rng: Random) -> tuple[int, int]:
        """Two nodes; (0, 0) where there is but one."""
        ids = list(self._world.nodes)
        if len(ids) < 2:
            return 0, 0
        one, other = rng.sample(ids, 2)
        return one, other

    def _may_harm(self, node: int) -> bool:
        """Whether this node's data may be lost: a majority of the voters stays whole without it."""
        world = self._world
        if not world.judge.configurations:
            return False
        voters = world.judge.configurations[-1].voters
        whole = [id for id in voters if world.whole(id) and id != node]
        if world.options.beyond:  # With nobody left who knows of the ensemble its members would found another one.
            return bool(whole)
        return node in world.nodes and len(whole) * 2 > len(voters)

    def _disk(self, node: int) -> EngineDisk:
        disk = self._world.nodes[node].disk
        assert isinstance(disk, EngineDisk)
        return disk

    def _start(self, node: int) -> None:
        """Whoever looks after the machine starts its process; again a second later where the disk does not let it."""
        if self._world.nodes[node].up:
            return
        try:
            self._world.start(node)
        except StorageError as error:
            self._world.note(f"cannot start: {error}", node)
            self._later(1.0, lambda: self._start(node))

    # --- processes

    def _kill(self, rng: Random, kind: str = "kill") -> bool:
        node = self._running(rng)
        if not node:
            return False
        down, silent = rng.choice(DOWN_S), kind == "power" and rng.random() < 0.7
        self._tell(kind, node, f"for {down} s")
        self._world.crash(node, power=kind == "power", silent=silent)
        self._later(down, lambda: self._start(node))
        return True

    def _power(self, rng: Random) -> bool:
        return self._kill(rng, "power")

    def _lights_out(self, rng: Random) -> bool:
        self._tell("lights-out", 0, "all")
        for node in list(self._world.nodes):
            if self._world.nodes[node].up:
                self._world.crash(node, power=True, silent=True)
            else:  # What a process killed before had left in the cache is at stake as well.
                self._disk(node).lose_power()
            self._later(rng.choice(DOWN_S), lambda node=node: self._start(node))  # type: ignore[misc]
        return True

    def _leave(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        down = rng.choice(DOWN_S)
        self._tell("leave", node, f"for {down} s")
        self._world.leave(node, lambda: self.look_after(node, down))
        return True

    def look_after(self, node: int, after: float = 0.5) -> None:
        """Whoever looks after the machine starts a process that has ended; at the end of a run in the core only."""
        if self._calm and node in self._world.liveness.core:
            self._start(node)
        else:
            self._later(after, lambda: self._start(node))

    def _pause(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        duration = rng.choice(PAUSE_S)
        self._tell("pause", node, f"{duration} s")
        self._world.pause(node, duration)
        return True

    # --- disks

    def _wipe(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        if not self._may_harm(node):
            return False
        down = rng.choice(DOWN_S)
        self._tell("wipe", node, f"back after {down} s")
        if self._world.nodes[node].up:
            self._world.crash(node, power=True)
        self._world.wipe(node)
        self._later(down, lambda: self._start(node))
        return True

    def _old_copy(self, rng: Random) -> bool:
        """A copy is put aside, the node starts twice more, and then the copy is back, while all others are there to remember that. Until it
        is known for what it is nothing else happens: an old copy that nobody remembers cannot be told from the original (I-6)."""
        node = rng.choice(list(self._world.nodes))
        self._disk(node).back_up()
        for delay in (0.3, 1.5):
            self._later(delay, lambda: self._start_anew(node))
        self._later(rng.uniform(2.5, 5.0), lambda: self._bring_back(node, 8))
        return False  # It has not happened yet.

    def _start_anew(self, node: int) -> None:
        if self._world.nodes[node].up:
            self._world.crash(node, power=False)
        self._start(node)

    def _bring_back(self, node: int, tries: int) -> None:
        world, disk = self._world, self._disk(node)
        others = [each for each in world if each.id != node]
        there = all(each.up and world.now >= each.blocked_until and each.peer.serving for each in others)
        if not (disk.outdated_backup and there and world.connected() and self._may_harm(node)):
            if tries:
                self._later(0.5, lambda: self._bring_back(node, tries - 1))
            return
        if world.nodes[node].up:
            world.crash(node, power=True)
        self._tell("old-copy", node, "restored")
        self.happened["old-copy"] += 1
        self._pausing = True
        world.judge.forget(disk.storage_id)
        disk.restore()
        storage_id = disk.storage_id
        self._start(node)

        def look() -> None:
            if disk.storage_id == storage_id and not self._calm:
                world.at(0.05, look)
            else:
                self._pausing = False
                world.marks["old copy renewed"] += 1

        look()

    def _bit_flip(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        if not self._may_harm(node):
            return False
        down, power = rng.choice(DOWN_S), rng.random() < 0.5
        if self._world.nodes[node].up:
            self._world.crash(node, power=power)
        self._later(down, lambda: self._start(node))
        place = self._disk(node).flip()
        if not place:
            return False
        self._tell("bit-flip", node, place)
        return True

    def _disk_error(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        steps = rng.randint(1, 20)
        self._tell("disk-error", node, f"after {steps} steps")
        self._disk(node).fail_soon(steps)
        self._come_back(node, rng)
        return True

    def _disk_full(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        room = rng.choice([0, 200, 3000])
        self._tell("disk-full", node, f"room for {room} bytes")
        disk = self._disk(node)
        disk.fill(room)
        self._later(rng.choice(BROKEN_S), disk.empty_out)
        self._come_back(node, rng, rng.choice(BROKEN_S) + max(BROKEN_S))
        return True

    def _come_back(self, node: int, rng: Random, after: float = 0.0) -> None:
        """Whoever looks after the machine starts a process that a bad disk has stopped."""
        self._later(after + rng.choice(DOWN_S), lambda: self._start(node))

    def _disk_slow(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        delay, duration = rng.choice([0.01, 0.1, 0.5, 1.0]), rng.choice(BROKEN_S)
        self._tell("disk-slow", node, f"{delay} s an operation, for {duration} s")
        disk = self._disk(node)
        disk.delay = delay
        self._later(duration, lambda: setattr(disk, "delay", self._world.disk_delay))
        return True

    def _disk_stuck(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        duration = rng.choice(PAUSE_S)
        self._tell("disk-stuck", node, f"{duration} s")
        self._disk(node).hold = True
        self._later(duration, lambda: self._world.release_disk(node))
        return True

    # --- links

    def _cut(self, rng: Random, *, both: bool = True) -> bool:
        one, other = self._pair(rng)
        if not one:
            return False
        duration = rng.choice(BROKEN_S)
        kind = "cut" if both else "one-way"
        self._tell(kind, one, f"to {other}, for {duration} s")
        self._world.cut(one, other, both=both)
        self._later(duration, lambda: self._world.heal(one, other))
        return True

    def _one_way(self, rng: Random) -> bool:
        return self._cut(rng, both=False)

    def _isolate(self, rng: Random) -> bool:
        """Mostly a node that hosts sessions and does not lead, sometimes the leader: whoever it is, its owners outlive their leases."""
        node = self._running(rng)
        others = [id for id in self._world.nodes if id != node]
        if not node or not others:
            return False
        duration = rng.uniform(3.5, 10.0)
        self._tell("isolate", node, f"for {duration:.1f} s")
        self._world.partition([node], others)
        self._later(duration, self._world.heal_all)
        return True

    def _partition(self, rng: Random) -> bool:
        ids = list(self._world.nodes)
        if len(ids) < 2:
            return False
        rng.shuffle(ids)
        size = rng.randint(1, len(ids) - 1)
        duration = rng.choice(BROKEN_S)
        self._tell("partition", 0, f"{sorted(ids[:size])} from {sorted(ids[size:])}, for {duration} s")
        self._world.partition(ids[:size], ids[size:])
        self._later(duration, self._world.heal_all)
        return True

    def _ring(self, rng: Random) -> bool:
        ids = list(self._world.nodes)
        if len(ids) < 3:
            return False
        rng.shuffle(ids)
        duration = rng.choice(BROKEN_S)
        self._tell("ring", 0, f"{ids}, for {duration} s")
        reach = (len(ids) // 2 + 1) // 2
        ends = len(ids) == 3  # A ring of three cuts nothing; a line of three does.
        for at, one in enumerate(ids):
            for to in range(at + 1, len(ids)):
                distance = min(to - at, len(ids) if ends else len(ids) - (to - at))
                if distance > reach:
                    self._world.cut(one, ids[to])
        self._later(duration, self._world.heal_all)
        return True

    def _break(self, rng: Random) -> bool:
        one, other = self._pair(rng)
        if not one or not self._world.network.linked(one, other):
            return False
        self._tell("break", one, f"with {other}")
        self._world.drop_links(one, other)
        return True

    def _slow_link(self, rng: Random) -> bool:
        one, other = self._pair(rng)
        if not one:
            return False
        slowest, duration = rng.choice([0.05, 0.5]), rng.choice(BROKEN_S)
        self._tell("slow-link", one, f"to {other}, up to {slowest} s, for {duration} s")
        slow = self._world.network.slow
        slow[one, other] = (0.0, slowest)
        self._later(duration, lambda: slow.pop((one, other), None))
        return True

    def _clogged_link(self, rng: Random) -> bool:
        one, other = self._pair(rng)
        if not one:
            return False
        each, duration = rng.choice([0.005, 0.03, 0.1]), rng.choice(BROKEN_S)
        self._tell("clogged-link", one, f"to {other}, {each} s a frame, for {duration} s")
        clogged = self._world.network.clogged
        clogged[one, other] = each
        self._later(duration, lambda: clogged.pop((one, other), None))
        return True

    def _garbage(self, rng: Random) -> bool:
        one, other = self._pair(rng)
        if not one or not self._world.network.garble(one, other, rng):
            return False
        self._tell("garbage", one, f"to {other}")
        return True

    # --- clocks

    def _clock_rate(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        rate = rng.uniform(0.95, 1.05)
        self._tell("clock-rate", node, f"{rate:.9f}")
        self._world.nodes[node].clock.set_rate(rate, self._world.now)
        return True

    def _clock_halt(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        duration = rng.choice(PAUSE_S)
        self._tell("clock-halt", node, f"{duration} s")
        self._world.sleep(node, duration)
        return True

    def _wall_clock(self, rng: Random) -> bool:
        node = rng.choice(list(self._world.nodes))
        years = rng.choice([-30, -1, 1, 200])
        self._tell("wall-clock", node, f"{years} years")
        self._world.wall_offset[node] = years * YEAR_S
        return True

    # --- rare branches

    def _snapshot(self, rng: Random) -> bool:
        node = self._running(rng)
        if not node:
            return False
        self._tell("snapshot", node, "now")
        self._world.app(node).take_snapshot_soon()
        return True

    def _resync(self, rng: Random) -> bool:
        world = self._world
        followers = [node.id for node in world if node.up and world.now >= node.blocked_until and node.peer.role is Role.FOLLOWING]
        if not followers:
            return False
        node = rng.choice(followers)
        self._tell("resync", node, "asked for")
        self.distrusting.add((node, world.nodes[node].life))
        world.call(node, lambda peer: peer.resync())
        return True


_HAPPEN: dict[str, Callable[[Nemesis, Random], bool]] = {
    "kill": Nemesis._kill,
    "power": Nemesis._power,
    "lights-out": Nemesis._lights_out,
    "leave": Nemesis._leave,
    "pause": Nemesis._pause,
    "wipe": Nemesis._wipe,
    "old-copy": Nemesis._old_copy,
    "bit-flip": Nemesis._bit_flip,
    "disk-error": Nemesis._disk_error,
    "disk-full": Nemesis._disk_full,
    "disk-slow": Nemesis._disk_slow,
    "disk-stuck": Nemesis._disk_stuck,
    "cut": Nemesis._cut,
    "one-way": Nemesis._one_way,
    "isolate": Nemesis._isolate,
    "partition": Nemesis._partition,
    "ring": Nemesis._ring,
    "break": Nemesis._break,
    "slow-link": Nemesis._slow_link,
    "clogged-link": Nemesis._clogged_link,
    "garbage": Nemesis._garbage,
    "clock-rate": Nemesis._clock_rate,
    "clock-halt": Nemesis._clock_halt,
    "wall-clock": Nemesis._wall_clock,
    "snapshot": Nemesis._snapshot,
    "resync": Nemesis._resync,
}
