"""A node as the application in its process sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from ...replica.replica import Replica
from .node import SimNode
from .replica_app import ReplicaApp

T = TypeVar("T")


class Host:
    """The port that a workload acts through; see ``zkembed.testing.workload.port``."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    @property
    def id(self) -> int:
        return self._node.id

    @property
    def life(self) -> int:
        return self._node.life

    @property
    def up(self) -> bool:
        node = self._node
        return node.app is not None and node.halted is None and node.cluster.now >= node.blocked_until

    @property
    def replica(self) -> Replica:
        return cast(ReplicaApp, self._node.app).replica

    def act(self, action: Callable[[Replica], T]) -> T:
        return cast(T, self._node.cluster.call(self._node.id, lambda _: action(self.replica)))
