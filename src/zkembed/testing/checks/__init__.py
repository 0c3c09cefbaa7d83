"""Checkers of what clients are promised: a file for each group of docs/invariants.md."""

from __future__ import annotations

from ..checkers import Checker
from ..reference import Reference
from .book import Book
from .durability import DurabilityChecker
from .entries import EntryChecker
from .locks import LockChecker
from .reads import ReadChecker
from .requests import RequestChecker
from .sessions import SessionChecker
from .watches import WatchChecker


def make_client_checkers(reference: Reference, *, live: bool) -> list[Checker]:
    """See ``checkers.client_checkers``. What is more telling comes first: an ephemeral without its session before a read that differs."""
    book = Book(reference, live=live)
    kinds = (EntryChecker, DurabilityChecker, RequestChecker, SessionChecker, WatchChecker, ReadChecker, LockChecker)
    return [book, *(kind(book) for kind in kinds)]
