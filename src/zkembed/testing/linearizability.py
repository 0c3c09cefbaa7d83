"""Whether a history could have happened one call after the other: a checker that needs no insight into what it checks.

Herlihy and Wing ("Linearizability", 1990): each call takes effect in one moment between its invocation and its return. The
checker looks for such moments. It knows calls, results and times, and neither zxids nor any other witness, so it may have to try
many orders; ``ordering.py`` has the search.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from attrs import frozen

from ..errors import BadArgumentsError
from .models import Model
from .operations import Operation
from .ordering import Budget, OutOfStepsError, Search
from .timeline import draw

STEPS_MAX = 1_000_000
PLACED_SHOWN = 8

State = TypeVar("State", bound=Hashable)
Call = TypeVar("Call")
Result = TypeVar("Result")
Outcome: TypeAlias = Literal["ok", "violation", "unknown"]


@frozen
class Linearizability(Generic[Call, Result]):
    """What a check found. True where the outcome is "ok"; ``str`` and ``repr`` tell the story, as a failing ``assert`` does.

    outcome: "ok"; "violation": there is no order; "unknown": undecided when the steps were used up.
    placed: for "ok" an order that explains every result, key after key, with those calls of unknown outcome that it needs; for "violation"
    the longest that any order got before it was stuck for good.
    unplaced: for "violation" the returned calls that were under way there and fit nowhere, first the one that everything fails at.
    key: of the object that failed, or was undecided.  state: of the model behind ``placed``; None for "ok".  steps: calls of the model.
    """

    outcome: Outcome
    steps: int
    placed: tuple[Operation[Call, Result], ...] = ()
    unplaced: tuple[Operation[Call, Result], ...] = ()
    key: Hashable = None
    state: Hashable = None
    around: tuple[Operation[Call, Result], ...] = ()

    def __bool__(self) -> bool:
        return self.outcome == "ok"

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return self.story()

    def story(self) -> str:
        """The finding in words; of a violation also a drawing of the calls around it, with their times and their places in the order."""
        of_key = "" if self.key is None else f" of {self.key!r}"
        if self.outcome == "ok":
            return f"linearizable: {len(self.placed)} calls in order, {self.steps} steps"
        if self.outcome == "unknown":
            return f"undecided: the calls{of_key} are not all in order after {self.steps} steps"
        culprit = self.unplaced[0]
        lines = [
            f"not linearizable: no order of the calls{of_key} explains",
            f"    {culprit}   by {culprit.process!s}, returned at {culprit.returned:g}",
            f"The order that gets furthest has {len(self.placed)} calls and ends in the state {self.state!r}; its last:",
            *(f"    {number:>6}. {operation}" for number, operation in self._last_placed()),
            "What was under way there, by number in that order; x: fits nowhere, ?: unknown outcome, not needed:",
            *(f"    {line}" for line in self._drawing()),
        ]
        return "\n".join(lines)

    def _last_placed(self) -> Sequence[tuple[int, Operation[Call, Result]]]:
        return list(enumerate(self.placed, 1))[-PLACED_SHOWN:]

    def _drawing(self) -> list[str]:
        marks: dict[int, str] = {id(operation): str(number) for number, operation in self._last_placed()}
        marks |= {id(operation): "x" for operation in self.unplaced}
        return draw([(marks.get(id(operation), "?"), operation) for operation in self.around])


def check_linearizable(
    history: Iterable[Operation[Call, Result]],
    model: Model[State, Call, Result],
    *,
    steps_max: int = STEPS_MAX,
) -> Linearizability[Call, Result]:
    """Look for an order of the calls in which ``model`` gives the same results, and no call comes before one that had returned before it.

    history: in any order.  steps_max: how often the model may be asked; the search is exponential in the worst case, and when this is used
    up the outcome is "unknown". A million take half a minute or so, and much memory where states are large.

    The same history and model give the same answer. Calls of different keys are checked apart, few calls before many, and the
    first violation ends the check. Raises BadArgumentsError for ``steps_max`` below 1, and what the model raises.
    """
    if steps_max < 1:
        raise BadArgumentsError(f"steps_max={steps_max!r}: at least 1")
    budget = Budget(steps_max)
    placed: list[Operation[Call, Result]] = []
    for key, operations in _by_key(history, model):
        try:
            found = Search(operations, model, budget).run()
        except OutOfStepsError:
            return Linearizability("unknown", budget.taken, key=key)
        if found.unplaced:
            around = _around(operations, found.placed, found.unplaced)
            return Linearizability("violation", budget.taken, found.placed, found.unplaced, key, found.state, around)
        placed += found.placed
    return Linearizability("ok", budget.taken, tuple(placed))


def _by_key(
    history: Iterable[Operation[Call, Result]], model: Model[Any, Call, Result]
) -> list[tuple[Hashable, list[Operation[Call, Result]]]]:
    """Small ones first, so that a hard one uses up the steps of none that is easy; equal ones as they come."""
    keys: dict[Hashable, list[Operation[Call, Result]]] = {}
    for operation in history:
        keys.setdefault(model.key(operation.call), []).append(operation)
    return sorted(keys.items(), key=lambda item: len(item[1]))


def _around(
    operations: Sequence[Operation[Call, Result]],
    placed: Sequence[Operation[Call, Result]],
    unplaced: Sequence[Operation[Call, Result]],
) -> tuple[Operation[Call, Result], ...]:
    """What the drawing shows, by time: the last that were placed, what fits nowhere, and what may have happened meanwhile."""
    shown = {id(operation) for operation in (*placed[-PLACED_SHOWN:], *unplaced)}
    all_placed = {id(operation) for operation in placed}
    until = unplaced[0].returned
    assert until is not None
    spare = [each for each in operations if each.returned is None and each.invoked <= until and id(each) not in all_placed]
    shown |= {id(operation) for operation in spare[-PLACED_SHOWN:]}
    return tuple(sorted((each for each in operations if id(each) in shown), key=lambda each: each.invoked))
