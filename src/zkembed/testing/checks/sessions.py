"""What sessions are promised (E1 to E5): ephemerals that go with them, an end that is final, and neither too early nor unwarned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Committed, Expiring, Plain, Quiet, Return, RoleSeen, SessionSeen, Touched
from ..reference import Entry
from .book import READS, Book, Call

# Steps of a run's clock; a deadline is kept by a tick behind it, never before.
SLACK_S = 0.001
FINAL = ("expired", "closed")
_OWNER = 8


class SessionChecker(Checker):
    ids = ("E1", "E2", "E3", "E4", "E5")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._reference = book.reference
        self._seen: dict[int, SessionSeen] = {}
        self._on = {Return: self._return, SessionSeen: self._session, Quiet: self._quiet}
        if book.live:
            self._on[Committed] = self._committed
            self._on.update(Deadlines(self).handlers)

    @property
    def book(self) -> Book:
        return self._book

    # --- E1, E2: what reads show ---------------------------------------------------------------------------------------

    def _return(self, event: Return) -> None:
        call = self._book.calls.get(event.id)
        if call is None or event.status != "ok" or not event.applied or call.verb not in READS:
            return
        stat = _stat_of(call, event.value)
        if stat is None or not stat[_OWNER]:
            return
        self.judged["E1"] += 1
        owner = self._reference.sessions.get(stat[_OWNER])
        if owner is None or owner.opened > event.applied:
            self.fail(
                "E1", f"{call} at {to_hex(event.applied)} shows an ephemeral of session {stat[_OWNER]:#x}, which is not open", event.node
            )
        elif not owner.open_at(event.applied):
            where = f"{to_hex(event.applied)}; session {owner.id:#x} was closed at {to_hex(owner.closed)}"
            self.fail("E2", f"{call} still shows an ephemeral at {where}", event.node)

    # --- E3: the end is final -----------------------------------------------------------------------------------------

    def _session(self, event: SessionSeen) -> None:
        id, state = event.session, event.state
        before = self._seen.get(id)
        if before is not None and before.state in FINAL and state != before.state:
            self.fail("E3", f"session {id:#x} was {before.state} at its owner, and is {state} now", event.node)
        session = self._reference.sessions.get(id)
        if state == "expired":
            self.judged["E3"] += 1
            if session is None or not session.closed:
                self.fail("E3", f"session {id:#x} is told to be lost, and C does not close it", event.node)
        if state == "connected" and session is not None and session.expired and self._book.live:
            self.judged["E5"] += 1
            if not self._book.pauses.unfair(event.node, event.t - session.timeout):
                self.fail(
                    "E5", f"session {id:#x} is connected at its owner again, behind its expiry at {to_hex(session.closed)}", event.node
                )
        self._seen[id] = event

    def _quiet(self, event: Quiet) -> None:
        """Whose close is in the state of its owner has been told so."""
        applied = dict(event.applied)
        for id, seen in self._seen.items():
            session = self._reference.sessions.get(id)
            if session is None or not session.closed or not self._book.alive(seen.node, seen.life):
                continue
            if session.closed <= applied.get(seen.node, 0) and self._book.in_core(seen.node):
                self.judged["E3"] += 1
                if seen.state not in FINAL:
                    self.fail(
                        "E3", f"session {id:#x} was closed at {to_hex(session.closed)}; its owner was told {seen.state} last", seen.node
                    )

    # --- E5: warned in time -------------------------------------------------------------------------------------------

    def _committed(self, event: Committed) -> None:
        entry = self._reference.entry(event.zxid)
        if entry is not None and _is_expiry(entry):
            for id in entry.closed:
                self._judge_warned(id, event)

    def _judge_warned(self, id: int, event: Committed) -> None:
        seen, session = self._seen.get(id), self._reference.sessions[id]
        if seen is None or not self._book.alive(seen.node, seen.life) or self._book.pauses.unfair(seen.node, event.t - session.timeout):
            return
        self.judged["E5"] += 1
        if seen.state == "connected":
            self.fail("E5", f"the expiry of session {id:#x} is decided ({to_hex(event.zxid)}); its owner is still connected", seen.node)


class Deadlines:
    """E4, by the touches of each leader. Needs the simulator's clock."""

    def __init__(self, checker: SessionChecker) -> None:
        self._checker = checker
        self._touched: dict[tuple[int, int, int], float] = {}
        self._led_since: dict[tuple[int, int], float] = {}
        self._roles: dict[tuple[int, int], tuple[str, int]] = {}
        self.handlers: dict[type, Callable[[Any], None]] = {Touched: self._touch, RoleSeen: self._role, Expiring: self._expiring}

    def _touch(self, event: Touched) -> None:
        for session in event.sessions:
            self._touched[event.node, event.life, session] = event.t

    def _role(self, event: RoleSeen) -> None:
        """When a node became leader; for sessions that nobody has touched since."""
        life = event.node, event.life
        role = (event.role, event.epoch)
        if event.leader == event.node and self._roles.get(life) != role:
            self._led_since[life] = event.t
        self._roles[life] = role

    def _expiring(self, event: Expiring) -> None:
        checker = self._checker
        session = checker.book.reference.sessions.get(event.session)
        if session is None:
            checker.fail("E4", f"the expiry of session {event.session:#x} is proposed, which C never opened", event.node)
            return
        checker.judged["E4"] += 1
        since = self._touched.get((event.node, event.life, event.session), self._led_since.get((event.node, event.life), 0.0))
        passed = (event.t - since) * checker.book.pauses.rate(event.node)
        if passed < session.timeout - SLACK_S:
            text = f"session {event.session:#x} is expired {passed:.3f} s after its last touch, its timeout is {session.timeout} s"
            checker.fail("E4", text, event.node)


def _is_expiry(entry: Entry) -> bool:
    return entry.op is not None and entry.op[0] == "close session" and bool(entry.op[2])


def _stat_of(call: Call, value: Plain) -> Plain:
    if call.verb == "get":
        return value[1]
    return value if call.verb == "exists" else None
