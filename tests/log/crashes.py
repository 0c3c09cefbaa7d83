"""Every way in which a power cut can leave a disk, as far as a start can tell them apart.

``record`` runs an operation once and keeps the disk as it was before each of its steps: these are the *moments* at which the power
can fail. At a moment k effects are not synced, and a crash may keep any of their 2^k subsets. ``explore`` tries them all, though not
one by one: the disk says which effects somebody *noticed*, that is, read something that depends on whether they were kept. A
deterministic start that never looked at an effect does the same with and without it, so the two subsets are one case. The
search decides an effect only when it is noticed, and then both ways: a tree whose leaves are exactly the cases that differ, each with all
the subsets that it stands for. What a start reads whole (the torn end of the log) is thus tried block by block in every combination;
sixteen blocks of a half-written temporary file, which it deletes unread, cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from attrs import frozen

from zkembed.log.simulated_disk import SimulatedDisk

CASES_MAX = 20_000
"""Of one moment."""

T = TypeVar("T")


class TooManyCasesError(Exception):
    """A start looks at so much that is not synced that not all can be tried: a mistake in the test. Choose a smaller story."""


@frozen
class Moment:
    """The disk right before a step (from 1 on), or behind the last.  mark: what the recording's ``mark`` said at that moment."""

    step: int
    disk: SimulatedDisk
    mark: object = None


@frozen
class Case:
    """One way out of a moment.  kept: of the effects that were noticed, by index, whether they survived; the others do not matter."""

    moment: Moment
    kept: dict[int, bool]

    def crashed(self) -> tuple[SimulatedDisk, list[int]]:
        """The disk behind the crash, and the list that fills with what is noticed on it."""
        disk = self.moment.disk.fork()
        noticed: list[int] = []
        disk.crash(lambda effect: self.kept.get(effect.index, False), noticed=noticed)
        return disk, noticed

    def __str__(self) -> str:
        effects = self.moment.disk.unsynced()
        told = [f"{'kept' if kept else 'lost'} {effects[i].kind} {effects[i].name}@{effects[i].offset}" for i, kept in self.kept.items()]
        return f"the power fails before step {self.moment.step}: {', '.join(told) or 'nothing that matters is unsynced'}"


def record(disk: SimulatedDisk, act: Callable[[], object], mark: Callable[[], object] = lambda: None) -> list[Moment]:
    """Run ``act`` on the disk; all moments of it, the first before its first step, the last behind its last."""
    moments: list[Moment] = []

    def keep() -> None:
        moments.append(Moment(len(moments) + 1, disk.fork(), mark()))

    disk.before_step = keep
    try:
        act()
    finally:
        disk.before_step = None
    keep()
    return moments


def explore(moment: Moment, start: Callable[[SimulatedDisk, Case], T]) -> Iterator[tuple[Case, T]]:
    """Call ``start`` on the disk behind each crash that it can tell from the others; what it returned, with the case.

    start: deterministic; it reads the disk, and may do with it what it likes.  Raises TooManyCasesError.
    """
    todo: list[dict[int, bool]] = [{}]
    count = 0
    while todo:
        chosen = todo.pop()
        # What is not chosen yet is lost; if it is noticed, the other fate is tried later.
        disk, noticed = Case(moment, chosen).crashed()
        result = start(disk, Case(moment, chosen))
        assert noticed[: len(chosen)] == list(chosen), "a start is deterministic: it notices the same things in the same order"
        taken = dict(chosen)
        for index in noticed[len(chosen) :]:
            todo.append({**taken, index: True})
            taken[index] = False
        count += 1
        if count > CASES_MAX:
            raise TooManyCasesError(f"step {moment.step}: more than {CASES_MAX} cases of {len(moment.disk.unsynced())} effects")
        yield Case(moment, taken), result
