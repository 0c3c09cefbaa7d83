"""DU-1, on top of the exhaustive matrix: long lives of one data directory, with any operation behind any other, in which the power fails
again and again, processes are killed and single operations of the disk fail. What is drawn is drawn from the life's number.
"""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from zkembed.durable import Epochs
from zkembed.errors import StorageError
from zkembed.log.simulated_disk import PowerCutError, SimulatedDisk
from zkembed.record import Record

from .helpers import history, small
from .matrix import Allowed
from .model import Act, Append, Close, Found, Install, Place, Promise, Purge, Renew, Seal, Snapshot, Start, State, Truncate, find

LIVES = 100
ACTS = 25


class Life:
    """epoch: the newest that any record has had, so that a zxid never comes twice with another content."""

    def __init__(self, number: int) -> None:
        self.chance = Random(f"life {number}")
        self.place = Place(SimulatedDisk(), small)
        self.state = State()
        self.epoch = 1
        self.deaths = 0
        self.story: list[str] = []

    def live(self) -> None:
        self._do(Start())
        for _ in range(ACTS):
            act = self._draw()
            self._do(act)
            if isinstance(act, Close):
                self._do(Start())

    # --- one act, and what may happen in it

    def _do(self, act: Act) -> None:
        chance, disk = self.chance, self.place.disk
        allowed = Allowed(type(act).__name__, act.within(self.state), tuple(self.place.starts))
        self.story.append(repr(act)[:200])
        trouble = chance.choice(["none", "none", "none", "power", "power", "error", "kill"])
        if trouble == "power":
            disk.die_at = disk.steps + chance.randint(1, 20)
        elif trouble == "error":
            disk.fail_at[disk.steps + chance.randint(1, 20)] = StorageError
        try:
            act.do(self.place)
        except PowerCutError:
            self._come_back(allowed, power=True)
            return
        except StorageError:
            # A snapshot whose name could not be synced may be found by one start and be gone for the next: an older one serves then, and no
            # record is lost. The model does not know of that, so the power decides at once.
            self._come_back(allowed, power=isinstance(act, Snapshot) or chance.random() < 0.5)
            return
        disk.die_at = None
        disk.fail_at.clear()
        self.state = act.then(self.state)
        if trouble == "kill":
            done = Allowed(type(act).__name__, (self.state,), tuple(self.place.starts), returned=True)
            self._come_back(done, power=chance.random() < 0.5)

    def _come_back(self, allowed: Allowed, *, power: bool) -> None:
        """Start, perhaps after some more losses of power within starts, and go on from what is found."""
        chance, disk = self.chance, self.place.disk
        self.deaths += 1
        while True:
            disk.fail_at.clear()
            if power:
                share = chance.choice([0.0, 0.5, 1.0, chance.random()])
                disk.crash(lambda _, share=share: chance.random() < share)  # type: ignore[misc]
            else:
                disk.kill()
            if chance.random() < 0.3:
                disk.die_at = disk.steps + chance.randint(1, 20)
            log = small(disk)
            try:
                found = find(log)
                break
            except PowerCutError:
                power = True
        disk.die_at = None
        difference = allowed.difference(found)
        assert not difference, "\n".join([difference, *self.story])
        self._go_on_from(found, allowed)
        self.place.log = log
        self.place.starts.append(found.identity)

    def _go_on_from(self, found: Found, allowed: Allowed) -> None:
        alone = [state for state in allowed.states if not evolve(allowed, states=(state,)).difference(found)]
        # Several only differ in what a start does not say; the new identity is an old one from here on.
        self.state = evolve(alone[0], anew=False, records_from=found.records_from, purged_to=found.records_from)

    # --- what to do next

    def _draw(self) -> Act:
        chance, state = self.chance, self.state
        newest = max(state.snapshots, default=state.records_from)
        fresh = [record for record in state.history if record.zxid > newest]
        acts: list[Act] = [
            self._append(),
            self._append(),
            self._append(),
            Seal(),
            self._promise(),
            Purge(),
            self._install(),
            Start(),
            Close(),
        ]
        if fresh:
            acts += [
                Truncate(chance.choice(fresh).zxid),
                Snapshot(chance.choice(fresh)),
                Snapshot(fresh[0]),
                Snapshot(fresh[-1], aborted=True),
            ]
        if chance.random() < 0.2:
            acts.append(Renew())
        return chance.choice(acts)

    def _records(self, count: int, last: Record | None) -> tuple[Record, ...]:
        """Of an epoch of their own, behind ``last``."""
        self.epoch += 1
        prev_zxid, prev_chain = (last.zxid, last.chain) if last else (0, 0)
        payload = b"p" * self.chance.choice([5, 60, 300])
        return tuple(history(count, epoch=self.epoch, prev_zxid=prev_zxid, prev_chain=prev_chain, payload=payload))

    def _append(self) -> Append:
        last = self.state.history[-1] if self.state.history else self.state.base
        return Append(self._records(self.chance.randint(1, 6), last))

    def _promise(self) -> Promise:
        old, chance = self.state.epochs, self.chance
        accepted = old.accepted + chance.randint(0, 2)
        return Promise(Epochs(accepted, chance.randint(1, 3), chance.randint(old.current, accepted)))

    def _install(self) -> Install:
        base, *records = self._records(self.chance.randint(1, 12), None)
        ending = self.chance.choice(["commit", "commit", "abort", "again", "left"])
        if self.chance.random() < 0.2:
            return Install(None, (base, *records), ending)
        return Install(base, tuple(records), ending)


@pytest.mark.parametrize("number", range(LIVES))
def test_DU_1_a_random_life(number: int) -> None:
    """D1, D2, I-6: at each start, whatever came before it."""
    Life(number).live()


def test_DU_1_random_lives_are_hard() -> None:
    lives = [Life(number) for number in range(20)]
    for life in lives:
        life.live()
    assert sum(life.deaths for life in lives) > 100
