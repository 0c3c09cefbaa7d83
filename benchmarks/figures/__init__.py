"""What is measured: groups of figures that share an ensemble, and the targets they are held against."""

from __future__ import annotations

from .base import Figure, Group, Options
from .failover import FAILOVER
from .latency import LATENCY
from .reads import READS
from .size import SIZE
from .stall import STALL
from .throughput import THROUGHPUT

GROUPS: tuple[Group, ...] = (LATENCY, THROUGHPUT, READS, FAILOVER, SIZE, STALL)

__all__ = ["GROUPS", "Figure", "Group", "Options"]
