"""zkembed's pytest plugin: fixtures ``zk`` and ``zk_ensemble``, marker ``zkembed(nodes=5)``.

Outside the package, because pytest loads it in every run, also where no test asks for it: importing anything of zkembed
imports trio as well. Whatever it needs it imports when a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from zkembed import Client
    from zkembed.testing import Ensemble

MARKER = "zkembed(nodes=3, **settings): size of the test's ensemble, and what else zkembed.testing.open_ensemble takes"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
async def zk_ensemble(request: pytest.FixtureRequest) -> AsyncIterator[Ensemble]:
    """An ensemble of the test's own, in memory and virtual time: ``async def test_mine(zk_ensemble, autojump_clock)``.

    Three members, or what the marker says: ``@pytest.mark.zkembed(nodes=5, session_timeout=4)``.
    """
    from zkembed.testing import open_ensemble
    from zkembed.testing.fixtures import check_clock, read_marker

    check_clock("zk_ensemble")
    nodes, settings = read_marker(request.node.iter_markers("zkembed"))
    async with open_ensemble(nodes, **settings) as ensemble:
        yield ensemble


@pytest.fixture
async def zk(zk_ensemble: Ensemble) -> Client:
    """The client of member 1 of the test's own ensemble (``zk_ensemble``): ``async def test_mine(zk, autojump_clock)``."""
    return zk_ensemble.zk(1)
