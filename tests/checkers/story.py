"""Histories written by hand, a line an event, read by all checkers of clients as they are told.

Whatever is not said is what a faultless ensemble would have done: an answer is the reference's, a read is of the newest state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from zkembed.testing.checkers import Violation, client_checkers
from zkembed.testing.checks.reads import expect
from zkembed.testing.history import (
    Applied,
    Calm,
    Committed,
    Crashed,
    Event,
    Expiring,
    Fault,
    GuardedWrite,
    Invoke,
    Jumped,
    LockSeen,
    Plain,
    Quiet,
    Return,
    SessionSeen,
    Started,
    Touched,
    WatchEnded,
    WatchFired,
    WatchSet,
    plain_op,
)
from zkembed.testing.reference import Entry, Reference
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import CloseSession, Create, Op, OpenSession, SetData

STORAGE = b"storage-of-one.."
LIFE = 1
TIMEOUT_S = 4.0


class Story:
    """Sessions are their clients' numbers; client n lives on node n."""

    def __init__(self, *, live: bool = True) -> None:
        self.reference = Reference()
        self.checkers = client_checkers(self.reference, live=live)
        self.events: list[Event] = []
        self.now = 0.0
        self._zxid = 1 << 32
        self._calls = 0
        self._cseq: dict[int, int] = {}
        self._ops: dict[int, tuple[int, tuple[Plain, ...], int]] = {}

    def tell(self, event: Event) -> None:
        self.events.append(event)
        for checker in self.checkers:
            checker.see(event)

    def later(self, seconds: float = 1.0) -> None:
        self.now += seconds

    def judged(self, id: str) -> int:
        return sum(checker.judged[id] for checker in self.checkers)

    def end(self, *, calm: bool = True) -> None:
        for checker in self.checkers:
            checker.finish(calm=calm)

    # --- C

    def commit(self, op: Op | None, session: int = 0, cseq: int = 0, *, payload: bytes | None = None) -> Entry:
        """The next entry; its time is ten microseconds behind the one before. op: None with a payload of one's own."""
        self._zxid += 1
        if payload is None:
            assert op is not None
            payload = encode_entry(session, cseq, min(cseq, 1), op)
        self.tell(Committed(self.now, 0, 0, self._zxid, 0, "REQUEST", self._zxid * 10, payload))
        return self.reference.entries[-1]

    def open(self, *clients: int, timeout_s: float = TIMEOUT_S) -> None:
        for client in clients:
            self.commit(OpenSession(round(timeout_s * 1000), client, STORAGE, 1), client)
            self._cseq[client] = 0
            self.session(client, "created")
            self.session(client, "connected")

    def do(self, op: Op, client: int = 1) -> Entry:
        """The next entry of the client's session, which nobody called for."""
        self._cseq[client] += 1
        return self.commit(op, client, self._cseq[client])

    def expire(self, client: int) -> Entry:
        return self.commit(CloseSession(client, True))

    # --- calls

    def invoke(self, *op: Plain, client: int = 1) -> int:
        self._calls += 1
        plain = plain_op(op[0]) if len(op) == 1 and not isinstance(op[0], str) else op
        self.tell(Invoke(self.now, client, LIFE, self._calls, client, plain))
        self._ops[self._calls] = client, plain, 0
        return self._calls

    def answer(self, call: int, entry: Entry | None = None, **fields: Any) -> None:
        """The Return of a write with the entry that it came to. fields: what is said otherwise."""
        client = self._ops[call][0]
        said: dict[str, Any] = {"status": "unknown", "value": None, "session": client, "cseq": 0, "zxid": 0, "applied": 0}
        if entry is not None:
            said |= {"status": entry.result[0], "value": entry.result[1], "cseq": entry.cseq, "zxid": entry.zxid}
        said.update(fields)
        self.tell(Return(self.now, client, LIFE, call, client, **said))

    def write(self, op: Op, client: int = 1, **fields: Any) -> Entry:
        """Called, committed, answered."""
        call = self.invoke(op, client=client)
        entry = self.do(op, client)
        self.answer(call, entry, **fields)
        return entry

    def create(self, path: str, client: int = 1, **flags: bool) -> Entry:
        return self.write(Create(path, b"", **flags), client)

    def set(self, path: str, data: bytes, client: int = 1) -> Entry:
        return self.write(SetData(path, data, None), client)

    def returned(self, call: int, at: int | None = None, **fields: Any) -> None:
        """The Return of a read or sync of the state ``at``."""
        client, op, _ = self._ops[call]
        applied = self.reference.last if at is None else at
        status, value = ("ok", applied) if op[0] == "sync" else expect(self.reference, op, applied)
        said: dict[str, Any] = {"status": status, "value": value, "session": 0, "cseq": 0, "zxid": 0, "applied": applied}
        said.update(fields)
        self.tell(Return(self.now, client, LIFE, call, client, **said))

    def read(self, verb: str, path: str, client: int = 1, at: int | None = None, **fields: Any) -> None:
        self.returned(self.invoke(verb, path, client=client), at, **fields)

    def sync(self, client: int = 1, at: int | None = None) -> None:
        self.returned(self.invoke("sync", client=client), at)

    # --- all else

    def session(self, client: int, state: str) -> None:
        self.tell(SessionSeen(self.now, client, LIFE, client, client, state))

    def watch(self, number: int, path: str, mode: str, client: int = 1, at: int | None = None, *, stream: bool = False) -> None:
        zxid = self.reference.last if at is None else at
        self.tell(WatchSet(self.now, client, LIFE, number, 0 if stream else client, path, mode, zxid))

    def fired(self, number: int, entry: Entry, place: int = 0, client: int = 1, **fields: Any) -> None:
        """The event of one change of the entry."""
        change = entry.changes[place]
        said: dict[str, Any] = {"kind": change.kind, "path": change.path, "zxid": change.zxid, "data": change.data, "stat": change.stat}
        said.update(fields)
        self.tell(WatchFired(self.now, client, LIFE, number, **said))

    def unwatch(self, number: int, client: int = 1, how: str = "removed") -> None:
        self.tell(WatchEnded(self.now, client, LIFE, number, how))

    def applied(self, node: int, entry: Entry, **fields: Any) -> None:
        digest = self.reference.digest_at(entry.zxid) or 0
        said: dict[str, Any] = {
            "session": entry.session,
            "cseq": entry.cseq,
            "executed": entry.executed,
            "outcome": entry.result,
            "digest": digest,
        }
        said.update(fields)
        self.tell(Applied(self.now, node, LIFE, entry.zxid, **said))

    def jumped(self, node: int, before: int, after: int, digest: int = 0) -> None:
        self.tell(Jumped(self.now, node, LIFE, before, after, digest))

    def lock(self, client: int, znode: str, state: str, token: int = 0, path: str = "/lock") -> None:
        self.tell(LockSeen(self.now, client, LIFE, client, path, znode, token, state))

    def guarded(self, client: int, token: int, *, accepted: bool = True) -> None:
        self.tell(GuardedWrite(self.now, client, LIFE, client, "/lock", token, accepted))

    def touched(self, node: int, *sessions: int, why: str = "touch") -> None:
        self.tell(Touched(self.now, node, LIFE, sessions, why))

    def expiring(self, node: int, session: int) -> None:
        self.tell(Expiring(self.now, node, LIFE, session, self._zxid + 1))

    def fault(self, node: int, kind: str, detail: str = "") -> None:
        self.tell(Fault(self.now, node, LIFE, kind, detail))

    def crashed(self, node: int) -> None:
        self.tell(Crashed(self.now, node, LIFE, "killed"))

    def started(self, node: int, life: int) -> None:
        self.tell(Started(self.now, node, life, STORAGE, life, 1, 1, 0, 0, 0, False, False))

    def calm(self, *core: int) -> None:
        self.tell(Calm(self.now, 0, 0, core))

    def quiet(self, *nodes: int, at: int | None = None) -> None:
        """At rest these nodes show the state ``at``."""
        zxid = self.reference.last if at is None else at
        self.tell(Quiet(self.now, 0, 0, tuple((node, zxid) for node in nodes)))


def opened(*clients: int, live: bool = True) -> Story:
    story = Story(live=live)
    story.open(*(clients or (1, 2)))
    return story


@contextmanager
def broken(id: str, text: str = "") -> Iterator[None]:
    """Something in this block breaks that invariant, and the checker says so in these words."""
    with pytest.raises(Violation) as caught:
        yield
    assert caught.value.id == id, caught.value
    assert text in caught.value.text
