"""A replica with 100,000 znodes of 100 bytes: how long it takes to come back, and what a znode costs in memory.

Time: from starting the process (interpreter included) until its node is synced and serves, after kill -9. Memory: what
the process holds (RSS) beyond what it held with an empty tree; the larger of a process that saw every znode made, caches of
the log included, and of one that was restarted. No snapshot is taken meanwhile: which entries it would spare the restart is
chance, and so all are replayed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ensemble import open_ensemble

from .base import Figure, Group, Options, measure_scale, significant

ZNODES = 100_000
TASKS = 500
RESTART_TARGET_S = 5.0
MEMORY_TARGET_BYTES = 1_200
RESTARTS_MAX = 3


async def _measure(options: Options) -> Sequence[Figure]:
    async with open_ensemble(options.directory, snapshot_every=10 * ZNODES) as ensemble:
        leader = await ensemble.leader()
        follower = ensemble.others(leader)[0]
        scale = (await measure_scale(ensemble)).details()
        empty = (await follower.ask("status"))["resident_bytes"]
        filling = await leader.ask("fill", path="/bench", count=ZNODES, tasks=TASKS)
        live = (await follower.ask("status"))["resident_bytes"]
        restarts = []
        for _ in range(min(options.rounds, RESTARTS_MAX)):
            await follower.kill()
            restarts.append(await follower.start())
        status = await follower.ask("status")
    if status["znodes"] < ZNODES:
        raise RuntimeError(f"{status['znodes']} znodes came back, expected {ZNODES}")
    return _figures(restarts, (live - empty) / ZNODES, (status["resident_bytes"] - empty) / ZNODES, filling["seconds"], scale)


def _figures(restarts: list[float], live: float, restarted: float, filling: float, scale: dict[str, float]) -> Sequence[Figure]:
    seconds = statistics.median(restarts)
    restart_details = {"rounds": [significant(each) for each in restarts], "filled_in_s": significant(filling), **scale}
    worse = max(live, restarted)
    memory_details = {"live": significant(live), "restarted": significant(restarted), "znodes": ZNODES}
    return (
        Figure("restart_100k_s", seconds, "s", f"at most {RESTART_TARGET_S:g}", seconds <= RESTART_TARGET_S, restart_details),
        Figure("bytes_per_znode", worse, "B", f"at most {MEMORY_TARGET_BYTES:,}", worse <= MEMORY_TARGET_BYTES, memory_details),
    )


SIZE = Group(("restart_100k_s", "bytes_per_znode"), _measure)
