"""One run from its beginning to its verdicts: an ensemble, a load, faults by a schedule, rest, and the judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import trio
from attrs import field, frozen

from zkembed.testing.history import Fault

from .ensemble import ChaosEnsemble, open_chaos
from .nemesis import Nemesis
from .rest import NoRestError, come_to_rest
from .schedule import KINDS, Step, draw_schedule
from .verdict import Verdict

STATUS_EVERY = 5.0
START_PATIENCE = 60.0

Say = Callable[[str], None]


@frozen
class Options:
    """seconds: of faults; the beginning, the rest and the judge come on top.  directory: made; must not exist."""

    directory: Path
    seconds: float = 60.0
    seed: int = 1
    members: int = 3
    kinds: tuple[str, ...] = field(default=tuple(KINDS))

    def steps(self) -> tuple[Step, ...]:
        return draw_schedule(self.seed, range(1, self.members + 1), self.seconds, self.kinds)


class Chaos:
    """say: told what happens, for people, a line each."""

    def __init__(self, options: Options, say: Say) -> None:
        self.options = options
        self._say = say
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:7.2f} s  {text}")

    async def run(self) -> None:
        """Until everything is at rest, or was shown not to come to rest, and all processes are gone. What is left is the directory."""
        options = self.options
        steps = options.steps()
        self._began = time.monotonic()
        async with open_chaos(options.directory, options.members, options.seed) as ensemble:
            (options.directory / "schedule.txt").write_text("".join(f"{step}\n" for step in steps))
            try:
                await self._rage(ensemble, steps)
            finally:
                for life in ensemble.note_ends():
                    self.say(f"member {life.member_id} has ended by itself:\n{life.story()}")
            self.say("killing every process, to read what is on the disks")
            lives = ensemble.running()
            ensemble.kill_at_once(lives)
            await ensemble.bury(lives)

    async def _rage(self, ensemble: ChaosEnsemble, steps: Sequence[Step]) -> None:
        nemesis = Nemesis(ensemble, self.say)
        try:
            await ensemble.start_all()
            self.say(f"{len(ensemble.peers)} members are in")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell_status, ensemble)
                await nemesis.run(steps)
                nursery.cancel_scope.cancel(reason="the faults are over")
            await nemesis.heal()
            await come_to_rest(ensemble)
            self.say("everybody is in, every call has ended, all replicas are equal")
        except* (AssertionError, NoRestError) as group:
            for error in leaves(group):
                invariant = error.invariant if isinstance(error, NoRestError) else "V1"
                ensemble.diary.record(Fault(time.monotonic(), 0, 0, invariant, str(error)))
                self.say(f"{invariant} does not hold: {error}")

    async def _tell_status(self, ensemble: ChaosEnsemble) -> None:
        counted, at = 0, trio.current_time()
        while True:
            await trio.sleep(STATUS_EVERY)
            calls = ensemble.calls_ended()
            now = trio.current_time()
            leader = ensemble.leader_id()
            serving = [str(id) for id in ensemble.peers if ensemble[id].alive and ensemble.pulse(id).get("serving")]
            self.say(
                f"- {(calls - counted) / (now - at):.0f} calls/s, leader {leader or 'none'}, serving {' '.join(serving) or 'nobody'}, "
                f"resource: {ensemble.resource.accepted} accepted, {ensemble.resource.refused} refused"
            )
            counted, at = calls, now


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Nothing is violated, and nothing is without a verdict. What was not seen happen was not tested: it is shown, and is no failure."""
    return bool(verdicts) and not any(verdict.fault or verdict.missing for verdict in verdicts)
