"""Which role runs: ends it, settles, looks, decides, starts the next (rules X-3, E-3, E-11).

Invariant: at most one of ``leader`` and ``learner`` lives; none while LOOKING.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..durable import Identity
from ..errors import InternalError
from .core import Core
from .effects import Purpose, RenewStorage, Role, RoleChanged
from .election import Election
from .leader import Leader
from .learner import Learner, LearnerPhase
from .mesh import Mesh
from .messages import Vote
from .watch import Watch

_TURNS_MAX = 8


class Roles:
    """role, leader_id: as told by RoleChanged.  left: an orderly leave is done.  stopped: nothing is done any more.

    settling: LOOKING, but disk operations of the last role are still in flight: this node votes for nobody and decides nothing until
    they are done.  changed: what NOTIFY says may have changed.
    """

    def __init__(self, core: Core, mesh: Mesh, election: Election) -> None:
        self._core = core
        self._mesh = mesh
        self._election = election
        self.leader: Leader | None = None
        self.learner: Learner | None = None
        self.watch: Watch | None = None
        self.role = Role.LOOKING
        self.leader_id: int | None = None
        self.settling = False
        self.leaving = False
        self.left = False
        self.stopped = False
        self.changed = True
        self._last_return: tuple[int, float] = (0, float("-inf"))
        self._paused_until = float("-inf")
        self._wrong_since = 0.0
        self._renewing = False

    @property
    def current(self) -> Leader | Learner | None:
        return self.leader or self.learner

    def react(self) -> None:
        """Carry out what an input has led to: end a role that is over, settle, look, decide, start a role."""
        self.changed = True
        for _ in range(_TURNS_MAX):
            if self.stopped:
                return
            if self._core.halted is not None:
                self.stop("the node halts")
                return
            if self.watch is not None:
                self.watch.judge()
            if not self._turn():
                return

    def _turn(self) -> bool:
        """One change of role; False if nothing is to be changed now."""
        role = self.current
        if role is not None:
            if not role.ended:
                return False
            self._end_role(role)
            return True
        if self.leaving:
            self.stop("the node is leaving")
            self.left = True
            return False
        if self.settling:
            if not self._core.disk.idle:
                return False
            if self._core.membership.outdated:
                self._ask_for_storage()
                return False
            self.begin_looking()
        now = self._core.now
        self._election.refresh(now)
        vote = self._election.decide(now)
        if vote is None:
            return False
        self._begin_role(vote)
        return True

    def end_roles(self, reason: str) -> None:
        role = self.current
        if role is not None:
            role.end(reason)
            self.react()

    def _end_role(self, role: Leader | Learner) -> None:
        """Drop all that was only in memory; the disk finishes what it has (rule X-3)."""
        core = self._core
        core.report(logging.INFO, f"{'leading' if role is self.leader else 'following'} ends: {role.ended}")
        self.leader = self.learner = self.watch = None
        for link in core.links:
            if link.purpose is Purpose.ZAB:
                core.links.close(link.id, role.ended, flush=True)
        self._paused_until = float("-inf")
        if isinstance(role, Learner):
            self._note_return(role.leader_id)
        self._election.set_hint(role.successor, core.now)
        self.settling = True
        self.role, self.leader_id = Role.LOOKING, None
        core.emit(RoleChanged(Role.LOOKING, None))

    def _note_return(self, leader_id: int) -> None:
        """A second return from the same leader within ``disloyal_wait`` waits for the rest of it (rule E-11).

        Not if that leader is not heard any more: links show that it is gone (EL-12), and nobody can rejoin it. It happens like this:
        1. The leader dies; its ZAB link closes first.  2. A notification it sent before arrives: it leads, so it is joined again.
        3. Its election link closes: the second return.
        """
        now, wait = self._core.now, self._core.settings.disloyal_wait
        last_leader, last_at = self._last_return
        remote = self._mesh.get(leader_id)
        heard = remote is not None and self._mesh.hears(remote, now)
        if heard and leader_id == last_leader and now < last_at + wait:
            self._paused_until = last_at + wait
        self._last_return = (leader_id, max(now, self._paused_until))

    def begin_looking(self) -> None:
        """All of the last role is settled: what is durable is what this node has (rule X-3)."""
        history = self._core.history
        if history.end != history.durable:
            history.truncate(history.durable)  # Proposed, but never handed to the disk.
        self.settling = False
        for remote in self._mesh:
            if remote.newest is not None:  # It may have shown a configuration while this node had a role, and will not soon again (C-9).
                self._core.membership.learn(remote.newest)
        self._election.begin(self._core.now, self._paused_until)

    def _begin_role(self, vote: Vote) -> None:
        core = self._core
        self._election.set_hint(None, core.now)
        if vote.leader == core.node_id:
            self.role, self.leader_id = Role.LEADING, core.node_id
            core.emit(RoleChanged(self.role, self.leader_id))
            self.leader = Leader(core, vote)
            self.watch = Watch(core, self.leader, self._mesh, self._election)
            self.leader.begin([(link, link.held) for link in core.links if link.held is not None])
            for link in core.links:
                link.held = None
            return
        remote = self._mesh.get(vote.leader)
        newest = None if remote is None else remote.newest
        self.role, self.leader_id = Role.FOLLOWING, vote.leader
        core.emit(RoleChanged(self.role, self.leader_id))
        for link in core.links:
            if link.purpose is Purpose.ZAB:
                core.links.close(link.id, f"this node follows node {vote.leader}")
        self.learner = Learner(core, vote, self._election.round if newest is None else newest.round)
        self.learner.dial(core.now)

    def forgive(self, node_id: int) -> None:
        """This node is not heard any more: whoever was to wait before it follows it again need not (see ``_note_return``)."""
        if node_id == self._last_return[0]:
            self._paused_until = self._election.paused_until = float("-inf")

    def watch_unconnected(self) -> None:
        """A leader not reached yet, or in the middle of a stream, that is not even heard any more is gone: nothing to wait for
        (rules E-11, Y-11)."""
        learner = self.learner
        if learner is None or not (learner.phase is LearnerPhase.DIALLING or learner.streaming):
            return
        remote = self._mesh.get(learner.leader_id)
        if remote is None or not self._mesh.hears(remote, self._core.now):
            learner.end(f"node {learner.leader_id} is not heard any more")

    def watch_wrong_state(self) -> None:
        core = self._core
        if core.wants_snap and self.learner is None and core.now >= self._wrong_since + core.settings.init_limit:
            core.halt(InternalError("the state of this node is wrong and no leader gives it another; a restart rebuilds it from the disk"))

    def resync(self) -> None:
        """The state is wrong: leave the leader and ask the next one for a snapshot (rule B-15).

        Such a node votes but does not stand. A leader has nobody to ask and halts; so does a node that finds no leader within
        ``init_limit``: its next start rebuilds the state from its disk.
        """
        self._core.wants_snap = True
        self._wrong_since = self._core.now
        if self.learner is not None:
            self.learner.end("the state is wrong and must come anew")
        elif self.leader is not None:
            self._core.halt(InternalError("the state of this leader is wrong; a restart rebuilds it from the disk"))
        self.react()

    def renew_storage(self, reason: str) -> None:
        """The own storage is an old copy, as of a restored backup: what it has promised since is not on it. It never votes again (I-6).

        The role ends at once; when the disk has settled the directory becomes another storage, which joins like an empty one (I-3): a
        crash before that leads here again as long as anybody remembers, after it nobody needs to.
        """
        core = self._core
        if self.stopped or core.membership.outdated:
            return
        core.membership.outdate(reason)
        core.report(
            logging.ERROR,
            f"the disk of this node (storage id {core.identity.storage_id.hex()}) is an old copy, as of a restored backup: {reason}. "
            "It becomes another storage, without a vote",
        )
        self.settling = True
        role = self.current
        if role is not None:
            role.end("its disk is an old copy")
        self.react()

    def _ask_for_storage(self) -> None:
        if not self._renewing:
            self._renewing = True
            self._core.emit(RenewStorage())

    def storage_renewed(self, identity: Identity) -> None:
        """The answer to RenewStorage."""
        core = self._core
        self._renewing = False
        core.identity = identity
        core.membership.renewed(identity)
        core.report(logging.WARNING, f"this node's storage id is {identity.storage_id.hex()[:8]} now; it votes again once it is readmitted")
        self.react()

    def leave(self, successor: int | None = None) -> None:
        """Leave in an orderly way; ``left`` says when it is done (rule B-16)."""
        if self.leaving or self.stopped:
            return
        self.leaving = True
        if self.leader is not None:
            self.leader.leave(successor)
        elif self.learner is not None:
            self.learner.end("the node is leaving")
        self.react()

    def guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except InternalError as error:
            self.fail(error)

    def fail(self, error: InternalError) -> None:
        """An invariant does not hold: the node stops and keeps its data (section 18)."""
        self._core.halt(error)
        self.stop("the node halts")

    def stop(self, reason: str) -> None:
        """Close every link and do nothing more."""
        role = self.current
        if role is not None:
            role.end(reason)
            self.leader = self.learner = self.watch = None
            self.role, self.leader_id = Role.LOOKING, None
            self._core.emit(RoleChanged(Role.LOOKING, None))
        self.stopped = True
        for link in self._core.links:
            self._core.links.close(link.id, reason, flush=True)
