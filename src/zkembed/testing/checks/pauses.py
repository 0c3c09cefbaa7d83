"""Which nodes time was not fair to: a process that was paused or a clock that stood still, to which leases promise nothing (S-9)."""

from __future__ import annotations

import re
from math import inf

from ..history import Fault

PAUSES = frozenset({"pause", "clock-halt"})
"""Kinds of faults that stop a process, or its clock. Detail: seconds, as ``2.5 s``; without, until a fault of RESUMES."""

RESUMES = frozenset({"resume"})
RATES = frozenset({"clock-rate"})
"""Detail: seconds of the node's clock in one of the run's, as ``1.034``. Inside the bound that leases allow for."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class Pauses:
    def __init__(self) -> None:
        # Until when each node was paused; infinity: it still is.
        self._until: dict[int, float] = {}
        self._rates: dict[int, float] = {}

    def fault(self, event: Fault) -> None:
        number = _NUMBER.match(event.detail)
        if event.kind in PAUSES:
            until = inf if number is None else event.t + float(number.group())
            self._until[event.node] = max(until, self._until.get(event.node, until))
        elif event.kind in RESUMES:
            self._until[event.node] = event.t
        elif event.kind in RATES and number is not None:
            self._rates[event.node] = max(float(number.group()), self.rate(event.node))

    def ended(self, node: int, t: float) -> None:
        """The process of the node, paused or not, is no more."""
        if node in self._until:
            self._until[node] = min(t, self._until[node])

    def unfair(self, node: int, since: float) -> bool:
        """Whether the node was paused at some time since then."""
        return self._until.get(node, -inf) >= since

    def rate(self, node: int) -> float:
        """The fastest that the node's clock has run, at least 1."""
        return self._rates.get(node, 1.0)
