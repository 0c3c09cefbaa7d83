"""Which configuration this node goes by, and whether it has a vote in it.

Three sources: the log; a configuration shown by another member and adopted in memory only (rules I-4, C-9); the start-up list, v0.
The newest wins. v0 founds and is never active beside a later one.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from ..durable import Identity
from ..errors import DecodeError
from ..zxid import EMPTY
from .disk import Disk
from .messages import Notify
from .quorum import FOUNDING_VERSION, ActiveConfigurations, Configuration


class Membership:
    """``active`` is recomputed when the log's configurations, their commit, or the adopted one changed."""

    def __init__(self, identity: Identity, peers: Mapping[int, str], *, bootstrap: bool, disk: Disk) -> None:
        self._identity = identity
        self._disk = disk
        self._bootstrap = bootstrap
        self.founding = Configuration.founding(peers)
        self._founding_bytes = self.founding.encode()
        self._adopted: Configuration | None = None
        self._outdated = ""
        self._foreign = False
        self._key: tuple[int, bool, int] = (-1, False, -1)
        self._active = ActiveConfigurations((self.founding,))
        self.changes = 0

    @property
    def storage_id(self) -> bytes:
        return self._identity.storage_id

    @property
    def outdated(self) -> bool:
        """The own storage is an old copy: it neither votes nor joins anybody before it has become another one (rule I-6)."""
        return bool(self._outdated)

    def outdate(self, reason: str) -> None:
        """From this step on it has no vote."""
        self._outdated = reason
        self.changes += 1

    def renewed(self, identity: Identity) -> None:
        """The directory is another storage now."""
        self._identity = identity
        self._outdated = ""
        self.changes += 1

    @property
    def active(self) -> ActiveConfigurations:
        history = self._disk.history
        configurations = history.configurations
        adopted = self._adopted
        key = (history.config_changes, len(configurations) > 1, -1 if adopted is None else adopted.version)
        if key != self._key:
            self._key = key
            self.changes += 1
            if adopted is not None and (not configurations or configurations[-1].version <= adopted.version):
                configurations = (adopted,)
            self._active = ActiveConfigurations(configurations or (self.founding,))
        return self._active

    @property
    def newest(self) -> Configuration:
        return self.active.newest

    @property
    def shown(self) -> tuple[Configuration, bool]:
        """What NOTIFY carries, and whether others may adopt it: the newest known committed one or v1; else v0, which nobody adopts."""
        shown = self._disk.history.shown_configuration
        adopted = self._adopted
        if adopted is not None and (shown is None or shown.version < adopted.version):
            shown = adopted
        return (self.founding, False) if shown is None else (shown, True)

    @property
    def committed_version(self) -> int:
        """Version of the newest configuration in the own log that is known committed; 0 if none (rule D-9)."""
        committed = self._disk.history.committed_configuration
        return FOUNDING_VERSION if committed is None else committed.version

    @property
    def has_vote(self) -> bool:
        return not self.vote_reason

    @property
    def vote_reason(self) -> str:
        """Why this node has no vote; "" if it has one (rules I-1 to I-4, I-6, P-12)."""
        identity = self._identity
        storage = identity.storage_id.hex()[:8]
        if self._outdated:
            return f"its disk is an old copy: {self._outdated}"
        if self._disk.epochs.damaged:
            return "its log is damaged: it votes again once a leader elected without it has given it a whole one"
        active = self.active
        if active.founding:
            if self._foreign:
                return f"its disk is new: an ensemble exists, and storage id {storage} is not in its configuration"
            if not self._bootstrap:
                return "its disk is new and it may not found an ensemble (bootstrap is off)"
            if not active.names_voter(identity.node_id, b""):
                return f"node {identity.node_id} is not in the initial member list"
            return ""
        if not active.names_voter(identity.node_id, identity.storage_id):
            return f"its disk is new: storage id {storage} is not in the configuration"
        return ""

    @property
    def is_candidate(self) -> bool:
        """It may be elected: it is a voter of each active configuration (rule E-5)."""
        return self.active.names_candidate(self._identity.node_id, self._identity.storage_id)

    @property
    def joining(self) -> bool:
        """No vote, but for another reason than damage: the voters' stream is what it gets (rule I-2)."""
        return bool(self.vote_reason) and not self._disk.epochs.damaged

    def names_voter(self, node_id: int, storage_id: bytes) -> bool:
        return self.active.names_voter(node_id, storage_id)

    def knows(self, node_id: int) -> bool:
        """Whether a node may connect at all: a member by the start-up list while that rules, else of a ruling configuration (N-7)."""
        return any(configuration.names_member(node_id) for configuration in self.active.configurations)

    def learn(self, notify: Notify) -> bool:
        """What a member shows to this LOOKING node (rules C-9, I-4). Returns whether anything changed.

        1. A committed configuration newer than the newest one known committed is adopted; it may be the last in the own log, of which
           this node did not know that it is committed (then the one before it rules no more, C-3).
        2. At v0 any history ends founding: v1, committed or not, is adopted; without something to adopt the node is JOINING.
        """
        if notify.config_version == FOUNDING_VERSION:
            if self.active.founding and notify.has_vote and notify.vote is not None and notify.vote.zxid != EMPTY:
                return self._leave_founding()
            return False
        if not notify.config_committed:
            return self.active.founding and self._leave_founding()
        if notify.config_version <= max(self.committed_version, FOUNDING_VERSION if self._adopted is None else self._adopted.version):
            return False
        try:
            shown = Configuration.decode(notify.config)
        except DecodeError:
            return False
        if shown.version != notify.config_version:
            return False
        self._adopted = shown
        return True

    def _leave_founding(self) -> bool:
        changed = not self._foreign
        self._foreign = True
        self.changes += changed
        return changed

    def same_founding(self, notify: Notify) -> bool:
        """Whether the sender is at v0 with the very same member list (rule I-4)."""
        return notify.config_version == FOUNDING_VERSION and notify.config == self._founding_bytes

    def founded_by(self, zxid: int, storage_ids: Mapping[int, bytes]) -> Configuration:
        """CONFIG v1: the initial members with the storage ids learnt from their links."""
        members = tuple(evolve(member, storage_id=storage_ids[member.node_id]) for member in self.founding.members)
        return Configuration(zxid, members)
