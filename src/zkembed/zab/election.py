"""Fast leader election: from LOOKING to a leader to follow, or to be (rules E-1 to E-8).

One object for the life of a node; it acts only while the node is LOOKING. It sees notifications, who is heard, and the
configurations; it sends nothing itself: what this node votes is published by the peer whenever it changed, and ``answers`` names
those who are owed a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from ..zxid import EMPTY
from .membership import Membership
from .mesh import Mesh, Remote
from .messages import NodeState, Notify, Vote
from .settings import Settings


@frozen
class Outside:
    """What a node that is not LOOKING says: whom it follows or that it leads, in which established epoch (0: none yet)."""

    leader: int
    established: int
    state: NodeState
    vote: Vote


class Election:
    """round, vote, received, outside: as in rule E-2.  changed_at: when ``vote`` last changed.

    paused_until: until then this node neither votes nor joins (E-11).  hint: the vote of the successor named by a leader that left, a
    candidate until ``hint_until`` (B-16).
    """

    def __init__(self, node_id: int, settings: Settings, membership: Membership, mesh: Mesh, own: Callable[[], Vote | None]) -> None:
        self._node_id = node_id
        self._settings = settings
        self._membership = membership
        self._mesh = mesh
        self._own = own
        self.round = 0
        self.vote: Vote | None = None
        self.received: dict[int, Vote] = {}
        self.outside: dict[int, Outside] = {}
        self.changed_at = 0.0
        self.paused_until = float("-inf")
        self.hint: Vote | None = None
        self.hint_until = float("-inf")
        self.answers: set[int] = set()

    # --- inputs ------------------------------------------------------------------------------------------------------

    def begin(self, now: float, paused_until: float = float("-inf")) -> None:
        """The node becomes LOOKING (rule E-3)."""
        self.round += 1
        self.vote = None
        self.changed_at = now
        self.paused_until = paused_until
        self.received.clear()
        self.outside.clear()
        for remote in self._mesh:
            # It may have come before this node was LOOKING. Those of nodes not LOOKING may name the leader just lost.
            if remote.newest is not None and remote.newest.state is NodeState.LOOKING:
                self._judge(remote, remote.newest)
        self.refresh(now)

    def set_hint(self, successor: Vote | None, now: float) -> None:
        """A leader that leaves names the next one: a hint only, for ``finalize_wait`` (rule B-16)."""
        self.hint = successor
        self.hint_until = now + self._settings.finalize_wait

    def hear(self, remote: Remote, notify: Notify, now: float) -> None:
        """A notification, while LOOKING (rules E-4, E-5, E-7)."""
        self._judge(remote, notify)
        self.refresh(now)

    def lost(self, node_id: int) -> None:
        """The link to the sender closed: what it said goes (rule E-2)."""
        self.received.pop(node_id, None)
        self.outside.pop(node_id, None)

    # --- judging -----------------------------------------------------------------------------------------------------

    def counts(self, remote: Remote, notify: Notify) -> bool:
        """Rule E-4: a voter by its storage id that says it has a vote; at v0 only with the very same list (I-4)."""
        if remote.inbound is None or not notify.has_vote:
            return False
        if self._membership.active.founding and not self._membership.same_founding(notify):
            return False
        return self._membership.names_voter(remote.node_id, remote.inbound.storage_id)

    def _judge(self, remote: Remote, notify: Notify) -> None:
        node_id = remote.node_id
        if notify.state is NodeState.LOOKING:
            self.outside.pop(node_id, None)
            self._judge_looking(remote, notify)
            return
        if not self.counts(remote, notify) or notify.vote is None:
            self.lost(node_id)
            return
        self.outside[node_id] = Outside(notify.vote.leader, notify.established, notify.state, notify.vote)
        self._record(node_id, notify)

    def _judge_looking(self, remote: Remote, notify: Notify) -> None:
        if not self.counts(remote, notify):
            self.received.pop(remote.node_id, None)
            if not notify.has_vote and self._membership.has_vote:
                self.answers.add(remote.node_id)  # A node without a vote never answers, so this ends here.
            return
        if notify.round > self.round:
            self.round = notify.round
            self.received.clear()
        elif notify.round < self.round:
            self.received.pop(remote.node_id, None)
            self.answers.add(remote.node_id)
            return
        self._record(remote.node_id, notify)

    def _record(self, node_id: int, notify: Notify) -> None:
        if notify.round == self.round and notify.vote is not None:
            self.received[node_id] = notify.vote
        else:
            self.received.pop(node_id, None)

    # --- voting ------------------------------------------------------------------------------------------------------

    def _present(self, now: float) -> dict[int, bytes]:
        present = self._mesh.heard(now)
        present[self._node_id] = self._membership.storage_id
        return present

    def hears_quorum(self, now: float) -> bool:
        """Eligible, in the words of rule E-2."""
        return self._membership.active.has_quorum(self._present(now))

    def paused(self, now: float) -> bool:
        return now < self.paused_until

    def refresh(self, now: float) -> None:
        """My vote is always the best of those who stand for themselves (rule E-5); recomputed at every change.

        Only a voter of each active configuration may stand. To those who lack a CONFIG that is not known committed, a node that it alone
        names is no voter; it could not be elected, and whoever voted for it would not stand in its place:
        1. CONFIG puts C' in the place of C, and is on B and C' alone when the power fails.  2. B votes for C', whose id is higher.
        3. A, which knows no C', votes for itself, since B does not stand: for ever.
        """
        vote = self._best(now)
        if vote != self.vote:
            self.vote = vote
            self.changed_at = now

    def _best(self, now: float) -> Vote | None:
        if not self._membership.has_vote or self.paused(now):
            return None
        present = self._present(now)
        active = self._membership.active
        candidates = [
            vote
            for node_id, vote in self.received.items()
            if vote.leader == node_id and node_id in present and active.names_candidate(node_id, present[node_id])
        ]
        own = self._own()
        hint = self._hint(now, present)
        if hint is not None:
            candidates.append(hint)
        better = own is not None and (hint is None or (own.epoch, own.zxid) > (hint.epoch, hint.zxid))
        if own is not None and better and self._membership.is_candidate and active.has_quorum(present):
            candidates.append(own)
        return max(candidates, default=None)

    def _hint(self, now: float, present: dict[int, bytes]) -> Vote | None:
        hint = self.hint
        if hint is None or now >= self.hint_until or hint.leader == self._node_id:
            return None
        return hint if hint.leader in present and self._membership.active.names_candidate(hint.leader, present[hint.leader]) else None

    # --- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Vote | None:
        """The vote of the leader to follow or be, if it is time (rules E-6, E-7)."""
        if self.paused(now):
            return None
        vote = self.vote
        if vote is not None and self._has_quorum(vote, now) and (self._unanimous(vote, now) or now >= self._final_at()):
            return vote
        return self._joinable(now)

    def _final_at(self) -> float:
        return self.changed_at + self._settings.finalize_wait

    def _has_quorum(self, vote: Vote, now: float) -> bool:
        active = self._membership.active
        if vote.zxid == EMPTY and not active.founding:
            return False  # Two wiped nodes of three found nothing (I-4).
        present = self._present(now)
        same = {
            node_id: storage_id for node_id, storage_id in present.items() if node_id == self._node_id or self.received.get(node_id) == vote
        }
        return active.has_quorum(same)

    def _unanimous(self, vote: Vote, now: float) -> bool:
        """Every other voter with a vote has voted so, or is not heard."""
        active = self._membership.active
        for remote in self._mesh:
            inbound = remote.inbound
            if inbound is None or not self._mesh.hears(remote, now) or not active.names_voter(remote.node_id, inbound.storage_id):
                continue
            if remote.newest is not None and not remote.newest.has_vote:
                continue
            if self.received.get(remote.node_id) != vote:
                return False
        return True

    def _joinable(self, now: float) -> Vote | None:
        """A leader that others have (rule E-7). Established ones first, the highest epoch first."""
        heard = self._mesh.heard(now)
        found = [
            (said.established, said.vote)
            for node_id, said in self.outside.items()
            if said.state is NodeState.LEADING
            and said.leader == node_id != self._node_id
            and node_id in heard
            and self._may_join(said, heard)
        ]
        return max(found)[1] if found else None

    def _may_join(self, said: Outside, heard: Mapping[int, bytes]) -> bool:
        """Its own word counts if it is established, or stands no worse than my vote; else a quorum must name it.

        A node without a vote joins established leaders only (rule I-2).
        """
        if said.established:
            return True
        if not self._membership.has_vote:
            return False
        if self.vote is None or said.vote >= self.vote:
            return True
        naming = {
            node_id: heard[node_id]
            for node_id, other in self.outside.items()
            if node_id in heard and (other.leader, other.established) == (said.leader, said.established)
        }
        return self._membership.active.has_quorum(naming)

    def deadline(self, now: float) -> float:
        """When time alone may change the vote or decide."""
        times = [self.paused_until, self.hint_until, self._mesh.next_silence(now)]
        if self.vote is not None:
            times.append(self._final_at())
        return min((time for time in times if time > now), default=float("inf"))
