"""D1 as clients can see it: an answered write is in C, as it was asked and with the result that was told, and stays."""

from __future__ import annotations

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Quiet, Return
from .book import CLOSE, Book, Call


class DurabilityChecker(Checker):
    ids = ("D1",)

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._on = {Return: self._return, Quiet: self._quiet}

    def _return(self, event: Return) -> None:
        call = self._book.calls.get(event.id)
        if call is None or not call.is_write or event.status not in ("ok", "error") or not (event.cseq or event.zxid):
            return
        self.judged["D1"] += 1
        if call.verb == CLOSE:
            self._judge_close(call, event)
        elif call.entry is not None:
            self._judge_answer(call, event)
        elif not self._book.live:
            # In a simulation it may still be committed; that it was told too early is S8.
            self.fail(
                "D1",
                f"{call} was answered {event.status}, and is not in C (request {event.cseq} of session {event.session:#x})",
                event.node,
            )

    def _judge_answer(self, call: Call, event: Return) -> None:
        entry = call.entry
        assert entry is not None
        # A request over a leader's limit is replaced by one that fails.
        if entry.op is None or (entry.op != call.op and entry.op[0] != "request"):
            self.fail("D1", f"{call} is in C as {entry.op} (zxid {to_hex(entry.zxid)})", event.node)
        if entry.result != (event.status, event.value):
            told = f"{event.status} {event.value!r}"
            self.fail("D1", f"{call} was answered {told}, in C {to_hex(entry.zxid)} came to {entry.result!r}", event.node)

    def _judge_close(self, call: Call, event: Return) -> None:
        """A close is done however the session was closed."""
        session = self._book.reference.sessions.get(event.session)
        if event.status == "ok" and (session is None or not session.closed):
            self.fail("D1", f"{call}: session {event.session:#x} was told to be closed, and is not", event.node)

    def _quiet(self, event: Quiet) -> None:
        """At the end every node of the core shows all that was ever answered."""
        for node, applied in event.applied:
            if not self._book.in_core(node):
                continue
            self.judged["D1"] += 1
            if applied < self._book.returned:
                self.fail("D1", f"node {node} ends at {to_hex(applied)}, a write was answered at {to_hex(self._book.returned)}", node)
