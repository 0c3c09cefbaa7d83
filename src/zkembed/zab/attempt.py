"""One attempt to lead, as the parts of a leader see it: who it is, how far it is, its learners, its quorums.

The leader and its parts (proposals, pulse, duty, readmission, handover) share this and know nothing else of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from .core import Core
from .effects import ServingEnded
from .handler import Handler
from .messages import Vote


class LeaderPhase(Enum):
    COLLECTING = "collecting"
    """FOLLOWERINFO of a quorum is awaited (D-1)."""
    PROMISING = "promising"
    """The own promise of the new epoch is on its way to the disk (D-2)."""
    DISCOVERY = "discovery"
    """ACKEPOCH of a quorum is awaited (D-6)."""
    FIXING = "fixing"
    """current = e is on its way to the disk (D-6)."""
    SYNC = "sync"
    """NEWLEADER acks of a quorum are awaited (Y-8)."""
    ESTABLISHED = "established"


class Attempt:
    """epoch: 0 before D-2.  vote: as elected; its (epoch, zxid) is what D-5 compares.  handlers: by link.  leaving: it takes no requests
    any more.  ended: why it is over, "" while it lives.  successor: the vote of the next leader, if this one named it (B-16).
    """

    def __init__(self, core: Core, vote: Vote) -> None:
        self.core = core
        self.vote = vote
        self.phase = LeaderPhase.COLLECTING
        self.epoch = 0
        self.ended = ""
        self.leaving = False
        self.successor: Vote | None = None
        self.handlers: dict[int, Handler] = {}

    @property
    def established(self) -> bool:
        return self.phase is LeaderPhase.ESTABLISHED

    def end(self, reason: str) -> None:
        """Abdicate (rule B-10): the peer closes every link and settles; what was proposed is left to the next leader."""
        if not self.ended:
            self.ended = reason
            if self.established:
                self.core.emit(ServingEnded(reason))

    def quorum(self, handlers: Iterable[Handler]) -> bool:
        """Whether this node and the voters among ``handlers`` are one."""
        active = self.core.membership.active
        present = {handler.link.node_id: handler.link.storage_id for handler in handlers if handler.votes(active)}
        present[self.core.node_id] = self.core.identity.storage_id
        return active.has_quorum(present)
