"""All stories of the comparison."""

from __future__ import annotations

from ..story import Story
from . import beginning, creating, paths, reading_writing, transactions, watching

STORIES: tuple[Story, ...] = (
    *beginning.STORIES,
    *paths.STORIES,
    *creating.STORIES,
    *reading_writing.STORIES,
    *transactions.STORIES,
    *watching.STORIES,
)
