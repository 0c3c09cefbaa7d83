"""What the pytest plugin does once a test asks for one of its fixtures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

NODES = 3


def check_clock(fixture: str) -> None:
    """Refuse to run an ensemble in real time: raise pytest.UsageError that says which fixture is missing.

    pytest-trio takes a run's clock only from fixtures that the test itself names, so this one cannot bring it along.
    """
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock) and clock.autojump_threshold < math.inf:
        return
    found = "a mock clock that nobody moves" if isinstance(clock, MockClock) else "the real clock"
    raise pytest.UsageError(
        f"fixture {fixture!r} runs an ensemble in virtual time, and found {found}: also ask for autojump_clock in the test's own "
        f"arguments, as in `async def test_mine({fixture}, autojump_clock)`; for real time use zkembed.testing.open_ensemble"
    )


def read_marker(markers: Iterable[pytest.Mark]) -> tuple[int, dict[str, Any]]:
    """Number of members, and settings for ``open_ensemble``; of several markers the closest says it."""
    settings: dict[str, Any] = {}
    for marker in markers:
        if marker.args:
            raise pytest.UsageError(f"marker zkembed takes keywords alone, as in zkembed(nodes=5), not {marker.args!r}")
        settings = {**marker.kwargs, **settings}
    return settings.pop("nodes", NODES), settings
