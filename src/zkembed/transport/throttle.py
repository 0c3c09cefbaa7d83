"""A log that a hostile peer cannot flood: each kind of event once an interval, with a count of what was left out (rule N-7)."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from attrs import define

LOG_INTERVAL = 10.0
KEYS_MAX = 256

logger = logging.getLogger("zkembed.transport")


@define
class _Kept:
    """logged: when this kind was last logged, seconds.  left_out: how often it came since."""

    logged: float
    left_out: int = 0


class ThrottledLog:
    """Warnings under ``zkembed.transport``.

    interval: seconds between two lines of one key.  keys_max: kinds that are told apart; a new one beyond them takes the place of the
    one that was logged longest ago, so that memory stays bounded whatever comes.
    """

    __slots__ = ("_interval", "_kept", "_keys_max")

    def __init__(self, interval: float = LOG_INTERVAL, keys_max: int = KEYS_MAX) -> None:
        self._interval = interval
        self._keys_max = keys_max
        # Invariant: ordered by ``logged``, oldest first.
        self._kept: dict[Hashable, _Kept] = {}

    def warning(self, key: Hashable, message: str, now: float) -> None:
        """Log ``message``, unless its key was logged less than an interval before ``now``."""
        kept = self._kept.get(key)
        if kept is not None and now - kept.logged < self._interval:
            kept.left_out += 1
            return
        left_out = 0 if kept is None else kept.left_out
        self._remember(key, now)
        logger.warning("%s%s", message, f" (and {left_out} more of the kind since it was last logged)" if left_out else "")

    def _remember(self, key: Hashable, now: float) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= self._keys_max:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(now)
