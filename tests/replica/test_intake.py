"""The leader's door for requests: what waits when the window is full, and for how much of it (D30)."""

from __future__ import annotations

import pytest

from zkembed.errors import ProtocolError
from zkembed.replica import intake as module
from zkembed.replica.expiry import Expiry
from zkembed.replica.intake import Intake, Origin
from zkembed.tree.ops import OpLimits

OWN, LEARNER, OTHER = (Origin(link, node, bytes(16), 1) for link, node in ((0, 1), (7, 2), (8, 3)))


def door(monkeypatch: pytest.MonkeyPatch) -> Intake:
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 100)
    return Intake(Expiry([], 0.0), OpLimits())


def test_what_waits_is_bounded_for_each_learner_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends too much loses its own link, and costs no other its place."""
    intake = door(monkeypatch)
    intake.hold(LEARNER, bytes(60))
    intake.hold(OTHER, bytes(60))
    with pytest.raises(ProtocolError, match="node 2"):
        intake.hold(LEARNER, bytes(60))
    intake.forget_link(LEARNER.link)
    assert [origin for origin, _ in intake.waiting] == [OTHER]
    intake.hold(LEARNER, bytes(100))


def test_a_nodes_own_requests_never_end_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are bounded where they are handed over."""
    intake = door(monkeypatch)
    for _ in range(10):
        intake.hold(OWN, bytes(60))
    assert len(intake.waiting) == 10


def test_room_is_counted_as_requests_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = door(monkeypatch)
    for _ in range(5):
        intake.hold(LEARNER, bytes(90))
        assert intake.next_waiting() == (LEARNER, bytes(90))
