"""What is done to an ensemble, and when: drawn from a seed before anything runs, so that it can be printed and done again.

A step says in which order members come into question; who is really hit is decided when its time has come, for only then is known
who leads and who is up. So one seed gives one schedule, and in real time never quite the same run twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from attrs import frozen

GAP = (0.3, 2.5)
"""Seconds from the beginning of one fault to that of the next; they overlap."""

ALONE = 0.35
AFTERWARDS = (1.0, 3.0)
"""So many faults have the stage for themselves, and so many seconds behind them: only then a majority goes on long enough without whoever
was hit for its session to expire and its locks to pass on."""

LULL = (5.0, 9.0)
LULL_EVERY = 7
"""Behind so many faults comes a longer pause."""


@frozen
class Kind:
    """seconds: how long it lasts, least and most.  amounts: what else there is to draw, in ``unit``."""

    name: str
    text: str
    seconds: tuple[float, float]
    weight: int = 2
    amounts: tuple[float, float] = (0.0, 0.0)
    unit: str = ""


_KINDS = (
    Kind("kill", "kill -9 one process; it starts again later", (0.0, 2.0), 3),
    Kind("kill-leader", "kill -9 the leader", (0.0, 2.0), 3),
    Kind("kill-minority", "kill -9 as many at once as may be down", (0.0, 2.0)),
    Kind("kill-all", "kill -9 every process at once", (0.0, 1.0)),
    Kind("restart", "leave in good order, and start again", (0.0, 1.0), 1),
    Kind("wipe", "kill -9 one process, and start it on an empty disk", (0.0, 1.0)),
    Kind("pause", "SIGSTOP one process, later SIGCONT", (0.3, 10.0)),
    Kind("pause-leader", "SIGSTOP the leader, later SIGCONT", (0.3, 10.0)),
    Kind("block", "the application in one process holds its event loop", (0.3, 5.0), 1),
    Kind("isolate", "no bytes between one member and the others", (0.5, 8.0)),
    Kind("isolate-leader", "no bytes between the leader and the others", (0.5, 6.0)),
    Kind("one-way", "no bytes from one member to the others, or none to it", (0.5, 6.0)),
    Kind("split", "no bytes between two halves", (0.5, 6.0)),
    Kind("ring", "each member sees a majority, and no two the same one", (0.5, 6.0)),
    Kind("refuse", "one member's connections are reset, and new ones refused", (0.5, 4.0), 1),
    Kind("reset", "every connection of one member is reset, once", (0.0, 0.0), 1),
    Kind("delay", "bytes from and to one member are late", (1.0, 6.0), 2, (0.005, 0.4), "s"),
    Kind("throttle", "paths from and to one member are narrow", (1.0, 6.0), 1, (20_000, 400_000), "bytes/s"),
)
KINDS = {kind.name: kind for kind in _KINDS}


@frozen
class Step:
    """at: seconds from the beginning.  seconds: until it is undone.  order: in which members come into question.  way: of two, which."""

    number: int
    at: float
    kind: Kind
    seconds: float
    amount: float
    order: tuple[int, ...]
    way: bool

    def __str__(self) -> str:
        parts = [f"{self.at:7.2f} s  {self.kind.name:14}"]
        if self.seconds:
            parts.append(f"for {self.seconds:.2f} s")
        if self.kind.unit:
            parts.append(f"by {self.amount:.4g} {self.kind.unit}")
        return "  ".join([*parts, f"first {self.order[0]}"])


def draw_schedule(seed: int, members: Iterable[int], seconds: float, kinds: Iterable[str] = tuple(KINDS)) -> tuple[Step, ...]:
    """Steps of these kinds, each kind once before any comes again, all over within ``seconds``. Raises KeyError for an unknown kind."""
    chance = Random(f"chaos {seed}")
    ids = tuple(members)
    allowed = [KINDS[name] for name in kinds]
    longest = max(0.5, seconds / 4)
    waiting: list[Kind] = chance.sample(allowed, len(allowed))
    steps: list[Step] = []
    at = chance.uniform(*GAP)
    while at < seconds:
        kind = waiting.pop() if waiting else chance.choices(allowed, [kind.weight for kind in allowed])[0]
        least, most = kind.seconds
        lasting = min(chance.uniform(least, min(most, longest)) if most > least else most, seconds - at)
        steps.append(
            Step(
                len(steps) + 1, at, kind, lasting, chance.uniform(*kind.amounts), tuple(chance.sample(ids, len(ids))), chance.random() < 0.5
            )
        )
        alone = chance.random() < ALONE
        at += lasting + chance.uniform(*AFTERWARDS) if alone else chance.uniform(*(GAP if len(steps) % LULL_EVERY else LULL))
    return tuple(steps)
