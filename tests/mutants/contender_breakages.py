"""Deliberate breakages of the recipe for locks, as the workload's contenders do its steps; see ``breakages.py`` for what a breakage is."""

from __future__ import annotations

from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.testing.workload.contender import Contender
from zkembed.testing.workload.tenure import Tenure

Patch = pytest.MonkeyPatch


def second_place_will_do(patch: Patch) -> None:
    """L1, RE-1: whoever finds itself behind one other only takes the lock."""
    original = Contender._read_queue

    def read_queue(self: Contender) -> Any:
        queue = yield from original(self)
        return [self.znode, *queue] if queue[1:2] == [self.znode] else queue

    patch.setattr(Contender, "_read_queue", read_queue)


def suspended_holders_go_on(patch: Patch) -> None:
    """L1, S-7: a holder whose session is SUSPENDED believes in its lock until the session has ended."""
    original = Tenure._session_changed

    def session_changed(self: Tenure, state: SessionState) -> None:
        if state is not SessionState.SUSPENDED:
            original(self, state)

    patch.setattr(Tenure, "_session_changed", session_changed)


def znodes_are_left_behind(patch: Patch) -> None:
    """L2: whoever gives up its place leaves its znode there."""
    original = Contender.withdraw

    def withdraw(self: Contender) -> None:
        if not self.token:
            self._ticket = None
        original(self)

    patch.setattr(Contender, "withdraw", withdraw)


def deletion_is_not_noticed(patch: Patch) -> None:
    """L3: whoever waits for its predecessor is not told when that has gone."""
    original = Contender._watch_deletion

    def watch_deletion(self: Contender, watch: Any) -> Any:
        there = yield from original(self, watch)
        if watch is not self._own_watch:
            watch.remove()
        return there

    patch.setattr(Contender, "_watch_deletion", watch_deletion)
