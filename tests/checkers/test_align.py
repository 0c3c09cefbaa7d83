"""Histories without request numbers: the entry of each call is found by order, operation and result (Q-1, Q-3)."""

from __future__ import annotations

import pytest

from zkembed.testing.checkers import Violation, client_checkers, judge
from zkembed.testing.checks.align import align
from zkembed.testing.history import Committed, Event, Return
from zkembed.testing.reference import Reference
from zkembed.tree.ops import Create, Ensure, Fail, SetData
from zkembed.tree.results import ErrorCode

from .story import Story, opened


def whole(story: Story) -> Reference:
    reference = Reference(digests=False)
    for event in story.events:
        if isinstance(event, Committed):
            reference.add(event)
    return reference


def numbers(events: list[Event]) -> list[int]:
    return [event.cseq for event in events if isinstance(event, Return)]


def told(story: Story, op: Create | SetData) -> None:
    """A write, recorded by somebody who sees no numbers."""
    story.write(op, cseq=0, zxid=0, session=0)


def set_a(data: bytes) -> SetData:
    return SetData("/a", data, None)


def test_answers_find_their_entries_and_those_of_recipes_are_passed_over() -> None:
    story = opened()
    told(story, Create("/a", b""))
    story.do(Create("/locks/x-lock-", b"", ephemeral=True, sequential=True, parents=True))
    for data in (b"1", b"2", b"1"):
        told(story, set_a(data))
    assert numbers(align(story.events, whole(story))) == [1, 3, 4, 5]


def test_what_is_filled_in_satisfies_the_checkers() -> None:
    """With all of C in front."""
    story = opened()
    told(story, Create("/a", b""))
    told(story, Create("/a", b""))
    told(story, set_a(b"1"))
    events = align(story.events, whole(story))
    first = [event for event in events if isinstance(event, Committed)]
    reference = Reference(digests=False)
    checkers = client_checkers(reference, live=False)
    judge([*first, *(event for event in events if not isinstance(event, Committed))], checkers, calm=True)
    assert sum(checker.judged["D1"] for checker in checkers) == 3


def test_an_unknown_call_gets_an_entry_only_between_its_neighbours() -> None:
    story = opened()
    told(story, Create("/a", b""))
    lost = story.invoke(set_a(b"1"))
    story.answer(lost, status="unknown")
    done = story.invoke(set_a(b"2"))
    made = story.do(set_a(b"1"))
    story.answer(done, story.do(set_a(b"2")), cseq=0, zxid=0)
    never = story.invoke(set_a(b"2"))
    story.answer(never, status="unknown")
    events = align(story.events, whole(story))
    assert numbers(events) == [1, 2, 3, 0]
    assert [event.zxid for event in events if isinstance(event, Return) and event.id == lost] == [made.zxid]


def test_a_definite_answer_without_an_entry_is_a_loss() -> None:
    """D1."""
    story = opened()
    told(story, Create("/a", b""))
    call = story.invoke(set_a(b"1"))
    story.answer(call, status="ok", value=None)
    with pytest.raises(Violation, match=r"D1: call 2 of client 1 .* no entry of its session fits"):
        align(story.events, whole(story))


def test_answers_out_of_the_order_of_calls_are_a_loss() -> None:
    story = opened()
    told(story, Create("/a", b""))
    later, sooner = story.invoke(set_a(b"1")), story.invoke(set_a(b"2"))
    for call, data in ((sooner, b"2"), (later, b"1")):
        story.checkers = story.checkers[:1]
        story.answer(call, story.do(set_a(data)), cseq=0, zxid=0)
    with pytest.raises(Violation, match="D1"):
        align(story.events, whole(story))


def test_answers_that_need_no_entry_have_none() -> None:
    """A14, A25, A31: nothing to do, nothing in it, or wrong at the call."""
    story = opened()
    told(story, Create("/a", b""))
    for op, fields in (
        (Ensure("/a"), {"status": "ok"}),
        (set_a(b"large"), {"status": "error", "value": ("DataTooLargeError",)}),
    ):
        story.answer(story.invoke(op), **fields)
    assert numbers(align(story.events, whole(story))) == [1, 0, 0]


def test_a_request_over_the_leaders_limit_is_found_as_the_one_that_replaced_it() -> None:
    """Q-2."""
    story = opened()
    call = story.invoke(set_a(b"large"))
    story.answer(call, story.do(Fail(ErrorCode.TOO_LARGE)), cseq=0, zxid=0)
    assert numbers(align(story.events, whole(story))) == [1]
