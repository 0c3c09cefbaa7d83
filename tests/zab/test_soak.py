"""Random faults on the whole core, judged after every step; then everything heals, and it must agree and go on (V1, V3)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import Role
from zkembed.zab.settings import Settings

ELECTED_WITHIN = 4 * Settings().notify_max + Settings().init_limit + 1.0
SEEDS_PER_SIZE = {1: 10, 2: 15, 3: 80, 5: 20}


class Chaos:
    """Faults and writes at random moments of one cluster. At most a minority is ever down for good; disks lose nothing synced."""

    def __init__(self, cluster: Cluster, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.count = 0

    def node(self) -> SimNode:
        return self.rng.choice(list(self.cluster))

    def pair(self) -> tuple[int, int]:
        one, other = self.rng.sample(sorted(self.cluster.nodes), 2) if len(self.cluster.nodes) > 1 else (1, 1)
        return one, other

    def write(self) -> None:
        for node in self.cluster:
            if node.up and node.peer.can_propose and self.cluster.now >= node.blocked_until:
                self.count += 1
                self.cluster.propose(node.id, *[b"%d/%d" % (self.count, part) for part in range(self.rng.randrange(1, 5))])

    def request(self) -> None:
        node = self.node()
        if node.up and node.halted is None:
            self.count += 1
            self.cluster.call(node.id, lambda peer: peer.send_requests((b"r%d" % self.count,)))
            self.cluster.call(node.id, lambda peer: peer.request_sync(self.count))

    def crash(self) -> None:
        node = self.node()
        if node.up:
            self.cluster.crash(node.id, silent=self.rng.random() < 0.3)

    def restart(self) -> None:
        for node in self.cluster:
            if not node.up:
                self.cluster.start(node.id)
                return

    def cut(self) -> None:
        self.cluster.cut(*self.pair(), both=self.rng.random() < 0.6)

    def heal(self) -> None:
        self.cluster.heal(*self.pair())

    def reset(self) -> None:
        self.cluster.drop_links(*self.pair())

    def pause(self) -> None:
        self.cluster.pause(self.node().id, self.rng.choice([0.1, 0.6, 2.0, 4.0]))

    def slow_disk(self) -> None:
        self.node().disk.delay = self.rng.choice([0.0005, 0.005, 0.3])

    def snapshot(self) -> None:
        node = self.node()
        if node.app is not None and node.app.applied and node.peer.history.pending_load is None:
            node.app.take_snapshot(purge=self.rng.random() < 0.7)

    def resync(self) -> None:
        node = self.node()
        if node.up and node.peer.role is Role.FOLLOWING:
            self.cluster.call(node.id, lambda peer: peer.resync())

    def run(self, steps: int) -> None:
        actions: list[Callable[[], None]] = [self.write] * 6 + [self.request, self.restart, self.restart, self.crash]
        actions += [self.cut, self.heal, self.heal, self.reset, self.pause, self.slow_disk, self.snapshot]
        if self.rng.random() < 0.2:
            actions += [self.resync, self.snapshot]
        for _ in range(steps):
            self.rng.choice(actions)()
            self.cluster.run(self.rng.choice([0.001, 0.003, 0.02, 0.1, 0.5, 1.5]))

    def calm(self) -> None:
        self.cluster.heal_all()
        for node in self.cluster:
            node.disk.delay = 0.0005
            if node.halted is not None:
                assert "a restart rebuilds it" in str(node.halted.error)
                self.cluster.crash(node.id)
            if not node.up:
                self.cluster.start(node.id)


def soak(n: int, seed: int) -> Cluster:
    """One run; raises if anything is wrong, naming the seed."""
    rng = Random(f"{n}/{seed}")
    cluster = Cluster(n, seed=seed, settings=Settings(diff_bytes_max=rng.choice([300, 2**20])), cache_bytes_max=rng.choice([2000, 2**20]))
    chaos = Chaos(cluster, rng)
    try:
        chaos.run(30)
        chaos.calm()
        cluster.wait_leader(limit=ELECTED_WITHIN)
        cluster.wait_serving(limit=ELECTED_WITHIN)
        cluster.write(b"afterwards")
        cluster.wait_equal(limit=ELECTED_WITHIN)
        assert not [node for node in cluster if node.halted], "no node may halt"
        states = list(cluster.states().values())
        assert all(state == states[0] for state in states)
    except BaseException as error:
        error.add_note(f"soak of {n} nodes, seed {seed}\n" + cluster.story())
        raise
    return cluster


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_random_faults_then_agreement(n: int) -> None:
    """A1-A11 after every step, then V1 (a leader within bound) and V3 (equal histories)."""
    runs = [soak(n, seed) for seed in range(SEEDS_PER_SIZE[n])]
    assert sum(run.judge.established_count for run in runs) > len(runs), "the faults never cost a leader"
    assert all(run.judge.end for run in runs)


def test_same_seed_same_history() -> None:
    """X-1, V7: the same inputs in the same order give the same outputs, also under another hash seed."""
    here = [soak(n, 7).trace_crc for n in (3, 5)]
    program = "from tests.zab.test_soak import soak; print(*[soak(n, 7).trace_crc for n in (3, 5)])"
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    root = Path(__file__).resolve().parents[2]
    there = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [str(crc) for crc in here]
