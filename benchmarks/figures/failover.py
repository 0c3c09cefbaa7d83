"""The leader is killed with -9 while a surviving process writes: how long until a write is answered by the next leader.

From just before the signal to the first answer that carries a later epoch, at default settings. What was in flight and is
answered by the dying leader does not count.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter

import trio
from ensemble import Ensemble, Member, open_ensemble

from .base import Figure, Group, Options, measure_scale, significant

PATH = "/bench/failover"
TARGET_MS = 300.0
# How long the writer has been at it when the signal comes: some hundred writes.
LEAD_IN_SECONDS = 0.5
ROUNDS_MIN = 7


async def _measure(options: Options) -> Sequence[Figure]:
    times = []
    async with open_ensemble(options.directory) as ensemble:
        scale = await measure_scale(ensemble)
        leader = await ensemble.leader()
        await leader.ask("create", path=PATH)
        for number in range(max(options.rounds, ROUNDS_MIN)):
            leader = await ensemble.leader()
            times.append(await _fail_over(leader, ensemble.others(leader)[number % 2]) * 1e3)
            await _restore(ensemble, leader)
    value = statistics.median(times)
    details = {"rounds": [significant(time) for time in times], "worst": significant(max(times)), **scale.details()}
    return (Figure("failover_ms", value, "ms", f"median at most {TARGET_MS:g}", value <= TARGET_MS, details),)


async def _fail_over(leader: Member, writer: Member) -> float:
    """Seconds."""
    epoch = (await writer.ask("epoch"))["epoch"]
    answered = 0.0

    async def write() -> None:
        nonlocal answered
        answered = (await writer.ask("write_until_epoch", path=PATH, above=epoch))["answered"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.sleep(LEAD_IN_SECONDS)
        killed = perf_counter()
        leader.kill_nowait()
    await leader.reap()
    return answered - killed


async def _restore(ensemble: Ensemble, member: Member) -> None:
    """Three members again, agreed on their leader."""
    await member.start()
    await ensemble.leader()


FAILOVER = Group(("failover_ms",), _measure)
