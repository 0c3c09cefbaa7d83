"""Tasks without trio: a generator that yields what it waits for, stepped by the world's events, cancelled as trio would.

A task runs within steps of its node only. It goes on a little after what it waited for, so that the node may have taken other
steps in between; while the node's loop is blocked it does not run at all, and when the process dies it is never heard of again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, ClassVar, Protocol, TypeAlias

from ...errors import ZkError
from .client import Client
from .journal import Journal

BLOCKED_LOOK = (0.02, 0.5)
"""Seconds between two looks at a host that is not up: the first, and the longest."""


class Interrupt(Exception):
    """Thrown into a task where it waits: the cancellation of a scope. Subclasses say whose. outer: of the one around all others."""

    outer: ClassVar[bool] = False


class Wait(Protocol):
    """What a task may wait for."""

    def begin(self, wake: Callable[[], None], /) -> None:
        """Call ``wake`` once when it has come, now if it has."""

    def abandon(self) -> None:
        """Nobody waits any more. Within a step of the node."""

    def result(self) -> Any: ...


Steps: TypeAlias = Generator[Wait, Any, Any]


class Bell:
    """Waited for by one task; rung once."""

    def __init__(self) -> None:
        self.rung = False
        self._wake: Callable[[], None] | None = None

    def ring(self) -> None:
        self.rung = True
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def begin(self, wake: Callable[[], None]) -> None:
        if self.rung:
            wake()
        else:
            self._wake = wake

    def abandon(self) -> None:
        self._wake = None

    def result(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Sleep(Bell):
    """Rings by itself after some seconds."""

    def __init__(self, journal: Journal, seconds: float) -> None:
        super().__init__()
        journal.at(seconds, self.ring)


class Task:
    """over: it has ended, or its process has.  ended: told when it has ended by itself."""

    def __init__(self, client: Client, steps: Steps, ended: Callable[[], None]) -> None:
        self._client = client
        self._steps = steps
        self._ended = ended
        self.over = False
        self._wait: Wait | None = None
        self._woken = False
        self._scheduled = False
        self._interrupt: Interrupt | None = None
        self._look = BLOCKED_LOOK[0]
        self._schedule()

    def interrupt(self, reason: Interrupt) -> None:
        """Throw ``reason`` where it waits, or at its next wait; the outermost one counts, else the first. Plain, at any time."""
        if not self.over and (self._interrupt is None or reason.outer):
            self._interrupt = reason
            self._schedule()

    def forgive(self, kind: type[Interrupt]) -> None:
        """The scope has been left: it cancels nothing any more."""
        if type(self._interrupt) is kind:
            self._interrupt = None

    def abandon(self) -> None:
        """Its process has died: nothing of it runs any more, and what it holds in Python ends without effect."""
        self.over = True
        self._wait = None
        self._steps.close()

    def __repr__(self) -> str:
        what = "over" if self.over else "about to go on" if self._woken or self._wait is None else f"at {self._wait!r}"
        return f"<task {what}>"

    def stuck_in(self, kind: type) -> bool:
        """It would go on from such a wait, if only its loop were not blocked."""
        return self._woken and isinstance(self._wait, kind)

    def _wake(self) -> None:
        self._woken = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            rng = self._client.journal.rng
            self._client.journal.at(0.0 if rng.random() < 0.7 else rng.uniform(0.0, 0.002), self._go_on)

    def _go_on(self) -> None:
        client = self._client
        if self.over or not client.alive:
            return
        if not client.host.up:
            client.journal.at(self._look, self._go_on)
            self._look = min(2 * self._look, BLOCKED_LOOK[1])
            return
        self._scheduled = False
        self._look = BLOCKED_LOOK[0]
        client.host.act(lambda _: self._step())

    def _step(self) -> None:
        """On from what it waited for; else the interrupt is why it runs."""
        wait, woken = self._wait, self._woken
        if wait is not None and not woken and self._interrupt is None:
            return  # It was forgiven.
        self._wait, self._woken = None, False
        try:
            if wait is None:
                wait = next(self._steps)  # A task that was interrupted before it began comes as far as its first wait.
            elif woken:
                wait = self._resume(wait)
            while self._interrupt is not None:
                reason, self._interrupt = self._interrupt, None
                wait.abandon()
                wait = self._steps.throw(reason)
        except StopIteration:
            self.over = True
            self._ended()
            return
        self._wait = wait
        wait.begin(self._wake)

    def _resume(self, wait: Wait) -> Wait:
        try:
            value = wait.result()
        except ZkError as error:
            return self._steps.throw(error)
        return self._steps.send(value)
