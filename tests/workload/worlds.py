"""A world of whole replicas with a workload on it: the smallest that fills the port of ``zkembed.testing.workload``."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from zkembed.replica.effects import SessionChanged, Settled
from zkembed.replica.replica import Replica
from zkembed.testing.history import Crashed, Event, History
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.testing.simulated.replica_app import ReplicaApp
from zkembed.testing.workload.options import WorkloadOptions
from zkembed.testing.workload.workload import Workload

T = TypeVar("T")


class TellingApp(ReplicaApp):
    """Tells the workload what it would tell a driver."""

    def __init__(self, node: SimNode) -> None:
        super().__init__(node)
        self.honest = False  # Others check the replica's own invariants after each step.

    def handle(self, effect: Any) -> None:
        workload = self.node.cluster.workload  # type: ignore[attr-defined]
        match effect:
            case Settled(ticket=ticket):
                workload.settled(ticket)
            case SessionChanged(session=session, state=state):
                workload.session_changed(session, state)
            case _:
                super().handle(effect)


class NodeHost:
    def __init__(self, world: WorkedWorld, node: SimNode) -> None:
        self._world = world
        self._node = node
        self.id = node.id

    @property
    def life(self) -> int:
        return self._node.life

    @property
    def up(self) -> bool:
        return self._node.up and self._node.halted is None and self._world.now >= self._node.blocked_until

    @property
    def replica(self) -> Replica:
        app = self._node.app
        assert isinstance(app, ReplicaApp)
        return app.replica

    def act(self, action: Callable[[Replica], T]) -> T:
        answers: list[T] = []
        self._world.step(self._node, lambda _: answers.append(action(self.replica)))
        return answers[0]


class WorkedWorld(Cluster):
    """Replicas 1..n that serve, with a workload that has not begun."""

    def __init__(self, n: int = 3, *, seed: int = 0, options: WorkloadOptions | None = None) -> None:
        self.history = History()
        super().__init__(n, seed=seed, factory=TellingApp, history=self.history, start=False)
        self.hosts = {node.id: NodeHost(self, node) for node in self}
        self.workload = Workload(self, Random(f"workload {seed}"), options)
        for node in self:
            self.start(node.id)
        self.wait_serving()

    def kill(self, node_id: int) -> None:
        life = self[node_id].life
        self.crash(node_id)
        self.history.record(Crashed(self.now, node_id, life, "killed"))
        self.workload.node_ended(node_id)

    def work(self, limit: float = 600.0, rest: float = 120.0) -> None:
        """Until the workload has done its share, then stop it and wait until all of it has ended."""
        self.workload.start()
        self.run_until(lambda: self.workload.spent, limit)
        self.settle(rest)

    def settle(self, rest: float = 120.0) -> None:
        self.workload.stop()
        self.run_until(lambda: self.workload.idle, rest, must=False)
        assert self.workload.idle, "\n".join(self.workload.waiting())

    def seen(self, *kinds: type) -> list[Any]:
        return [event for event in self.history if type(event) in kinds]


def run(seed: int, options: WorkloadOptions | None = None) -> list[Event]:
    world = WorkedWorld(seed=seed, options=options)
    world.work()
    return world.history.events
