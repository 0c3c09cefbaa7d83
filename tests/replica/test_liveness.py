"""Leases at the owner and deadlines at the leader (rules S-3 to S-7), each by itself."""

from __future__ import annotations

import pytest

from zkembed.replica.expiry import NEVER, Expiry
from zkembed.replica.lease import LEASE_MARGIN, TOUCHES_KEPT, Touches, confirm, lease_end
from zkembed.replica.pipeline import LocalSession
from zkembed.tree.ops import OpenSession


def a_session(id: int = 7) -> LocalSession:
    return LocalSession(id, OpenSession(6000, 1, bytes(16), 1), 100.0)


def test_the_lease_counts_from_the_moment_a_confirmed_touch_was_sent() -> None:
    """S-7: never from when the confirmation arrived."""
    session = a_session()
    assert lease_end(session) == 100.0 + 6.0 * (1 - LEASE_MARGIN)
    confirm([session], 103.0)
    confirm([session], 102.0)  # An older confirmation that comes late takes nothing back.
    assert lease_end(session) == 103.0 + 6.0 * (1 - LEASE_MARGIN)


def test_a_list_of_sessions_is_sent_once_and_again_when_it_changes_or_the_link_is_new() -> None:
    """S-4: 'as before' is only understood on the same link."""
    touches = Touches()
    assert touches.listing((1, 2)) == (1, 2)
    assert touches.listing((1, 2)) is None
    assert touches.listing((1,)) == (1,)
    touches.reset()
    assert touches.listing((1,)) == (1,)


def test_an_echo_confirms_whom_that_very_pong_listed() -> None:
    """S-4: sessions opened since are not confirmed by it."""
    touches = Touches()
    touches.sent(1, 10.0, (1,))
    touches.sent(2, 10.2, (1, 2))
    touches.sent(3, 10.4, (1, 2, 3))
    assert touches.echoed(2) == (10.2, (1, 2))
    assert touches.echoed(2) is None
    assert touches.echoed(0) is None
    assert touches.echoed(3) == (10.4, (1, 2, 3))


def test_touches_that_nobody_echoes_are_bounded() -> None:
    touches = Touches()
    for seq in range(1, 2 * TOUCHES_KEPT):
        touches.sent(seq, float(seq), ())
    assert touches.echoed(1) is None
    assert touches.echoed(2 * TOUCHES_KEPT - 1) is not None


def test_an_established_leader_gives_every_session_a_full_timeout() -> None:
    """S-3, SE-2."""
    expiry = Expiry([(1, 6.0), (2, 10.0)], now=50.0)
    assert expiry.due(55.9) == []
    assert expiry.due(56.0) == [1]
    expiry.proposed_close(1)
    assert expiry.due(60.0) == [2]


def test_a_touch_moves_the_deadline_of_an_open_session_only() -> None:
    """S-4, S-5, SE-17: a closing session is not brought back by its owner's return."""
    expiry = Expiry([(1, 6.0), (2, 6.0)], now=0.0)
    expiry.proposed_close(2)
    expiry.touch(1, 5.0)
    expiry.touch(2, 5.0)
    assert not expiry.is_open(2)
    assert expiry.is_closing(2)
    assert expiry.due(10.9) == []
    assert expiry.due(11.0) == [1]


def test_a_created_session_counts_from_its_proposal_and_expires_from_its_commit() -> None:
    """S-3, S-4."""
    expiry = Expiry([], now=0.0)
    expiry.proposed_open(5)
    assert expiry.is_open(5)
    assert expiry.next_deadline() == NEVER
    expiry.opened(5, 6.0, now=3.0)
    assert expiry.due(8.9) == []
    assert expiry.due(9.0) == [5]


def test_a_session_closed_before_its_creation_was_applied_stays_closing() -> None:
    expiry = Expiry([], now=0.0)
    expiry.proposed_open(5)
    expiry.proposed_close(5)
    expiry.opened(5, 6.0, now=1.0)
    assert not expiry.is_open(5)
    assert expiry.due(100.0) == []


def test_an_operators_expiry_closes_at_the_deadline_and_not_at_once() -> None:
    """S-5, SE-21: the owner is warned first, by touches that are not confirmed any more."""
    expiry = Expiry([(1, 6.0)], now=0.0)
    assert expiry.condemn(1)
    assert not expiry.is_open(1)
    expiry.touch(1, 5.0)
    assert expiry.due(5.9) == []
    assert expiry.due(6.0) == [1]
    assert not expiry.condemn(2)


@pytest.mark.parametrize("touched_at", [1.0, 5.999])
def test_the_bound_that_saves_looking_never_hides_a_deadline(touched_at: float) -> None:
    expiry = Expiry([(1, 6.0), (2, 8.0)], now=0.0)
    expiry.touch(1, touched_at)
    assert expiry.due(6.0) == []
    due = [session for step in range(1, 200) for session in expiry.due(step / 10)]
    assert due.index(2) >= 0
    assert 1 in due
