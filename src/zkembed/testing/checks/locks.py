"""What locks are promised (L1 to L3): one holder, no contender left behind, nobody waiting for nobody.

A holder believes in its lock from "holds" until the first of "doubts" and "released", or until its process ends.
"""

from __future__ import annotations

import re

from ...zxid import to_hex
from ..checkers import Checker
from ..history import GuardedWrite, LockSeen, Quiet
from ..reference import Reference
from .book import Book

_CONTENDER = re.compile(r".*-lock-[0-9]{10,}")
_BELIEVES = "holds"


class Contest:
    """One lock. contenders: by znode, as last seen.  holders: of them who believe to hold it, with the time since when."""

    def __init__(self) -> None:
        self.contenders: dict[str, LockSeen] = {}
        self.holders: dict[str, LockSeen] = {}
        self.token = 0
        self.guarded = 0


class LockChecker(Checker):
    ids = ("L1", "L2", "L3")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._reference: Reference = book.reference
        self._contests: dict[str, Contest] = {}
        self._clients: dict[tuple[str, int], int] = {}
        self._on = {LockSeen: self._lock, GuardedWrite: self._guarded, Quiet: self._quiet}

    def _contest(self, path: str) -> Contest:
        found = self._contests.get(path)
        if found is None:
            found = self._contests[path] = Contest()
        return found

    # --- L1 -----------------------------------------------------------------------------------------------------------

    def _lock(self, event: LockSeen) -> None:
        contest = self._contest(event.path)
        if event.state == _BELIEVES:
            self._judge_token(event)
            self._judge_holder(contest, event)
            contest.holders[event.znode] = event
        else:
            contest.holders.pop(event.znode, None)
        contest.contenders[event.znode] = event

    def _judge_token(self, event: LockSeen) -> None:
        """The token is the znode's czxid (H5), so it rises from one znode of the queue to the next, and belongs to one client."""
        self.judged["L1"] += 1
        znode = self._reference.znode_at(event.znode, event.token)
        if znode is None or znode.czxid != event.token:
            self.fail("L1", f"{_name(event)}: no znode of that name was made at {to_hex(event.token)}", event.node)
        if self._clients.setdefault((event.path, event.token), event.client) != event.client:
            self.fail("L1", f"{_name(event)}: token {to_hex(event.token)} was another client's before", event.node)

    def _judge_holder(self, contest: Contest, event: LockSeen) -> None:
        excused = self._excused(event, event)
        for other in contest.holders.values():
            if other.znode == event.znode or excused or not self._book.alive(other.node, other.life) or self._excused(other, event):
                continue
            since = f"{_name(other)} holds it since {other.t:.3f}"
            self.fail("L1", f"{_name(event)} at {event.t:.3f} while {since}", event.node, other.node)
        if event.token < contest.token and not excused:
            self.fail("L1", f"{_name(event)} after an acquisition with token {to_hex(contest.token)}", event.node)
        contest.token = max(contest.token, event.token)

    def _excused(self, holder: LockSeen, now: LockSeen) -> bool:
        """It may believe what is no longer so: its process was paused, and only its token protects (S-9); or a stranger's delete has
        taken its znode, of which its replica will tell it."""
        # A clock that stood still longer ago than any session lasts deceives no lease of now.
        longest = max((session.timeout for session in self._reference.sessions.values()), default=0.0)
        return self._book.pauses.unfair(holder.node, min(holder.t, now.t - longest)) or self._evicted(holder.znode)

    def _evicted(self, znode: str) -> bool:
        changes = self._reference.changes_of(znode)
        if not changes or changes[-1].kind != "DELETED" or changes[-1].before is None:
            return False
        entry = self._reference.entry(changes[-1].zxid)
        owner = changes[-1].before.owner
        return entry is not None and entry.session != owner and owner not in entry.closed

    def _guarded(self, event: GuardedWrite) -> None:
        contest = self._contest(event.path)
        self.judged["L1"] += 1
        if event.accepted and event.token < contest.guarded:
            self.fail("L1", f"{event.path}: token {to_hex(event.token)} was accepted after {to_hex(contest.guarded)}", event.node)
        if event.accepted and self._clients.setdefault((event.path, event.token), event.client) != event.client:
            self.fail("L1", f"{event.path}: two clients wrote with token {to_hex(event.token)}", event.node)
        if event.accepted:
            contest.guarded = event.token

    # --- L2, L3 -------------------------------------------------------------------------------------------------------

    def _quiet(self, event: Quiet) -> None:
        """At rest, by the state that all of the core show."""
        applied = {node: zxid for node, zxid in event.applied if self._book.in_core(node)}
        if not applied:
            return
        zxid = min(applied.values())
        for path, contest in self._contests.items():
            queue = [f"{path}/{name}" for name in self._reference.children_at(path, zxid) if _CONTENDER.fullmatch(name)]
            queue.sort(key=_number)
            # An empty queue is a verdict as well: nobody was left behind, nobody waits.
            self.judged["L2"] += 1
            self.judged["L3"] += 1
            for znode in queue:
                self._judge_orphan(contest, znode, zxid, applied)
            self._judge_waiting(path, contest, queue, applied)

    def _judge_orphan(self, contest: Contest, znode: str, zxid: int, applied: dict[int, int]) -> None:
        """(L2) Behind each contender stands somebody: of those whose process is there to take it back."""
        made = self._reference.znode_at(znode, zxid)
        owner = None if made is None else self._book.owners.get(made.owner)
        if owner is None or owner.node not in applied or not self._book.alive(owner.node, owner.life):
            return
        seen = contest.contenders.get(znode)
        if seen is None or seen.state in ("released", "gave up"):
            what = "nobody has ever named it" if seen is None else f"it was {seen.state} at {seen.t:.3f}"
            self.fail("L2", f"{znode} is left behind in session {owner.session:#x}: {what}", owner.node)

    def _judge_waiting(self, path: str, contest: Contest, queue: list[str], applied: dict[int, int]) -> None:
        """(L3) Whoever is first does not wait; whoever waits is in the queue."""
        for znode, seen in contest.contenders.items():
            if seen.state != "waits" or seen.node not in applied or not self._lives(seen):
                continue
            if znode not in queue:
                self.fail("L3", f"{_name(seen)} waits for {path}, and its znode is gone", seen.node)
            elif znode == queue[0]:
                self.fail("L3", f"{_name(seen)} waits for {path}, and is the first in its queue", seen.node)

    def _lives(self, seen: LockSeen) -> bool:
        """Its process runs, and its session is open."""
        client = self._book.clients.get(seen.client)
        session = None if client is None else self._reference.sessions.get(client.session)
        return self._book.alive(seen.node, seen.life) and (session is None or not session.closed)


def _number(znode: str) -> int:
    return int(re.sub(r".*-lock-", "", znode))


def _name(event: LockSeen) -> str:
    return f"client {event.client} with {event.znode} (token {to_hex(event.token)}) {event.state}"
