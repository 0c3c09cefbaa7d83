"""The leader's side of liveness: deadlines of all sessions, and which of them are open (rules S-3 to S-6).

Made when a leader is established, dropped when it ends; nothing here is replicated. A session is *open* if it is in the
applied I_e or its creation was proposed by this leader, and its close was not. Only for open ones are touches confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable

NEVER = float("inf")


class Expiry:
    """Deadlines in seconds of the leader's monotonic clock.

    Invariant: a session with a deadline is open, or marked for expiry by the operator; closing ones have none.
    """

    def __init__(self, sessions: Iterable[tuple[int, float]], now: float) -> None:
        """sessions: (id, timeout in seconds) of the applied I_e. Each gets a full timeout from ``now`` (S-3)."""
        self._timeouts: dict[int, float] = dict(sessions)
        self._deadlines: dict[int, float] = {id: now + timeout for id, timeout in self._timeouts.items()}
        self._open: set[int] = set(self._timeouts)
        self._closing: set[int] = set()
        # A lower bound of all deadlines: touches only move them on, so it is recomputed when it is reached, not at each touch.
        self._bound = min(self._deadlines.values(), default=NEVER)

    def proposed_open(self, session: int) -> None:
        """Its creation was proposed: touches of it count from here on (S-4); its deadline starts at apply (S-3)."""
        if session not in self._closing:
            self._open.add(session)

    def opened(self, session: int, timeout: float, now: float) -> None:
        """Its creation was applied."""
        if session in self._closing:
            return
        self._timeouts[session] = timeout
        self._deadlines[session] = now + timeout
        self._bound = min(self._bound, now + timeout)
        self._open.add(session)

    def touch(self, session: int, now: float) -> None:
        timeout = self._timeouts.get(session)
        if timeout is not None and session in self._open:
            self._deadlines[session] = now + timeout

    def is_open(self, session: int) -> bool:
        return session in self._open

    def is_closing(self, session: int) -> bool:
        return session in self._closing

    def proposed_close(self, session: int) -> None:
        """Its close was proposed: nothing further of it is proposed in this epoch (S-5)."""
        self._open.discard(session)
        self._closing.add(session)
        self._deadlines.pop(session, None)

    def condemn(self, session: int) -> bool:
        """An operator's expiry: no longer open, closed at its deadline, so that its owner is warned first (S-5). False: unknown."""
        if session not in self._deadlines:
            return False
        self._open.discard(session)
        return True

    def closed(self, session: int) -> None:
        """Its close was applied."""
        self._open.discard(session)
        self._closing.discard(session)
        self._deadlines.pop(session, None)
        self._timeouts.pop(session, None)

    def next_deadline(self) -> float:
        """No session is due before this."""
        return self._bound

    def due(self, now: float) -> list[int]:
        """Sessions whose deadline has passed, earliest first."""
        if now < self._bound:
            return []
        due = [(deadline, session) for session, deadline in self._deadlines.items() if deadline <= now]
        self._bound = min((deadline for deadline in self._deadlines.values() if deadline > now), default=NEVER)
        return [session for _, session in sorted(due)]
