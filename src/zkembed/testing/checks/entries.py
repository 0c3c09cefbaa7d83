"""C itself: what no sequence of entries may hold, what each may do to ephemerals (S2, S3, E1, E2), and what nodes make of it (D5)."""

from __future__ import annotations

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Applied, Committed, Jumped
from ..reference import Entry
from .book import Book

# What it breaks if a node executes an entry that has no effect for this reason.
_EXECUTED_ANYWAY = {"duplicate": "S3", "gap": "S2", "closed": "E3", "malformed": "S3"}


class EntryChecker(Checker):
    """Judges each entry by the reference, then each node's application of it by the entry."""

    ids = ("S1", "S2", "S3", "E1", "E2", "E3", "D5")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._reference = book.reference
        self._reopened = 0
        self._on = {Committed: self._committed, Applied: self._applied, Jumped: self._jumped}

    def _committed(self, event: Committed) -> None:
        reference = self._reference
        entry = reference.entry(event.zxid)
        assert entry is not None
        if entry.cseq:
            self.judged["S2"] += 1
            self.judged["S3"] += 1
            if entry.why == "gap":
                last = reference.sessions[entry.session].last_cseq
                self.fail("S2", f"entry {to_hex(entry.zxid)} is request {entry.cseq} of session {entry.session:#x}, behind {last}: a Gap")
        if len(reference.reopened) > self._reopened:
            self._reopened = len(reference.reopened)
            id, zxid = reference.reopened[-1]
            self.fail("S3", f"entry {to_hex(zxid)} opens session {id:#x}, which was closed before")
        if entry.changes:
            self._judge_ephemerals(entry)

    def _judge_ephemerals(self, entry: Entry) -> None:
        """(E1, E2) Whoever owns what was made is open; what goes, goes by its delete or with its session, and all of that."""
        sessions = self._reference.sessions
        for change in entry.changes:
            znode = change.znode or change.before
            if znode is None or not znode.owner:
                continue
            self.judged["E1" if change.znode else "E2"] += 1
            owner = sessions.get(znode.owner)
            if owner is None or not (owner.open_at(entry.zxid) or (change.znode is None and owner.closed == entry.zxid)):
                self.fail(
                    "E1", f"{change.path} ({change.kind} by {to_hex(entry.zxid)}) belongs to session {znode.owner:#x}, which is not open"
                )
        for id in entry.closed:
            self.judged["E2"] += 1
            left = self._reference.ephemerals(id)
            if left:
                self.fail("E2", f"entry {to_hex(entry.zxid)} closes session {id:#x} and leaves {', '.join(left)}")

    # --- what nodes make of it ----------------------------------------------------------------------------------------

    def _applied(self, event: Applied) -> None:
        entry = self._reference.entry(event.zxid)
        if entry is None:
            return  # An entry that is not in C is for the checkers of agreement.
        where = f"node {event.node} applied {to_hex(event.zxid)}"
        if event.executed != entry.executed:
            id = "S3" if entry.executed else _EXECUTED_ANYWAY[entry.why]
            self.fail(id, f"{where}: executed is {event.executed}, should be {entry.executed} {entry.why}", event.node)
        self.judged["S3"] += 1
        if entry.why == "closed":
            self.judged["E3"] += 1
        if event.outcome != entry.result:
            self.fail("S1", f"{where} ({entry.op}) with outcome {event.outcome}, should be {entry.result}", event.node)
        self.judged["S1"] += 1
        self._judge_digest(event.node, event.zxid, event.digest)

    def _jumped(self, event: Jumped) -> None:
        self._judge_digest(event.node, event.after, event.digest)

    def _judge_digest(self, node: int, zxid: int, digest: int) -> None:
        """digest: 0 where nobody has computed it."""
        expected = self._reference.digest_at(zxid)
        if expected is None or not digest:
            return
        self.judged["D5"] += 1
        if digest != expected:
            self.fail("D5", f"node {node}: the state at {to_hex(zxid)} has digest {digest:#x}, the reference {expected:#x}", node)
