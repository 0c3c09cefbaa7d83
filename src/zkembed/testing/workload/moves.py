"""What a session may do in its turn, a method for each kind of it; see ``options.KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ...tree.path import ROOT, sequence_number
from .calls import Pending
from .client import WATCH_MODES, Client
from .journal import Journal
from .line import Line
from .menu import Menu
from .options import READS, WorkloadOptions
from .task import BLOCKED_LOOK
from .tenure import Plan, Tenure, draw_plan
from .watches import STREAMS, RecordedWatch


class Seat:
    """A place for a session; when that is over the next one takes it, on whichever node.

    lines: by path, for contenders of this session.  taken_back: numbers of creates that ``delete own`` may be about.
    """

    __slots__ = ("client", "lines", "taken_back")

    def __init__(self) -> None:
        self.client: Client | None = None
        self.lines: dict[str, Line] = {}
        self.taken_back: list[int] = []

    def take(self, client: Client) -> None:
        self.client = client
        self.lines = {}
        self.taken_back = []


class Moves:
    """Every move is made within a step of the client's node. tenures: those of the whole run, in order.  contend: begins another one."""

    def __init__(
        self,
        journal: Journal,
        options: WorkloadOptions,
        tenures: dict[Tenure, Client],
        contend: Callable[[Client, str, Line, Plan], Tenure],
    ) -> None:
        self._journal = journal
        self._rng: Random = journal.rng
        self._options = options
        self._menu = Menu(journal.rng, options)
        self._tenures = tenures
        self._contend = contend
        self._streams: dict[int, int] = {}  # persistent watches by node

    def node_ended(self, node_id: int) -> None:
        self._streams.pop(node_id, None)

    def _patience(self, client: Client, call: Pending) -> None:
        """Nobody else depends on this call, so its caller may give up; some have a deadline."""
        call.loose = True
        if self._options.patience and self._rng.random() < 0.15:
            self._give_up_later(client, call, self._rng.expovariate(1.0 / self._options.patience))

    def _give_up_later(self, client: Client, call: Pending, delay: float) -> None:
        self._journal.at(delay, lambda: self._give_up(client, call))

    def _give_up(self, client: Client, call: Pending) -> None:
        """A deadline of a process whose loop is blocked is noticed behind that."""
        if call.over or not client.alive:
            return
        if client.host.up:
            client.host.act(lambda _: call.abandon())
        else:
            self._give_up_later(client, call, BLOCKED_LOOK[1])

    # --- calls --------------------------------------------------------------------------------------------------------

    def _read(self, seat: Seat, client: Client, verb: str) -> None:
        rng, options = self._rng, self._options
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
            stem = self._journal.invoked
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
        if self._streams.get(node, 0) < self._options.streams:
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
        self._begin_tenure(seat, client, self._rng.choice(self._menu.locks), election=False)

    def _elect(self, seat: Seat, client: Client) -> None:
        self._begin_tenure(seat, client, self._rng.choice(self._menu.elections), election=True)

    def _begin_tenure(self, seat: Seat, client: Client, path: str, *, election: bool) -> None:
        rng, options = self._rng, self._options
        if len(self._tenures) >= 2 * options.sessions:
            return
        line = seat.lines.setdefault(path, Line())
        tenure = self._contend(client, path, line, draw_plan(rng, election=election, hold=options.hold))
        if options.patience and rng.random() < 0.3:
            self._journal.at(rng.expovariate(1.0 / options.patience), tenure.give_up)

    def _evict(self, seat: Seat, client: Client) -> None:
        """Somebody deletes the znode of a contender that waits for its turn, who has to queue anew."""
        waiting = [each.waiting_znode for each in self._tenures if each.waiting_znode]
        if not waiting:
            return
        znode = self._rng.choice(waiting)
        path = znode[: znode.rindex("/")]
        number = sequence_number(znode)
        before = [name for name in client.replica.tree.children(path) if sequence_number(name) < number]
        if before:
            client.write(self._menu.evict(znode, f"{path}/{min(before, key=sequence_number)}"))


def _reading(verb: str) -> Callable[[Moves, Seat, Client], None]:
    return lambda moves, seat, client: moves._read(seat, client, verb)


MOVES: dict[str, Callable[[Moves, Seat, Client], None]] = {
    **{verb: _reading(verb) for verb in READS},
    "create": Moves._create,
    "set": Moves._set,
    "delete": Moves._delete,
    "ensure": Moves._ensure,
    "transaction": Moves._transaction,
    "delete own": Moves._delete_own,
    "sync": Moves._sync,
    "stream": Moves._stream,
    "close": Moves._close,
    "lock": Moves._lock,
    "election": Moves._elect,
    "cancel": Moves._cancel,
    "unwatch": Moves._unwatch,
    "malformed": Moves._malformed,
    "too large": Moves._too_large,
    "over limit": Moves._over_limit,
    "evict": Moves._evict,
}
