"""A log that a hostile peer cannot flood: each kind of event once an interval, with a count of what was left out (rule N-7)."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from attrs import define

LOG_INTERVAL = 10.0
KEYS_MAX = 64
_OTHERS = "others"

logger = logging.getLogger("zkembed.transport")


@define
class _Kept:
    """logged: when this kind was last logged, seconds.  left_out: how often it came since."""

    logged: float
    left_out: int = 0


class ThrottledLog:
    """Lines in ``target``'s log.

    interval: seconds between two lines of one key.  keys_max: kinds that are told apart within an interval; all that come beyond them
    count as one more kind, so that neither the memory nor the log grows with what a peer invents.
    """

    __slots__ = ("_interval", "_kept", "_keys_max", "_target")

    def __init__(self, interval: float = LOG_INTERVAL, keys_max: int = KEYS_MAX, *, target: logging.Logger = logger) -> None:
        self._target = target
        self._interval = interval
        self._keys_max = keys_max
        # Invariant: ordered by ``logged``, oldest first.
        self._kept: dict[Hashable, _Kept] = {}

    def warning(self, key: Hashable, message: str, now: float) -> None:
        """Log ``message``, unless its key was logged less than an interval before ``now``. now: seconds."""
        key = self._place_for(key, now)
        kept = self._kept.get(key)
        if kept is not None and now - kept.logged < self._interval:
            kept.left_out += 1
            return
        left_out = 0 if kept is None else kept.left_out
        self._kept.pop(key, None)
        self._kept[key] = _Kept(now)
        self._target.log(level, "%s%s", message, f" (and {left_out} more of the kind since it was last logged)" if left_out else "")

    def _place_for(self, key: Hashable, now: float) -> Hashable:
        """``key``, or the key of all that find no place."""
        if key in self._kept or len(self._kept) < self._keys_max:
            return key
        oldest = next(iter(self._kept))
        if now - self._kept[oldest].logged < self._interval:
            return _OTHERS
        del self._kept[oldest]
        return key
