"""A history for people, and for comparing: one line an event, and a fingerprint of all of them."""

from __future__ import annotations

from hashlib import blake2b

from .history import Applied, Event, History, Touched

LAST_EVENTS = 60


def last_events(history: History, nodes: tuple[int, ...]) -> str:
    """The newest ones of the nodes concerned and of nobody in particular; all nodes where none is named."""
    lines = [
        describe(event)
        for event in history.events[-20 * LAST_EVENTS :]
        if (not nodes or event.node in nodes or event.node == 0) and not isinstance(event, Touched | Applied)
    ]
    return "\n".join(lines[-LAST_EVENTS:])


def describe(event: Event) -> str:
    fields = ", ".join(f"{name}={value!r}"[:120] for name, value in zip(event._fields[3:], event[3:], strict=True))
    return f"{event.t:12.6f}  node {event.node}.{event.life}  {type(event).__name__:<12} {fields}"


def fingerprint(history: History) -> str:
    """Of every event, bit for bit (V7)."""
    hash = blake2b(digest_size=8)
    for event in history:
        hash.update(repr((type(event).__name__, *event)).encode())
    return hash.hexdigest()
