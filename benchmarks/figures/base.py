"""A figure, a group of them, and the scale that every group is measured beside."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from ensemble import Ensemble

SCALE_SAMPLES = 100


@frozen
class Options:
    """directory: on the disk that is to be measured, not there yet or empty.  rounds: how often each measurement is repeated."""

    directory: Path
    rounds: int


@frozen
class Figure:
    """One measured number: the median of its rounds. target: in words.  met: None where nothing is aimed at."""

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    details: Mapping[str, Any] = field(factory=dict)

    def line(self) -> dict[str, Any]:
        """As an object for JSON."""
        target = {"target": self.target, "met": self.met} if self.target else {}
        return {"figure": self.name, "value": significant(self.value), "unit": self.unit, **target, **self.details}


@frozen
class Group:
    """names: of the figures that ``measure`` yields, in this order."""

    names: tuple[str, ...]
    measure: Callable[[Options], Awaitable[Sequence[Figure]]]


@frozen
class Scale:
    """What this machine can do at this moment, medians in seconds: the yardstick beside each figure."""

    disk: float
    network: float

    def details(self) -> dict[str, float]:
        return {"fdatasync_ms": significant(self.disk * 1e3), "loopback_ms": significant(self.network * 1e3)}


async def measure_scale(ensemble: Ensemble) -> Scale:
    """One append and fdatasync, one round trip of 1 KiB over loopback, while the ensemble is idle."""
    one, other = list(ensemble.members.values())[:2]
    port = (await other.ask("serve_echo"))["port"]
    disk = (await one.ask("sync_disk", count=SCALE_SAMPLES))["times"]
    network = (await one.ask("echo", port=port, count=SCALE_SAMPLES))["times"]
    return Scale(statistics.median(disk), statistics.median(network))


def significant(value: float, digits: int = 4) -> float:
    """Rounded: what lies behind is noise."""
    return float(f"{value:.{digits}g}")


def percentile(values: Sequence[float], percent: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
