"""What the roles of one node share: its identity and settings, its disk, log, links and membership, and the list of effects.

The roles (leader, learner) act on this; none of them knows another. Time is ``now``, set by the peer at each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..durable import Epochs, Identity
from ..errors import ZkError
from ..zxid import EMPTY
from .disk import Disk
from .effects import Deliver, Effect, Halt, LoadSnapshot, Report
from .history import History
from .links import Link, Links
from .membership import Membership
from .messages import FollowerInfo, Vote
from .settings import Settings


class Core:
    """halted: why the node must stop; from then on it does nothing more.  wants_snap: the state is wrong, only a snapshot helps (B-15).

    accepted_heard: highest accepted epoch each voter has ever told this process (D-1).  reepoch_at: when this process last gave up leading
    to open a higher epoch (D-8).  zab_dials: by node id, the attempt whose dial to that leader is on its way.
    """

    def __init__(
        self,
        identity: Identity,
        peers: Mapping[int, str],
        *,
        bootstrap: bool,
        epochs: Epochs,
        history: History,
        settings: Settings,
        jitter: Callable[[], float],
    ) -> None:
        self.identity = identity
        self.settings = settings
        self.jitter = jitter
        self.history = history
        self.effects: list[Effect] = []
        self.disk = Disk(history, epochs, self.emit)
        self.links = Links(self.emit)
        self.membership = Membership(identity, peers, bootstrap=bootstrap, disk=self.disk)
        self.now = 0.0
        self.halted: ZkError | None = None
        self.wants_snap = False
        self.accepted_heard: dict[int, int] = {}
        self.reepoch_at = float("-inf")
        self.zab_dials: dict[int, object] = {}

    @property
    def node_id(self) -> int:
        return self.identity.node_id

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def report(self, level: int, text: str, key: str = "") -> None:
        self.emit(Report(level, text, key))

    def halt(self, error: ZkError) -> None:
        """The first reason counts."""
        if self.halted is None:
            self.halted = error
            self.emit(Halt(error))

    def hear_accepted(self, link: Link, info: FollowerInfo) -> bool:
        """Note what a voter, or who has come in its place (I-3), says it has promised, whatever becomes of its FOLLOWERINFO (rule D-1).

        False: too far ahead for that (Z-2).
        """
        if info.accepted_epoch > self.disk.promised.accepted + self.settings.max_epoch_jump:
            return False
        if link.node_id in self.membership.active.voter_ids:
            self.accepted_heard[link.node_id] = max(info.accepted_epoch, self.accepted_heard.get(link.node_id, 0))
        return True

    def own_vote(self) -> Vote | None:
        """This node as a candidate, from durable state alone (rule E-1); None while its state is wrong and must come anew (B-15)."""
        return None if self.wants_snap else Vote(self.disk.epochs.current, self.history.durable, self.node_id)

    def deliver(self) -> None:
        """Hand over what is committed and durable and was not handed over before (rule X-4). A serving role calls it."""
        history = self.history
        if history.pending_load is not None:
            base = history.begin_load()
            assert base is not None
            self.emit(LoadSnapshot(base))
        if history.delivered < history.committed and history.delivered < history.durable:
            records = history.take_deliverable()
            if records:
                self.emit(Deliver(records))

    def has_history(self) -> bool:
        return self.history.end != EMPTY
