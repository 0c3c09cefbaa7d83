"""Seeded sessions that do all a session can do, on the nodes of a world, and write down truthfully what they asked for and were told.

Every choice is drawn from one generator, in the order of the world's events: same seed and same world, same history. Nothing here
judges; see checkers.py for who reads the history.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from random import Random
from typing import Any

from ...endpoint import SessionState
from ...replica.pipeline import LocalSession
from ...tree.path import ROOT, sequence_number
from .calls import Pending
from .client import WATCH_MODES, Client
from .contender import Contender, Plan, draw_plan
from .fence import Fence
from .journal import Journal
from .line import Line
from .menu import Menu
from .options import READS, WorkloadOptions, draw_options
from .port import Host, World
from .task import BLOCKED_LOOK
from .watches import STREAMS, RecordedWatch

RUSH_S = 0.002
"""Mean time between two turns in a rush: less than a call takes."""


class Seat:
    """A place for a session; when that is over the next one takes it, on whichever node.

    lines: by path, for contenders of this session.  taken_back: numbers of creates that ``delete own`` may be about.
    """

    __slots__ = ("client", "lines", "taken_back")

    def __init__(self) -> None:
        self.client: Client | None = None
        self.lines: dict[str, Line] = {}
        self.taken_back: list[int] = []


class Workload:
    """The world tells it ``settled``, ``session_changed`` and ``node_ended``; the rest it does by itself, from ``start`` to ``stop``."""

    def __init__(self, world: World, rng: Random, options: WorkloadOptions | None = None) -> None:
        self._world = world
        self._rng = rng
        self.options = options or draw_options(rng)
        self.journal = Journal(world, rng)
        self.stopped = False
        self._menu = Menu(rng, self.options)
        self._fence = Fence()
        kinds = [(kind, weight) for kind, weight in self.options.weights if weight]
        self._kinds = [_KINDS[kind] for kind, _ in kinds]
        self._weights = list(accumulate(weight for _, weight in kinds))
        self._seats = [Seat() for _ in range(self.options.sessions)]
        self._clients: dict[int, dict[int, Client]] = {}  # by node, of processes that live
        self._contenders: dict[Contender, Client] = {}
        self._streams: dict[int, int] = {}  # by node

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
        self._streams.pop(node_id, None)
        for contender in [each for each, client in self._contenders.items() if client.host.id == node_id]:
            del self._contenders[contender]
            contender.abandon()

    # --- from start to end --------------------------------------------------------------------------------------------

    def start(self) -> None:
        for seat in self._seats:
            self._later(seat)

    def stop(self) -> None:
        """No new operations. Holders let go soon, waiters have their turn and let go too; candidates do not stand again."""
        self.stopped = True

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
        waiting = any(client.calls for node in nodes for client in self._clients.get(node, {}).values())
        return not waiting and not any(client.host.id in nodes for client in self._contenders.values())

    def waiting(self) -> tuple[str, ...]:
        """What is under way, for a message that it does not end."""
        calls = [
            f"node {node}: client {client.number} (session {client.session.id:#x}): call {call.id}, {type(call).__name__}"
            for node, clients in self._clients.items()
            for client in clients.values()
            for call in client.calls.values()
        ]
        return (*calls, *(f"node {client.host.id}: client {client.number}: {each!r}" for each, client in self._contenders.items()))

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
            seat.client = self.open(self._rng.choice(hosts), self._rng.choice(self.options.timeouts))
            seat.lines, seat.taken_back = {}, []

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
            kind(self, seat, client)

    def _patience(self, client: Client, call: Pending) -> None:
        """Nobody else depends on this call, so its caller may give up; some have a deadline."""
        call.loose = True
        if self.options.patience and self._rng.random() < 0.15:
            self._give_up_later(client, call, self._rng.expovariate(1.0 / self.options.patience))

    def _give_up_later(self, client: Client, call: Pending, delay: float) -> None:
        self._world.at(delay, lambda: self._give_up(client, call))

    def _give_up(self, client: Client, call: Pending) -> None:
        """A deadline of a process whose loop is blocked is noticed behind that."""
        if call.over or not client.alive:
            return
        if client.host.up:
            client.host.act(lambda _: call.abandon())
        else:
            self._give_up_later(client, call, BLOCKED_LOOK[1])

    # --- what a session may do ----------------------------------------------------------------------------------------

    def _read(self, seat: Seat, client: Client, verb: str) -> None:
        rng, options = self._rng, self.options
        if options.sync_share and rng.random() < options.sync_share:
            self._patience(client, client.sync())
        path = self._menu.found(client.replica.tree) if rng.random() < 0.95 else ROOT
        watch = RecordedWatch(client, path, WATCH_MODES[verb]) if rng.random() < options.watch_share else None
        self._patience(client, client.read(verb, path, watch))

    def _sync(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.sync())

    def _create(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.write(self._menu.create(client.replica.tree)))

    def _set(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.write(self._menu.set(client.replica.tree)))

    def _delete(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.write(self._menu.delete(client.replica.tree)))

    def _ensure(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.write(self._menu.ensure()))

    def _transaction(self, seat: Seat, client: Client) -> None:
        self._patience(client, client.write(self._menu.transaction(client.replica.tree)))

    def _delete_own(self, seat: Seat, client: Client) -> None:
        """Make one, or take one back; often both at once, before anything is known of the first."""
        rng = self._rng
        if not seat.taken_back or rng.random() < 0.5:
            stem = self.journal.invoked
            seat.taken_back.append(stem)
            self._patience(client, client.write(self._menu.create_own(stem)))
        if rng.random() < 0.6:
            stem = seat.taken_back.pop(rng.randrange(len(seat.taken_back)))
            client.write(self._menu.delete_own(stem))

    def _malformed(self, seat: Seat, client: Client) -> None:
        client.write(self._menu.malformed())

    def _too_large(self, seat: Seat, client: Client) -> None:
        client.write(self._menu.too_large())

    def _over_limit(self, seat: Seat, client: Client) -> None:
        client.write(self._menu.too_large(), unchecked=True)

    def _stream(self, seat: Seat, client: Client) -> None:
        node = client.host.id
        if self._streams.get(node, 0) < self.options.streams:
            self._streams[node] = self._streams.get(node, 0) + 1
            path = self._menu.path() if self._rng.random() < 0.7 else ROOT
            client.stream(path, self._rng.choice(STREAMS))

    def _unwatch(self, seat: Seat, client: Client) -> None:
        loose = [watch for watch in client.watches if watch.loose]
        if loose:
            watch = self._rng.choice(loose)
            watch.remove()
            if watch.mode in STREAMS:
                self._streams[client.host.id] -= 1

    def _cancel(self, seat: Seat, client: Client) -> None:
        calls = [call for call in client.calls.values() if call.loose]
        if calls:
            self._rng.choice(calls).abandon()

    def _close(self, seat: Seat, client: Client) -> None:
        client.close()

    # --- locks --------------------------------------------------------------------------------------------------------

    def _lock(self, seat: Seat, client: Client) -> None:
        self._contend(seat, client, self._rng.choice(self._menu.locks), election=False)

    def _elect(self, seat: Seat, client: Client) -> None:
        self._contend(seat, client, self._rng.choice(self._menu.elections), election=True)

    def _contend(self, seat: Seat, client: Client, path: str, *, election: bool) -> None:
        rng, options = self._rng, self.options
        if len(self._contenders) >= 3 * options.sessions:
            return
        contender = self.contend(client, path, seat.lines.setdefault(path, Line()), draw_plan(rng, election=election, hold=options.hold))
        if options.patience and rng.random() < 0.3:
            self._world.at(rng.expovariate(1.0 / options.patience), contender.give_up)

    def contend(self, client: Client, path: str, line: Line, plan: Plan) -> Contender:
        """One contender more, within a step of the client's node. line: that of its session for this path."""
        contender = Contender(client, path, line, self._fence, plan, lambda: self.stopped, self._contenders.pop)
        self._contenders[contender] = client
        return contender

    def _evict(self, seat: Seat, client: Client) -> None:
        """Somebody deletes the znode of a contender that waits for its turn, who has to queue anew."""
        waiting = [each.waiting_znode for each in self._contenders if each.waiting_znode]
        if not waiting:
            return
        znode = self._rng.choice(waiting)
        path = znode[: znode.rindex("/")]
        number = sequence_number(znode)
        before = [name for name in client.replica.tree.children(path) if sequence_number(name) < number]
        if before:
            client.write(self._menu.evict(znode, f"{path}/{min(before, key=sequence_number)}"))


def _reading(verb: str) -> Callable[[Workload, Seat, Client], None]:
    return lambda workload, seat, client: workload._read(seat, client, verb)


_KINDS: dict[str, Callable[[Workload, Seat, Client], None]] = {
    **{verb: _reading(verb) for verb in READS},
    "create": Workload._create,
    "set": Workload._set,
    "delete": Workload._delete,
    "ensure": Workload._ensure,
    "transaction": Workload._transaction,
    "delete own": Workload._delete_own,
    "sync": Workload._sync,
    "stream": Workload._stream,
    "close": Workload._close,
    "lock": Workload._lock,
    "election": Workload._elect,
    "cancel": Workload._cancel,
    "unwatch": Workload._unwatch,
    "malformed": Workload._malformed,
    "too large": Workload._too_large,
    "over limit": Workload._over_limit,
    "evict": Workload._evict,
}
