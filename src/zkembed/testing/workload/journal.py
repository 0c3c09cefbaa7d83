"""What the sessions of a run write into its history, and the numbers that make calls, clients and watches unique in it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from ..history import Event
from .port import World


class Journal:
    """One for a workload: its clock, its history, its chance and its counters."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self.rng = rng
        self.record: Callable[[Event], None] = world.history.record
        self.invoked = 0
        self._clients = 0
        self._watches = 0

    @property
    def now(self) -> float:
        return self._world.now

    def at(self, delay: float, event: Callable[[], Any]) -> None:
        self._world.at(delay, event)

    def next_call(self) -> int:
        self.invoked += 1
        return self.invoked

    def next_client(self) -> int:
        self._clients += 1
        return self._clients

    def next_watch(self) -> int:
        self._watches += 1
        return self._watches
