"""Numbers for histories without: which entry of C each write of a client came to, found by order and operation.

Whoever calls through the public API sees no request numbers. But the entries of a session stand in C in the order of its calls (Q-1,
Q-3), and a definite answer names its result. So the calls of a client and the entries of its session are matched like two texts: in
order, equal operations, equal results; entries that nobody recorded a call for, as those of a recipe, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..checkers import Violation
from ..history import Event, Invoke, Plain, Return, SessionSeen
from ..reference import Entry, Reference
from .book import CLOSE, NO_WRITES

# Operations that may be answered without having been sent: there is nothing to do, or something is wrong with the call itself.
_LOCAL_ERRORS = frozenset({"BadArgumentsError", "DataTooLargeError", "SessionExpiredError"})


def align(events: Iterable[Event], reference: Reference) -> list[Event]:
    """The same events, with session, cseq and zxid filled into the Return of each write whose entry is found.

    reference: has the whole of C. A client's session is learned from its SessionSeen. Of several equal operations that ended unknown the
    earliest that fits is taken. What has its numbers keeps them. Raises Violation (D1) for a definite answer to a write that has
    no entry.
    """
    history = list(events)
    sessions = {event.client: event.session for event in history if type(event) is SessionSeen and event.session}
    invoked = {event.id: event for event in history if type(event) is Invoke}
    returns = {event.id: event for event in history if type(event) is Return}
    found: dict[int, Entry] = {}
    for client, session in sessions.items():
        calls = [event for event in invoked.values() if event.client == client and event.op[0] not in NO_WRITES]
        found.update(_match(calls, returns, _entries_of(reference, session)))
    return [_filled(event, sessions, found) if type(event) is Return else event for event in history]


def _filled(event: Return, sessions: dict[int, int], found: dict[int, Entry]) -> Return:
    entry = found.get(event.id)
    if event.cseq or entry is None:
        return event
    return event._replace(session=sessions[event.client], cseq=entry.cseq, zxid=event.zxid or entry.zxid)


def _entries_of(reference: Reference, session: int) -> list[Entry]:
    last = reference.sessions[session].last_cseq if session in reference.sessions else 0
    numbered = (reference.executed.get((session, cseq)) for cseq in range(1, last + 2))
    return [entry for entry in numbered if entry is not None]


def _match(calls: list[Invoke], returns: dict[int, Return], entries: list[Entry]) -> dict[int, Entry]:
    """Definite answers first, each with the earliest entry behind its forerunner's: if any matching exists, this is one. Then, between
    them, whatever ended unknown."""
    found: dict[int, Entry] = {}
    place = 0
    doubtful: list[tuple[Invoke, int]] = []
    for call in calls:
        end = returns.get(call.id)
        if end is None or end.status == "unknown":
            doubtful.append((call, place))
        elif end.status in ("ok", "error"):
            fits = next((at for at in range(place, len(entries)) if _fits(call.op, end, entries[at])), None)
            if fits is not None:
                found[call.id] = entries[fits]
                place = fits + 1
            elif _was_sent(call.op, end):
                told = f"{end.status} {end.value!r}"
                text = f"call {call.id} of client {call.client} ({call.op}) was answered {told}; no entry of its session fits"
                raise Violation("D1", text, (call.node,))
    _match_doubtful(doubtful, calls, found, entries)
    return found


def _match_doubtful(doubtful: list[tuple[Invoke, int]], calls: list[Invoke], found: dict[int, Entry], entries: list[Entry]) -> None:
    claimed = {entry.zxid for entry in found.values()}
    order = {call.id: at for at, call in enumerate(calls)}
    for call, place in doubtful:
        later = [found[each.id].zxid for each in calls[order[call.id] + 1 :] if each.id in found]
        end = min(later, default=None)
        for entry in entries[place:]:
            if end is not None and entry.zxid >= end:
                break
            if entry.zxid not in claimed and _same(call.op, entry):
                found[call.id] = entry
                claimed.add(entry.zxid)
                break


def _same(op: tuple[Plain, ...], entry: Entry) -> bool:
    """A request over a leader's limit is replaced by one that fails (Q-2)."""
    return entry.op == op or (entry.op is not None and entry.op[0] == "request")


def _fits(op: tuple[Plain, ...], end: Return, entry: Entry) -> bool:
    if end.zxid and end.zxid < entry.zxid:
        return False
    return _same(op, entry) and entry.result == (end.status, end.value)


def _was_sent(op: tuple[Plain, ...], end: Return) -> bool:
    """Whether such an answer means that there is an entry."""
    if end.status == "error":
        return end.value[0] not in _LOCAL_ERRORS
    # (A14, A25) ``ensure`` sends nothing if this replica has it all, an empty transaction never does; a close may be another's (S-6).
    return op[0] not in ("ensure", CLOSE) and op != ("transaction", ())
