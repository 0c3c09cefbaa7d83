"""What watches are promised (W1 to W3): no event lost, none invented or repeated, and each before the state that it announces.

In a simulation a node's step is one moment: whatever it applied there has been told by the time of its next.
``Jumped`` stands before the events that follow from it.
"""

from __future__ import annotations

from ...zxid import to_hex
from ..checkers import Checker
from ..history import Applied, Crashed, Jumped, Quiet, Return, Started, WatchEnded, WatchFired, WatchSet
from ..plain.znode import Change
from ..reference import Entry
from .book import Book
from .watched import ONE_SHOT, Registration, Watched, is_told


class Station:
    """One life of a node: its watches, by path for those that look at one, and what they must have been told by its next step."""

    __slots__ = ("applied", "jumped", "of_path", "overdue_at", "pending", "recursive", "told", "watches")

    def __init__(self) -> None:
        self.watches: dict[int, Watched] = {}
        self.of_path: dict[str, dict[int, Watched]] = {}
        self.recursive: dict[str, dict[int, Watched]] = {}
        self.applied = 0
        self.jumped: Jumped | None = None
        self.told = 0
        self.pending: dict[int, Watched] = {}
        # Invariant: when what is pending was applied; at any later moment it is overdue.
        self.overdue_at = 0.0

    def table(self, mode: str) -> dict[str, dict[int, Watched]]:
        return self.recursive if mode == "RECURSIVE" else self.of_path

    def drop(self, watch: Watched) -> None:
        self.watches.pop(watch.id, None)
        self.pending.pop(watch.id, None)
        for mode, path in watch.places:
            table = self.table(mode)
            watches = table.get(path, {})
            watches.pop(watch.id, None)
            if not watches:
                table.pop(path, None)

    def concerned(self, entry: Entry) -> list[Watched]:
        found: list[Watched] = []
        for change in entry.changes:
            found.extend(self.of_path.get(change.path, {}).values())
            if self.recursive:
                for path, watches in self.recursive.items():
                    if change.path == path or path == "/" or change.path.startswith(path + "/"):
                        found.extend(watches.values())
        return found


class WatchChecker(Checker):
    ids = ("W1", "W2", "W3")

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._reference = book.reference
        self._watches: dict[int, Watched] = {}
        self._of_client: dict[int, dict[int, Watched]] = {}
        self._stations: dict[tuple[int, int], Station] = {}
        self._on = {
            WatchSet: self._set,
            WatchFired: self._fired,
            WatchEnded: self._ended,
            Crashed: self._gone,
            Started: self._gone,
            Quiet: self._quiet,
        }
        if book.live:
            self._on |= {Applied: self._applied, Jumped: self._jumped, Return: self._return}

    def _station(self, node: int, life: int) -> Station:
        found = self._stations.get((node, life))
        if found is None:
            found = self._stations[node, life] = Station()
        return found

    # --- setting and ending -------------------------------------------------------------------------------------------

    def _set(self, event: WatchSet) -> None:
        station = self._station(event.node, event.life)
        self._judge_overdue(station, event.t)
        watch = self._watches.get(event.watch)
        if watch is None or watch.over == "used up":
            watch = self._watches[event.watch] = Watched(event.watch, event.client, event.node, event.life, event.zxid)
        station.watches[event.watch] = watch
        if event.client:
            self._of_client.setdefault(event.client, {})[event.watch] = watch
        registration = Registration(self._reference, event.path, event.mode, event.zxid)
        watch.add(registration)
        station.table(event.mode).setdefault(event.path, {})[event.watch] = watch
        # The step in which it was set may have gone on before this was written down.
        jumped = station.jumped
        if jumped is not None and event.zxid < jumped.after:
            registration.jump(jumped.before, jumped.after)
        if self._book.live and watch.due(station.applied) is not None:
            self._expect(station, watch, event.t)

    def _ended(self, event: WatchEnded) -> None:
        watch = self._watches.get(event.watch)
        if watch is None:
            self.fail("W2", f"watch {event.watch} ended ({event.how}), and was never set", event.node)
            return
        watch.end(event.how)
        self._drop(watch)

    def _drop(self, watch: Watched) -> None:
        self._station(watch.node, watch.life).drop(watch)
        self._of_client.get(watch.client, {}).pop(watch.id, None)

    def _gone(self, event: Crashed | Started) -> None:
        """With its process."""
        for key in [key for key in self._stations if key[0] == event.node and (key[1] < event.life or type(event) is Crashed)]:
            for watch in list(self._stations.pop(key).watches.values()):
                watch.end("ended with its process")
                self._of_client.get(watch.client, {}).pop(watch.id, None)

    # --- events -------------------------------------------------------------------------------------------------------

    def _fired(self, event: WatchFired) -> None:
        watch = self._watches.get(event.watch)
        what = f"watch {event.watch} on node {event.node} was told {event.kind} of {event.path} at {to_hex(event.zxid)}"
        if watch is None or watch.over:
            self.fail("W2", f"{what}; it {'was never set' if watch is None else f'is over: {watch.over}'}", event.node)
            return
        self.judged["W2"] += 1
        self._judge_sequence(event, what)
        due = watch.due()
        if event.kind == "OVERFLOW" or (event.kind == "GAP" and not self._book.live):
            self._skip(watch, event, what)
        elif due is not None and due.zxid == event.zxid and (told := watch.find(event)) is not None:
            self.judged["W1"] += 1
            watch.tell(told)
        elif self._book.live or not self._jump_unseen(watch, event):
            if due is not None and due.zxid < event.zxid:
                self.fail("W1", f"{what}; it should have been told {_describe(due)} first", event.node)
            self.fail("W2", f"{what}, data {event.data!r}, stat {event.stat}; next in C is {_describe(due)}", event.node)
        if not watch.registrations:
            self._drop(watch)

    def _judge_sequence(self, event: WatchFired, what: str) -> None:
        if not self._book.live:
            return
        station = self._station(event.node, event.life)
        self._judge_overdue(station, event.t)
        self.judged["W3"] += 1
        if event.zxid < station.told:
            self.fail("W3", f"{what}, behind an event of {to_hex(station.told)}", event.node)
        station.told = event.zxid

    def _skip(self, watch: Watched, event: WatchFired, what: str) -> None:
        """One event for many (C6, C14): the stream goes on behind it."""
        if event.zxid < watch.since or any(each.mode in ONE_SHOT for each in watch.registrations):
            self.fail("W2", f"{what}; it had been told up to {to_hex(watch.since)}", event.node)
        for registration in watch.registrations:
            registration.skip(event.zxid)
        watch.since = event.zxid

    def _jump_unseen(self, watch: Watched, event: WatchFired) -> bool:
        """Of a process nobody recorded that its state jumped: the event may be what differs since the watch was set."""
        for registration in watch.registrations:
            if registration.mode in ONE_SHOT:
                change = registration.difference(watch.since, event.zxid)
                if change is not None and is_told(change, event):
                    watch.end("used up")
                    self.judged["W1"] += 1
                    return True
        return False

    # --- what must have been told -------------------------------------------------------------------------------------

    def _applied(self, event: Applied) -> None:
        station = self._stations.get((event.node, event.life))
        if station is None:
            station = self._station(event.node, event.life)
        if station.pending:
            self._judge_overdue(station, event.t)
        station.applied = event.zxid
        if station.watches:
            entry = self._reference.entry(event.zxid)
            if entry is not None and entry.changes:
                for watch in station.concerned(entry):
                    self._expect(station, watch, event.t)

    def _jumped(self, event: Jumped) -> None:
        station = self._station(event.node, event.life)
        self._judge_overdue(station, event.t)
        station.jumped = event
        station.applied = event.after
        for watch in station.watches.values():
            for registration in watch.registrations:
                registration.jump(event.before, event.after)
            self._expect(station, watch, event.t)

    @staticmethod
    def _expect(station: Station, watch: Watched, t: float) -> None:
        station.pending[watch.id] = watch
        station.overdue_at = t

    def _judge_overdue(self, station: Station, t: float) -> None:
        """What was applied at an earlier moment has been told."""
        if not station.pending or t <= station.overdue_at:
            return
        for watch in station.pending.values():
            self._judge_told(watch, station.applied)
        station.pending.clear()

    def _judge_told(self, watch: Watched, applied: int) -> None:
        self.judged["W1"] += 1
        due = watch.due(applied)
        if due is not None:
            text = f"watch {watch.id} on node {watch.node} was not told {_describe(due)}; the node has applied {to_hex(applied)}"
            self.fail("W1", text, watch.node)

    def _return(self, event: Return) -> None:
        """(W3) The session sees no state of which its watches were not told."""
        call = self._book.calls.get(event.id)
        if call is None or not call.answered:
            return
        station = self._stations.get((event.node, event.life))
        if station is not None:
            self._judge_overdue(station, event.t)
        watches = self._of_client.get(call.client.number)
        if not watches:
            return
        seen = max(event.applied, 0 if call.entry is None else call.entry.zxid)
        for watch in watches.values():
            self.judged["W3"] += 1
            due = watch.due(seen)
            if due is not None:
                self.fail("W3", f"{call} shows state {to_hex(seen)} before watch {watch.id} was told {_describe(due)}", event.node)

    def _quiet(self, event: Quiet) -> None:
        """(W1) At rest everything has been told, of which the node shows the state."""
        applied = dict(event.applied)
        for (node, life), station in self._stations.items():
            if node in applied and self._book.alive(node, life) and self._book.in_core(node):
                for watch in station.watches.values():
                    self._judge_told(watch, applied[node])


def _describe(change: Change | None) -> str:
    return "nothing" if change is None else f"{change.kind} of {change.path} at {to_hex(change.zxid)}"
