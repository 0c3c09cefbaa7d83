"""A tree with a log behind it: requests go in as encoded entries, as they do in a replica."""

from __future__ import annotations

from zkembed import zxid as zxids
from zkembed.record import Kind, Record
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import Create, Op, OpenSession
from zkembed.tree.results import Answer, Failure, public
from zkembed.tree.stat import Created, Stat
from zkembed.tree.tree import Applied, Tree

STORAGE = b"storage-of-one.."
SESSION = 0x11
OTHER = 0x22
START_US = 1_700_000_000_000_000
STEP_US = 1_000


class Scene:
    """One tree, checked after each step unless it is large. ``records`` is its whole log."""

    def __init__(self, digest_every: int = 4, checked: bool = True) -> None:
        self.tree = Tree(digest_every)
        self.records: list[Record] = []
        self.checked = checked
        self._cseq: dict[int, int] = {}
        self._epoch = 1

    # --- the log ---

    @property
    def time_us(self) -> int:
        """The leader's clock at the last record."""
        return START_US + len(self.records) * STEP_US

    def next_epoch(self) -> None:
        self._epoch += 1

    def append(self, kind: Kind, payload: bytes, config_text: bytes | None = None) -> Applied:
        record = self.make(kind, payload)
        self.records.append(record)
        applied = self.tree.apply(record, config_text)
        if self.checked:
            self.tree.check_invariants()
        return applied

    def make(self, kind: Kind, payload: bytes) -> Record:
        prev, chain = (self.records[-1].zxid, self.records[-1].chain) if self.records else (0, 0)
        new_epoch = zxids.epoch_of(prev) != self._epoch
        zxid = zxids.make(self._epoch, 1) if new_epoch else prev + 1
        return Record.make(zxid, prev, self.time_us + STEP_US, kind, 0, payload, chain)

    # --- requests ---

    def open(self, session: int = SESSION, node_id: int = 1, storage_id: bytes = STORAGE, incarnation: int = 1) -> Applied:
        self._cseq[session] = 0
        return self.append(Kind.REQUEST, encode_entry(session, 0, 0, OpenSession(4000, node_id, storage_id, incarnation)))

    def lead(self, op: Op) -> Applied:
        """An entry of the leader itself."""
        return self.append(Kind.REQUEST, encode_entry(0, 0, 0, op))

    def send(self, session: int, cseq: int, ack_below: int, op: Op) -> Applied:
        return self.append(Kind.REQUEST, encode_entry(session, cseq, ack_below, op))

    def do(self, op: Op, session: int = SESSION) -> Applied:
        """The session's next request, all earlier ones being resolved."""
        self._cseq[session] += 1
        return self.send(session, self._cseq[session], self._cseq[session], op)

    def answer(self, op: Op, session: int = SESSION) -> Answer:
        """What the caller gets, or the error it gets raised."""
        applied = self.do(op, session)
        return public(applied.outcome, applied.zxid)

    def failure(self, op: Op, session: int = SESSION) -> Failure:
        """The failure of a request that must fail and change nothing but the session's progress."""
        before = dict(self.tree.items())
        applied = self.do(op, session)
        assert isinstance(applied.outcome, Failure), applied
        assert applied.changes == ()
        assert dict(self.tree.items()) == before
        return applied.outcome

    def create(self, path: str, data: bytes = b"", session: int = SESSION, **flags: bool) -> str:
        created = self.answer(Create(path, data, **flags), session)
        assert isinstance(created, Created)
        return created.path

    def stat(self, path: str) -> Stat:
        node = self.tree.get(path)
        assert node is not None, path
        return node.stat()


def opened(**options: bool | int) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    scene.open()
    return scene


def replay(records: list[Record], digest_every: int = 4) -> Tree:
    """Another replica that got the same bytes."""
    tree = Tree(digest_every)
    catch_up(tree, records)
    return tree


def catch_up(tree: Tree, records: list[Record]) -> None:
    for record in records:
        if record.zxid > tree.applied:
            tree.apply(Record.decode(record.encoded), b"config" if record.kind is Kind.CONFIG else None)
