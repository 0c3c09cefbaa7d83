"""The search for an order of concurrent calls that a sequential object could have followed.

Wing and Gong's search in Lowe's form ("Testing for linearizability", 2017), as Porcupine does it: place one call after another, each of
which no call left has returned before, step back where none fits, and never look twice at the same calls placed in the
same state. Added to it is what calls of unknown outcome need:

1. They are placed only in front of a returned call, and as few as will do: none, then one, then two. Whatever stands behind the last
   returned call might as well never have happened.
2. Where the same returned calls were placed before, in the same state, with a part of these unknown ones, nothing new can follow: what is
   possible now was possible then, with more to spare.
3. Equal unknown calls are taken in the order in which they were made.

Deterministic: nothing is drawn, and no order of a set or of hashes decides. Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from .models import UNKNOWN, Model
from .operations import Operation

# Asking what is remembered is that much cheaper than asking the model.
LOOKUPS_A_STEP = 4

AnyOperation: TypeAlias = Operation[Any, Any]
AnyModel: TypeAlias = Model[Any, Any, Any]


class OutOfStepsError(Exception):
    """The budget is used up, and nothing was decided."""


class Budget:
    """How many steps of the model the search may still take."""

    def __init__(self, steps_max: int) -> None:
        self.steps_max = steps_max
        self.taken = 0

    def take(self, steps: int) -> None:
        """Raises OutOfStepsError."""
        if self.taken + steps > self.steps_max:
            self.taken = self.steps_max
            raise OutOfStepsError
        self.taken += steps


class Found(NamedTuple):
    """placed: an order of all returned calls and of those unknown ones that were needed; where there is none, of as many as go together
    before the search gets stuck for the last time.  state: behind them.  unplaced: returned calls that were under way there, first the
    one that had returned before anything else could follow; () if there is an order."""

    placed: tuple[AnyOperation, ...]
    state: Hashable
    unplaced: tuple[AnyOperation, ...] = ()


class _Move(NamedTuple):
    """Unknown calls, then a returned one. used: all unknown calls placed so far, a bit for each."""

    state: Hashable
    used: int
    unknown: tuple[int, ...]
    call: int


class _Stuck(NamedTuple):
    """The last return that some order got as far as, and the longest such order."""

    deadline: int
    trail: list[_Move]


class Search:
    """One search through the calls of one object.  Invariant: ``_line`` holds the calls of no move of ``_trail``."""

    def __init__(self, operations: Iterable[AnyOperation], model: AnyModel, budget: Budget) -> None:
        by_time = sorted(operations, key=lambda each: each.invoked)
        self._returned = [each for each in by_time if each.returned is not None]
        self._pure = [model.pure(each.call, each.result) for each in self._returned]
        self._unknown = [each for each in by_time if each.returned is None and not model.pure(each.call, UNKNOWN)]
        self._equal = _equal_calls(self._unknown)
        # What the model has said, of unknown and of returned calls.
        self._changes: dict[Hashable, list[tuple[int, Hashable]]] = {}
        self._fits: dict[tuple[int, Hashable], Sequence[Hashable]] = {}
        self._line = _Line(self._returned)
        self._model = model
        self._budget = budget
        # By returned calls placed and state: the smallest sets of unknown calls that it was reached with.
        self._visited: dict[Hashable, list[int]] = {}
        # The order so far, and for each place in it what can still be tried there.
        self._trail = [_Move(model.initial(), 0, (), -1)]
        self._open = [self._moves(self._trail[0])]

    def run(self) -> Found:
        """Raises OutOfStepsError."""
        stuck = _Stuck(-1, [])
        while self._line.first is not None:
            move = next(self._open[-1], None)
            if move is not None:
                self._advance(move)
                continue
            stuck = self._furthest(stuck)
            if len(self._trail) == 1:
                return self._failed(stuck)
            self._open.pop()
            self._line.restore(self._trail.pop().call)
        return Found(self._operations(self._trail), self._trail[-1].state)

    def _advance(self, move: _Move) -> None:
        self._line.take(move.call)
        if self._is_new((self._line.placed(), move.state), self._visited, move.used):
            self._trail.append(move)
            self._open.append(self._moves(move))
        else:
            self._line.restore(move.call)

    # --- what can follow ----------------------------------------------------------------------------------------------

    def _moves(self, last: _Move) -> Iterator[_Move]:
        """All ways to place one more returned call, the promising ones first.

        1. A call that never changes anything, and fits: nothing else needs to be tried, for elsewhere it would take no one's place.
        2. The call that returns first, ``due``; then those behind which it fits; then the others.
        3. The same behind one unknown call, behind two, and so on.
        """
        calls, due = self._line.minimal()
        until = self._returned[due].returned
        assert until is not None
        for call in calls:
            if self._pure[call] and last.state in self._place(last.state, call):
                yield _Move(last.state, last.used, (), call)
                return
        tried: dict[Hashable, list[int]] = {}
        for reached in self._reachable(last, until):
            self._budget.take(1 + len(calls) // LOOKUPS_A_STEP)
            others = []
            for call in (due, *calls):
                for state in self._place(reached.state, call):
                    if self._is_new((call, state), tried, reached.used):
                        move = _Move(state, reached.used, reached.unknown, call)
                        if call == due or self._place(state, due):
                            yield move
                        else:
                            others.append(move)
            yield from others

    def _reachable(self, last: _Move, until: float) -> Iterator[_Move]:
        """The state as it is, and then each that unknown calls alone may lead to, in as few of them as possible."""
        seen: dict[Hashable, list[int]] = {last.state: [last.used]}
        layer = [_Move(last.state, last.used, (), -1)]
        while layer:
            yield from layer
            following = []
            for reached in layer:
                for unknown, state in self._available(reached, until):
                    used = reached.used | 1 << unknown
                    if self._is_new(state, seen, used):
                        following.append(_Move(state, used, (*reached.unknown, unknown), -1))
            layer = following

    def _available(self, reached: _Move, until: float) -> Iterator[tuple[int, Hashable]]:
        """Unknown calls made before ``until`` and not used yet, of equal ones the first, and the states that they lead to."""
        changes = self._changes_from(reached.state)
        self._budget.take(1 + len(changes) // LOOKUPS_A_STEP)
        for equal, state in changes:
            unused = equal & ~reached.used
            unknown = (unused & -unused).bit_length() - 1
            if unused and self._unknown[unknown].invoked <= until:
                yield unknown, state

    def _changes_from(self, state: Hashable) -> list[tuple[int, Hashable]]:
        """What any unknown call makes of ``state``, the equal ones as bits."""
        changes = self._changes.get(state)
        if changes is None:
            changes = [
                (equal, after) for equal, operation in self._equal for after in self._step(state, operation, UNKNOWN) if after != state
            ]
            self._changes[state] = changes
        return changes

    def _place(self, state: Hashable, call: int) -> Sequence[Hashable]:
        """The states behind a returned call; none if it does not fit."""
        following = self._fits.get((call, state))
        if following is None:
            operation = self._returned[call]
            following = self._fits[call, state] = self._step(state, operation, operation.result)
        return following

    def _step(self, state: Hashable, operation: AnyOperation, result: object) -> Sequence[Hashable]:
        self._budget.take(1)
        return tuple(self._model.step(state, operation.call, result))

    @staticmethod
    def _is_new(place: Hashable, seen: dict[Hashable, list[int]], used: int) -> bool:
        """Whether ``place`` has not been reached with ``used`` or a part of it; notes that it is now."""
        smaller = seen.setdefault(place, [])
        if any(other & used == other for other in smaller):
            return False
        smaller[:] = [other for other in smaller if other & used != used]
        smaller.append(used)
        return True

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _furthest(self, stuck: _Stuck) -> _Stuck:
        """Nothing more can follow here: the further one of this place and ``stuck``."""
        deadline = self._line.rank(self._line.minimal()[1])
        if (deadline, len(self._trail)) <= (stuck.deadline, len(stuck.trail)):
            return stuck
        return _Stuck(deadline, self._trail.copy())

    def _failed(self, stuck: _Stuck) -> Found:
        for move in stuck.trail[1:]:
            self._line.take(move.call)
        calls, deadline = self._line.minimal()
        unplaced = (deadline, *(call for call in calls if call != deadline))
        return Found(self._operations(stuck.trail), stuck.trail[-1].state, tuple(self._returned[call] for call in unplaced))

    def _operations(self, moves: Iterable[_Move]) -> tuple[AnyOperation, ...]:
        placed = []
        for move in moves:
            placed += [self._unknown[unknown] for unknown in move.unknown]
            if move.call >= 0:
                placed.append(self._returned[move.call])
        return tuple(placed)


def _equal_calls(unknown: Sequence[AnyOperation]) -> list[tuple[int, AnyOperation]]:
    """Equal calls together, as the bits of their indexes, and the first of them. A call that cannot be hashed is equal to none."""
    classes: dict[Hashable, tuple[int, AnyOperation]] = {}
    alone = []
    for index, operation in enumerate(unknown):
        try:
            bits, first = classes.get(operation.call, (0, operation))
            classes[operation.call] = bits | 1 << index, first
        except TypeError:
            alone.append((1 << index, operation))
    return [*classes.values(), *alone]


class _Line:
    """The calls and returns of what is not placed yet, in the order of time: a doubly linked list of events, from which a call is taken
    and to which the calls taken are restored, the last one first.

    A call is named by its index in ``operations``, which are sorted by time of call. Event ``2 * call`` is its invocation and
    ``2 * call + 1`` its return. Calls come before returns of the same time, so that those two are concurrent.
    """

    def __init__(self, operations: Sequence[AnyOperation]) -> None:
        self._end = 2 * len(operations)
        events = sorted(range(self._end), key=lambda event: (_time(operations[event // 2], event), event % 2, event))
        self._rank = [0] * self._end
        for rank, event in enumerate(events):
            self._rank[event] = rank
        circle = [self._end, *events]
        self._next = [0] * (self._end + 1)
        self._previous = [0] * (self._end + 1)
        for event, following in zip(circle, [*events, self._end], strict=True):
            self._next[event] = following
            self._previous[following] = event
        self._taken = 0

    @property
    def first(self) -> int | None:
        """The call of all that are left that was made first."""
        event = self._next[self._end]
        return None if event == self._end else event // 2

    def rank(self, call: int) -> int:
        """Where the call's return stands among all events."""
        return self._rank[2 * call + 1]

    def placed(self) -> tuple[int, int]:
        """Which calls have been taken: all below the first number, and behind it those of the bits of the second."""
        first = self.first
        low = self._end // 2 if first is None else first
        return low, self._taken >> low

    def minimal(self) -> tuple[list[int], int]:
        """The calls that may come next, since none that is left had returned before them; and the one of them that returned first."""
        calls = []
        event = self._next[self._end]
        while not event % 2:
            calls.append(event // 2)
            event = self._next[event]
        return calls, event // 2

    def take(self, call: int) -> None:
        self._taken |= 1 << call
        for event in (2 * call, 2 * call + 1):
            before, behind = self._previous[event], self._next[event]
            self._next[before], self._previous[behind] = behind, before

    def restore(self, call: int) -> None:
        self._taken &= ~(1 << call)
        for event in (2 * call + 1, 2 * call):
            self._next[self._previous[event]] = event
            self._previous[self._next[event]] = event


def _time(operation: AnyOperation, event: int) -> float:
    if event % 2:
        assert operation.returned is not None
        return operation.returned
    return operation.invoked
