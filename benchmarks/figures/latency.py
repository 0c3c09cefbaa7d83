"""One awaited write in the leader's process, the watch on it in another, and what disk and network alone would take.

The four are measured in turns, a round of each after the other, so that a slow minute of the machine is slow for all.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ensemble import Ensemble, Member, open_ensemble

from .base import Figure, Group, Options, percentile, significant

WRITES = 300
SAMPLES = 200
WRITE_RATIO_MAX = 6.0
WATCH_RATIO_MAX = 2.0
PATH = "/bench/one"


async def _measure(options: Options) -> Sequence[Figure]:
    async with open_ensemble(options.directory) as ensemble:
        rounds = await _rounds(ensemble, options.rounds)
    middle = {name: statistics.median(map(statistics.median, samples)) * 1e3 for name, samples in rounds.items()}
    tail = {name: significant(percentile([each for sample in samples for each in sample], 99) * 1e3) for name, samples in rounds.items()}
    floor = middle["disk"] + middle["network"]
    write_ratio, watch_ratio = middle["write"] / floor, middle["watch"] / middle["write"]
    return (
        Figure("fdatasync_p50_ms", middle["disk"], "ms", details={"p99": tail["disk"]}),
        Figure("loopback_p50_ms", middle["network"], "ms", details={"p99": tail["network"]}),
        Figure(
            "write_p50_ms",
            middle["write"],
            "ms",
            f"at most {WRITE_RATIO_MAX:g} x (fdatasync + loopback)",
            write_ratio <= WRITE_RATIO_MAX,
            {"ratio": significant(write_ratio), "p99": tail["write"]},
        ),
        Figure(
            "watch_p50_ms",
            middle["watch"],
            "ms",
            f"at most {WATCH_RATIO_MAX:g} x an awaited write",
            watch_ratio <= WATCH_RATIO_MAX,
            {"ratio": significant(watch_ratio), "p99": tail["watch"]},
        ),
    )


async def _rounds(ensemble: Ensemble, count: int) -> dict[str, list[list[float]]]:
    """Samples in seconds, a list a round."""
    leader = await ensemble.leader()
    watcher = ensemble.others(leader)[0]
    port = (await watcher.ask("serve_echo"))["port"]
    await leader.ask("create", path=PATH)
    await watcher.ask("watch", path=PATH)
    await _write(leader, watcher)
    rounds: dict[str, list[list[float]]] = defaultdict(list)
    for _ in range(count):
        rounds["disk"].append((await leader.ask("sync_disk", count=SAMPLES))["times"])
        rounds["network"].append((await leader.ask("echo", port=port, count=SAMPLES))["times"])
        written, arrived = await _write(leader, watcher)
        rounds["write"].append(written["times"])
        rounds["watch"].append([arrived[mark] - began for mark, began in written["began"].items()])
    return rounds


async def _write(leader: Member, watcher: Member) -> tuple[dict[str, Any], dict[str, float]]:
    written = await leader.ask("write_one_by_one", path=PATH, count=WRITES)
    return written, (await watcher.ask("watched", count=WRITES))["arrived"]


LATENCY = Group(("fdatasync_p50_ms", "loopback_p50_ms", "write_p50_ms", "watch_p50_ms"), _measure)
