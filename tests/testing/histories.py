"""Histories to judge: made by an object that is linearizable by construction, and judged once more by trying every order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations, permutations
from random import Random
from typing import Any

from attrs import define, evolve

from zkembed.testing import UNKNOWN, Model, Operation, SequentialModel

Words = tuple[Any, ...]
Op = Operation[Any, Any]


@define
class _Running:
    """A call under way. lost: its caller will never hear of it.  effect: whether it will happen, or already has (None)."""

    process: int
    call: Words
    invoked: int
    lost: bool
    effect: bool | None
    result: object = None


def run_object(
    model: SequentialModel[Any, Words, Any],
    draw: Callable[[Random], Words],
    random: Random,
    calls: int,
    *,
    concurrency: int,
    lost: float = 0.0,
) -> list[Op]:
    """Calls of one real object, each with its moment of effect somewhere between call and return; of the ``lost`` half never happen."""
    history, idle, t, begun = list[Op](), list(range(concurrency)), 0, 0
    states: dict[Hashable, Any] = {}
    running: list[_Running] = []
    while running or begun < calls:
        t += 1
        if begun < calls and idle and random.random() < 0.6:
            is_lost = random.random() < lost
            running.append(_Running(idle.pop(), draw(random), t, is_lost, not is_lost or random.random() < 0.5))
            begun += 1
        elif running:
            each = random.choice(running)
            if each.effect:
                key = model.key(each.call)
                states[key], each.result = model.apply(states.get(key, model.initial()), each.call)
                each.effect = None
            else:
                running.remove(each)
                idle.append(each.process)
                history.append(_ended(each, t))
    return history


def _ended(each: _Running, t: int) -> Op:
    if each.lost:
        return Operation(each.call, invoked=each.invoked, process=each.process)
    return Operation(each.call, each.result, invoked=each.invoked, returned=t, process=each.process)


def brute_force(history: Sequence[Op], model: Model[Any, Any, Any]) -> bool:
    """Every order of all returned calls and of each part of the unknown ones, tried to its end."""
    returned = [each for each in history if each.returned is not None]
    unknown = [each for each in history if each.returned is None]
    return any(
        _explains(order, model)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*returned, *chosen])
    )


def _explains(order: Sequence[Op], model: Model[Any, Any, Any]) -> bool:
    states: dict[Hashable, set[Hashable]] = {}
    for place, each in enumerate(order):
        if any(later.returned is not None and later.returned < each.invoked for later in order[place + 1 :]):
            return False
        result = UNKNOWN if each.returned is None else each.result
        key = model.key(each.call)
        before = states.get(key, {model.initial()})
        states[key] = {after for state in before for after in model.step(state, each.call, result)}
        if not states[key]:
            return False
    return True


def with_result(history: Sequence[Op], index: int, result: object) -> list[Op]:
    """The history, but that one call returned something else."""
    changed = list(history)
    changed[index] = evolve(changed[index], result=result)
    return changed
