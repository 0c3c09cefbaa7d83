"""What a session's writes are promised (S1 to S4): real time, its own order, at most once, and an end."""

from __future__ import annotations

from bisect import bisect_left

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Committed, Invoke, Plain, Return
from ..reference import Entry
from .book import CLOSE, Book, Call, Client


class RequestChecker(Checker):
    ids = ("S1", "S2", "S3", "S4")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._reference = book.reference
        # Calls that ended unknown and are not in C yet.
        self._unknown: dict[tuple[int, int], Call] = {}
        self._claimed: dict[tuple[int, int], Call] = {}
        self._last_returned: dict[int, int] = {}
        # Of each client, its calls whose number is known: places in its order, and those numbers.
        self._numbered: dict[int, tuple[list[int], list[int]]] = {}
        self._on = {Committed: self._committed, Invoke: self._invoke, Return: self._return}

    # --- events -------------------------------------------------------------------------------------------------------

    def _committed(self, event: Committed) -> None:
        """What ended unknown may still happen, in its place, and while its session lives."""
        if not self._unknown:
            return
        entry = self._reference.entry(event.zxid)
        if entry is None or not entry.cseq:
            return
        call = self._unknown.get((entry.session, entry.cseq))
        if call is not None and entry.executed:
            del self._unknown[entry.session, entry.cseq]
            call.entry = entry
            self._judge_time(call, entry)

    def _invoke(self, event: Invoke) -> None:
        if self._book.calls[event.id].invokes > 1:
            self.fail("S4", f"call {event.id} was invoked twice", event.node)

    def _return(self, event: Return) -> None:
        call = self._book.calls.get(event.id)
        if call is None or call.returns > 1:
            self.fail(
                "S4",
                f"call {event.id} ended with {event.status}: {'it was never invoked' if call is None else 'a second time'}",
                event.node,
            )
            return
        self.judged["S4"] += 1
        if call.is_write:
            self._judge_write(call, event)
        if call.entry is not None and call.verb != CLOSE:
            self._judge_time(call, call.entry)

    def _judge_write(self, call: Call, event: Return) -> None:
        if not event.cseq:
            return
        key = event.session, event.cseq
        other = self._claimed.setdefault(key, call)
        if other is not call:
            self.fail("S3", f"{call} and {other} both had number {event.cseq} of session {event.session:#x}", event.node)
        self._judge_order(call, event)
        if event.status == "unknown":
            if call.entry is None:
                self._unknown[key] = call
        elif event.status == "not done":
            if call.entry is not None:
                self.fail("S4", f"{call} ended as not done, and is in C at {to_hex(call.entry.zxid)}", event.node)
        elif call.entry is not None and event.zxid:
            self._judge_zxid(call, event, call.entry)

    # --- S1 -----------------------------------------------------------------------------------------------------------

    def _judge_time(self, call: Call, entry: Entry) -> None:
        self.judged["S1"] += 1
        if entry.zxid <= call.floor:
            self.fail(
                "S1", f"{call} is in C at {to_hex(entry.zxid)}; {to_hex(call.floor)} had been answered before it was invoked", call.node
            )

    def _judge_zxid(self, call: Call, event: Return, entry: Entry) -> None:
        """Whoever jumped over the entry is told where it landed; else it is the entry's, or a repetition's of it."""
        if event.zxid < entry.zxid:
            self.fail("S1", f"{call} was told zxid {to_hex(event.zxid)}, before its entry {to_hex(entry.zxid)}", event.node)

    # --- S2 -----------------------------------------------------------------------------------------------------------

    def _judge_order(self, call: Call, event: Return) -> None:
        """Numbers follow the order of calls; in a simulation answers too."""
        self.judged["S2"] += 1
        orders, numbers = self._numbered.setdefault(call.client.number, ([], []))
        place = bisect_left(orders, call.order)
        if (place and numbers[place - 1] >= event.cseq) or (place < len(numbers) and numbers[place] <= event.cseq):
            self.fail("S2", f"{call} has number {event.cseq}, which is not its place among its session's calls", event.node)
        orders.insert(place, call.order)
        numbers.insert(place, event.cseq)
        if not self._book.live or not call.answered:
            return
        last = self._last_returned.get(event.session, 0)
        if event.cseq <= last:
            self.fail("S2", f"{call} (number {event.cseq}) was answered after number {last} of the same session", event.node)
        self._last_returned[event.session] = event.cseq

    # --- S4 -----------------------------------------------------------------------------------------------------------

    def finish(self, *, calm: bool) -> None:
        book = self._book
        withdrawn: dict[int, list[Call]] = {}
        for call in book.calls.values():
            if call.returned is None and calm and book.alive(call.node, call.life) and book.in_core(call.node):
                self.fail("S4", f"{call} never ended", call.node)
            if call.returned is not None and call.returned.status == "not done" and call.is_write and call.client.session:
                withdrawn.setdefault(call.client.session, []).append(call)
        if withdrawn:
            self._judge_withdrawn(withdrawn)

    def _judge_withdrawn(self, withdrawn: dict[int, list[Call]]) -> None:
        """What ended as not done is not in C: no entry there that nobody else can have asked for."""
        for entry in self._reference.entries:
            if entry.session not in withdrawn or not entry.cseq or not entry.executed or (entry.session, entry.cseq) in self._claimed:
                continue
            self.judged["S4"] += 1
            call = next((call for call in withdrawn[entry.session] if call.op == entry.op), None)
            if call is not None and not _may_be_another(call.client, entry.op):
                self.fail("S4", f"{call} ended as not done, and is in C at {to_hex(entry.zxid)}", call.node)


def _may_be_another(client: Client, op: tuple[Plain, ...] | None) -> bool:
    """Whether an unclaimed entry of the client can be a call of it whose outcome nobody knows."""
    return any(
        call.op == op and (call.returned is None or call.returned.status == "unknown" or (not call.returned.cseq and call.answered))
        for call in client.writes
    )
