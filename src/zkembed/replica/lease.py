"""The owner's side of liveness: what it may still believe of its sessions (rules S-4, S-7).

A session is safely ours until ``confirmed + timeout * (1 - LEASE_MARGIN)``, where ``confirmed`` is when we sent the newest touch
that a leader with a quorum behind it is known to have received. Every later leader starts its deadline after that
moment, so a change of leader alone suspends nobody. Times are this node's monotonic clock, which is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .pipeline import LocalSession

LEASE_MARGIN = 0.2
TOUCHES_KEPT = 512


def lease_end(session: LocalSession) -> float:
    """When the session is SUSPENDED unless it is confirmed again."""
    return session.confirmed + session.timeout * (1 - LEASE_MARGIN)


class Touches:
    """PONGs sent on the present link to a leader, by sequence number, until a PING echoes them."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, float, tuple[int, ...]]] = deque(maxlen=TOUCHES_KEPT)
        self._listed: tuple[int, ...] | None = None

    def reset(self) -> None:
        """A new link: its sequence numbers start anew, and the leader knows no list (N-9)."""
        self._sent.clear()
        self._listed = None

    def listing(self, live: tuple[int, ...]) -> tuple[int, ...] | None:
        """What the next PONG says of our live sessions: None for "as before"."""
        if live == self._listed:
            return None
        self._listed = live
        return live

    def sent(self, seq: int, now: float, live: tuple[int, ...]) -> None:
        self._sent.append((seq, now, live))

    def echoed(self, seq: int) -> tuple[float, tuple[int, ...]] | None:
        """The PONG ``seq`` was received before a round that a quorum answered: when it was sent, and whom it listed."""
        found = None
        while self._sent and self._sent[0][0] <= seq:
            found = self._sent.popleft()
        return None if found is None or found[0] != seq else found[1:]


def confirm(sessions: Iterable[LocalSession], sent_at: float) -> None:
    """A touch of these, sent at ``sent_at``, counts."""
    for session in sessions:
        session.confirmed = max(session.confirmed, sent_at)
