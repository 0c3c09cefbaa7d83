"""Seeded sessions that do all a session can do, on the nodes of a world, and write down truthfully what they asked for and were told.

Every choice is drawn from one generator, in the order of the world's events: same seed and same world, same history. Nothing here
judges; see checkers.py for who reads the history.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection
from itertools import accumulate
from random import Random
from typing import Any

from ...endpoint import SessionState
from ...replica.pipeline import LocalSession
from .client import Client
from .fence import Fence
from .journal import Journal
from .line import Line
from .moves import MOVES, Moves, Seat
from .options import WorkloadOptions, draw_options
from .port import Host, World
from .tenure import Plan, Tenure

RUSH_S = 0.002
"""Mean time between two turns in a rush: less than a call takes."""


class Workload:
    """The world tells it ``settled``, ``session_changed`` and ``node_ended``; the rest it does by itself, from ``start`` to ``stop``."""

    def __init__(self, world: World, rng: Random, options: WorkloadOptions | None = None) -> None:
        self._world = world
        self._rng = rng
        self.options = options or draw_options(rng)
        self.journal = Journal(world, rng)
        self.stopped = False
        self._fence = Fence()
        kinds = [(kind, weight) for kind, weight in self.options.weights if weight]
        self._kinds = [MOVES[kind] for kind, _ in kinds]
        self._weights = list(accumulate(weight for _, weight in kinds))
        self._seats = [Seat() for _ in range(self.options.sessions)]
        self._clients: dict[int, dict[int, Client]] = {}  # by node, of processes that live
        self._tenures: dict[Tenure, Client] = {}
        self._moves = Moves(self.journal, self.options, self._tenures, self.contend)

    # --- what the world tells -----------------------------------------------------------------------------------------

    def settled(self, ticket: Any) -> None:
        """A Settled effect was executed. Nobody may be waiting any more."""
        waiter, ticket.waiter = ticket.waiter, None
        if waiter is not None:
            waiter.settle()

    def session_changed(self, session: LocalSession, state: SessionState) -> None:
        """A SessionChanged effect was executed."""
        if session.observer is not None:
            session.observer(state)

    def node_ended(self, node_id: int) -> None:
        """Its process has died, been killed, or stopped itself: whatever was in it is gone."""
        for client in self._clients.pop(node_id, {}).values():
            client.node_ended()
        self._moves.node_ended(node_id)
        for tenure in [each for each, client in self._tenures.items() if client.host.id == node_id]:
            del self._tenures[tenure]
            tenure.abandon()

    # --- from start to end --------------------------------------------------------------------------------------------

    def start(self) -> None:
        for seat in self._seats:
            self._later(seat)

    def stop(self) -> None:
        """No new operations. Holders let go soon, waiters have their turn and let go too; candidates do not stand again."""
        self.stopped = True
        for tenure in self._tenures:
            tenure.hurry()

    @property
    def spent(self) -> bool:
        """It has made the calls that its options grant."""
        return self.journal.invoked >= self.options.operations

    @property
    def idle(self) -> bool:
        """No call is under way in a process that lives, and nobody contends."""
        return self.idle_on(tuple(self._clients))

    def idle_on(self, nodes: Collection[int]) -> bool:
        """As ``idle``, of these nodes alone."""
        return not self.calling_on(nodes) and not any(client.host.id in nodes for client in self._tenures.values())

    def calling_on(self, nodes: Collection[int]) -> bool:
        """Whether a call is under way there; a contender that waits for its turn has none."""
        return any(client.calls for node in nodes for client in self._clients.get(node, {}).values())

    def waiting(self) -> tuple[str, ...]:
        """What is under way, for a message that it does not end."""
        clients = [client for clients in self._clients.values() for client in clients.values()]
        calls = [
            f"node {client.host.id}: client {client.number} ({client.session.id:#x}): {call!r}"
            for client in clients
            for call in client.calls.values()
        ]
        return (*calls, *(f"node {client.host.id}: {tenure!r}" for tenure, client in self._tenures.items()))

    # --- turns --------------------------------------------------------------------------------------------------------

    def _later(self, seat: Seat) -> None:
        rush, think = self.options.rush, self.options.think
        mean = RUSH_S if self._rng.random() < rush else think / (1.0 - rush)
        self._world.at(self._rng.expovariate(1.0 / mean), lambda: self._turn(seat))

    def _turn(self, seat: Seat) -> None:
        if self.stopped or self.spent:
            return
        self._later(seat)
        client = seat.client
        if client is None or client.over:
            self._open(seat)
        elif client.host.up:
            client.host.act(lambda _: self._burst(seat, client))

    def _open(self, seat: Seat) -> None:
        """On a node that is up; anywhere, so also on one that serves nothing yet."""
        hosts = [host for host in self._world.hosts.values() if host.up]
        if hosts:
            seat.take(self.open(self._rng.choice(hosts), self._rng.choice(self.options.timeouts)))

    def open(self, host: Host, timeout: float) -> Client:
        """One session more, outside any step. timeout: seconds."""
        client = host.act(lambda _: Client(self.journal, host, timeout, self.options.limits))
        self._clients.setdefault(host.id, {})[client.number] = client
        return client

    def _burst(self, seat: Seat, client: Client) -> None:
        """Several things in one step, none waiting for the one before: they keep their order all the same."""
        for _ in range(self._rng.randint(1, self.options.burst)):
            if client.over or len(client.calls) >= self.options.outstanding or self.spent:
                return
            kind = self._kinds[bisect(self._weights, self._rng.random() * self._weights[-1])]
            kind(self._moves, seat, client)

    def contend(self, client: Client, path: str, line: Line, plan: Plan) -> Tenure:
        """One contender more, within a step of the client's node. line: that of its session for this path."""
        tenure = Tenure(client, path, line, self._fence, plan, lambda: self.stopped, self._tenures.pop)
        self._tenures[tenure] = client
        return tenure
