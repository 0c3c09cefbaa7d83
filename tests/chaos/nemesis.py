"""Does what a schedule says, each step in a task of its own: faults overlap, and every one is undone by whoever did it.

At most a minority of the voters may have lost their disks at a time (invariant D1 promises no more): a wiped member counts as such until
it says itself that it has a vote again. A fault that finds nobody to hit, or may hit nobody now, is skipped and said to be.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import trio

from tests.process.ensemble import Life

from .ensemble import ChaosEnsemble
from .network import Pair, Rule, between, ring, towards
from .schedule import Step

Say = Callable[[str], None]


class Nemesis:
    """say: told each fault, for people."""

    def __init__(self, ensemble: ChaosEnsemble, say: Say) -> None:
        self.ensemble = ensemble
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self._say = say
        # Members whose process somebody has stopped or ended and will bring back: one fault at a time is theirs.
        self._taken: set[int] = set()
        # Invariant: who has lost its disk and was not seen to have a vote since; by the life that has to say so.
        self._voteless: dict[int, int] = {}
        self._do: dict[str, Callable[[Step], Awaitable[bool]]] = {
            "kill": lambda step: self._kill(step, self._some(step, 1)),
            "kill-leader": lambda step: self._kill(step, self._leader()),
            "kill-minority": lambda step: self._kill(step, self._some(step, self.minority)),
            "kill-all": self._kill_all,
            "restart": self._restart,
            "wipe": self._wipe,
            "pause": lambda step: self._pause(step, self._some(step, 1)),
            "pause-leader": lambda step: self._pause(step, self._leader()),
            "block": self._block,
            "isolate": lambda step: self._hold(step, between(step.order[:1], step.order[1:]), step.order[:1]),
            "isolate-leader": self._isolate_leader,
            "one-way": self._one_way,
            "split": lambda step: self._hold(
                step, between(step.order[: self.minority], step.order[self.minority :]), step.order[: self.minority]
            ),
            "ring": lambda step: self._hold(step, ring(step.order), step.order),
            "refuse": lambda step: self._rule(step, Rule(self._around(step), refused=True), step.order[:1]),
            "reset": self._reset,
            "delay": lambda step: self._rule(step, Rule(self._around(step), delay=step.amount), step.order[:1]),
            "throttle": lambda step: self._rule(step, Rule(self._around(step), rate=step.amount), step.order[:1]),
        }

    @property
    def minority(self) -> int:
        return (len(self.ensemble.peers) - 1) // 2 or 1

    async def run(self, steps: Iterable[Step]) -> None:
        """All of them, by trio's clock from now on. Returns when the last is undone."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_votes)
            async with trio.open_nursery() as doing:
                for step in steps:
                    await trio.sleep_until(began + step.at)
                    doing.start_soon(self._run_step, step)
            nursery.cancel_scope.cancel(reason="all faults are done")

    async def _run_step(self, step: Step) -> None:
        did = await self._do[step.kind.name](step)
        (self.done if did else self.skipped)[step.kind.name] += 1
        if not did:
            self._say(f"{step.kind.name}: skipped, nobody may be hit now")

    async def heal(self) -> None:
        """Everything is whole, and everybody runs; they may still be on their way in."""
        self.ensemble.network.heal()
        for id in self.ensemble.peers:
            life = self.ensemble[id]
            if life.alive:
                life.signal(signal.SIGCONT)
            else:
                await self.ensemble.start(id)
        self._taken.clear()
        self._tell(0, "heal", "all", "all cuts healed, all processes run")

    # --- who ----------------------------------------------------------------------------------------------------------

    def _free(self, ids: Iterable[int]) -> list[int]:
        return [id for id in ids if id not in self._taken and self.ensemble[id].alive]

    def _some(self, step: Step, count: int) -> list[int]:
        return self._free(step.order)[:count]

    def _leader(self) -> list[int]:
        leader = self.ensemble.leader_id()
        return [] if leader is None else self._free([leader])

    def _around(self, step: Step) -> frozenset[Pair]:
        return between(step.order[:1], step.order[1:])

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _kill(self, step: Step, ids: list[int]) -> bool:
        await self._end(step, ids, self._kill_now)
        return bool(ids)

    async def _kill_all(self, step: Step) -> bool:
        """Also those that are stopped or just starting; whoever took them finds them gone, and lets them be."""
        ids = [id for id in self.ensemble.peers if self.ensemble[id].alive]
        await self._end(step, ids, self._kill_now)
        return bool(ids)

    async def _restart(self, step: Step) -> bool:
        ids = self._some(step, 1)
        await self._end(step, ids, self._leave)
        return bool(ids)

    async def _wipe(self, step: Step) -> bool:
        self._look_for_votes()
        if len(self._voteless) >= self.minority:
            return False
        ids = self._some(step, 1)
        for id in ids:
            self._voteless[id] = self.ensemble[id].number + 1
        await self._end(step, ids, self._kill_now, wipe=True)
        return bool(ids)

    async def _end(self, step: Step, ids: list[int], end: Callable[[list[Life]], Awaitable[None]], *, wipe: bool = False) -> None:
        """End those processes, and start them again after the step's time."""
        lives = [self.ensemble[id] for id in ids]
        self._taken.update(ids)
        if ids:
            self._tell(ids[0] if len(ids) == 1 else 0, step.kind.name, names(ids), f"back in {step.seconds:.2f} s")
        await end(lives)
        for id in ids if wipe else ():
            self.ensemble.wipe(id)
        await trio.sleep(step.seconds)
        for life in lives:
            if self.ensemble[life.member_id] is life:
                await self.ensemble.start(life.member_id)
            self._taken.discard(life.member_id)

    async def _kill_now(self, lives: list[Life]) -> None:
        self.ensemble.kill_at_once(lives)
        await self.ensemble.bury(lives)

    async def _leave(self, lives: list[Life]) -> None:
        """In good order, unless there is no leader to take leave of: its own bounds end that too."""
        for life in lives:
            self.ensemble.may_end(life)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await life.send("leave")
        await self.ensemble.bury(lives, "left")

    async def _pause(self, step: Step, ids: list[int]) -> bool:
        lives = [self.ensemble[id] for id in ids]
        self._taken.update(ids)
        for life in lives:
            self._tell_pause(life.member_id, step, "stopped")
            life.signal(signal.SIGSTOP)
        await trio.sleep(step.seconds)
        for life in lives:
            if self.ensemble[life.member_id] is life and life.alive:
                life.signal(signal.SIGCONT)
                self._taken.discard(life.member_id)
                self._tell(life.member_id, "resume", names([life.member_id]), "")
        return bool(ids)

    async def _block(self, step: Step) -> bool:
        ids = self._some(step, 1)
        for id in ids:
            if not self.ensemble[id].said("in"):
                return False
            self._tell_pause(id, step, "its loop is held")
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.ensemble[id].send("hold_loop", seconds=step.seconds)
        return bool(ids)

    # --- votes --------------------------------------------------------------------------------------------------------

    async def _watch_votes(self) -> None:
        while True:
            self._look_for_votes()
            await trio.sleep(0.1)

    def _look_for_votes(self) -> None:
        for id, life in list(self._voteless.items()):
            if self.ensemble[id].number >= life and self.ensemble.pulse(id).get("has_vote"):
                del self._voteless[id]
                self._say(f"member {id} has a vote again")

    # --- the network --------------------------------------------------------------------------------------------------

    async def _isolate_leader(self, step: Step) -> bool:
        leader = self.ensemble.leader_id()
        if leader is None:
            return False
        return await self._hold(step, between([leader], self.ensemble.peers), [leader])

    async def _one_way(self, step: Step) -> bool:
        one, others = step.order[:1], step.order[1:]
        paths = towards(one, others) if step.way else towards(others, one)
        return await self._hold(step, paths, one, "it is not heard" if step.way else "it hears nobody")

    async def _hold(self, step: Step, paths: frozenset[Pair], ids: Iterable[int], detail: str = "") -> bool:
        return await self._rule(step, Rule(paths, held=True), ids, detail)

    async def _rule(self, step: Step, rule: Rule, ids: Iterable[int], detail: str = "") -> bool:
        amount = f"by {step.amount:.4g} {step.kind.unit}" if step.kind.unit else detail
        self._tell(0, step.kind.name, names(ids), f"for {step.seconds:.2f} s {amount}".rstrip())
        network = self.ensemble.network
        network.add(rule)
        try:
            await trio.sleep(step.seconds)
        finally:
            if rule in network.rules:
                network.remove(rule)
        self._tell(0, "heal", names(ids), f"{step.kind.name} is over")
        return True

    async def _reset(self, step: Step) -> bool:
        count = self.ensemble.network.reset(self._around(step))
        self._tell(0, "reset", names(step.order[:1]), f"{count} connections")
        await trio.lowlevel.checkpoint()
        return True

    def _tell_pause(self, id: int, step: Step, how: str) -> None:
        """Its detail begins with the seconds, which is how checkers learn when leases promise nothing (S-9)."""
        self.ensemble.note_fault(id, "pause", f"{step.seconds:.3f} s, {how} ({step.kind.name})")
        self._say(f"{step.kind.name} {id}: {how} for {step.seconds:.2f} s")

    def _tell(self, node: int, kind: str, whom: str, detail: str) -> None:
        self.ensemble.note_fault(node, kind, f"{whom} {detail}".strip())
        self._say(f"{kind} {whom}" + (f": {detail}" if detail else ""))


def names(ids: Iterable[int]) -> str:
    return "+".join(map(str, ids))
