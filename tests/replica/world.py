"""Whole replicas (protocol, tree, sessions, watches) in the simulated world of ``zkembed.testing.simulated``: no trio, seeded, stepwise.

Sessions are driven by hand: ``submit`` returns the replica's own Call, and what a node told its watchers is kept in order, so a
test reads as a transcript.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zkembed.endpoint import SessionState
from zkembed.replica.pipeline import Barrier, Call, LocalSession, Read
from zkembed.replica.replica import Replica
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.replica_app import ReplicaApp
from zkembed.tree.events import WatchedEvent
from zkembed.tree.ops import Create, Op, SetData
from zkembed.tree.results import public
from zkembed.tree.tree import Tree
from zkembed.tree.watches import WatchMode
from zkembed.zab.settings import Settings


class Watcher:
    """Keeps what it is told: (zxid applied at that moment, event)."""

    def __init__(self, app: ReplicaApp) -> None:
        self._app = app
        self.events: list[WatchedEvent] = []
        self.ended: BaseException | None = None

    def deliver(self, event: WatchedEvent) -> None:
        self.events.append(event)
        self._app.story.append(("event", event.path, event.kind.name, event.zxid))

    def end(self, error: BaseException) -> None:
        self.ended = error


class World(Cluster):
    """Replicas 1..n. Times in seconds; sessions have a timeout of 6 s unless said."""

    def __init__(self, n: int = 3, *, seed: int = 0, settings: Settings | None = None, start: bool = True) -> None:
        super().__init__(n, seed=seed, settings=settings, factory=ReplicaApp, start=start)

    def app(self, node_id: int) -> ReplicaApp:
        app = self.nodes[node_id].app
        assert isinstance(app, ReplicaApp), f"node {node_id} is down"
        return app

    def replica(self, node_id: int) -> Replica:
        return self.app(node_id).replica

    def tree(self, node_id: int) -> Tree:
        return self.replica(node_id).tree

    def act(self, node_id: int, action: Callable[[Replica], Any]) -> Any:
        """Something local clients of a node do, in one step of it."""
        return self.call(node_id, lambda _: action(self.replica(node_id)))

    # --- sessions

    def open(self, node_id: int, timeout: float = 6.0, *, wait: bool = True) -> LocalSession:
        session: LocalSession = self.act(node_id, lambda replica: replica.open_session(timeout))
        if wait:
            self.run_until(lambda: session.state is SessionState.CONNECTED)
        return session

    def submit(self, node_id: int, session: LocalSession, *ops: Op) -> list[Call]:
        """All in one step."""
        calls: list[Call] = self.act(node_id, lambda replica: [replica.submit(session, op) for op in ops])
        return calls

    def write(self, node_id: int, session: LocalSession, op: Op, limit: float = 40.0) -> Any:
        """Submit, wait, and the public result."""
        [call] = self.submit(node_id, session, op)
        return self.result(call, limit)

    def result(self, call: Call, limit: float = 40.0) -> Any:
        self.run_until(lambda: call.settled, limit)
        if call.error is not None:
            raise call.error
        return public(call.outcome, call.zxid)

    def sync(self, node_id: int, session: LocalSession, limit: float = 40.0) -> int:
        barrier: Barrier = self.act(node_id, lambda replica: replica.sync(session))
        self.run_until(lambda: barrier.settled, limit)
        assert barrier.error is None
        return int(barrier.result)  # type: ignore[call-overload]

    def read(self, node_id: int, session: LocalSession, path: str) -> Read:
        read: Read = self.act(node_id, lambda replica: replica.read(session, lambda: data(self.tree(node_id), path)))
        return read

    def watch(self, node_id: int, session: LocalSession | None, path: str, mode: WatchMode) -> Watcher:
        watcher = Watcher(self.app(node_id))
        self.act(node_id, lambda replica: replica.watch(session, watcher, path, mode))
        return watcher

    def agree(self, *node_ids: int) -> None:
        """All of them reach the same state, sessions and results included."""
        ids = node_ids or tuple(id for id in self.nodes if self.nodes[id].up)
        self.run_until(lambda: len({(self.tree(id).applied, self.tree(id).digest_now()) for id in ids}) == 1)


def data(tree: Tree, path: str) -> bytes | None:
    node = tree.get(path)
    return None if node is None else node.data


def create(path: str, value: bytes = b"", **flags: bool) -> Create:
    return Create(path, value, **flags)


def put(path: str, value: bytes) -> SetData:
    return SetData(path, value, None)
