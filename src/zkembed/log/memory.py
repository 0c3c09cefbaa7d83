"""MemoryLog: the same engine over a simulated disk, for tests and for memory-only replicas."""

from __future__ import annotations

import os
from collections.abc import Callable

from .engine import LogEngine, LogOptions
from .simulated_disk import SimulatedDisk

SEGMENT_BYTES = 1 << 20


class MemoryLog(LogEngine):
    """disk: what survives this object; give it to the next MemoryLog for a restart. None: a new one.

    durable: whether a restart may go on from what the disk holds. False: a memory-only replica, each start of which is a new
    storage id with an empty log (rule I-5).
    """

    def __init__(
        self,
        disk: SimulatedDisk | None = None,
        durable: bool = True,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        snapshots_kept: int = 2,
        reserve_bytes: int = 0,
        extend_bytes: int = 0,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.disk = disk or SimulatedDisk()
        options = LogOptions(segment_bytes, extend_bytes, reserve_bytes, snapshots_kept, random_bytes)
        super().__init__(self.disk, options, inline=True, durable=durable, fsync=True)
