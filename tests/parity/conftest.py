"""The judge, started once for all stories."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .server import ZooKeeperMissingError, ZooKeeperServer


def _started() -> Iterator[ZooKeeperServer]:
    """In continuous integration (CI set) a machine without ZooKeeper fails; elsewhere it is told what it misses."""
    server = ZooKeeperServer()
    try:
        server.__enter__()
    except ZooKeeperMissingError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(f"the comparison with ZooKeeper is not to be skipped here: {error}")
        pytest.skip(f"no comparison with ZooKeeper: {error}")
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeperServer]:
    yield from _started()


@pytest.fixture
def fresh_zookeeper() -> Iterator[ZooKeeperServer]:
    """One that nobody has talked to."""
    yield from _started()
