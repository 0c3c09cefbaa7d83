"""The simulator itself: a seed is a history, bit for bit; a verdict has every line; faults can be left out one by one."""

from __future__ import annotations

import os
import subprocess
import sys
from random import Random

import pytest

from zkembed.errors import BadArgumentsError
from zkembed.testing.checkers import IDS
from zkembed.testing.nemesis import Nemesis, plan
from zkembed.testing.simulate import Tally, derived
from zkembed.testing.simulator import Simulation, simulate
from zkembed.testing.swarm import FAULTS, draw

# A few more each time the suite runs is no use: what is wanted is the same verdict each time. CI adds seeds of its commit's own.
FIRST_SEEDS = 24


def fingerprint_elsewhere(seed: int, hash_seed: int) -> str:
    command = [sys.executable, "-m", "zkembed.testing.simulate", "--seed", str(seed), "--fingerprint"]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100).stdout.strip()


@pytest.mark.parametrize("seed", range(FIRST_SEEDS))
def test_the_first_seeds_hold(seed: int) -> None:
    verdict = simulate(seed)
    assert verdict.ok, f"seed {seed}: {verdict.violation}: {verdict.text}\n{verdict.story}"


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_other_sizes_hold(nodes: int) -> None:
    for seed in range(3):
        verdict = simulate(seed, nodes=nodes, operations=100)
        assert verdict.ok, f"seed {seed} of {nodes}: {verdict.violation}: {verdict.text}\n{verdict.story}"


def test_beyond_the_budget_nobody_lies() -> None:
    """A majority may lose its disks: A, D3 and S hold all the same; that the ensemble goes on is not asked."""
    for seed in range(8):
        verdict = simulate(seed, beyond=True, operations=150)
        assert verdict.ok, f"seed {seed}: {verdict.violation}: {verdict.text}\n{verdict.story}"


def test_V7_one_seed_is_one_history_under_two_hash_seeds() -> None:
    for seed in (5, 8):
        here = simulate(seed).fingerprint
        assert [fingerprint_elsewhere(seed, 1), fingerprint_elsewhere(seed, 2)] == [here, here]


def test_two_seeds_are_two_histories() -> None:
    assert simulate(0).fingerprint != simulate(2).fingerprint


def test_every_invariant_has_something_to_judge_in_a_few_runs() -> None:
    """V7 is judged by running a seed twice (above, and by the command)."""
    tally = Tally()
    for seed in range(FIRST_SEEDS):
        tally.add(simulate(seed))
    assert [id for id in IDS if not tally.judged[id]] == ["V7"]
    assert tally.disturbed > FIRST_SEEDS / 2


def test_a_fault_that_is_left_out_changes_no_other() -> None:
    faults = plan(7, tuple(FAULTS), 10, 12.0)
    assert sorted(fault.index for fault in faults) == list(range(10))
    assert faults == sorted(plan(7, tuple(FAULTS), 10, 12.0), key=lambda fault: fault.at)
    simulation = Simulation(draw(6))
    all_of_them = simulation.run_all().happened
    none = simulate(6, skipped=tuple(range(16))).happened
    assert all_of_them
    assert not none


@pytest.mark.parametrize("nodes", [3, 5, 7])
def test_a_ring_cuts_something_and_leaves_every_node_a_majority(nodes: int) -> None:
    simulation = Simulation(draw(1, nodes=nodes))
    Nemesis(simulation)._ring(Random(1))
    reached = [sum(simulation.network.reachable(one, other) for other in simulation.nodes) for one in simulation.nodes]
    assert min(reached) < nodes
    assert sum(count * 2 > nodes for count in reached) >= (1 if nodes == 3 else nodes)


def test_seeds_of_a_name_are_its_own() -> None:
    assert derived("a1b2", 5) == derived("a1b2", 9)[:5]
    assert len({*derived("a1b2", 50), *derived("a1b3", 50)}) == 100


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1, "nodes": 4}, "1, 2, 3, 5 or 7"),
        ({"seed": 1, "operations": 0}, "operations is 0"),
        ({"seed": 1, "faults": ("meteorite",)}, "unknown fault 'meteorite'; there are: kill, power"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_can(wishes: dict[str, object], said: str) -> None:
    with pytest.raises(BadArgumentsError, match=said):
        draw(**wishes)  # type: ignore[arg-type]
