"""A session's order at its origin: places, cseqs, withdrawal, re-sending, rejections (rules Q-1 to Q-9)."""

from __future__ import annotations

import pytest

from zkembed.errors import InternalError, SessionExpiredError
from zkembed.replica.pipeline import WINDOW, Barrier, LocalSession, Read
from zkembed.tree.codec import decode_entry
from zkembed.tree.ops import CloseSession, Create, Fail, OpenSession, SetData
from zkembed.tree.results import ErrorCode, Failure

STORAGE = bytes(16)


def a_session() -> LocalSession:
    session = LocalSession(7, OpenSession(6000, 1, STORAGE, 1), 0.0)
    session.created = True
    return session


def write(n: int) -> SetData:
    return SetData(f"/{n}", b"")


def handed(session: LocalSession) -> list[int]:
    return [call.cseq for call in session.hand_over()]


def test_cseqs_are_given_in_order_of_the_calls_and_only_at_hand_over() -> None:
    """Q-1: the place is taken at the call, the cseq when it goes out."""
    session = a_session()
    calls = [session.submit(write(n)) for n in range(3)]
    assert [call.cseq for call in calls] == [0, 0, 0]
    assert handed(session) == [1, 2, 3]
    assert [call.cseq for call in calls] == [1, 2, 3]
    session.check_invariants()


def test_a_call_withdrawn_in_the_queue_leaves_no_hole() -> None:
    """SE-15: those behind it move up; handed over it can't be withdrawn any more."""
    session = a_session()
    first, second, third = (session.submit(write(n)) for n in range(3))
    assert session.withdraw(second)
    assert handed(session) == [1, 2]
    assert (first.cseq, second.cseq, third.cseq) == (1, 0, 2)
    assert not session.withdraw(third)
    assert third.orphan
    session.check_invariants()


def test_the_window_bounds_what_is_with_the_ensemble_and_moves_with_the_outcomes() -> None:
    """D30: the rest waits at the origin."""
    session = a_session()
    for n in range(WINDOW + 5):
        session.submit(write(n))
    assert handed(session) == list(range(1, WINDOW + 1))
    assert handed(session) == []
    session.resolve(1, None, 10)
    session.resolve(2, None, 11)
    assert handed(session) == [WINDOW + 1, WINDOW + 2]


def test_entries_say_below_what_everything_is_resolved() -> None:
    """Q-2, Q-7: ack_below lets replicas drop stored results, never one that is still wanted."""
    session = a_session()
    for n in range(3):
        session.submit(write(n))
    assert [decode_entry(call.entry).ack_below for call in session.hand_over()] == [1, 1, 1]
    session.resolve(1, None, 10)
    session.submit(write(3))
    assert [decode_entry(call.entry).ack_below for call in session.hand_over()] == [2]


def test_outcomes_come_in_order_and_duplicates_are_ignored() -> None:
    session = a_session()
    calls = [session.submit(write(n)) for n in range(2)]
    handed(session)
    assert session.resolve(1, "one", 10) is calls[0]
    assert session.resolve(1, "again", 12) is None
    assert calls[0].outcome == "one"
    assert session.resolve(2, "two", 11) is calls[1]
    assert session.idle


def test_an_outcome_out_of_order_or_a_gap_is_a_defect_and_stops_the_node() -> None:
    session = a_session()
    for n in range(3):
        session.submit(write(n))
    handed(session)
    with pytest.raises(InternalError):
        session.resolve(2, None, 10)
    session = a_session()
    session.submit(write(1))
    handed(session)
    with pytest.raises(InternalError):
        session.resolve(1, Failure(ErrorCode.GAP, "set"), 10)


def test_a_read_waits_for_the_calls_before_it_and_not_for_those_behind() -> None:
    """Q-9."""
    session = a_session()
    first = session.submit(write(1))
    read = Read(session, lambda: None, session.last_call)
    session.reads.append(read)
    session.submit(write(2))
    handed(session)
    assert list(session.due_reads()) == []
    session.resolve(first.cseq, None, 10)
    assert list(session.due_reads()) == [read]


def test_a_read_behind_a_withdrawn_call_waits_for_the_call_before_that() -> None:
    session = a_session()
    first, second = session.submit(write(1)), session.submit(write(2))
    read = Read(session, lambda: None, second)
    session.reads.append(read)
    session.withdraw(second)
    assert read.after is first
    session.withdraw(first)
    assert list(session.due_reads()) == [read]


def test_a_barrier_is_due_when_answered_reached_and_behind_all_earlier_calls() -> None:
    """R-3: orphans included."""
    session = a_session()
    call = session.submit(write(1))
    barrier = Barrier(session, 1, call)
    session.barriers.append(barrier)
    handed(session)
    session.withdraw(call)
    barrier.zxid = 20
    assert session.due_barriers(25) == []
    session.resolve(1, None, 19)
    assert session.due_barriers(19) == []
    assert session.due_barriers(20) == [barrier]
    assert barrier.result == 20


def test_a_refused_request_is_replaced_by_an_empty_one_and_what_was_behind_follows() -> None:
    """Q-2, SE-15: REJECT resolves nothing."""
    session = a_session()
    for n in range(4):
        session.submit(write(n))
    handed(session)
    session.resolve(1, None, 10)
    again = [decode_entry(entry) for entry in session.refused(2, ErrorCode.TOO_LARGE)]
    assert [entry.cseq for entry in again] == [2, 3, 4]
    assert again[0].op == Fail(ErrorCode.TOO_LARGE)
    assert again[1].op == write(2)


def test_a_refused_request_that_was_resolved_elsewhere_is_still_answered_to_the_leader() -> None:
    """SE-19: else the leader waits for it for ever and drops all that follows."""
    session = a_session()
    for n in range(3):
        session.submit(write(n))
    handed(session)
    session.resolve(1, None, 10)
    session.resolve(2, None, 11)
    again = [decode_entry(entry) for entry in session.refused(2, ErrorCode.TOO_LARGE)]
    assert [(entry.cseq, type(entry.op)) for entry in again] == [(2, Fail), (3, SetData)]


def test_the_end_of_a_session_tells_each_call_whether_its_outcome_is_known() -> None:
    """Q-8: handed over is unknown, queued is not done, the owner's own close is done."""
    session = a_session()
    sent, queued = session.submit(Create("/sent")), None
    handed(session)
    queued = session.submit(Create("/queued"))
    session.end()
    assert isinstance(sent.error, SessionExpiredError)
    assert sent.error.unknown == ("create '/sent'",)
    assert isinstance(queued.error, SessionExpiredError)
    assert queued.error.unknown == ()
    with pytest.raises(SessionExpiredError):
        session.submit(write(1))


def test_after_the_own_close_nothing_can_be_submitted_and_the_close_itself_ends_well() -> None:
    session = a_session()
    close = session.submit(CloseSession(7, False))
    with pytest.raises(SessionExpiredError, match="was closed"):
        session.submit(write(1))
    handed(session)
    session.end()
    assert close.settled
    assert close.error is None
