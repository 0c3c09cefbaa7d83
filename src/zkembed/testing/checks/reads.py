"""What a session's reads are promised (S5 to S8): its own writes, never back, barriers, and nothing that is not in C."""

from __future__ import annotations

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Plain, Return, SessionSeen, WatchFired, WatchSet
from ..reference import Reference
from .book import CLOSE, READS, Book, Call


def expect(reference: Reference, op: tuple[Plain, ...], zxid: int) -> tuple[str, Plain]:
    """(status, value) of a read of the state at ``zxid``: of get ``(data, stat)``, of exists a stat or None, of children the names."""
    verb, path = op[0], op[1]
    znode = reference.znode_at(path, zxid)
    if verb == "exists":
        return "ok", None if znode is None else znode.stat()
    if znode is None:
        return "error", ("NoNodeError",)
    if verb == "get":
        return "ok", (znode.data, znode.stat())
    return "ok", _page(reference.children_at(path, zxid), *op[2:])


def _page(names: tuple[str, ...], prefix: str = "", after: str | None = None, limit: int | None = None) -> tuple[str, ...]:
    if prefix or after is not None:
        names = tuple(name for name in names if name.startswith(prefix) and (after is None or name > after))
    return names[:limit]


class ReadChecker(Checker):
    """A read or sync whose ``applied`` is 0 is not judged: nobody knows which state it is from."""

    ids = ("S5", "S6", "S7", "S8")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._reference = book.reference
        # Writes that were open when a later read of their client was answered, with the state it was answered from.
        self._overtaken: list[tuple[Call, int]] = []
        self._on = {Return: self._return, WatchSet: self._watch, WatchFired: self._watch, SessionSeen: self._session}

    def _return(self, event: Return) -> None:
        call = self._book.calls.get(event.id)
        if call is None or event.status not in ("ok", "error"):
            return
        reference = self._reference
        if event.applied and call.verb in READS:
            self._judge_read(call, event)
        elif event.applied and call.verb == "sync" and event.status == "ok":
            self._judge_sync(call, event)
        elif call.verb == "open" and event.status == "ok":
            self._known(event.session in reference.sessions, event, "session {:#x}, which it gave,", event.session)
        elif call.is_write and call.verb != CLOSE and self._book.live and event.cseq:
            self._known(call.entry is not None, event, "request {}, which it answers,", event.cseq)
        if event.zxid:
            self._known(reference.entry(event.zxid) is not None, event, "zxid {:#x}, which it tells,", event.zxid)

    # --- reads --------------------------------------------------------------------------------------------------------

    def _judge_read(self, call: Call, event: Return) -> None:
        applied = event.applied
        self._known(self._reference.entry(applied) is not None, event, "state {:#x}, which it shows,", applied)
        self._judge_own_writes(call, applied)
        self._judge_seen(call, applied)
        expected = expect(self._reference, call.op, applied)
        if expected != (event.status, event.value):
            told = f"{event.status} {event.value!r}"
            self.fail("S6", f"{call} at {to_hex(applied)} gave {told}, the reference has {expected!r}", event.node)

    def _judge_sync(self, call: Call, event: Return) -> None:
        applied = event.applied
        self._known(self._reference.entry(applied) is not None, event, "state {:#x}, which it reached,", applied)
        self.judged["S7"] += 1
        if applied < call.floor:
            self.fail("S7", f"{call} reached {to_hex(applied)}; {to_hex(call.floor)} had been answered before it was invoked", event.node)
        self._judge_own_writes(call, applied)
        call.client.synced = max(call.client.synced, call.floor)
        self._judge_seen(call, applied)

    def _judge_own_writes(self, call: Call, applied: int) -> None:
        """(S5) Of all earlier writes of its session, also those that nobody waits for any more (Q-9, and R-3 for a sync)."""
        writes = call.client.writes
        for place in range(call.writes_before - 1, -1, -1):
            write = writes[place]
            if write.entry is None:
                if write.returned is None or write.returned.status == "unknown":
                    self._overtaken.append((write, applied))
                continue
            self.judged["S5"] += 1
            if write.verb != CLOSE and write.entry.zxid > applied:
                self.fail("S5", f"{call} read state {to_hex(applied)}, without its own {write} at {to_hex(write.entry.zxid)}", call.node)
            if write.answered:
                return  # Those before it are older still (S2).

    def _judge_seen(self, call: Call, applied: int) -> None:
        """(S6, S7) In a simulation answers are recorded in their order; of processes, what was answered before the call counts."""
        client = call.client
        self.judged["S6"] += 1
        seen = client.seen if self._book.live else call.seen
        if applied < seen:
            self.fail("S6", f"{call} is from state {to_hex(applied)}, its session had seen {to_hex(seen)}", call.node)
        client.seen = max(client.seen, applied)
        if call.synced:
            self.judged["S7"] += 1
            if applied < call.synced:
                self.fail("S7", f"{call} is from state {to_hex(applied)}, behind a sync that promised {to_hex(call.synced)}", call.node)

    def finish(self, *, calm: bool) -> None:
        for write, applied in self._overtaken:
            entry = write.entry or self._book.find_entry(write)
            if entry is None:
                continue
            self.judged["S5"] += 1
            if entry.zxid > applied:
                self.fail(
                    "S5", f"a read saw {to_hex(applied)}, without its session's own earlier {write} at {to_hex(entry.zxid)}", write.node
                )

    # --- S8 -----------------------------------------------------------------------------------------------------------

    def _known(self, known: bool, event: Return | WatchSet | WatchFired | SessionSeen, what: str, *values: int) -> None:
        """Whether it is in C what the event reveals. what: to be filled with the values."""
        self.judged["S8"] += 1
        if not known:
            call = self._book.calls.get(event.id) if type(event) is Return else None
            who = f"{type(event).__name__} on node {event.node}" if call is None else str(call)
            self.fail("S8", f"{who}: {what.format(*values)} is not in C, which ends at {to_hex(self._reference.last)}", event.node)

    def _watch(self, event: WatchSet | WatchFired) -> None:
        if event.zxid:
            self._known(self._reference.entry(event.zxid) is not None, event, "zxid {:#x} of watch {}", event.zxid, event.watch)

    def _session(self, event: SessionSeen) -> None:
        if event.state in ("created", "connected"):
            self._known(event.session in self._reference.sessions, event, "session {:#x}, open at its owner,", event.session)
