"""Reads a second by one task: plain ones of this process's replica, and awaited ones of the session."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ensemble import Member, open_ensemble

from .base import Figure, Group, Options, measure_scale, significant

PATH = "/bench/read"
PLAIN, PLAIN_TARGET = 200_000, 300_000
AWAITED, AWAITED_TARGET = 50_000, 50_000


async def _measure(options: Options) -> Sequence[Figure]:
    async with open_ensemble(options.directory) as ensemble:
        reader = ensemble.others(await ensemble.leader())[0]
        scale = (await measure_scale(ensemble)).details()
        await reader.ask("create", path=PATH)
        await reader.ask("write_one_by_one", path=PATH, count=1)
        plain, awaited = [], []
        for _ in range(options.rounds):
            plain.append(await _rate(reader, "read_plain", PLAIN))
            awaited.append(await _rate(reader, "read_awaited", AWAITED))
    return (
        _figure("replica_get_per_s", plain, PLAIN_TARGET, scale),
        _figure("await_get_per_s", awaited, AWAITED_TARGET, scale),
    )


async def _rate(reader: Member, task: str, count: int) -> float:
    done = await reader.ask(task, path=PATH, count=count)
    rate: float = done["count"] / done["seconds"]
    return rate


def _figure(name: str, rates: list[float], target: int, scale: dict[str, float]) -> Figure:
    value = statistics.median(rates)
    details = {"rounds": [significant(rate) for rate in rates], **scale}
    return Figure(name, value, "1/s", f"at least {target:,}", value >= target, details)


READS = Group(("replica_get_per_s", "await_get_per_s"), _measure)
