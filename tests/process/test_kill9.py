"""kill -9 of any member, of two, or of all, at any moment under load: no answered write is lost, none is done twice (D1, S3, L1)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from .ensemble import Ensemble, open_ensemble
from .judge import judge

KILLS = 50
SEED = int(os.environ.get("ZKEMBED_KILL_SEED", "20"))
WRITERS = 3
ANSWERS_BETWEEN = 500
FAULTS = {"the leader": 4, "a follower": 3, "anyone, whatever it is doing": 3, "two": 2, "all": 2}


class Killer:
    """Draws who is killed and when, from one seed."""

    def __init__(self, ensemble: Ensemble, chance: Random) -> None:
        self.ensemble = ensemble
        self.chance = chance
        self.killed = 0
        self.faults: list[str] = []
        self.first = chance.sample(list(FAULTS), len(FAULTS))  # Each kind once, then as it comes.

    async def strike(self) -> None:
        """Kill somebody after a number of answers, and start those again: sometimes at once, sometimes after more answers."""
        await self.wait_answers(self.chance.randint(0, ANSWERS_BETWEEN))
        fault = self.first.pop() if self.first else self.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        victims = await self.choose(fault)
        for id in victims:
            self.ensemble[id].process.kill()
        for id in victims:
            await self.ensemble[id].wait_exit()
        self.killed += len(victims)
        self.faults.append(fault)
        if len(victims) == 1:
            await self.wait_answers(self.chance.choice([0, 0, 50]))
        await self.restart(victims)

    async def restart(self, ids: list[int]) -> None:
        """In any order. Of all three, two must go on as if there were no third: it may have been the leader."""
        self.chance.shuffle(ids)
        lives = [await self.ensemble.start(id, writers=WRITERS) for id in ids[:2]]
        if len(ids) > 2:
            for life in lives:
                await life.wait_said("in")
            await self.wait_answers(50)
            await self.ensemble.start(ids[2], writers=WRITERS)

    async def choose(self, fault: str) -> list[int]:
        everybody = list(self.ensemble.peers)
        if fault == "all":
            return everybody
        if fault == "two":
            return self.chance.sample(everybody, 2)
        if fault == "the leader":
            return [(await self.ensemble.leader()).member_id]
        if fault == "a follower":
            leader = (await self.ensemble.leader()).member_id
            return [self.chance.choice([id for id in everybody if id != leader])]
        return [self.chance.choice(everybody)]  # Perhaps one that is just starting.

    async def wait_answers(self, count: int) -> None:
        """That many more, from whoever is there."""
        goal = self.answers() + count
        await self.ensemble.wait(lambda: self.answers() >= goal, f"{count} more answers after {self.faults}")

    def answers(self) -> int:
        return sum(len(life.events) for life in self.ensemble.lives)


@pytest.mark.timeout(300)
async def test_fifty_kills_at_random_moments_lose_no_answered_write(tmp_path: Path) -> None:
    """Own snapshots every 500 entries, so that restarts load them, and logs are purged meanwhile."""
    print(f"seed {SEED}")
    async with open_ensemble(tmp_path, 3, session_timeout=3.2, snapshot_every=500) as ensemble:
        await ensemble.start_all(writers=WRITERS)
        killer = Killer(ensemble, Random(SEED))
        while killer.killed < KILLS:
            await killer.strike()
        for id in ensemble.peers:
            await ensemble[id].wait_said("in")
        counts = await judge(ensemble)
        print(f"{killer.killed} kills: {Counter(killer.faults)}; {counts}")
        assert counts["counted"] > 2000
        assert counts["shared"] > 5
        for life in ensemble.running():
            await life.leave()


@pytest.mark.parametrize("round", range(3))
async def test_killing_all_at_once_loses_nothing_that_was_answered(tmp_path: Path, round: int) -> None:
    """Nobody is left to tell the others: what comes back comes from the disks."""
    chance = Random(f"all at once {round}")
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        await ensemble.start_all(writers=WRITERS)
        killer = Killer(ensemble, chance)
        await killer.wait_answers(chance.randint(100, 600))
        for life in ensemble.running():
            life.process.kill()
        for life in ensemble.lives:
            await life.wait_exit()
        await ensemble.start_all()
        counts = await judge(ensemble)
        assert counts["counted"] > 50
