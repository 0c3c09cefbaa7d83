"""What the workload needs of a world: nodes to act on, time, and a history. Any world that has these can be given a workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from ...replica.replica import Replica
from ..history import History

T = TypeVar("T")


class Host(Protocol):
    """One node, as the application in its process sees it."""

    @property
    def id(self) -> int: ...
    @property
    def life(self) -> int:
        """Which start of the node this is; another number after every start."""

    @property
    def up(self) -> bool:
        """Its process runs, has not stopped itself, and nothing blocks its loop. ``act`` and ``replica`` are for hosts that are up."""

    @property
    def replica(self) -> Replica:
        """Of the present life."""

    def act(self, action: Callable[[Replica], T]) -> T:
        """Run ``action`` within one step of the node: tick first, then this, then drain, and all effects executed.

        Never called from within a step. The action raises nothing but defects.
        """


class World(Protocol):
    """It tells the workload, as its effects are executed, of: ``settled``, ``session_changed``, ``node_ended``; watchers by themselves."""

    @property
    def now(self) -> float:
        """The world's own seconds."""

    @property
    def history(self) -> History: ...
    @property
    def hosts(self) -> Mapping[int, Host]:
        """All nodes by id, down or up, always in the same order."""

    def at(self, delay: float, event: Callable[[], Any], /) -> None:
        """Run ``event`` after ``delay`` seconds; events of one moment in the order in which they were asked for."""
