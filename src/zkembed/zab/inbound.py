"""Links and messages on their way in: who may connect, whose message it is, and what the end of a link means for the role.

The tables of ``table.py`` say what is allowed; whatever a peer does wrong ends its link and nothing else (rule N-4).
"""

from __future__ import annotations

import logging
from typing import Any

from ..durable import Identity
from ..errors import InternalError, ProtocolError
from .core import Core
from .effects import CloseLink, Purpose, Send
from .election import Election
from .links import Link
from .mesh import Mesh
from .messages import FollowerInfo, KeepAlive, Message, NodeState, Notify, Outdated
from .quorum import FOUNDING_VERSION
from .roles import Roles
from .table import FROM_LEADER, FROM_LEARNER


class Inbound:
    """answers: LOOKING nodes that are owed this node's notification (rule E-9)."""

    def __init__(self, core: Core, mesh: Mesh, election: Election, roles: Roles) -> None:
        self._core = core
        self._mesh = mesh
        self._election = election
        self._roles = roles
        self._members_seen = -1
        self.answers: set[int] = set()

    # --- links -------------------------------------------------------------------------------------------------------

    def link_up(self, link: int, node_id: int, storage_id: bytes, incarnation: int, purpose: Purpose, *, outbound: bool) -> None:
        """A connection is up, both ends named (rules N-7, I-6)."""
        core = self._core
        owner = core.zab_dials.pop(node_id, None) if outbound and purpose is Purpose.ZAB else None
        if self._roles.stopped:
            core.emit(CloseLink(link, "this node is stopping"))
            return
        new = Link(link, node_id, storage_id, incarnation, purpose, outbound=outbound, now=core.now)
        refusal = self._refusal(new)
        if refusal:
            newest = core.links.newest_incarnation(node_id, storage_id)
            if incarnation < newest:
                core.emit(Send(link, Outdated(storage_id, newest)))
            core.emit(CloseLink(link, refusal, flush=incarnation < newest))
            core.report(logging.WARNING, f"link with node {node_id} closed: {refusal}", f"refused {node_id} {purpose.value}")
            if outbound and purpose is Purpose.ELECTION:
                self._mesh.dial_failed(node_id, refusal, core.now)
            elif owner is not None and owner is self._roles.learner:
                self._learner_dial_failed(refused=False, reason=refusal)
            self._roles.react()
            return
        old = core.links.find(node_id, purpose, outbound=outbound)
        if old is not None:
            self.close(old, "a newer connection took its place")
        core.links.add(new)
        if purpose is Purpose.ELECTION:
            self._mesh.up(new, core.now)
        elif outbound:
            assert self._roles.learner is not None
            self._roles.learner.link_up(new)
        self._roles.react()

    def _refusal(self, new: Link) -> str:
        """Why this link may not stay, or ""."""
        core = self._core
        membership = core.membership
        if new.node_id == core.node_id:
            return "it has this node's own id"
        if not membership.knows(new.node_id):
            return "it is no member"
        if new.purpose is Purpose.ZAB:
            learner = self._roles.learner
            if new.outbound and (learner is None or learner.leader_id != new.node_id or learner.link is not None):
                return "nobody waits for it any more"
            if not new.outbound and learner is not None:
                return f"this node is not leading, node {learner.leader_id} is"
        old = core.links.find(new.node_id, new.purpose, outbound=new.outbound)
        return core.links.judge(
            new,
            new_named=membership.names_voter(new.node_id, new.storage_id),
            old_named=old is not None and membership.names_voter(old.node_id, old.storage_id),
            silence_max=core.settings.sync_limit,
        )

    def link_down(self, link: int, reason: str) -> None:
        gone = self._core.links.remove(link)
        if gone is not None:
            self._gone(gone, reason)
            self._roles.react()

    def close(self, link: Link, reason: str, *, flush: bool = False) -> None:
        if self._core.links.close(link.id, reason, flush=flush) is not None:
            self._gone(link, reason)

    def _gone(self, link: Link, reason: str) -> None:
        """A link has ended, whoever closed it."""
        if link.purpose is Purpose.ELECTION:
            self._mesh.down(link, self._core.now)
            if not link.outbound:
                self._election.lost(link.node_id)
                self._roles.forgive(link.node_id)
                self._roles.watch_unconnected()
        elif link.outbound:
            if self._roles.learner is not None and self._roles.learner.link is link:
                self._roles.learner.end(f"the link to leader {link.node_id} ended: {reason}")
        elif self._roles.leader is not None:
            self._roles.leader.link_down(link.id)

    def dial_failed(self, node_id: int, purpose: Purpose, *, refused: bool, reason: str) -> None:
        if self._roles.stopped:
            return
        if purpose is Purpose.ELECTION:
            self._mesh.dial_failed(node_id, reason, self._core.now)
            return
        owner = self._core.zab_dials.pop(node_id, None)
        learner = self._roles.learner
        if learner is not None and learner.leader_id == node_id:
            if owner is learner:
                self._learner_dial_failed(refused=refused, reason=reason)
            else:
                learner.dial(self._core.now)  # That was an earlier attempt's; what it found out is old.
            self._roles.react()

    def _learner_dial_failed(self, *, refused: bool, reason: str) -> None:
        if self._roles.learner is not None:
            self._roles.learner.dial_failed(refused=refused, reason=reason)

    def follow_members(self) -> None:
        """The configuration may have changed: dial its members, let go of the others."""
        membership = self._core.membership
        active = membership.active
        if membership.changes == self._members_seen:
            return
        self._members_seen = membership.changes
        self._roles.changed = True
        node_ids = {member.node_id for configuration in active.configurations for member in configuration.members}
        for link in self._mesh.set_members(node_ids, self._core.now):
            self.close(link, "it is no member any more")
        self._mesh.tick(self._core.now)

    # --- old copies (rule I-6) ---------------------------------------------------------------------------------------

    def remember(self, node_id: int, storage_id: bytes, incarnation: int) -> None:
        """The state names this start of a storage, as the owner of a session (rule S-1): lower ones are turned away."""
        core = self._core
        if node_id == core.node_id:
            self._hear_of_self(storage_id, incarnation)
            return
        core.links.remember(node_id, storage_id, incarnation)
        stale = [link for link in core.links if (link.node_id, link.storage_id) == (node_id, storage_id) and link.incarnation < incarnation]
        for link in stale:
            core.links.send(link.id, Outdated(storage_id, incarnation))
            self.close(link, f"incarnation {link.incarnation} of node {node_id} is older than {incarnation}", flush=True)
        if stale:
            self._roles.react()

    def _hear_of_self(self, storage_id: bytes, incarnation: int) -> None:
        own = self._core.identity
        if storage_id == own.storage_id and incarnation > own.incarnation:
            self._roles.renew_storage(f"start {incarnation} of it is known to others, and this is start {own.incarnation}")

    def storage_renewed(self, identity: Identity) -> None:
        """All links were made in the name of the old storage; they are made anew in that of the new one."""
        for link in self._core.links:
            self.close(link, "this node's storage has a new id", flush=True)
        self._roles.storage_renewed(identity)

    # --- messages ----------------------------------------------------------------------------------------------------

    def receive(self, link: int, message: Message) -> None:
        """One message of a link that is up; one for a link already closed here is dropped."""
        entry = self._core.links.get(link)
        if entry is None or self._roles.stopped:
            return
        entry.heard_at = self._core.now
        if type(message) is KeepAlive:
            return
        if type(message) is Outdated:
            self._hear_of_self(message.storage_id, message.incarnation)
            return
        try:
            if entry.purpose is Purpose.ELECTION:
                self._receive_election(entry, message)
            elif entry.outbound:
                self._receive_from_leader(entry, message)
            else:
                self._receive_from_learner(entry, message)
        except ProtocolError as error:
            self._core.report(logging.WARNING, f"link with node {entry.node_id} closed: {error}", f"protocol {entry.node_id}")
            self.close(entry, str(error))
            self._roles.react()
        except InternalError as error:
            self._roles.fail(error)

    def _receive_election(self, link: Link, message: Message) -> None:
        if link.outbound or type(message) is not Notify:
            raise ProtocolError(f"{type(message).__name__} on an election link")
        remote = self._mesh.get(link.node_id)
        if remote is None or remote.inbound is not link:
            return
        remote.newest = message
        looking = message.state is NodeState.LOOKING
        if self._roles.leader is not None or self._roles.learner is not None:
            if looking:
                self.answers.add(link.node_id)
            if self._roles.learner is not None and link.node_id == self._roles.learner.leader_id:
                self._roles.learner.heard_notification(message)
        else:
            if self._core.membership.learn(message):
                self.follow_members()
            self._compare_founding(link.node_id, message)
            if not self._roles.settling:
                self._election.hear(remote, message, self._core.now)
        self._roles.react()

    def _compare_founding(self, node_id: int, notify: Notify) -> None:
        """Members with differing start-up lists found nothing (rule I-4); somebody has to be told."""
        membership = self._core.membership
        if membership.active.founding and notify.config_version == FOUNDING_VERSION and not membership.same_founding(notify):
            text = f"node {node_id} was started with another member list than this node; both lists must be equal to found an ensemble"
            self._core.report(logging.ERROR, text, f"founding {node_id}")

    def _receive_from_leader(self, link: Link, message: Message) -> None:
        learner = self._roles.learner
        if learner is None or learner.link is not link:
            return
        handle = FROM_LEADER[learner.phase].get(type(message))
        if handle is None:
            raise ProtocolError(f"{type(message).__name__} in phase {learner.phase.value} of a learner")
        self._check_epoch(message, learner.epoch)
        phase = learner.phase
        handle(learner, message)
        if learner.ended or learner.phase is not phase:
            self._roles.react()

    def _receive_from_learner(self, link: Link, message: Message) -> None:
        leader = self._roles.leader
        if type(message) is FollowerInfo:
            self._receive_follower_info(link, message)
            return
        handler = None if leader is None else leader.handlers.get(link.id)
        if leader is None or handler is None:
            raise ProtocolError(f"{type(message).__name__} before FollowerInfo")
        handle = FROM_LEARNER[handler.phase].get(type(message))
        if handle is None:
            raise ProtocolError(f"{type(message).__name__} in phase {handler.phase.value} of a learner's handler")
        self._check_epoch(message, leader.epoch)
        established = leader.established
        handle(leader, handler, message)
        if leader.ended or leader.established is not established:
            self._roles.react()

    def _receive_follower_info(self, link: Link, message: FollowerInfo) -> None:
        """Kept while this node is still LOOKING (rule D-1)."""
        leader = self._roles.leader
        if link.held is not None or (leader is not None and link.id in leader.handlers):
            raise ProtocolError("a second FollowerInfo")
        if leader is None:
            link.held = message
            self._core.hear_accepted(link, message)
        else:
            leader.on_follower_info(link, message)
            self._roles.react()

    @staticmethod
    def _check_epoch(message: Any, epoch: int) -> None:
        """A link belongs to one attempt (rule N-9)."""
        said = getattr(message, "epoch", epoch)
        if said != epoch and epoch != 0:
            raise ProtocolError(f"{type(message).__name__} of epoch {said} on a link of epoch {epoch}")
