"""How a voter that lost its disk gets its vote back: one CONFIG entry that the leader proposes by itself (rules I-3, C-2 to C-5).

The node is there under its old id with another storage, syncs without a vote, and stands where the others stand. The entry puts the new
storage id in the place of the old one, nothing else. Three steps, one node at a time:

1. CONFIG is proposed; until it is committed it needs a quorum of the old configuration, which names the lost storage, and of the new one.
2. A mark is proposed right behind the commit. Its commit_hint is what a disk knows of that commit: without it a power cut could leave a
   majority of the new configuration that does not know it may do without the old one (rule C-3).
3. The mark is committed: the node is readmitted.

A leader that dies in between leaves at most a CONFIG that its successor completes (C-8) or cuts away (C-6), and then proposes anew.
"""

from __future__ import annotations

import logging

from ..codec import encode
from ..record import Kind
from ..zxid import EMPTY, to_hex
from .attempt import Attempt
from .handler import Handler
from .proposals import Proposals
from .quorum import Configuration


class Readmission:
    """Of one established leader. _node_id: who is being readmitted.  _config, _mark: zxids of the two entries, EMPTY if not proposed."""

    def __init__(self, attempt: Attempt, proposals: Proposals) -> None:
        self._attempt = attempt
        self._proposals = proposals
        self._node_id = 0
        self._config = EMPTY
        self._mark = EMPTY

    def tick(self, now: float) -> None:
        """Propose the next one, if there is one and nothing stands against it."""
        ruling = self._ruling()
        if ruling is None or not self._proposals.can_propose:
            return
        for handler in self._returned(ruling):
            storage_id = handler.link.storage_id
            obstacle = self._obstacle(handler, ruling, now)
            if not obstacle:
                self._propose(ruling.with_storage(self._proposals.next_zxid, handler.link.node_id, storage_id), handler)
                return
            node_id = handler.link.node_id
            self._attempt.core.report(logging.INFO, f"node {node_id} is not readmitted yet: {obstacle}", f"readmission {node_id}")

    def _ruling(self) -> Configuration | None:
        """The configuration to start from: the last in the log, if it is committed and no change is under way (rule C-2)."""
        history = self._attempt.core.history
        if self._config != EMPTY or not history.configurations:
            return None
        ruling = history.configurations[-1]
        return ruling if ruling.version <= history.committed else None

    def _returned(self, ruling: Configuration) -> list[Handler]:
        """Learners that serve under the node id of a voter, on another storage than it had; in order of id."""
        found = [
            handler
            for handler in self._attempt.handlers.values()
            if handler.serving and ruling.voters.get(handler.link.node_id, handler.link.storage_id) != handler.link.storage_id
        ]
        return sorted(found, key=lambda handler: handler.link.node_id)

    def _obstacle(self, handler: Handler, ruling: Configuration, now: float) -> str:
        """Why this one cannot be proposed now; "" if nothing stands against it.

        1. Its log is damaged as well, and not whole yet (rule P-12).
        2. The owner of the storage that the configuration names is heard (rule I-6): two processes claim one id.
        3. It has not caught up.  4. A quorum of the new voters, itself counted, is not connected or has not caught up (rule C-5).
        """
        node_id = handler.link.node_id
        if not handler.normal:
            return "its log is damaged and not whole yet"
        if self._heard(node_id, ruling.voters[node_id], now):
            return "another process is heard under its id, with the storage that the configuration names"
        if not self._caught_up(handler, now):
            return "it has not caught up"
        following = ruling.with_storage(self._proposals.next_zxid, node_id, handler.link.storage_id)
        return "" if following.has_quorum(self._present(now)) else "no quorum of the voters has caught up"

    def _present(self, now: float) -> dict[int, bytes]:
        """Storage ids by node id of this node and everybody who has caught up."""
        core = self._attempt.core
        present = {core.node_id: core.identity.storage_id}
        for handler in self._attempt.handlers.values():
            if handler.normal and self._caught_up(handler, now):
                present[handler.link.node_id] = handler.link.storage_id
        return present

    def _heard(self, node_id: int, storage_id: bytes, now: float) -> bool:
        limit = self._attempt.core.settings.sync_limit
        return any(
            link.node_id == node_id and link.storage_id == storage_id and now < link.heard_at + limit for link in self._attempt.core.links
        )

    def _caught_up(self, handler: Handler, now: float) -> bool:
        core = self._attempt.core
        history, settings = core.history, core.settings
        if not handler.synced or now >= handler.heard_at + settings.sync_limit or handler.acked < history.base:
            return False
        return history.size(handler.acked, history.end) <= settings.join_lag_bytes_max

    def _propose(self, configuration: Configuration, handler: Handler) -> None:
        node_id = handler.link.node_id
        self._attempt.core.report(
            logging.WARNING,
            f"node {node_id} is back with another disk and has synced; proposing configuration {to_hex(configuration.version)}, in which "
            f"storage id {handler.link.storage_id.hex()[:8]} votes for it",
        )
        record = self._proposals.append(Kind.CONFIG, configuration.encode(), 0)
        self._node_id, self._config, self._mark = node_id, record.zxid, EMPTY

    def committed(self) -> None:
        """The commit point has moved."""
        core = self._attempt.core
        committed = core.history.committed
        if self._config == EMPTY or committed < self._config:
            return
        if self._mark == EMPTY:
            self._mark = self._proposals.append(Kind.EPOCH, encode(core.node_id), 0).zxid
        elif committed >= self._mark:
            core.report(logging.WARNING, f"node {self._node_id} is readmitted: it votes as of configuration {to_hex(self._config)}")
            self._config = self._mark = EMPTY
