"""W1 to W3: each with histories that keep it and such that break it."""

from __future__ import annotations

import pytest

from zkembed.tree.ops import Create, Delete, Ensure, Multi, SetData

from .story import LIFE, Story, broken, opened


def watched(mode: str, path: str = "/a", *, stream: bool = False) -> Story:
    """Client 1 has set watch 1; client 2 will change things."""
    story = opened()
    story.write(Create("/a", b"1"), 2)
    story.watch(1, path, mode, stream=stream)
    return story


# --- W1: no event lost ------------------------------------------------------------------------------------------------


def test_w1_a_one_shot_watch_is_told_of_the_first_change() -> None:
    """C1: and of none behind it."""
    story = watched("DATA")
    first = story.set("/a", b"2", client=2)
    story.fired(1, first)
    story.set("/a", b"3", client=2)
    story.read("get", "/a")
    story.quiet(1, 2)
    assert story.judged("W1") == 1


@pytest.mark.parametrize(
    ("mode", "op", "place"),
    [
        ("DATA", SetData("/a", b"2", None), 0),
        ("DATA", Delete("/a", None, False), 0),
        ("EXISTS", SetData("/a", b"2", None), 0),
        ("CHILDREN", Create("/a/b", b""), 1),
        ("CHILDREN", Delete("/a", None, False), 0),
        ("PERSISTENT", Create("/a/b", b""), 1),
        ("RECURSIVE", Create("/a/b", b""), 0),
    ],
)
def test_w1_each_mode_is_told_of_what_concerns_it(mode: str, op: SetData, place: int) -> None:
    """C1 to C3, C8."""
    story = watched(mode)
    story.fired(1, story.write(op, 2), place)
    story.quiet(1)


@pytest.mark.parametrize(
    ("mode", "op"),
    [
        ("DATA", Create("/a/b", b"")),
        ("CHILDREN", SetData("/a", b"2", None)),
        ("CHILDREN", Create("/b", b"")),
        ("RECURSIVE", Create("/ab", b"")),
        ("PERSISTENT", Create("/ab", b"")),
    ],
)
def test_w1_no_mode_is_told_of_what_does_not_concern_it(mode: str, op: Create) -> None:
    story = watched(mode)
    entry = story.write(op, 2)
    story.quiet(1)
    with broken("W2", "next in C is nothing"):
        story.fired(1, entry)


def test_w1_an_exists_watch_is_told_of_the_creation() -> None:
    """C2."""
    story = watched("EXISTS", "/b")
    story.fired(1, story.create("/b", client=2))


def test_w1_an_event_that_never_comes_is_refused_at_rest() -> None:
    story = watched("DATA")
    story.set("/a", b"2", client=2)
    with broken("W1", "was not told DATA_CHANGED of /a"):
        story.quiet(1, 2)


def test_w1_an_event_that_is_missing_at_the_nodes_next_step_is_refused() -> None:
    story = watched("DATA")
    first, second = story.set("/a", b"2", client=2), story.create("/b", client=2)
    story.applied(1, first)
    story.applied(1, second)  # The same step: it is told at its end.
    story.fired(1, first)
    story = watched("DATA")
    first, second = story.set("/a", b"2", client=2), story.create("/b", client=2)
    story.applied(1, first)
    story.later()
    with broken("W1", "the node has applied"):
        story.applied(1, second)


def test_w1_a_watch_that_is_written_down_late_is_told_all_the_same() -> None:
    """Set by a read of an older state than the node has by the end of that step."""
    story = opened()
    entry = story.create("/b", client=2)
    story.applied(1, entry)
    story.watch(2, "/b", "EXISTS", at=entry.zxid - 1)
    story.later()
    with broken("W1", "watch 2"):
        story.applied(1, story.create("/c", client=2))


def test_w1_a_watch_that_was_removed_or_ended_is_owed_nothing() -> None:
    story = watched("DATA")
    story.unwatch(1)
    story.watch(2, "/a", "CHILDREN")
    story.crashed(1)
    story.write(Delete("/a", None, False), 2)
    story.quiet(1, 2)


def test_w1_a_stream_that_skips_a_change_is_refused() -> None:
    story = watched("RECURSIVE", "/", stream=True)
    story.create("/a/b", client=2)
    second = story.create("/c", client=2)
    with broken("W1", "CREATED of /a/b at"):
        story.fired(1, second)


# --- W1: states that jump ---------------------------------------------------------------------------------------------


def test_w1_a_one_shot_watch_is_told_the_difference_that_a_jump_makes() -> None:
    """C6: with the data and stat behind it."""
    story = watched("DATA")
    before = story.reference.last
    story.set("/a", b"2", client=2)
    last = story.set("/a", b"3", client=2)
    story.jumped(1, before, last.zxid)
    story.fired(1, last)
    story.quiet(1)


def test_w1_a_jump_that_is_not_told_is_refused() -> None:
    story = watched("CHILDREN")
    before = story.reference.last
    last = story.create("/a/b", client=2)
    story.jumped(1, before, last.zxid)
    story.later()
    with broken("W1", "CHILDREN_CHANGED of /a"):
        story.applied(1, story.create("/c", client=2))


def test_w1_what_came_and_went_in_a_jump_makes_no_difference() -> None:
    """C7. The watch stays, and is told of what comes behind."""
    story = watched("EXISTS", "/b")
    before = story.reference.last
    story.create("/b", client=2)
    gone = story.write(Delete("/b", None, False), 2)
    story.jumped(1, before, gone.zxid)
    story.later()
    again = story.create("/b", client=2)
    story.applied(1, again)
    story.fired(1, again)


def test_w1_a_stream_is_told_gap_and_goes_on_behind_it() -> None:
    story = watched("RECURSIVE", "/", stream=True)
    first, last = story.create("/b", client=2), story.create("/c", client=2)
    story.fired(1, first)
    story.jumped(1, first.zxid, last.zxid)
    story.fired(1, last, kind="GAP", path="/", data=None, stat=None)
    story.fired(1, story.create("/d", client=2))
    story.quiet(1)


def test_w1_what_was_applied_before_a_jump_is_told_before_it() -> None:
    """In one step: entries are applied, then a loaded state takes their place, and all of it is told at the end."""
    story = watched("PERSISTENT", stream=True)
    first, last = story.set("/a", b"2", client=2), story.set("/a", b"3", client=2)
    story.applied(1, first)
    story.jumped(1, first.zxid, last.zxid)
    story.fired(1, first)
    story.fired(1, last, kind="GAP", data=None, stat=None)
    story.quiet(1)


def test_w1_a_watch_set_just_before_a_jump_and_written_down_behind_it() -> None:
    story = watched("DATA")
    before = story.reference.last
    last = story.create("/b", client=2)
    story.jumped(1, before, last.zxid)
    story.watch(2, "/b", "EXISTS", at=before)
    story.fired(2, last)


def test_a_process_does_not_say_that_its_state_jumped() -> None:
    """W1: then the event may be what differs since the watch was set; GAP may come at any time."""
    story = opened(live=False)
    story.write(Create("/a", b"1"), 2)
    story.watch(1, "/a", "DATA")
    story.watch(2, "/", "RECURSIVE", stream=True)
    story.set("/a", b"2", client=2)
    last = story.create("/b", client=2)
    znode = story.reference.znode_at("/a", last.zxid)
    assert znode is not None
    story.fired(1, last, kind="DATA_CHANGED", path="/a", data=znode.data, stat=znode.stat())
    story.fired(2, last, kind="GAP", path="/", data=None, stat=None)
    story.fired(2, story.create("/c", client=2))
    story.quiet(1)
    with broken("W2"):
        story.fired(2, last, kind="DELETED", path="/a", data=None, stat=None)


# --- W2: none invented, none twice ------------------------------------------------------------------------------------


def test_w2_a_one_shot_watch_that_fires_twice_is_refused() -> None:
    story = watched("DATA")
    story.fired(1, story.set("/a", b"2", client=2))
    second = story.set("/a", b"3", client=2)
    with broken("W2", "it is over: used up"):
        story.fired(1, second)


def test_w2_a_stream_that_repeats_an_event_is_refused() -> None:
    story = watched("PERSISTENT", stream=True)
    first = story.set("/a", b"2", client=2)
    story.fired(1, first)
    with broken("W2", "next in C is nothing"):
        story.fired(1, first)


def test_w2_an_event_with_other_data_or_stat_is_refused() -> None:
    """C12."""
    story = watched("PERSISTENT", stream=True)
    first = story.set("/a", b"2", client=2)
    with broken("W2", "data b'x'"):
        story.fired(1, first, data=b"x")
    with broken("W2", "stat None"):
        story.fired(1, first, stat=None)
    story.fired(1, first)


def test_w2_an_event_of_a_watch_that_is_over_or_was_never_set_is_refused() -> None:
    story = watched("DATA")
    story.unwatch(1)
    entry = story.set("/a", b"2", client=2)
    with broken("W2", "it is over: removed"):
        story.fired(1, entry)
    with broken("W2", "was never set"):
        story.fired(9, entry)
    with broken("W2", "was never set"):
        story.unwatch(9)


def test_w2_a_watch_given_to_two_reads_is_told_once_of_a_deletion() -> None:
    """C5."""
    story = watched("DATA")
    story.watch(1, "/a", "CHILDREN")
    gone = story.write(Delete("/a", None, False), 2)
    story.fired(1, gone)
    with broken("W2", "used up"):
        story.fired(1, gone)


def test_w2_a_watch_given_to_two_reads_is_told_of_each_change_once() -> None:
    story = watched("DATA")
    story.watch(1, "/a", "CHILDREN")
    story.fired(1, story.set("/a", b"2", client=2))
    story.fired(1, story.create("/a/b", client=2), 1)
    with broken("W2"):
        story.fired(1, story.set("/a", b"3", client=2))


def test_w2_each_step_of_a_transaction_is_an_event_with_the_state_of_that_step() -> None:
    story = watched("PERSISTENT", stream=True)
    entry = story.write(Multi((SetData("/a", b"2", None), Ensure("/a/b"), SetData("/a", b"3", None))), 2)
    for place in (0, 2, 3):
        story.fired(1, entry, place)
    assert entry.changes[0].data == b"2"
    story.quiet(1)


def test_w2_a_slow_reader_gets_one_overflow_and_goes_on_behind_it() -> None:
    """C14. A one-shot watch cannot overflow."""
    story = watched("RECURSIVE", "/", stream=True)
    story.create("/b", client=2)
    last = story.create("/c", client=2)
    story.fired(1, last, kind="OVERFLOW", data=None, stat=None)
    story.fired(1, story.create("/d", client=2))
    story.quiet(1)
    story.watch(2, "/a", "DATA")
    with broken("W2"):
        story.fired(2, story.set("/a", b"2", client=2), kind="OVERFLOW", data=None, stat=None)


# --- W3: event before state -------------------------------------------------------------------------------------------


def test_w3_a_read_that_shows_the_change_before_the_event_is_refused() -> None:
    story = watched("DATA")
    story.set("/a", b"2", client=2)
    with broken("W3", "before watch 1 was told DATA_CHANGED"):
        story.read("get", "/a")


def test_w3_so_is_an_answer_to_a_write_behind_it() -> None:
    story = watched("DATA")
    story.set("/a", b"2", client=2)
    with broken("W3"):
        story.create("/b")


def test_w3_a_read_of_the_state_before_the_change_may_come_first() -> None:
    story = watched("DATA")
    before = story.reference.last
    entry = story.set("/a", b"2", client=2)
    story.read("get", "/a", at=before)
    story.fired(1, entry)
    story.read("get", "/a")
    assert story.judged("W3") == 2


def test_w3_events_out_of_zxid_order_are_refused() -> None:
    """C4: over all watches of a node."""
    story = watched("DATA")
    story.watch(2, "/b", "EXISTS")
    first, second = story.set("/a", b"2", client=2), story.create("/b", client=2)
    story.fired(2, second)
    with broken("W3", "behind an event of"):
        story.fired(1, first)


def test_watches_of_a_node_that_starts_anew_are_gone() -> None:
    """W2."""
    story = watched("DATA")
    story.started(1, LIFE + 1)
    entry = story.set("/a", b"2", client=2)
    story.quiet(1)
    with broken("W2", "ended with its process"):
        story.fired(1, entry)
