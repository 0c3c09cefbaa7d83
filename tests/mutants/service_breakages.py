"""Deliberate breakages of what a replica makes of the log for its sessions; see ``breakages.py`` for what a breakage is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.replica.applier import Applier
from zkembed.replica.effects import SessionChanged, Settled
from zkembed.replica.expiry import Expiry
from zkembed.replica.lease import lease_end
from zkembed.replica.origin import Origination
from zkembed.replica.pipeline import Call, LocalSession
from zkembed.tree.codec import Entry
from zkembed.tree.events import EventKind
from zkembed.tree.execution import _RULES, Execution
from zkembed.tree.freeze import Freeze
from zkembed.tree.ops import SetData
from zkembed.tree.snapshot import Loader
from zkembed.tree.tree import Tree
from zkembed.tree.watches import _CONCERNED, Watches, WatchMode
from zkembed.tree.znode import TreeNode

Patch = pytest.MonkeyPatch


# --- requests --------------------------------------------------------------------------------------------------------


def versions_are_not_compared(patch: Patch) -> None:
    """S1, A19: a conditional write is done whatever the version."""
    original = Execution._set

    def set_data(self: Execution, op: SetData) -> Any:
        return original(self, SetData(op.path, op.data))

    patch.setitem(_RULES, SetData, set_data)


def withdrawn_although_handed_over(patch: Patch) -> None:
    """S4, Q-8: whoever gives up is told that nothing was done."""
    original = LocalSession.withdraw

    def withdraw(self: LocalSession, call: Call) -> bool:
        original(self, call)
        return True

    patch.setattr(LocalSession, "withdraw", withdraw)


def jumped_over_is_done(patch: Patch) -> None:
    """D1, Q-7: of a write whose entry was jumped over nobody asks what it came to."""
    original = LocalSession.resolve
    settle = Origination.settle

    def settled(self: Origination) -> None:
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr(LocalSession, "resolve", lambda self, cseq, outcome, zxid: original(self, cseq, None, zxid))
            settle(self)

    patch.setattr(Origination, "settle", settled)


def answered_when_handed_over(patch: Patch) -> None:
    """S8: a write is answered when it is with the leader; it will be done."""
    original = Origination.hand_over

    def hand_over(self: Origination) -> Iterator[Call]:
        for call in original(self):
            if call.waiter is not None and call.op.verb == "set":
                self._shared.emit(Settled(call))
            yield call

    patch.setattr(Origination, "hand_over", hand_over)


def open_before_it_is_committed(patch: Patch) -> None:
    """S8, S-7: a session is its owner's as soon as its creation was sent."""
    original = Origination.creation

    def creation(self: Origination, session: LocalSession) -> Entry:
        entry = original(self, session)
        self._created(session)
        return entry

    patch.setattr(Origination, "creation", creation)


# --- sessions --------------------------------------------------------------------------------------------------------


def lost_when_the_lease_ends(patch: Patch) -> None:
    """E3, S-7: an owner that was not confirmed in time takes its session for expired, without asking."""
    original = Origination._refresh_state

    def refresh(self: Origination, session: LocalSession) -> None:
        if session.created and not session.closing and not session.gone and self._shared.now >= lease_end(session):
            if session.state is SessionState.CONNECTED:
                session.state = SessionState.EXPIRED
                self._shared.emit(SessionChanged(session, session.state))
            return
        original(self, session)

    patch.setattr(Origination, "_refresh_state", refresh)


def owners_in_31_bits(patch: Patch) -> None:
    """E1: an ephemeral names its owner in too few bits, and nobody looks whether there is such a session."""
    original = Execution._add
    patch.setattr(Execution, "_add", lambda self, path, data, owner: original(self, path, data, owner & 0x7FFFFFFF))

    def own(self: Execution, path: str, node: TreeNode) -> None:
        session = self._sessions.get(self.session if node.ephemeral_owner else 0)
        if session is not None:
            session.ephemerals.add(path)

    patch.setattr(Execution, "_own", own)
    patch.setattr(Execution, "_disown", lambda self, path, node: None)


def close_takes_a_strangers_ephemeral(patch: Patch) -> None:
    """E2: with a session goes an ephemeral that is another's."""
    original = Tree._close

    def close(self: Tree, execution: Execution, entry: Any) -> None:
        others = sorted(path for each in self.sessions.values() if each is not entry for path in each.ephemerals)
        original(self, execution, entry)
        execution.remove_all(others[:1])

    patch.setattr(Tree, "_close", close)


def leases_outlive_deadlines(patch: Patch) -> None:
    """E5, S-7: an owner believes in its session for half as long again as the leader does."""
    patch.setattr("zkembed.replica.lease.LEASE_MARGIN", -0.5)


def touches_do_not_count(patch: Patch) -> None:
    """E4, S-4: a deadline stands, whatever its owner says meanwhile."""
    patch.setattr(Expiry, "touch", lambda self, session, now: None)


# --- states ----------------------------------------------------------------------------------------------------------


def deletes_leave_no_trace(patch: Patch) -> None:
    """D5, A29: pzxid does not move when a child is deleted."""
    patch.setattr(
        TreeNode,
        "without_children",
        lambda self, count, zxid: self._with_children(self.pzxid, self.created_children, self.num_children - count),
    )


def snapshots_lack_results(patch: Patch) -> None:
    """D4, P-8: a snapshot is written without the results that are kept, and nobody compares its digest."""
    original = Freeze.__init__

    def init(self: Freeze, *args: Any) -> None:
        original(self, *args)
        self._sessions = [((*head[:-1], 0), ()) for head, _ in self._sessions]

    def finish(self: Loader) -> Tree:
        assert self._header is not None
        feature_level, zxid, digest, _, _ = self._header
        for entry in self._sessions.values():
            entry.rehash()
        return Tree.restored(self._store, self._sessions, zxid, digest, feature_level, self._digest_every)

    patch.setattr(Freeze, "__init__", init)
    patch.setattr(Loader, "finish", finish)


def applier_stops(patch: Patch) -> None:
    """V1, V3: a replica applies a while, and then no more."""
    original = Applier.work

    def work(self: Applier, count: int) -> int:
        if self._since_snapshot > 60:
            self._backlog.clear()
            return count
        return original(self, count)

    patch.setattr(Applier, "work", work)


def window_is_not_kept(patch: Patch) -> None:
    """V5, D30: a session has as much under way as it likes."""
    original = LocalSession.__init__

    def init(self: LocalSession, id: int, open_op: Any, opened_at: float, window: int = 0) -> None:
        original(self, id, open_op, opened_at, 10**9)

    patch.setattr(LocalSession, "__init__", init)


def leaders_window_is_not_kept(patch: Patch) -> None:
    """V5, B-13: a leader proposes however much is not committed."""
    patch.setattr(
        "zkembed.zab.proposals.Proposals.can_propose", property(lambda self: self._attempt.established and not self._attempt.ended)
    )


# --- reads and watches -----------------------------------------------------------------------------------------------


def names_are_remembered(patch: Patch) -> None:
    """S6: the names of a znode's children are remembered for as long as it has as many."""
    original = Tree.children

    def children(self: Tree, path: str) -> tuple[str, ...]:
        node = self.get(path)
        remembered = self.__dict__.setdefault("_remembered", {})
        return remembered.setdefault((path, node.num_children if node else 0), original(self, path))  # type: ignore[no-any-return]

    patch.setattr(Tree, "children", children)


def jumps_are_not_told(patch: Patch) -> None:
    """W1: watches are not told what differs behind a snapshot."""
    patch.setattr(Watches, "jump", lambda self, old, new, zxid: [])


def deletions_are_told_to_data_watches_only(patch: Patch) -> None:
    """W1, C5: a watch on children is not told that the znode itself has gone."""
    concerned = tuple(mode for mode in _CONCERNED[EventKind.DELETED] if mode is not WatchMode.CHILDREN)
    patch.setitem(_CONCERNED, EventKind.DELETED, concerned)
