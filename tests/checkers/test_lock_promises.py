"""L1 to L3: each with a history that keeps it and one that breaks it."""

from __future__ import annotations

from zkembed.testing.reference import Entry
from zkembed.tree.ops import Create, Delete, DeleteOwn

from .story import Story, broken, opened


def contend(story: Story, client: int) -> tuple[str, int]:
    """A contender's znode and its token."""
    entry: Entry = story.write(Create(f"/lock/{client:032x}-lock-", b"", ephemeral=True, sequential=True, parents=True), client)
    znode = entry.result[1][1]
    story.lock(client, znode, "waits")
    return znode, entry.zxid


def release(story: Story, client: int, znode: str, token: int) -> None:
    story.lock(client, znode, "released", token)
    story.write(DeleteOwn(f"/lock/{client:032x}-lock-"), client)


# --- L1: mutual exclusion ---------------------------------------------------------------------------------------------


def test_l1_one_holder_after_the_other_with_rising_tokens() -> None:
    story = opened()
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    story.lock(1, first, "holds", token)
    story.guarded(1, token)
    release(story, 1, first, token)
    story.lock(2, second, "holds", next_token)
    story.guarded(2, next_token)
    story.guarded(1, token, accepted=False)
    assert story.judged("L1") == 5


def test_l1_two_holders_at_once_are_refused() -> None:
    story = opened()
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    story.lock(1, first, "holds", token)
    with broken("L1", "while client 1"):
        story.lock(2, second, "holds", next_token)


def test_l1_a_holder_in_doubt_or_whose_process_is_gone_holds_no_longer() -> None:
    story = opened(1, 2, 3)
    places = [contend(story, client) for client in (1, 2, 3)]
    story.lock(1, places[0][0], "holds", places[0][1])
    story.lock(1, places[0][0], "doubts", places[0][1])
    story.lock(2, places[1][0], "holds", places[1][1])
    story.crashed(2)
    story.lock(3, places[2][0], "holds", places[2][1])


def test_l1_a_paused_holder_may_believe_for_too_long_and_its_token_is_refused() -> None:
    """S-9."""
    story = opened()
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    story.lock(1, first, "holds", token)
    story.fault(1, "pause", "9.0 s")
    story.later(8.0)
    story.lock(2, second, "holds", next_token)
    story.guarded(2, next_token)
    story.guarded(1, token, accepted=False)


def test_l1_a_holder_whose_znode_a_stranger_has_deleted_may_not_know_yet() -> None:
    story = opened()
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    story.lock(1, first, "holds", token)
    story.write(Delete(first, None, False), 2)
    story.lock(2, second, "holds", next_token)


def test_l1_a_token_that_falls_is_refused() -> None:
    story = opened()
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    story.lock(2, second, "holds", next_token)
    release(story, 2, second, next_token)
    with broken("L1", "after an acquisition with token"):
        story.lock(1, first, "holds", token)


def test_l1_a_token_that_is_not_the_znodes_czxid_is_refused() -> None:
    """H5."""
    story = opened()
    first, token = contend(story, 1)
    with broken("L1", "no znode of that name"):
        story.lock(1, first, "holds", token + 1)


def test_l1_a_guarded_write_with_an_older_token_is_refused() -> None:
    story = opened()
    (_, token), (_, next_token) = contend(story, 1), contend(story, 2)
    story.guarded(2, next_token)
    with broken("L1", "was accepted after"):
        story.guarded(1, token)


def test_l1_two_clients_with_one_token_are_refused() -> None:
    story = opened()
    first, token = contend(story, 1)
    story.lock(1, first, "holds", token)
    with broken("L1", "two clients"):
        story.guarded(2, token)
    story.lock(1, first, "released", token)
    with broken("L1", "another client's"):
        story.lock(2, first, "holds", token)


# --- L2: no orphans ---------------------------------------------------------------------------------------------------


def test_l2_whoever_is_in_the_queue_at_rest_has_somebody_behind_it() -> None:
    story = opened(1, 2, 3)
    (first, token), (second, next_token) = contend(story, 1), contend(story, 2)
    contend(story, 3)
    story.lock(1, first, "holds", token)
    release(story, 1, first, token)
    story.lock(2, second, "holds", next_token)
    story.crashed(3)  # Its znode goes with its session, in time.
    story.quiet(1, 2)
    assert story.judged("L2") == 1


def test_l2_a_contender_that_was_given_up_and_stays_is_refused() -> None:
    story = opened()
    first, _ = contend(story, 1)
    story.lock(1, first, "gave up")
    with broken("L2", "it was gave up"):
        story.quiet(1, 2)


def test_l2_a_contender_that_nobody_has_ever_named_is_refused() -> None:
    """The answer of its create never came, and it was not taken back."""
    story = opened()
    contend(story, 2)
    story.do(Create("/lock/" + "f" * 32 + "-lock-", b"", ephemeral=True, sequential=True))
    with broken("L2", "nobody has ever named it"):
        story.quiet(1, 2)


def test_l2_other_znodes_there_are_none_of_ours() -> None:
    story = opened()
    contend(story, 1)
    story.lock(1, "/lock/" + f"{1:032x}" + "-lock-0000000000", "holds", story.reference.last)
    story.write(Create("/lock/note", b"", ephemeral=True), 2)
    story.quiet(1, 2)


# --- L3: nobody stuck -------------------------------------------------------------------------------------------------


def test_l3_the_first_in_the_queue_that_still_waits_at_rest_is_refused() -> None:
    story = opened()
    (first, token), _ = contend(story, 1), contend(story, 2)
    story.lock(1, first, "holds", token)
    story.quiet(1, 2)
    release(story, 1, first, token)
    with broken("L3", "is the first in its queue"):
        story.quiet(1, 2)


def test_l3_a_waiter_whose_znode_is_gone_is_refused() -> None:
    story = opened()
    first, _ = contend(story, 1)
    story.write(Delete(first, None, False), 2)
    with broken("L3", "its znode is gone"):
        story.quiet(1, 2)


def test_l3_a_waiter_whose_session_is_over_waits_no_more() -> None:
    story = opened()
    contend(story, 1)
    story.session(1, "suspended")
    story.expire(1)
    story.session(1, "expired")
    story.quiet(1, 2)
