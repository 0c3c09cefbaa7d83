"""Checkers: each reads a history as it grows and raises ``Violation`` at the first event that breaks an invariant of docs/invariants.md.

A checker may judge several invariants; ``ids`` names them. It counts how often it had something to judge, for a checker that never had
proves nothing. All of them may listen to a simulation while it runs; the same ones read histories of real processes, in
which the whole of C comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from .history import Event, History
from .reference import Reference

IDS = tuple(f"{group}{number}" for group, count in zip("ADSEWLV", (12, 5, 8, 5, 3, 3, 7), strict=True) for number in range(1, count + 1))
"""Every invariant of docs/invariants.md, by its id."""


class Violation(AssertionError):
    """id: of the invariant.  nodes: those concerned, for the story."""

    def __init__(self, id: str, text: str, nodes: Iterable[int] = ()) -> None:
        super().__init__(f"{id}: {text}")
        self.id = id
        self.text = text
        self.nodes = tuple(nodes)


class Checker:
    """Subclasses name their ids, and fill ``self._on`` with one method for each kind of event they read.

    judged: how often each id had something to judge.
    """

    ids: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.judged: Counter[str] = Counter()
        self._on: dict[type, Callable[[Any], None]] = {}

    def see(self, event: Event) -> None:
        """Raises Violation."""
        handler = self._on.get(type(event))
        if handler is not None:
            handler(event)

    def finish(self, *, calm: bool) -> None:
        """The history is over. calm: it ended with a liveness phase whose core came to rest, so that what was to come has come.

        Raises Violation.
        """

    @staticmethod
    def fail(id: str, text: str, *nodes: int) -> None:
        raise Violation(id, text, nodes)


def judge(history: History | Iterable[Event], checkers: Iterable[Checker], *, calm: bool) -> None:
    """Read a whole history. Raises the first Violation."""
    all = tuple(checkers)
    for event in history:
        for checker in all:
            checker.see(event)
    for checker in all:
        checker.finish(calm=calm)


def client_checkers(reference: Reference, *, live: bool = True) -> list[Checker]:
    """Those of what clients are promised: D1, S1 to S8, E1 to E5, W1 to W3, L1 to L3, and D5 against the reference.

    The first of them feeds the reference, and each event must reach them in this order.
    live: the history grows in a simulation; False: it was merged from processes, with all of C in front (see ``checks.book``).
    """
    from .checks import make_client_checkers  # They build on this file.

    return make_client_checkers(reference, live=live)
