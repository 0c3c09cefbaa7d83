"""The end of a run: all faults are over, and what must be true then of an ensemble that is whole (invariants V1 and V3).

Every member comes back in, writes are answered, all calls come to an end, and all replicas hold the same znodes. The bounds are
generous: what is judged is that it happens.
"""

from __future__ import annotations

import time
from functools import partial

import trio

from tests.process.judge import differences
from zkembed.testing.history import Calm, Quiet

from .ensemble import ChaosEnsemble

PATIENCE = 60.0


class NoRestError(Exception):
    """invariant: which one does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(text)
        self.invariant = invariant


async def come_to_rest(ensemble: ChaosEnsemble) -> None:
    """All is healed. Notes Calm, and Quiet once it holds, with every member's tree in a file; raises NoRestError if it never does."""
    ids = tuple(ensemble.peers)
    ensemble.diary.record(Calm(time.monotonic(), 0, 0, ids))
    try:
        for id in ids:
            life = ensemble[id]
            await life.wait(partial(life.said, "in"), "its entry", PATIENCE)
        for id in ids:
            await ensemble[id].ask("create", path="/at-the-end-", sequential=True)
    except AssertionError as error:
        raise NoRestError("V1", str(error)) from error
    try:
        for life in ensemble.running():
            await life.ask("stop_load")
        await _contend(ensemble)
        applied = await _converge(ensemble)
    except AssertionError as error:
        raise NoRestError("V3", str(error)) from error
    ensemble.diary.record(Quiet(time.monotonic(), 0, 0, applied))


async def _contend(ensemble: ChaosEnsemble) -> None:
    """All stand in the queue for the lock, and one gets it: at rest there is a holder, and others who wait (invariants L2, L3)."""
    lives = ensemble.running()
    before = len(ensemble.events("holds"))
    for life in lives:
        await life.send("contend")
    for life in lives:
        await life.wait_said("contends")
    await ensemble.wait(lambda: len(ensemble.events("holds")) > before, "a holder of the lock", PATIENCE)


async def _converge(ensemble: ChaosEnsemble) -> tuple[tuple[int, int], ...]:
    """Until all show the state of one zxid, which is then equal; sessions of the dead may still be expiring meanwhile."""
    with trio.move_on_after(PATIENCE):
        while True:
            found = {id: await ensemble.dump(id) for id in ensemble.peers}
            if len({zxid for zxid, _ in found.values()}) == 1:
                unequal = differences([tree for _, tree in found.values()])
                assert not unequal, "\n".join(unequal[:10])
                return tuple((id, zxid) for id, (zxid, _) in found.items())
    raise AssertionError("the replicas do not reach one zxid")
