"""The registers of the load as a linearizable object would have them: judged by calls, answers and times alone, without any zxid.

A register is a znode's data with its version. A read counts from the ``sync`` before it: that is what makes it current. Of a transaction
only the part that sets is taken, and of one that failed nothing; that leaves fewer demands than there are, never more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from attrs import evolve

from zkembed.testing.history import Event, Invoke, Return
from zkembed.testing.linearizability import Linearizability, check_linearizable
from zkembed.testing.models import SequentialModel
from zkembed.testing.operations import Operation

from .load import REGISTERS

Words: TypeAlias = tuple[Any, ...]
Value: TypeAlias = tuple[bytes, int]
"""Data and version."""

BEGINNING: Value = (b"", -1)
"""Before it is created; creating it makes version 0."""

READ_WITHIN = 0.5
"""Reads whose sync began longer before them are left out: they may be answered from so many states that they say little."""

VERSION, DATA = 5, 0

UNREAD = b"never read"


class VersionedRegister(SequentialModel[Value, Words, object]):
    """Calls: ("create", path, data), ("read", path), ("set", path, data, expected version or None). What a set returns is the new
    version, or False."""

    def initial(self) -> Value:
        return BEGINNING

    def key(self, call: Words) -> str:
        return str(call[1])

    def apply(self, state: Value, call: Words) -> tuple[Value, object]:
        _, version = state
        match call:
            case ("read", _):
                return state, (state if version >= 0 else False)
            case ("create", _, new):
                return ((new, 0), True) if version < 0 else (state, False)
            case ("set", _, new, expected):
                fits = version >= 0 and expected in (None, version)
                return ((new, version + 1), version + 1) if fits else (state, False)
        raise AssertionError(call)

    def pure(self, call: Words, result: object) -> bool:
        return call[0] == "read" or result is False


def register_calls(events: Iterable[Event]) -> Iterator[Operation[Words, object]]:
    """The history of the registers. A call whose process died, or that nobody knows the end of, has no return."""
    open_calls: dict[int, Invoke] = {}
    synced: dict[int, float] = {}  # by client: when its newest sync that has returned began
    since: dict[int, float] = {}  # by call: what ``synced`` was at its beginning
    for event in events:
        if isinstance(event, Invoke):
            open_calls[event.id] = event
            since[event.id] = synced.get(event.client, float("-inf"))
        elif isinstance(event, Return):
            invoke = open_calls.pop(event.id)
            if invoke.op == ("sync",) and event.status == "ok":
                synced[event.client] = invoke.t
            yield from _operations(invoke, event, since.pop(event.id))
    for invoke in open_calls.values():
        yield from _operations(invoke, None, 0.0)


def _operations(invoke: Invoke, returned: Return | None, synced: float) -> Iterator[Operation[Words, object]]:
    status = "unknown" if returned is None else returned.status
    value = None if returned is None else returned.value
    if status == "not done":
        return
    for call, result in _calls(invoke.op, status, value):
        begin = invoke.t
        if call[0] == "read":
            if status == "unknown" or invoke.t - synced > READ_WITHIN:
                continue
            begin = synced
        process = f"{invoke.node}.{invoke.life}"
        if status == "unknown" or returned is None:
            yield Operation(call, invoked=begin, process=process)
        else:
            yield Operation(call, result, invoked=begin, returned=returned.t, process=process)


def _calls(op: Words, status: str, value: Any) -> Iterator[tuple[Words, object]]:
    """What an operation means for registers, and what it returned."""
    ok = status == "ok"
    match op:
        case ("create", path, data, *_) if path in REGISTERS:
            yield ("create", path, data), ok
        case ("set", path, data, expected) if path in REGISTERS:
            yield ("set", path, data, expected), ok and value[VERSION]
        case ("get", path) if path in REGISTERS:
            yield ("read", path), ok and (value[DATA], value[1][VERSION])
        case ("transaction", ops) if status != "error":
            for each, result in zip(ops, value if ok else [None] * len(ops), strict=True):
                yield from _calls(each, status, result)


def _decided(calls: list[Operation[Words, object]]) -> Iterator[Operation[Words, object]]:
    """Without those of unknown outcome that can't have taken effect: another call has returned the version that they would have made."""
    made = {(call.call[1], call.result) for call in calls if call.call[0] == "set" and call.returned is not None}
    for call in calls:
        match call.call:
            case ("set", path, _, int(expected)) if call.returned is None and (path, expected + 1) in made:
                continue
        yield call


def judge_registers(events: Iterable[Event]) -> Linearizability[Words, object]:
    return check_linearizable(_alike(list(_decided(list(register_calls(events))))), VersionedRegister())


def _alike(calls: list[Operation[Words, object]]) -> Iterator[Operation[Words, object]]:
    """The same calls, those of unknown outcome with the same data where nobody has ever read it.

    What such a write wrote makes no difference, and of equal calls the search need not try which one it was.
    """
    read = {result[DATA] for call in calls if call.call[0] == "read" and isinstance(result := call.result, tuple)}
    for call in calls:
        match call.call:
            case (verb, path, data, *rest) if call.returned is None and data not in read:
                yield evolve(call, call=(verb, path, UNREAD, *rest))
            case _:
                yield call
