"""Writes a second with 500 tasks of one process, the leader's, each awaiting its write before the next."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ensemble import open_ensemble

from .base import Figure, Group, Options, measure_scale, significant

TASKS = 500
SECONDS = 3.0
WARM_UP_SECONDS = 1.0
TARGET = 12_000


async def _measure(options: Options) -> Sequence[Figure]:
    async with open_ensemble(options.directory) as ensemble:
        leader = await ensemble.leader()
        scale = await measure_scale(ensemble)
        await leader.ask("write_together", path="/bench", tasks=TASKS, seconds=WARM_UP_SECONDS)
        rates = []
        for _ in range(options.rounds):
            done = await leader.ask("write_together", path="/bench", tasks=TASKS, seconds=SECONDS)
            rates.append(done["count"] / done["seconds"])
    value = statistics.median(rates)
    details = {"rounds": [significant(rate) for rate in rates], "tasks": TASKS, **scale.details()}
    return (Figure("writes_per_s_500", value, "1/s", f"at least {TARGET:,}", value >= TARGET, details),)


THROUGHPUT = Group(("writes_per_s_500",), _measure)
