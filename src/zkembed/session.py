"""A session as its owner holds it: state, lease, and scopes that end when the session does.

Doubt reaches the user's code as a cancelled scope or as a state to look at, never as a callback. This file knows the
session only through its SessionView.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio

from .endpoint import SessionState, SessionView
from .errors import BadArgumentsError, SessionExpiredError

_ENDED = (SessionState.EXPIRED, SessionState.CLOSED)


class Session:
    """``zk.session``. After an expiry ``zk.session`` is another one; this one stays as it ended."""

    def __init__(self, view: SessionView) -> None:
        self._view = view

    @property
    def id(self) -> int:
        """63-bit number; ``Stat.ephemeral_owner`` of what it owns. Another if its creation is repeated, never once it was CONNECTED."""
        return self._view.id

    @property
    def timeout(self) -> float:
        """Seconds without a sign of life after which the ensemble ends the session."""
        return self._view.timeout

    @property
    def zxid(self) -> int:
        """The highest zxid this session has seen; no read of it goes below."""
        return self._view.zxid

    @property
    def state(self) -> SessionState:
        """What its owner may believe of it now (S-7)."""
        return self._view.state

    def expires_in(self) -> float:
        """Seconds for which nobody else can see the session expire, by the local monotonic clock, conservative; 0.0 when in doubt (S-7)."""
        return self._view.expires_in()

    def ephemerals(self, prefix: str = "/") -> tuple[str, ...]:
        """Paths of the ephemeral znodes it owns, as applied here, sorted."""
        return self._view.ephemerals(prefix)

    async def wait_state(self, *states: SessionState) -> SessionState:
        """Wait until the state is one of ``states``, and return it. Returns nothing late: the state may have changed again since.

        Raises SessionExpiredError if the session ends in another state: it would never come.
        """
        if not states or not all(isinstance(state, SessionState) for state in states):
            raise BadArgumentsError(f"wait_state{states!r}: expected one or more of {', '.join(state.name for state in SessionState)}")
        await trio.lowlevel.checkpoint()
        while (state := self._view.state) not in states:
            if state in _ENDED:
                raise SessionExpiredError(f"session {self.id:#x} is {state.name}, waited for {', '.join(s.name for s in states)}")
            await _change(self._view, state)
        return state

    def states(self) -> SessionStates:
        """Async iterator: the present state, then each other one it is found in; ends behind EXPIRED or CLOSED."""
        return SessionStates(self._view)

    def move_on_expiry(self) -> SessionScope:
        """``with session.move_on_expiry() as scope``: the block is cancelled when the session has ended."""
        return SessionScope(self._view, _ENDED)

    def move_on_suspend(self) -> SessionScope:
        """``with session.move_on_suspend() as scope``: the block is cancelled as soon as the session is not CONNECTED any more."""
        return SessionScope(self._view, (SessionState.SUSPENDED, *_ENDED))

    def fail_on_expiry(self) -> SessionScope:
        """Like ``move_on_expiry``, and SessionExpiredError is raised at the end of a block that was cancelled."""
        return SessionScope(self._view, _ENDED, fail=True)

    def __repr__(self) -> str:
        return f"<Session {self.id:#x} {self.state.name}>"


class SessionStates:
    """See ``Session.states``."""

    def __init__(self, view: SessionView) -> None:
        self._view = view
        self._seen: SessionState | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionState:
        await trio.lowlevel.checkpoint()
        if self._seen in _ENDED:
            raise StopAsyncIteration
        if self._view.state is self._seen:
            await _change(self._view, self._seen)
        self._seen = self._view.state
        return self._seen


class SessionScope:
    """A cancel scope that a session's state can cancel. Enter and exit: no checkpoint."""

    def __init__(self, view: SessionView, states: tuple[SessionState, ...], *, fail: bool = False) -> None:
        self._view = view
        self._states = states
        self._fail = fail
        self._scope = trio.CancelScope()

    def session_changed(self, state: SessionState) -> None:
        if state in self._states:
            self._scope.cancel(reason=f"zkembed: session {self._view.id:#x} is {state.name}")

    def __enter__(self) -> trio.CancelScope:
        self._view.on_change(self)
        self._scope.__enter__()
        self.session_changed(self._view.state)
        return self._scope

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        self._view.off_change(self)
        swallowed = self._scope.__exit__(kind, error, trace)
        if self._fail and self._scope.cancelled_caught:
            raise SessionExpiredError(f"session {self._view.id:#x} is {self._view.state.name}")
        return swallowed


class _Change:
    """One task that waits for the next change of state."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def session_changed(self, state: SessionState) -> None:
        self.event.set()


async def _change(view: SessionView, seen: SessionState) -> None:
    """Park until the state is, or has been, another than ``seen``."""
    change = _Change()
    view.on_change(change)
    try:
        if view.state is seen:
            await change.event.wait()
    finally:
        view.off_change(change)
