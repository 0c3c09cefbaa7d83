"""D1 and S1 to S4: each with a history that keeps it and one that breaks it."""

from __future__ import annotations

from zkembed.testing.history import Invoke
from zkembed.tree.codec import encode_entry
from zkembed.tree.ops import CloseSession, Create, Ensure, Fail, OpenSession, SetData
from zkembed.tree.results import ErrorCode

from .story import LIFE, STORAGE, Story, broken, opened

# --- D1: answered writes survive --------------------------------------------------------------------------------------


def test_d1_an_answered_write_is_in_c_with_the_result_that_was_told() -> None:
    story = opened()
    story.create("/a")
    story.create("/a")  # NodeExists is an answer too.
    story.quiet(1, 2)
    story.end()
    assert story.judged("D1") == 4


def test_d1_a_result_that_c_does_not_give_is_refused() -> None:
    story = opened()
    with broken("D1", "was answered ok None"):
        story.write(Create("/a", b""), value=None)


def test_d1_an_answer_to_something_else_than_was_asked_is_refused() -> None:
    story = opened()
    call = story.invoke(Create("/a", b"mine"))
    with broken("D1", "is in C as"):
        story.answer(call, story.do(Create("/a", b"other")))


def test_d1_a_request_over_the_leaders_limit_stands_in_c_as_one_that_fails() -> None:
    """Q-2."""
    story = opened()
    call = story.invoke(Create("/a", b"large"))
    story.answer(call, story.do(Fail(ErrorCode.TOO_LARGE)))


def test_d1_a_core_node_without_an_answered_write_at_the_end_is_refused() -> None:
    story = opened()
    before = story.reference.last
    story.create("/a")
    story.calm(1, 2)
    story.quiet(1, 2)
    story.quiet(3, at=before)  # Outside the core nothing is demanded.
    with broken("D1", "node 2 ends at"):
        story.quiet(2, at=before)


def test_d1_among_processes_an_answer_without_an_entry_is_a_loss() -> None:
    story = opened(live=False)
    call = story.invoke(Create("/a", b""))
    with broken("D1", "is not in C"):
        story.answer(call, status="ok", cseq=1)


def test_d1_a_close_is_done_when_the_session_is_closed_by_whomever() -> None:
    story = opened()
    call = story.invoke(CloseSession(1, False))
    with broken("D1", "told to be closed"):
        story.answer(call, status="ok", cseq=1)
    story = opened()
    call = story.invoke(CloseSession(1, False))
    story.session(1, "suspended")
    story.expire(1)
    story.answer(call, status="ok", cseq=1)


# --- S1: linearizable writes ------------------------------------------------------------------------------------------


def test_s1_overlapping_writes_may_take_effect_in_either_order() -> None:
    story = opened()
    first, second = story.invoke(Create("/a", b"")), story.invoke(Create("/b", b""), client=2)
    later, sooner = story.do(Create("/b", b""), 2), story.do(Create("/a", b""))
    story.answer(first, sooner)
    story.answer(second, later)
    assert story.judged("S1") == 2


def test_s1_a_write_before_one_that_had_already_returned_is_refused() -> None:
    story = opened()
    entry = story.do(Create("/b", b""), 2)
    story.create("/a")
    call = story.invoke(Create("/b", b""), client=2)
    with broken("S1", "had been answered before it was invoked"):
        story.answer(call, entry)


def test_s1_what_ended_unknown_cannot_have_happened_before_it_was_asked() -> None:
    """It may come later: the entry is judged when it is committed, or when the call ends if that is later."""
    story = opened()
    story.create("/a", client=2)
    call = story.invoke(Create("/b", b""))
    story.answer(call, cseq=1)
    story.create("/c", client=2)
    story.do(Create("/b", b""))
    story.end()
    story = opened()
    story.do(Create("/b", b""))
    story.create("/a", client=2)
    call = story.invoke(Create("/b", b""))
    with broken("S1"):
        story.answer(call, cseq=1)


def test_s1_a_node_that_makes_something_else_of_an_entry_is_refused() -> None:
    story = opened()
    entry = story.create("/a")
    story.applied(1, entry)
    with broken("S1", "should be"):
        story.applied(2, entry, outcome=("error", ("NodeExistsError",)))


def test_s1_a_zxid_below_the_entrys_own_is_refused() -> None:
    story = opened()
    before = story.reference.last
    with broken("S1", "before its entry"):
        story.write(Create("/a", b""), zxid=before)


# --- S2: the order of a session ---------------------------------------------------------------------------------------


def test_s2_requests_and_answers_in_the_order_of_the_calls() -> None:
    story = opened()
    calls = [story.invoke(Create(path, b"")) for path in ("/a", "/b")]
    entries = [story.do(Create(path, b"")) for path in ("/a", "/b")]
    for call, entry in zip(calls, entries, strict=True):
        story.answer(call, entry)
    story.end()


def test_s2_an_entry_that_ends_in_gap_is_refused() -> None:
    story = opened()
    with broken("S2", "a Gap"):
        story.commit(Create("/a", b""), 1, 2)


def test_s2_answers_out_of_order_are_refused() -> None:
    story = opened()
    first, second = story.invoke(Create("/a", b"")), story.invoke(Create("/b", b""))
    one, two = story.do(Create("/a", b"")), story.do(Create("/b", b""))
    story.answer(second, two)
    with broken("S2", "was answered after number 2"):
        story.answer(first, one)


def test_s2_tasks_of_a_process_may_write_their_answers_down_in_any_order() -> None:
    story = opened(live=False)
    first, second = story.invoke(Create("/a", b"")), story.invoke(Create("/b", b""))
    one, two = story.do(Create("/a", b"")), story.do(Create("/b", b""))
    story.answer(second, two)
    story.answer(first, one)


def test_s2_numbers_that_do_not_follow_the_calls_are_refused() -> None:
    story = opened()
    first, second = story.invoke(Create("/a", b"")), story.invoke(Create("/b", b""))
    two, one = story.do(Create("/b", b"")), story.do(Create("/a", b""))
    story.answer(second, two)
    with broken("S2", "not its place"):
        story.answer(first, one)


# --- S3: at most once -------------------------------------------------------------------------------------------------


def test_s3_a_repetition_has_no_effect_and_the_same_answer() -> None:
    story = opened()
    first = story.create("/a")
    again = story.commit(Create("/a", b""), 1, 1)
    assert (again.executed, again.why, again.result) == (False, "duplicate", first.result)
    story.applied(1, first)
    story.applied(1, again)
    assert story.judged("S3") == 4


def test_s3_a_node_that_executes_a_repetition_is_refused() -> None:
    story = opened()
    story.create("/a")
    again = story.commit(Create("/a", b""), 1, 1)
    with broken("S3", "executed is True"):
        story.applied(1, again, executed=True)


def test_s3_one_request_for_two_calls_is_refused() -> None:
    story = opened()
    first, second = story.invoke(Ensure("/a")), story.invoke(Ensure("/a"))
    entry = story.do(Ensure("/a"))
    story.answer(first, entry)
    with broken("S3", "both had number 1"):
        story.answer(second, entry)


def test_s3_a_closed_sessions_id_made_again_is_refused() -> None:
    story = opened()
    story.session(1, "suspended")
    story.expire(1)
    with broken("S3", "which was closed before"):
        story.commit(OpenSession(4000, 1, STORAGE, 1), 1)


# --- S4: every request ends -------------------------------------------------------------------------------------------


def test_s4_a_call_that_never_ends_is_refused_if_the_run_came_to_rest() -> None:
    story = opened()
    story.invoke(Create("/a", b""))
    story.end(calm=False)
    with broken("S4", "never ended"):
        story.end()


def test_s4_a_call_may_end_with_its_process_or_outside_the_core() -> None:
    story = opened(1, 2, 3)
    for client in (1, 2, 3):
        story.invoke(Create("/a", b""), client=client)
    story.crashed(1)
    story.started(2, LIFE + 1)
    story.calm(1, 2)
    story.end()


def test_s4_two_ends_of_one_call_are_refused() -> None:
    story = opened()
    call = story.invoke(Create("/a", b""))
    entry = story.do(Create("/a", b""))
    story.answer(call, entry)
    with broken("S4", "a second time"):
        story.answer(call, entry)


def test_s4_an_end_without_a_call_and_a_call_made_twice_are_refused() -> None:
    story = opened()
    story.invoke("sync")
    with broken("S4", "invoked twice"):
        story.tell(Invoke(0.0, 1, LIFE, 1, 1, ("sync",)))
    story = opened()
    call = story.invoke("sync")
    stranger = Story()
    stranger._ops = story._ops
    with broken("S4", "never invoked"):
        stranger.returned(call)


def test_s4_what_ended_as_not_done_is_not_in_c() -> None:
    """Another call of the same session, whose end nobody knows, may have asked for the very same."""
    story = opened()
    story.create("/before")
    withdrawn = story.invoke(SetData("/before", b"x", None))
    story.answer(withdrawn, status="not done")
    story.end()
    entry = story.do(SetData("/before", b"x", None))
    assert entry.executed
    with broken("S4", "ended as not done, and is in C"):
        story.end()
    story.invoke(SetData("/before", b"x", None))
    story.end(calm=False)


def test_s4_what_ended_as_not_done_has_no_number_in_c() -> None:
    story = opened()
    call = story.invoke(Create("/a", b""))
    story.do(Create("/a", b""))
    with broken("S4", "ended as not done, and is in C"):
        story.answer(call, status="not done", cseq=1)


def test_s4_nothing_of_a_session_happens_behind_its_close() -> None:
    """E3 says it of the nodes: the entry is there, and no node executes it."""
    story = opened()
    call = story.invoke(Create("/a", b""))
    story.answer(call, cseq=1)
    story.session(1, "suspended")
    story.expire(1)
    entry = story.do(Create("/a", b""))
    assert (entry.executed, entry.why) == (False, "closed")
    story.applied(2, entry)
    with broken("E3", "executed is True"):
        story.applied(2, entry, executed=True)


def test_s2_a_malformed_entry_has_no_effect_anywhere() -> None:
    """D22."""
    story = opened()
    entry = story.commit(None, payload=encode_entry(0, 0, 0, Fail(ErrorCode.TOO_LARGE)))
    assert (entry.executed, entry.why) == (False, "malformed")
    with broken("S3", "executed is True"):
        story.applied(1, entry, executed=True)
