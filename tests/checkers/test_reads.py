"""S5 to S8 and D5: each with a history that keeps it and one that breaks it."""

from __future__ import annotations

from zkembed.testing.history import WatchFired
from zkembed.tree.ops import Create, SetData

from .story import LIFE, broken, opened

# --- S5: read your writes ---------------------------------------------------------------------------------------------


def test_s5_a_read_sees_the_own_write_and_may_miss_anothers() -> None:
    story = opened()
    mine = story.create("/a")
    story.create("/b", client=2)
    story.read("exists", "/a", at=mine.zxid)
    assert story.judged("S5") == 1


def test_s5_a_read_without_the_own_write_is_refused() -> None:
    story = opened()
    before = story.reference.last
    story.create("/a")
    with broken("S5", "without its own call 1"):
        story.read("exists", "/a", at=before)


def test_s5_a_read_called_before_the_write_need_not_see_it() -> None:
    story = opened()
    read = story.invoke("exists", "/a")
    before = story.reference.last
    story.create("/a")
    story.returned(read, at=before)


def test_s5_a_read_waits_for_abandoned_writes_too() -> None:
    """Q-9: what ended unknown before the read was called cannot take effect behind it."""
    story = opened()
    abandoned = story.invoke(Create("/a", b""))
    story.answer(abandoned, cseq=1)
    story.read("exists", "/a")
    story.end()
    story.do(Create("/a", b""))
    with broken("S5", "earlier call 1"):
        story.end()


# --- S6: never back ---------------------------------------------------------------------------------------------------


def test_s6_reads_go_forward_and_show_what_the_reference_has() -> None:
    story = opened()
    first = story.create("/a/b", client=2)
    assert first.result[0] == "error"
    made = story.write(Create("/a/b", b"1", parents=True), 2)
    second = story.set("/a/b", b"2", client=2)
    story.read("get", "/a/b", at=first.zxid)
    story.read("get", "/a/b", at=made.zxid)
    story.read("children", "/a", at=made.zxid)
    story.read("exists", "/a/b", at=second.zxid)
    story.returned(story.invoke("children", "/", "a", None, 1))
    assert story.judged("S6") == 5


def test_s6_a_read_of_an_older_state_than_the_session_has_seen_is_refused() -> None:
    story = opened()
    before = story.reference.last
    story.create("/a", client=2)
    story.read("exists", "/a")
    with broken("S6", "its session had seen"):
        story.read("exists", "/a", at=before)


def test_s6_tasks_of_a_process_may_write_overlapping_reads_down_in_any_order() -> None:
    story = opened(live=False)
    before = story.reference.last
    story.create("/a", client=2)
    slow = story.invoke("exists", "/a")
    story.read("exists", "/a")
    story.returned(slow, at=before)
    with broken("S6"):
        story.read("exists", "/a", at=before)


def test_s6_a_read_that_shows_another_state_than_it_says_is_refused() -> None:
    story = opened()
    story.write(Create("/a", b"1"), 2)
    old = story.set("/a", b"2", client=2)
    story.set("/a", b"3", client=2)
    stale = story.reference.znode_at("/a", old.zxid)
    assert stale is not None
    with broken("S6", "the reference has"):
        story.read("get", "/a", value=(stale.data, stale.stat()))


def test_s6_names_that_are_missing_are_noticed() -> None:
    story = opened()
    story.create("/a", client=2)
    story.create("/b", client=2)
    with broken("S6"):
        story.read("children", "/", value=("b", "zookeeper"))


# --- S7: barriers -----------------------------------------------------------------------------------------------------


def test_s7_a_sync_reaches_all_that_was_answered_before_it() -> None:
    story = opened()
    story.create("/a", client=2)
    story.sync()
    story.read("exists", "/a")
    assert story.judged("S7") == 2


def test_s7_a_sync_that_stops_short_is_refused() -> None:
    story = opened()
    before = story.reference.last
    story.create("/a", client=2)
    with broken("S7", "had been answered before it was invoked"):
        story.sync(at=before)


def test_s7_what_is_answered_during_the_sync_need_not_be_reached() -> None:
    story = opened()
    sync = story.invoke("sync")
    before = story.reference.last
    story.create("/a", client=2)
    story.returned(sync, at=before)


def test_s7_a_read_behind_a_sync_that_misses_an_answered_write_is_refused() -> None:
    """Also where the sync lied about what it had reached."""
    story = opened(live=False)
    before = story.reference.last
    story.create("/a", client=2)
    story.returned(story.invoke("sync"), applied=story.reference.last)
    story.checkers[0].clients[1].seen = 0  # type: ignore[attr-defined]
    with broken("S7", "behind a sync"):
        story.read("exists", "/a", at=before)


# --- S8: nothing that is not in C -------------------------------------------------------------------------------------


def test_s8_a_read_of_a_state_that_is_not_committed_is_refused() -> None:
    story = opened()
    with broken("S8", "is not in C"):
        story.read("exists", "/a", at=story.reference.last + 1)


def test_s8_an_answer_before_its_entry_is_committed_is_refused() -> None:
    story = opened()
    call = story.invoke(SetData("/a", b"", None))
    with broken("S8", "request 1, which it answers, is not in C"):
        story.answer(call, status="ok", cseq=1)


def test_s8_an_event_of_an_entry_that_is_not_committed_is_refused() -> None:
    story = opened()
    story.watch(1, "/a", "EXISTS")
    story.checkers = [checker for checker in story.checkers if "W2" not in checker.ids]
    with broken("S8", "WatchFired"):
        story.tell(WatchFired(0.0, 1, LIFE, 1, "CREATED", "/a", story.reference.last + 1, b"", None))


def test_s8_a_session_that_its_owner_trusts_is_in_c() -> None:
    story = opened()
    with broken("S8", "open at its owner"):
        story.session(3, "connected")


# --- D5: the state itself ---------------------------------------------------------------------------------------------


def test_d5_a_node_whose_state_is_not_the_references_is_refused() -> None:
    story = opened()
    entry = story.create("/a")
    story.applied(1, entry)
    with broken("D5", "the reference"):
        story.applied(2, entry, digest=1)


def test_d5_a_state_that_jumped_is_compared_too() -> None:
    story = opened()
    entry = story.create("/a")
    story.jumped(1, 0, entry.zxid, story.reference.digest_at(entry.zxid) or 0)
    with broken("D5"):
        story.jumped(2, 0, entry.zxid, 7)
