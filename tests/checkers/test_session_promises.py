"""E1 to E5: each with a history that keeps it and one that breaks it."""

from __future__ import annotations

import pytest

from zkembed.testing.checks.book import Book
from zkembed.testing.checks.entries import EntryChecker
from zkembed.testing.plain.znode import Change, Znode
from zkembed.testing.reference import Reference
from zkembed.tree.ops import CloseSession, Create, Delete, Multi

from .story import Story, broken, opened


def ephemeral(path: str) -> Create:
    return Create(path, b"", ephemeral=True)


# --- E1: an ephemeral has an owner ------------------------------------------------------------------------------------


def test_e1_an_ephemerals_owner_is_open_in_every_state_that_is_read() -> None:
    story = opened()
    made = story.write(ephemeral("/e"))
    story.read("get", "/e")
    story.session(1, "suspended")
    story.expire(1)
    story.read("get", "/e", client=2)
    story.read("exists", "/e", client=2, at=story.reference.last)
    assert story.judged("E1") == 2
    assert story.reference.znode_at("/e", made.zxid) is not None


def test_e1_a_read_that_shows_an_ephemeral_of_nobody_is_refused() -> None:
    story = opened()
    made = story.write(ephemeral("/e"))
    stat = list(made.result[1][2])
    stat[8] = 0x99
    with broken("E1", "not open"):
        story.read("exists", "/e", client=2, value=tuple(stat))


# --- E2: it goes once, with its delete or its session -----------------------------------------------------------------


def test_e2_the_close_takes_all_and_only_that_sessions() -> None:
    story = opened()
    for path, client in (("/one", 1), ("/two", 1), ("/other", 2)):
        story.write(ephemeral(path), client)
    story.write(Delete("/two", None, False))
    closed = story.write(CloseSession(1, False))
    assert [change.path for change in closed.changes if change.kind == "DELETED"] == ["/one", "/zookeeper/sessions/0x1"]
    assert story.reference.ephemerals(2) == ("/other",)
    assert story.judged("E2") == 3


def test_e2_a_read_that_still_shows_it_behind_the_close_is_refused() -> None:
    story = opened()
    made = story.write(ephemeral("/e"))
    story.session(1, "suspended")
    story.expire(1)
    with broken("E2", "still shows an ephemeral"):
        story.read("exists", "/e", client=2, status="ok", value=made.result[1][2])


class Leaky(Reference):
    """A close that forgets one ephemeral: how the reference would look if entries did what they must not."""

    def ephemerals(self, session: int) -> tuple[str, ...]:
        return ("/forgotten",)


def test_e2_a_close_that_leaves_one_behind_is_refused() -> None:
    story = opened()
    story.session(1, "suspended")
    book = Book(Leaky())
    story.checkers = [book, EntryChecker(book)]
    for event in [event for event in story.events if type(event).__name__ == "Committed"]:
        story.tell(event)
    with broken("E2", "leaves /forgotten"):
        story.expire(1)


class Orphaning(Reference):
    """An entry that makes an ephemeral of a session that is not open."""

    def add(self, event):  # type: ignore[no-untyped-def]
        entry = super().add(event)
        znode = Znode(b"", entry.zxid, entry.zxid, entry.zxid, 0, 0, 0, 0x77, 0, 0)
        wrong = entry._replace(changes=(Change(entry.zxid, "CREATED", "/e", None, znode),))
        self._at[entry.zxid] = wrong
        return wrong


def test_e1_an_entry_that_makes_an_ephemeral_of_nobody_is_refused() -> None:
    story = Story()
    book = Book(Orphaning())
    story.checkers = [book, EntryChecker(book)]
    with broken("E1", "belongs to session 0x77"):
        story.open(1)


# --- E3: the end is final ---------------------------------------------------------------------------------------------


def test_e3_the_owner_of_a_closed_session_is_told_and_for_good() -> None:
    story = opened()
    story.session(1, "suspended")
    story.expire(1)
    story.session(1, "expired")
    story.write(CloseSession(2, False), 2)
    story.session(2, "closed")
    story.session(2, "closed")
    story.quiet(1, 2)
    assert story.judged("E3") == 3


def test_e3_a_loss_that_c_does_not_know_of_is_refused() -> None:
    story = opened()
    story.session(1, "suspended")
    with broken("E3", "C does not close it"):
        story.session(1, "expired")


@pytest.mark.parametrize("state", ["connected", "suspended", "closed"])
def test_e3_nothing_comes_behind_the_end(state: str) -> None:
    story = opened()
    story.session(1, "suspended")
    story.expire(1)
    story.session(1, "expired")
    with broken("E3", "was expired at its owner"):
        story.session(1, state)


def test_e3_an_owner_that_was_never_told_is_refused_at_rest() -> None:
    """Unless its process is gone, or has not applied the close."""
    story = opened(1, 2, 3)
    before = story.reference.last
    for client in (1, 2, 3):
        story.session(client, "suspended")
        story.expire(client)
    story.crashed(1)
    story.quiet(1)
    story.quiet(2, at=before)
    with broken("E3", "was told suspended last"):
        story.quiet(3)


# --- E4: not expired early --------------------------------------------------------------------------------------------


def test_e4_an_expiry_a_full_timeout_behind_the_last_touch() -> None:
    story = opened()
    story.touched(3, 1, 2, why="established")
    story.later(2.0)
    story.touched(3, 1)
    story.later(2.0)
    story.expiring(3, 2)
    story.later(2.0)
    story.expiring(3, 1)
    assert story.judged("E4") == 2


def test_e4_an_expiry_too_soon_is_refused() -> None:
    story = opened()
    story.touched(3, 1, 2, why="established")
    story.later(3.9)
    with broken("E4", "3.900 s after its last touch"):
        story.expiring(3, 1)


def test_e4_the_expiry_of_a_session_that_never_was_is_refused() -> None:
    story = opened()
    with broken("E4", "never opened"):
        story.expiring(3, 7)


def test_e4_touches_at_another_leader_do_not_count() -> None:
    """S-3: deadlines are each leader's own."""
    story = opened()
    story.touched(3, 1, why="established")
    story.later(3.0)
    story.touched(2, 1)
    story.later(1.0)
    story.expiring(3, 1)


def test_e4_a_leaders_clock_may_run_fast_within_its_bound() -> None:
    story = opened()
    story.fault(3, "clock-rate", "1.050")
    story.touched(3, 1, why="established")
    story.later(3.9)
    story.expiring(3, 1)
    story.touched(3, 2)
    story.later(3.7)
    with broken("E4"):
        story.expiring(3, 2)


# --- E5: warned in time -----------------------------------------------------------------------------------------------


def test_e5_the_owner_is_suspended_before_its_expiry_is_decided() -> None:
    story = opened()
    story.later(3.2)
    story.session(1, "suspended")
    story.later()
    story.expire(1)
    assert story.judged("E5") == 1


def test_e5_an_expiry_while_the_owner_is_connected_is_refused() -> None:
    story = opened()
    story.later(9.0)
    with broken("E5", "still connected"):
        story.expire(1)


def test_e5_an_owner_connected_again_behind_its_expiry_is_refused() -> None:
    """S-4."""
    story = opened()
    story.session(1, "suspended")
    story.expire(1)
    with broken("E5", "connected at its owner again"):
        story.session(1, "connected")


def test_e5_a_paused_or_dead_owner_cannot_be_warned() -> None:
    """S-9. A pause long ago is no excuse."""
    story = opened(1, 2, 3)
    story.fault(1, "pause", "6.0 s")
    story.crashed(2)
    story.later(5.0)
    story.expire(1)
    story.expire(2)
    story.fault(3, "pause", "1.0 s")
    story.later(9.0)
    with broken("E5"):
        story.expire(3)


def test_a_transaction_may_make_and_delete_an_ephemeral_at_once() -> None:
    """E1, E2: each of its changes is judged."""
    story = opened()
    story.write(Multi((ephemeral("/e"), Delete("/e", None, False))))
    assert (story.judged("E1"), story.judged("E2")) == (1, 1)
