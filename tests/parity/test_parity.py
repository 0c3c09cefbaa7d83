"""One list of operations, put to a real Apache ZooKeeper and to zkembed: answers, errors, Stats and events are compared.

Where the two are meant to differ the story says how and why, and both sides are held to it. A red test prints both
transcripts' first difference; run with ``-vv`` for all of them.
"""

from __future__ import annotations

import pytest
import trio.testing

from . import through_kazoo, through_zkembed
from .server import ZooKeeperServer
from .stories import STORIES
from .story import Story
from .transcript import Line

# What the comparison must be about: every row on semantics that is built.
ROWS = {*(f"A{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 17, 18, 19, 21, 25, 26, 29, 30)), *(f"C{n}" for n in (1, 2, 3, 4, 5, 7, 8, 10))}


@pytest.mark.parametrize("story", [story for story in STORIES if not story.fresh], ids=lambda story: story.title)
async def test_zkembed_answers_as_zookeeper_does(story: Story, zookeeper: ZooKeeperServer, autojump_clock: trio.testing.MockClock) -> None:
    compare(story, through_kazoo.tell(story, zookeeper), await through_zkembed.tell(story))


@pytest.mark.parametrize("story", [story for story in STORIES if story.fresh], ids=lambda story: story.title)
async def test_a_new_ensemble_is_like_a_new_zookeeper(
    story: Story, fresh_zookeeper: ZooKeeperServer, autojump_clock: trio.testing.MockClock
) -> None:
    compare(story, through_kazoo.tell(story, fresh_zookeeper), await through_zkembed.tell(story))


def compare(story: Story, zookeeper: list[Line], zkembed: list[Line]) -> None:
    """The transcripts are equal, but for the differences that are meant; those are as they are written down."""
    assert [str(line) for line in zkembed] == [_expected(line) for line in zookeeper]
    for line in zookeeper:
        if line.step.difference is not None:
            assert line.answer == line.step.difference.zookeeper, f"{line.step.op}: the difference is described wrongly"


def _expected(line: Line) -> str:
    """What zkembed is to say where ZooKeeper said this."""
    difference = line.step.difference
    return str(line if difference is None else Line(line.step, difference.zkembed, line.events))


def test_every_row_has_its_story() -> None:
    assert ROWS - {row for story in STORIES for row in story.rows} == set()


def test_every_difference_has_a_reason_and_is_one() -> None:
    differences = [step.difference for story in STORIES for step in story.steps if step.difference is not None]
    assert differences
    for difference in differences:
        assert difference.because
        assert difference.zookeeper != difference.zkembed


def test_titles_are_unique() -> None:
    assert len({story.title for story in STORIES}) == len(STORIES)


def test_a_difference_that_nobody_meant_is_noticed(zookeeper: ZooKeeperServer) -> None:
    """The comparison can fail: another answer, another event, another order of zxids."""
    (story,) = (story for story in STORIES if story.title.startswith("an event comes before the reply"))
    lines = through_kazoo.tell(story, zookeeper)
    compare(story, lines, lines)
    first, told = lines[0], next(line for line in lines if line.events)
    for changed in (
        Line(first.step, first.answer.replace("czxid 1", "czxid 2"), first.events),
        Line(told.step, told.answer, ()),
        Line(told.step, "NoNode", told.events),
    ):
        others = [changed if line.step is changed.step else line for line in lines]
        with pytest.raises(AssertionError):
            compare(story, lines, others)
