"""check_linearizable: what it lets pass, what it refuses, and what it says of it.

It is the judge of others, so it is compared with brute force.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.histories import Op, Words, brute_force, run_object, with_result
from zkembed import BadArgumentsError
from zkembed.testing import UNKNOWN, KeyValue, Model, Operation, Recorder, Register, SequentialModel, check_linearizable


class Counter(SequentialModel[int, Words, int | None]):
    """("add", n) returns None, ("read",) the sum."""

    def initial(self) -> int:
        return 0

    def apply(self, state: int, call: Words) -> tuple[int, int | None]:
        return (state, state) if call == ("read",) else (state + call[1], None)


class Mutex(SequentialModel[object, Words, bool]):
    """("acquire", who) and ("release", who) return whether they could."""

    def initial(self) -> object:
        return None

    def apply(self, state: object, call: Words) -> tuple[object, bool]:
        name, who = call
        if name == "acquire":
            return (who, True) if state is None else (state, False)
        return (None, True) if state == who else (state, False)


class Queue(SequentialModel[tuple[Any, ...], Words, Any]):
    """("put", item) returns None, ("take",) the oldest item, or None."""

    def initial(self) -> tuple[Any, ...]:
        return ()

    def apply(self, state: tuple[Any, ...], call: Words) -> tuple[tuple[Any, ...], Any]:
        match call:
            case ("put", item):
                return (*state, item), None
        return (state[1:], state[0]) if state else (state, None)


class Bag(Model[frozenset[Any], Words, Any]):
    """("put", item) returns None, ("take",) any item: a model with a choice."""

    def initial(self) -> frozenset[Any]:
        return frozenset()

    def step(self, state: frozenset[Any], call: Words, result: object) -> Iterable[frozenset[Any]]:
        match call:
            case ("put", item):
                return (state | {item},)
        return [state - {item} for item in sorted(state) if result in (UNKNOWN, item)]


def history(*rows: tuple[float, float | None, Words, object]) -> list[Op]:
    """Rows of (invoked, returned, call, result)."""
    return [
        Operation(call, result, invoked=invoked, returned=returned, process=f"c{number}")
        for number, (invoked, returned, call, result) in enumerate(rows, 1)
    ]


R, W, PUT, TAKE = ("read",), "write", "put", ("take",)

KNOWN: dict[str, tuple[Model[Any, Any, Any], list[Op], bool]] = {
    # Herlihy and Wing 1990, figure 1 (with put and take for E and D).
    "H1 of Herlihy and Wing": (
        Queue(),
        history((0, 3, (PUT, "x"), None), (1, 2, (PUT, "y"), None), (4, 6, TAKE, "y"), (5, 8, TAKE, "x")),
        True,
    ),
    "H2: what was put first is not taken first": (
        Queue(),
        history((0, 1, (PUT, "x"), None), (2, 3, (PUT, "y"), None), (4, 5, TAKE, "y")),
        False,
    ),
    "H3: taken while it is being put": (Queue(), history((0, 5, (PUT, "x"), None), (1, 2, TAKE, "x")), True),
    "H4: taken twice": (Queue(), history((0, 1, (PUT, "x"), None), (2, 5, TAKE, "x"), (3, 4, TAKE, "x")), False),
    "a stale read": (Register(0), history((0, 1, (W, 1), None), (2, 3, R, 0)), False),
    "old or new while it is written": (Register(0), history((0, 9, (W, 1), None), (1, 2, R, 0), (3, 4, R, 1)), True),
    "new and then old again": (Register(0), history((0, 9, (W, 1), None), (1, 2, R, 1), (3, 4, R, 0)), False),
    "a touch in time is no order": (Register(0), history((0, 1, (W, 1), None), (1, 2, R, 0)), True),
    "an unknown write that happened": (Register(0), history((0, None, (W, 1), None), (5, 6, R, 0), (7, 8, R, 1)), True),
    "an unknown write that did not": (Register(0), history((0, None, (W, 1), None), (5, 6, R, 0)), True),
    "an unknown write happens once": (
        Register(0),
        history((0, None, (W, 1), None), (1, 2, R, 1), (3, 4, (W, 2), None), (5, 6, R, 1)),
        False,
    ),
    "no effect before the call": (Register(0), history((0, 1, R, 1), (2, None, (W, 1), None)), False),
    "a lost update": (Counter(), history((0, 5, ("add", 1), None), (1, 4, ("add", 1), None), (6, 7, R, 1)), False),
    "two of three unknown ones": (Counter(), history(*[(t, None, ("add", 1), None) for t in range(3)], (6, 7, R, 2), (8, 9, R, 2)), True),
    "two holders": (Mutex(), history((0, 3, ("acquire", 1), True), (1, 4, ("acquire", 2), True)), False),
    "handed over": (Mutex(), history((0, 1, ("acquire", 1), True), (2, 5, ("release", 1), True), (3, 4, ("acquire", 2), True)), True),
    "released by nobody knows": (
        Mutex(),
        history((0, 1, ("acquire", 1), True), (2, None, ("release", 1), None), (3, 4, ("acquire", 2), True)),
        True,
    ),
    "compare and set by both": (Register(0), history((0, 5, ("cas", 0, 1), True), (1, 6, ("cas", 0, 2), True)), False),
    "another key is another object": (KeyValue(), history((0, 1, ("put", "a", 1), None), (2, 3, ("get", "b"), None)), True),
    "a map forgets": (KeyValue(), history((0, 1, ("put", "a", 1), None), (2, 3, ("get", "a"), None)), False),
    "deleted once": (
        KeyValue(),
        history((0, 1, ("put", "a", 1), None), (2, 5, ("delete", "a"), True), (3, 6, ("delete", "a"), True)),
        False,
    ),
    "a bag gives what it likes": (Bag(), history((0, 1, (PUT, 1), None), (2, 3, (PUT, 2), None), (4, 5, TAKE, 2), (6, 7, TAKE, 1)), True),
    "an unknown take took one of them": (
        Bag(),
        history((0, 1, (PUT, 1), None), (2, 3, (PUT, 2), None), (4, None, TAKE, None), (6, 7, TAKE, 1)),
        True,
    ),
    "an unknown call is spared for when it is needed": (
        Register(0),
        history(
            *[(0, None, call, None) for call in ((W, 2), ("cas", 0, 1), ("cas", 1, 2))],
            *[(1, 2, R, 2), (3, 4, (W, 5), None), (5, 6, R, 2)],
        ),
        True,
    ),
    "nothing happened": (Register(), [], True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_history_is_judged_as_it_is_known(name: str) -> None:
    model, operations, expected = KNOWN[name]
    assert brute_force(operations, model) is expected, "the table is wrong"
    assert check_linearizable(operations, model).outcome == ("ok" if expected else "violation")


# --- against brute force ---------------------------------------------------------------------------------------------

SMALL: dict[str, tuple[Model[Any, Any, Any], st.SearchStrategy[tuple[Words, object]]]] = {
    "register": (
        Register(0),
        st.one_of(
            st.tuples(st.just(R), st.integers(0, 2)),
            st.tuples(st.tuples(st.just(W), st.integers(0, 2)), st.none()),
            st.tuples(st.tuples(st.just("cas"), st.integers(0, 2), st.integers(0, 2)), st.booleans()),
        ),
    ),
    "counter": (Counter(), st.one_of(st.tuples(st.just(R), st.integers(0, 3)), st.just((("add", 1), None)), st.just((("add", 2), None)))),
    "queue": (
        Queue(),
        st.one_of(st.tuples(st.just(TAKE), st.sampled_from([None, 1, 2])), st.sampled_from([(("put", 1), None), (("put", 2), None)])),
    ),
    "bag": (Bag(), st.one_of(st.tuples(st.just(TAKE), st.sampled_from([1, 2])), st.sampled_from([(("put", 1), None), (("put", 2), None)]))),
    "map": (
        KeyValue(),
        st.one_of(
            st.tuples(st.tuples(st.just("get"), st.sampled_from("ab")), st.sampled_from([None, 1])),
            st.sampled_from([(("put", "a", 1), None), (("put", "b", 1), None), (("delete", "a"), True), (("delete", "a"), False)]),
        ),
    ),
}


@pytest.mark.parametrize("name", SMALL)
@given(data=st.data())
def test_small_histories_are_judged_as_by_trying_every_order(name: str, data: st.DataObject) -> None:
    model, calls = SMALL[name]
    operations = []
    for call, result in data.draw(st.lists(calls, max_size=5), label="calls"):
        begun = data.draw(st.integers(0, 8))
        length = data.draw(st.one_of(st.none(), st.integers(0, 5)))
        unknown = length is None
        operations.append(Operation(call, None if unknown else result, invoked=begun, returned=None if length is None else begun + length))
    found = check_linearizable(operations, model)
    assert bool(found) is brute_force(operations, model), found
    if found:
        assert_explains(found.placed, operations, model)


def assert_explains(placed: Iterable[Op], operations: list[Op], model: Model[Any, Any, Any]) -> None:
    """The order that was found is one: complete, in time, and key by key with these results."""
    order = list(placed)
    assert {id(each) for each in order} >= {id(each) for each in operations if each.returned is not None}
    states: dict[Hashable, set[Hashable]] = {}
    latest: dict[Hashable, float] = {}
    for each in order:
        key = model.key(each.call)
        assert each.returned is None or each.returned >= latest.get(key, each.returned), "returned before one placed earlier was called"
        latest[key] = max(latest.get(key, each.invoked), each.invoked)
        before = states.get(key, {model.initial()})
        states[key] = {
            after for state in before for after in model.step(state, each.call, UNKNOWN if each.returned is None else each.result)
        }
        assert states[key]


# --- larger ones -----------------------------------------------------------------------------------------------------


def register_call(random: Random) -> Words:
    match random.randrange(3):
        case 0:
            return R
        case 1:
            return (W, random.randrange(8))
    return ("cas", random.randrange(8), random.randrange(8))


def queue_call(random: Random) -> Words:
    return TAKE if random.random() < 0.5 else (PUT, random.randrange(4))


def counter_call(random: Random) -> Words:
    return R if random.random() < 0.5 else ("add", random.randrange(3))


def map_call(random: Random) -> Words:
    key = random.choice("abcd")
    return random.choice([("get", key), ("put", key, random.randrange(5)), ("delete", key), ("cas", key, random.randrange(5), 7)])


@pytest.mark.parametrize("lost", [0.0, 0.1])
@pytest.mark.parametrize(
    ("model", "draw", "calls"),
    [(Register(0), register_call, 80), (Queue(), queue_call, 30), (Counter(), counter_call, 60), (KeyValue(), map_call, 200)],
)
def test_what_a_real_object_did_is_accepted(model: SequentialModel[Any, Words, Any], draw: Any, calls: int, lost: float) -> None:
    for seed in range(10):
        operations = run_object(model, draw, Random(seed), calls, concurrency=4, lost=lost)
        found = check_linearizable(operations, model)
        assert found, f"seed {seed}: {found}"
        assert_explains(found.placed, operations, model)


def test_a_result_that_was_never_written_is_found_wherever_it_stands() -> None:
    for seed in range(15):
        random = Random(seed)
        operations = run_object(Register(0), register_call, random, 60, concurrency=4)
        wrong = random.choice([index for index, each in enumerate(operations) if each.call == R])
        found = check_linearizable(with_result(operations, wrong, -1), Register(0))
        assert (found.outcome, found.unplaced[0].result) == ("violation", -1), f"seed {seed}"


def test_ten_thousand_calls_ten_at_a_time() -> None:
    """In steps, not in seconds: about one for each pair of a call and one beside it."""
    operations = run_object(Register(0), register_call, Random(1), 10_000, concurrency=10)
    assert check_linearizable(operations, Register(0), steps_max=100_000)
    lost = run_object(Register(0), register_call, Random(1), 10_000, concurrency=10, lost=0.02)
    assert check_linearizable(lost, Register(0), steps_max=200_000)


def test_a_thousand_unknown_calls_that_never_happened_cost_next_to_nothing() -> None:
    rows: list[tuple[float, float | None, Words, object]] = [(0, None, (W, n), None) for n in range(1, 1001)]
    rows += [(n, n + 0.5, R, 0) for n in range(1, 200)]
    assert check_linearizable(history(*rows), Register(0), steps_max=1_000)


def test_equal_unknown_calls_are_one_choice() -> None:
    """200 unknown increments, of which a read saw 150: one way to choose them, not 200 over 150."""
    rows: list[tuple[float, float | None, Words, object]] = [(0, None, ("add", 1), None)] * 200
    assert check_linearizable(history(*rows, (1, 2, R, 150)), Counter(), steps_max=2_000)
    assert check_linearizable(history(*rows, (1, 2, R, 201)), Counter(), steps_max=2_000).outcome == "violation"


def test_a_history_that_is_too_hard_is_undecided_and_not_a_pass() -> None:
    rows: list[tuple[float, float | None, Words, object]] = [(0, 100, (PUT, n), None) for n in range(12)]
    found = check_linearizable(history(*rows, *[(200 + n, 200.5 + n, TAKE, 99) for n in range(12)]), Queue(), steps_max=5_000)
    assert (found.outcome, bool(found), found.steps) == ("unknown", False, 5_000)
    assert "undecided" in str(found)


def test_ten_thousand_calls_after_each_other_need_no_recursion() -> None:
    rows: list[tuple[float, float | None, Words, object]] = [(2 * n, 2 * n + 1, ("add", 1), None) for n in range(10_000)]
    assert check_linearizable(history(*rows), Counter())


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_violation_is_told_with_the_order_the_culprit_and_a_drawing() -> None:
    operations = history((0, 2, (W, 1), None), (1, 9, (W, 2), None), (3, 4, R, 2), (5, 6, R, 1), (0.5, None, (W, 3), None))
    found = check_linearizable(operations, Register(0))
    assert str(found).splitlines() == [
        "not linearizable: no order of the calls explains",
        "    ('read',) -> 1   by c4, returned at 6",
        "The order that gets furthest has 3 calls and ends in the state 2; its last:",
        "         1. ('write', 1) -> None",
        "         2. ('write', 2) -> None",
        "         3. ('read',) -> 2",
        "What was under way there, by number in that order; x: fits nowhere, ?: unknown outcome, not needed:",
        "    1  c1    0 2  |-----|              ('write', 1) -> None",
        "    ?  c5  0.5      |--------------->  ('write', 3) -> ?",
        "    2  c2    1 9      |-----------|    ('write', 2) -> None",
        "    3  c3    3 4          |-|          ('read',) -> 2",
        "    x  c4    5 6              |-|      ('read',) -> 1",
    ]


def test_of_a_map_the_key_is_named() -> None:
    rows = history((0, 1, ("put", "a", 1), None), (0, 1, ("put", "b", 1), None), (2, 3, ("get", "b"), 1), (2, 3, ("get", "a"), 2))
    found = check_linearizable(rows, KeyValue())
    assert (found.key, found.state, [each.process for each in found.unplaced]) == ("a", 1, ["c4"])
    assert "of 'a'" in str(found)


def test_the_same_history_has_the_same_story() -> None:
    operations = with_result(run_object(Register(0), register_call, Random(3), 60, concurrency=6, lost=0.2), 40, "never")
    assert len({str(check_linearizable(operations, Register(0))) for _ in range(3)}) == 1


# --- bad use ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Operation(R, 1, invoked=2, returned=1),
        lambda: Operation(R, 1, invoked=2),
        lambda: Operation(R, 1, invoked=float("nan"), returned=1),
        lambda: Operation(R, 1, invoked=0, returned=float("nan")),
        lambda: check_linearizable([], Register(), steps_max=0),
        lambda: check_linearizable(history((0, 1, ("swap", 1), None)), Register()),
        lambda: check_linearizable(history((0, 1, ("get",), None)), KeyValue()),
        lambda: check_linearizable(history((0, 1, ("swap", 1), None)), KeyValue()),
    ],
)
def test_nonsense_is_refused(make: Any) -> None:
    with pytest.raises(BadArgumentsError):
        make()


# --- the recorder ----------------------------------------------------------------------------------------------------


async def test_a_recorder_keeps_calls_in_the_order_of_their_moments_and_forgets_none(autojump_clock: trio.testing.MockClock) -> None:
    """On virtual time both writes and the read happen at 0.0; the recorder still knows which came first."""
    recorder: Recorder[Words, object] = Recorder()
    value: list[int] = [0]

    async def write(new: int, hang: bool = False) -> None:
        value[0] = new
        if hang:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    async def read() -> int:
        await trio.lowlevel.checkpoint()
        return value[0]

    await recorder.call("a", (W, 1), write(1))
    assert await recorder.call("a", R, read()) == 1
    with trio.move_on_after(1):
        await recorder.call("b", (W, 2), write(2, hang=True))
    assert await recorder.call("a", R, read()) == 2
    assert len(recorder) == 4
    assert [(each.process, each.returned is None) for each in recorder] == [("a", False), ("a", False), ("b", True), ("a", False)]
    assert check_linearizable(recorder, Register(0))
    stale = [*recorder, Operation(R, 1, invoked=100, returned=101, process="c")]
    assert check_linearizable(stale, Register(0)).outcome == "violation"
