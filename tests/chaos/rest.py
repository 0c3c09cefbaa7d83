"""The end of a run: all faults are over, and what must be true then of an ensemble that is whole (invariants V1 and V3).

Every member comes back in, writes are answered, all calls come to an end, and all replicas hold the same znodes. The bounds are
generous: what is judged is that it happens.
"""

from __future__ import annotations

import time
from functools import partial

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
    """Everything was healed. Notes Calm, and Quiet once it holds; raises NoRestError if it does not come."""
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
        trees = await ensemble.dumps()
    except AssertionError as error:
        raise NoRestError("V3", str(error)) from error
    if unequal := differences(trees):
        raise NoRestError("V3", "\n".join(unequal[:10]))
    applied = tuple([(id, int(await ensemble[id].ask("sync"))) for id in ids])
    ensemble.diary.record(Quiet(time.monotonic(), 0, 0, applied))
