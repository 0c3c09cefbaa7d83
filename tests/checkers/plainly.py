"""The real tree in the words of the reference."""

from __future__ import annotations

from zkembed.record import Record
from zkembed.testing.history import Committed, Plain, plain_stat
from zkembed.testing.reference import Entry, Reference
from zkembed.tree.tree import Applied, Tree

State = dict[str, tuple[bytes, Plain]]
"""Path to data and stat."""


def committed(record: Record) -> Committed:
    return Committed(0.0, 0, 0, record.zxid, record.chain, record.kind.name, record.time, record.payload)


def state_of(tree: Tree) -> State:
    return {path: (node.data, plain_stat(node.stat())) for path, node in tree.items()}


def state_at(reference: Reference, zxid: int) -> State:
    return {path: (data, stat) for path, data, stat in reference.state_at(zxid)}


def events_of(applied: Applied) -> list[Plain]:
    """Kind, path, zxid, data and stat of each, as watches are told."""
    events = [change.event(applied.zxid) for change in applied.changes]
    return [(event.kind.name, event.path, event.zxid, event.data, plain_stat(event.stat)) for event in events]


def events_due(entry: Entry) -> list[Plain]:
    return [(change.kind, change.path, change.zxid, change.data, change.stat) for change in entry.changes]
