"""The clock by which leases and timers run: monotonic, and counting the time that the machine sleeps (rule S-9).

trio's own clock stands still while a laptop is suspended; a session does not. Where the platform has a clock that goes on
(Linux: CLOCK_BOOTTIME), what it gained on the monotonic one is added. Under a mock clock, time is the mock's alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio


def _boottime_gain() -> float:
    """Seconds that CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: how long the machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _sleep_source() -> Callable[[], float] | None:
    if hasattr(time, "CLOCK_BOOTTIME") and type(trio.lowlevel.current_clock()).__name__ == "SystemClock":
        return _boottime_gain
    return None


class LeaseClock:
    """Made inside a trio run. ``now`` and deadlines are on one scale; ``trio_time`` turns a deadline into trio's."""

    # Two readings of two clocks are never simultaneous; less than this is no sleep.
    JITTER = 0.05

    def __init__(self, slept: Callable[[], float] | None = None) -> None:
        """slept: seconds the machine has slept so far, from any origin. Default: what the platform offers."""
        self._slept = slept if slept is not None else _sleep_source()
        self._origin = self._last = self._slept() if self._slept is not None else 0.0

    def _offset(self) -> float:
        if self._slept is not None:
            slept = self._slept()
            if slept - self._last > self.JITTER:
                self._last = slept
        return self._last - self._origin

    def now(self) -> float:
        return trio.current_time() + self._offset()

    def trio_time(self, deadline: float) -> float:
        """When, by trio's clock, ``deadline`` comes, if the machine does not sleep meanwhile."""
        return deadline - self._offset()
