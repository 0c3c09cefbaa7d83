"""Scenarios that fix their schedule and name no seed are run with several all the same: around a schedule there is still chance, in delays,
in what arrives together, in who draws which id."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import pytest

from zkembed.testing.simulated.cluster import Cluster

OTHERS = (101, 102)
CASES_MAX = 8
"""A scenario that is a table of more cases than this has variety enough."""


SCENARIO = re.compile(r"test_[a-z]{2}_\d+(_|$)", re.IGNORECASE)


def add_seeds(metafunc: pytest.Metafunc) -> None:
    """For ``pytest_generate_tests``: a scenario by its name, that names no seed, gets the one it has, and OTHERS."""
    cases = prod(len(marker.args[1]) for marker in metafunc.definition.iter_markers("parametrize"))
    if SCENARIO.match(metafunc.function.__name__) and "seed" not in metafunc.fixturenames and cases <= CASES_MAX:
        metafunc.fixturenames.append("another_seed")
        metafunc.parametrize("another_seed", (0, *OTHERS), indirect=True, ids=lambda seed: f"seed {seed}")


@pytest.fixture
def another_seed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The seed of each Cluster of the test that is given none. A failure prints it, as it prints any."""
    seed = int(getattr(request, "param", 0))
    original = Cluster.__init__

    def begin(self: Cluster, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "seed": options.get("seed") or seed})

    monkeypatch.setattr(Cluster, "__init__", begin)
    return seed
