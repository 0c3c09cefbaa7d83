"""The watch of an established leader over its own right to lead (rules B-9, B-14, D-8, Z-1). Before establishment: watch.py."""

from __future__ import annotations

from ..zxid import counter_of
from .attempt import Attempt


class Duty:
    """_lag: a commit point that the own disk had not reached, and since when.

    _locked_out: voters that have promised a higher epoch, and when they were last seen.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._established_at = attempt.core.now
        self._lag: tuple[float, int] | None = None
        self._locked_out: dict[int, float] = {}

    def begin(self) -> None:
        """The leader is established now."""
        self._established_at = self._attempt.core.now

    def lock_out(self, node_id: int) -> None:
        self._locked_out[node_id] = self._attempt.core.now

    def joined(self, node_id: int) -> None:
        self._locked_out.pop(node_id, None)

    def committed(self) -> None:
        """The commit point has moved."""
        core = self._attempt.core
        if self._lag is None and core.history.committed > core.history.durable:
            self._lag = (core.now, core.history.committed)

    def tick(self, now: float) -> None:
        self._watch_quorum(now)
        self._watch_own_disk(now)
        self._watch_numbers(now)

    def _watch_quorum(self, now: float) -> None:
        """(rule B-9)"""
        limit = self._attempt.core.settings.sync_limit
        if not self._attempt.quorum(
            [handler for handler in self._attempt.handlers.values() if handler.synced and now < handler.heard_at + limit]
        ):
            self._attempt.end(f"no quorum was heard for {self._attempt.core.settings.sync_limit} s")

    def _watch_own_disk(self, now: float) -> None:
        """(rule B-14)"""
        history, settings = self._attempt.core.history, self._attempt.core.settings
        if self._lag is not None and history.durable >= self._lag[1]:
            self._lag = (now, history.committed) if history.committed > history.durable else None
        if self._lag is None:
            return
        behind = history.size(history.durable, history.committed)
        if now >= self._lag[0] + settings.lag_limit or behind > settings.lag_bytes_max:
            self._attempt.end(f"the own disk trails the commit point by {behind} bytes, {now - self._lag[0]:.1f} s")

    def _watch_numbers(self, now: float) -> None:
        """Open a higher epoch: the counter nears its end (rule Z-1), or a voter is locked out by its promise (rule D-8)."""
        core, history, settings = self._attempt.core, self._attempt.core.history, self._attempt.core.settings
        if counter_of(history.end) >= settings.counter_limit and history.committed == history.end:
            self._attempt.end("the counter of this epoch is used up")
            return
        recently = [node_id for node_id, seen in self._locked_out.items() if now - seen <= settings.reepoch_interval]
        due = now - max(core.reepoch_at, self._established_at) >= settings.reepoch_interval
        if recently and due:
            core.reepoch_at = now
            self._attempt.end(f"node {recently[0]} has promised a higher epoch and can only join that")
