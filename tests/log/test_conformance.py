"""Both logs keep the contract of the port, with their own limits and with tiny ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zkembed.log.file import FileLog
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk

from .conformance import STORIES, Place, check_log
from .helpers import small


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("segment_bytes", [1000, 32 << 20])
def test_files_keep_the_contract(tmp_path: Path, segment_bytes: int, story: Callable[[Place], None]) -> None:
    story(lambda: FileLog(tmp_path / "data" / "node", segment_bytes=segment_bytes, reserve_bytes=4096, extend_bytes=4096))


def test_memory_keeps_the_contract() -> None:
    def make() -> Place:
        disk = SimulatedDisk()
        return lambda: MemoryLog(disk)

    check_log(make)


def test_memory_with_tiny_limits_keeps_the_contract() -> None:
    def make() -> Place:
        disk = SimulatedDisk()
        return lambda: small(disk)

    check_log(make)
