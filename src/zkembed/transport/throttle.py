"""A log that a hostile peer cannot flood: each kind of event once an interval, with a count of what was left out (rule N-7)."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable

from attrs import define

LOG_INTERVAL = 10.0
KEYS_MAX = 64

logger = logging.getLogger("zkembed.transport")


@define
class _Kept:
    """logged: when this kind was last logged, seconds; -inf: never.  left_out: how often it came since."""

    logged: float = -math.inf
    left_out: int = 0


class ThrottledLog:
    """Lines in ``target``'s log.

    interval: seconds between two lines of one key.  keys_max: kinds that are told apart within an interval; all that come beyond them
    count as one more kind, so that neither the memory nor the log grows with what a peer invents.
    """

    __slots__ = ("_interval", "_kept", "_keys_max", "_others", "_target")

    def __init__(self, interval: float = LOG_INTERVAL, keys_max: int = KEYS_MAX, *, target: logging.Logger = logger) -> None:
        self._target = target
        self._interval = interval
        self._keys_max = keys_max
        # Invariant: ordered by ``logged``, oldest first; at most ``keys_max``.
        self._kept: dict[Hashable, _Kept] = {}
        self._others = _Kept()

    def warning(self, key: Hashable, message: str, now: float) -> None:
        self.log(logging.WARNING, key, message, now)

    def log(self, level: int, key: Hashable, message: str, now: float) -> None:
        """Log ``message``, unless its key was logged less than an interval before ``now``. level: as in ``logging``.  now: seconds."""
        kept = self._kept_for(key, now)
        if now - kept.logged < self._interval:
            kept.left_out += 1
            return
        rest = f" (and {kept.left_out} more of the kind since it was last logged)" if kept.left_out else ""
        self._target.log(level, "%s%s", message, rest)
        kept.logged, kept.left_out = now, 0
        if kept is not self._others:
            self._kept.pop(key, None)
            self._kept[key] = kept

    def _kept_for(self, key: Hashable, now: float) -> _Kept:
        """What is kept of ``key``, or of all that find no place."""
        kept = self._kept.get(key)
        if kept is not None or len(self._kept) < self._keys_max:
            return kept or _Kept()
        oldest = next(iter(self._kept))
        if now - self._kept[oldest].logged < self._interval:
            return self._others
        del self._kept[oldest]
        return _Kept()
