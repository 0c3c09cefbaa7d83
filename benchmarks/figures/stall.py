"""How long a snapshot of 100,000 znodes holds the loop at a time, while writes go on.

The longest step of any task between two checkpoints, seen by a trio instrument in the process that writes the snapshot; beside
it, the same without a snapshot. What it bounds is how late a PING or an answer may leave.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ensemble import open_ensemble

from .base import Figure, Group, Options, measure_scale, significant

ZNODES = 100_000
TASKS = 500
TARGET_MS = 20.0


async def _measure(options: Options) -> Sequence[Figure]:
    async with open_ensemble(options.directory, snapshot_every=10 * ZNODES) as ensemble:
        leader = await ensemble.leader()
        follower = ensemble.others(leader)[0]
        scale = (await measure_scale(ensemble)).details()
        await leader.ask("fill", path="/bench", count=ZNODES, tasks=TASKS)
        rounds = [await follower.ask("snapshot_steps", path="/bench/node-00000000") for _ in range(options.rounds)]
    longest = [each["with_snapshot"] * 1e3 for each in rounds]
    without = statistics.median(each["without"] * 1e3 for each in rounds)
    value = statistics.median(longest)
    details = {"rounds": [significant(each) for each in longest], "without_snapshot_ms": significant(without), "znodes": ZNODES, **scale}
    return (Figure("snapshot_step_ms", value, "ms", f"at most {TARGET_MS:g}", value <= TARGET_MS, details),)


STALL = Group(("snapshot_step_ms",), _measure)
