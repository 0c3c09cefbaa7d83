"""The leader's view of one learner in one attempt, on one link. An ack counts on this link alone (rule N-9)."""

from __future__ import annotations

from enum import Enum

from .links import Link
from .messages import AckEpoch, FollowerInfo
from .quorum import ActiveConfigurations


class HandlerPhase(Enum):
    CONNECTED = "connected"
    """FOLLOWERINFO has come."""
    INFORMED = "informed"
    """LEADERINFO is sent."""
    PROMISED = "promised"
    """ACKEPOCH has come."""
    SYNCING = "syncing"
    """The sync stream is queued; the learner is registered for proposals."""
    ACKED = "acked"
    """It acknowledged NEWLEADER."""
    SERVING = "serving"
    """UPTODATE is sent."""


REGISTERED = frozenset({HandlerPhase.SYNCING, HandlerPhase.ACKED, HandlerPhase.SERVING})


class Handler:
    """acked: everything up to it is durable there.  heard_at: of the last PONG or ACK (rule B-9).  pong_seq: its newest PONG.
    answered: the newest PING it answered.  listed: the sessions it listed last.  mismatch: last boundary whose digest differed there.
    counted: its ACKEPOCH counts.  echo: see Ping.  normal: it is not DAMAGED, or not any more.
    """

    __slots__ = (
        "ack_epoch",
        "acked",
        "answered",
        "counted",
        "cut",
        "echo",
        "heard_at",
        "info",
        "link",
        "listed",
        "mismatch",
        "normal",
        "phase",
        "pong_seq",
    )

    def __init__(self, link: Link, info: FollowerInfo, now: float) -> None:
        self.link = link
        self.info = info
        self.phase = HandlerPhase.CONNECTED
        self.ack_epoch: AckEpoch | None = None
        self.counted = False
        self.cut = 0
        self.acked = 0
        self.heard_at = now
        self.pong_seq = 0
        self.answered = 0
        self.echo = 0
        self.listed: tuple[int, ...] = ()
        self.mismatch = 0
        self.normal = not info.damaged

    @property
    def registered(self) -> bool:
        return self.phase in REGISTERED

    @property
    def synced(self) -> bool:
        return self.phase is HandlerPhase.ACKED or self.phase is HandlerPhase.SERVING

    @property
    def serving(self) -> bool:
        return self.phase is HandlerPhase.SERVING

    def votes(self, active: ActiveConfigurations) -> bool:
        """Whether anything it acknowledges counts (rules I-2, P-12).

        Behind v0 the storage id alone decides: who is readmitted has a vote from the entry on that says so, whatever it said of itself
        when it came (rule I-3). v0 names no storage, so there its word is needed (I-4).
        """
        named = active.names_voter(self.link.node_id, self.link.storage_id)
        return self.normal and named and not (self.info.joining and active.founding)
