"""What somebody called, what came back, and when: the history that ``check_linearizable`` reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

import attrs
from attrs import field, frozen

from ..errors import BadArgumentsError

Call_co = TypeVar("Call_co", covariant=True)
Result_co = TypeVar("Result_co", covariant=True)
Call = TypeVar("Call")
Result = TypeVar("Result")
Awaited = TypeVar("Awaited")


@frozen
class Operation(Generic[Call_co, Result_co]):
    """One call of a history. Of two that touch in time, one returning when the other is invoked, neither is before the other.

    call, result: whatever the model understands; result is None where ``returned`` is.  invoked, returned: times of one clock, in any
    unit. ``returned=None``: nobody knows what became of it. It may have taken effect at any time since, may yet, or never will.
    process: who called, a label for the drawing only.

    Raises BadArgumentsError for a return before the call, a time that is not a number, or a result without a return.
    """

    call: Call_co
    result: Result_co | None = None
    invoked: float = field(kw_only=True)
    returned: float | None = field(kw_only=True, default=None)
    process: object = field(kw_only=True, default="")

    def __attrs_post_init__(self) -> None:
        if self.invoked != self.invoked or self.returned != self.returned:
            raise BadArgumentsError(f"{self.call!r}: times are numbers that can be compared, not NaN")
        if self.returned is None and self.result is not None:
            raise BadArgumentsError(f"{self.call!r}: it has the result {self.result!r}, so it has returned; give returned= too")
        if self.returned is not None and self.returned < self.invoked:
            raise BadArgumentsError(f"{self.call!r}: returned at {self.returned}, before it was invoked at {self.invoked}")

    def __str__(self) -> str:
        return f"{self.call!r} -> {'?' if self.returned is None else repr(self.result)}"


class Recorder(Generic[Call, Result]):
    """Keeps the history of calls made through it, for ``check_linearizable``: iterate over it, any time, as often as you like.

    clock: gives the time. By default each beginning and each end of a call has a moment of its own, in the order in which they came:
    exact within one event loop, also where the clock stands still between them, as a virtual one does.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        moments = count(1)
        self._clock: Callable[[], float] = clock or (lambda: next(moments))
        self._operations: list[Operation[Call, Result]] = []

    def __iter__(self) -> Iterator[Operation[Call, Result]]:
        return iter(tuple(self._operations))

    def __len__(self) -> int:
        return len(self._operations)

    async def call(self, process: object, call: Call, awaited: Awaitable[Result]) -> Result:
        """Await ``awaited`` and keep its result. One that raises, is cancelled or still runs has an unknown outcome.

        An error that is a definite answer, as NoNodeError is, should therefore be caught within ``awaited`` and be a result of it.
        """
        place = len(self._operations)
        self._operations.append(Operation(call, invoked=self._clock(), process=process))
        result = await awaited
        self._operations[place] = attrs.evolve(self._operations[place], result=result, returned=self._clock())
        return result
