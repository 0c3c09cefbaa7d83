"""When a leader that is not yet established gives up (rule E-11).

1. In discovery without a quorum: at once, if it no longer hears one, or no quorum is left possible (D-5), or a node that itself
   says LEADING, not established, has a better vote.
2. Before establishment: when voters it needs have reported LOOKING, or another leader, and not come back within ``disloyal_wait``; at
   once when it has no quorum connected and another node is established in a higher epoch.
3. In discovery after ``init_limit``; in synchronization after ``init_limit`` of silence (Y-11).
"""

from __future__ import annotations

from .attempt import LeaderPhase
from .core import Core
from .election import Election
from .leader import Leader
from .mesh import Mesh
from .messages import NodeState, Notify

_DISCOVERY = frozenset({LeaderPhase.COLLECTING, LeaderPhase.PROMISING, LeaderPhase.DISCOVERY})


class Watch:
    """Of one attempt. _away: since when a voter says LOOKING, or names another leader, without being connected."""

    def __init__(self, core: Core, leader: Leader, mesh: Mesh, election: Election) -> None:
        self._core = core
        self._leader = leader
        self._mesh = mesh
        self._election = election
        self._away: dict[int, float] = {}

    def judge(self) -> None:
        """Called at each tick and each change of a link or notification; ends the leader if it has to give up."""
        leader, now = self._leader, self._core.now
        if leader.established or leader.ended:
            return
        if leader.connected_quorum(now):
            leader.alive_at = now
        self._note_away(now)
        reason = self._reason(now)
        if reason:
            leader.end(reason)

    def _note_away(self, now: float) -> None:
        connected = {handler.link.node_id for handler in self._leader.handlers.values()}
        for remote in self._mesh:
            said = remote.newest
            elsewhere = said is not None and (said.state is NodeState.LOOKING or self._follows_another(said))
            if elsewhere and remote.node_id not in connected:
                self._away.setdefault(remote.node_id, now)
            else:
                self._away.pop(remote.node_id, None)

    def _follows_another(self, said: Notify) -> bool:
        """Its vote went on: that it no longer says LOOKING does not mean that it will come."""
        return said.vote is not None and said.vote.leader != self._core.node_id

    def _reason(self, now: float) -> str:
        leader, settings = self._leader, self._core.settings
        if leader.phase in _DISCOVERY:
            if not self._election.hears_quorum(now):
                return "no quorum is heard any more"
            if not self._possible(leader.rejected, now):
                return "no quorum is left that could elect it"
            better = self._better_leader(now)
            if better is not None:
                return f"node {better} leads with a better vote"
            if now >= leader.began_at + settings.init_limit:
                return f"no quorum promised within {settings.init_limit} s"
        elif now >= leader.alive_at + settings.init_limit:
            return f"no quorum was connected for {settings.init_limit} s"
        if not leader.connected_quorum(now):
            other = self._established_leader(now)
            if other is not None:
                return f"node {other} is established in a higher epoch"
        disloyal = {node_id for node_id, since in self._away.items() if now >= since + settings.disloyal_wait}
        if disloyal and not self._possible(disloyal | leader.rejected, now):
            return "voters that elected it have turned away"
        return ""

    def _possible(self, without: set[int], now: float) -> bool:
        present = {node_id: storage_id for node_id, storage_id in self._mesh.heard(now).items() if node_id not in without}
        present[self._core.node_id] = self._core.identity.storage_id
        return self._core.membership.active.has_quorum(present)

    def _better_leader(self, now: float) -> int | None:
        for remote in self._mesh:
            notify = remote.newest
            if notify is None or notify.state is not NodeState.LEADING or notify.established or notify.vote is None:
                continue
            if self._mesh.hears(remote, now) and self._election.counts(remote, notify) and notify.vote > self._leader.vote:
                return remote.node_id
        return None

    def _established_leader(self, now: float) -> int | None:
        for remote in self._mesh:
            notify = remote.newest
            if notify is None or notify.state is not NodeState.LEADING or notify.established <= self._core.disk.promised.current:
                continue
            if self._mesh.hears(remote, now) and self._election.counts(remote, notify):
                return remote.node_id
        return None

    def deadline(self, now: float) -> float:
        settings, leader = self._core.settings, self._leader
        times = [leader.began_at + settings.init_limit, leader.alive_at + settings.init_limit, self._mesh.next_silence(now)]
        times += [since + settings.disloyal_wait for since in self._away.values()]
        return min((time for time in times if time > now), default=float("inf"))
