"""A contender for a lock, or a candidate of an election: the recipe's steps, one by one, without trio.

It follows recipes/contender.py (``acquire``, ``_join``, ``_wait_first``, ``_refuse``, ``_wait_gone``, ``withdraw``, ``release``),
recipes/tenure.py (what ends a body, and the way out) and, for the turns of one session, recipes/line.py; methods bear the same names.
Where the recipe waits, this yields; where trio would cancel, an Interrupt is thrown. So what is wrong with the algorithm shows here, under
faults; whether the recipe on trio does these steps is tested with the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from attrs import frozen

from ...endpoint import SessionState
from ...errors import LockBusyError, NoNodeError, SessionExpiredError, ZkError
from ...tree.ops import Check, Create, DeleteOwn, Ensure, Multi, SetData
from ...tree.path import join, sequence_number
from ...tree.stat import Created
from ...tree.watches import WatchMode
from ..history import LockSeen
from .calls import Write
from .client import ENDED, Client
from .fence import Fence
from .line import Line
from .task import Bell, Interrupt, Sleep, Steps, Task
from .watches import RecordedWatch

CONTENDER = re.compile(r"[0-9a-f]{32}-lock-[0-9]{10,}")


def _ring(bell: Bell, state: SessionState) -> None:
    bell.ring()


class GaveUp(Interrupt):
    """Its caller was cancelled: an outer scope, a deadline."""

    outer = True


class Doubted(Interrupt):
    """The body's own scope: ownership is in doubt."""


@frozen
class Plan:
    """What one contender is going to do.

    wait: False: refused if somebody has the lock.  single: tasks of its session line up before (locks; not elections).
    hold: seconds in the body.  pace: mean seconds between two writes to the guarded resource.  careless: it looks at no state before it
    writes there.  terms: how often it stands, if it loses what it holds.
    """

    wait: bool = True
    single: bool = True
    hold: float = 0.3
    pace: float = 0.1
    careless: bool = False
    terms: int = 1


def draw_plan(rng: Random, *, election: bool, hold: float) -> Plan:
    """hold: mean seconds."""
    wait, hold = election or rng.random() < 0.8, rng.expovariate(1.0 / hold)
    return Plan(wait, not election, hold, rng.choice((0.15, 0.5)) * hold, rng.random() < 0.5, 3 if election else 1)


class Contender:
    """One task of a client's process that wants the lock at ``path``. Made within a step of the node.

    held: it believes in its ownership.  stopping: asked when it thinks of going on.  ended: told when the task has ended.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        line: Line,
        fence: Fence,
        plan: Plan,
        stopping: Callable[[], bool],
        ended: Callable[[Contender], object],
    ) -> None:
        self._client = client
        self._path = path
        self._line = line
        self._fence = fence
        self._plan = plan
        self._stopping = stopping
        self._tell_ended = ended
        self._stem = ""
        # Invariant: not None from the create's submission until it is taken back or known to be gone.
        self._ticket: Write | None = None
        self._own_watch: RecordedWatch | None = None
        self._gone = False
        self._stirred = Bell()
        self._znode = ""  # as the history knows it
        self._token = 0
        self.held = False
        client.on_change[self._session_changed] = None
        self._task = Task(client, self._run(), self._ended)

    def give_up(self) -> None:
        """Cancel it, wherever it is."""
        self._task.interrupt(GaveUp())

    def abandon(self) -> None:
        """Its process has died."""
        self._task.abandon()

    @property
    def over(self) -> bool:
        return self._task.over

    @property
    def waiting_znode(self) -> str:
        """Its znode's path while it waits for its turn, else ""."""
        return "" if self._token else self._znode

    def _ended(self) -> None:
        self._client.on_change.pop(self._session_changed, None)
        self._tell_ended(self)

    def _see(self, state: str) -> None:
        client = self._client
        journal = client.journal
        journal.record(LockSeen(journal.now, client.host.id, client.life, client.number, self._path, self._znode, self._token, state))

    # --- the whole of it (Lock, Election.run, PlaceInLine, Tenure) ----------------------------------------------------

    def _run(self) -> Steps:
        for _ in range(self._plan.terms):
            if (yield from self._serve()) != "lost" or self._stopping():
                return

    def _serve(self) -> Any:
        """One block. How it ended: "lost" or else."""
        if not self._plan.single:
            return (yield from self._tenure())
        if not self._plan.wait and not self._line.empty:
            return "busy"
        place = self._line.join()
        try:
            yield place
            return (yield from self._tenure())
        except GaveUp:
            return "gave up"
        finally:
            self._line.leave(place)

    def _tenure(self) -> Any:
        try:
            node = yield from self._acquire()
        except LockBusyError:
            self._withdraw()
            return "busy"
        except (SessionExpiredError, Interrupt) as error:
            self._withdraw()
            return type(error).__name__
        self._token = node.stat.czxid
        self.held = True
        self._see("holds")
        try:
            yield from self._body(node)
        except Doubted:
            self._withdraw()
            return "lost"
        except (GaveUp, ZkError):
            self._withdraw()
            return "left"
        if not self.held:  # It ended without feeling the loss.
            self._withdraw()
            return "lost"
        yield from self._release()
        return "done"

    # --- the way in (Contender.acquire) -------------------------------------------------------------------------------

    def _acquire(self) -> Any:
        """The znode of the owner, in the step in which that was seen. Raises SessionExpiredError, LockBusyError, Interrupt."""
        while True:
            node = yield from self._join()
            if (yield from self._wait_first(node.path)):
                return node

    def _join(self) -> Any:
        """Create the znode, with the lock's own path where that is missing, and watch that it stays."""
        client = self._client
        self._stem = join(self._path, f"{client.journal.rng.getrandbits(128):032x}-lock-")
        self._gone = False
        self._ticket = client.write(Create(self._stem, b"%d" % client.number, ephemeral=True, sequential=True, parents=True))
        if self._ticket.over:  # Refused at the call: the session has ended.
            self._ticket = None
            raise SessionExpiredError("the session has ended")
        node: Created = yield self._ticket
        self._znode, self._token = node.path, 0
        self._see("waits")
        self._own_watch = RecordedWatch(client, node.path, WatchMode.CHILDREN, self._own_gone)
        if not (yield from self._watch_deletion(self._own_watch)):
            self._gone = True
        return node

    def _watch_deletion(self, watch: RecordedWatch) -> Any:
        """(DeletionWatch.set) False: there is no such znode, and nothing will be told."""
        try:
            yield self._client.read("children", watch.path, watch)
        except NoNodeError:
            return False
        return True

    def _own_gone(self) -> None:
        """Its znode was deleted by somebody else, or its session has ended."""
        self._gone = True
        self._stirred.ring()
        self._lose()

    def _wait_first(self, own_path: str) -> Any:
        """True: the owner, as of this very step. False: the znode is gone."""
        client = self._client
        while True:
            queue = yield from self._read_queue()
            if (state := client.state) in ENDED:
                raise SessionExpiredError("its place in the queue went with the session")
            if self._gone or own_path not in queue:
                self._ticket = None
                self._out("gave up")
                return False
            place = queue.index(own_path)
            if place > 0:
                if not self._plan.wait:
                    yield from self._refuse(queue[0])
                else:
                    yield from self._wait_gone(queue[place - 1])
            elif state is SessionState.CONNECTED:
                return True
            else:
                yield from self._wait_connected()

    def _read_queue(self) -> Any:
        try:
            names = yield self._client.read("children", self._path)
        except NoNodeError:
            return []
        return [join(self._path, name) for name in sorted(filter(CONTENDER.fullmatch, names), key=sequence_number)]

    def _refuse(self, first: str) -> Any:
        """Raise LockBusyError, unless the owner has gone."""
        try:
            yield self._client.read("get", first)
        except NoNodeError:
            return
        raise LockBusyError(self._path)

    def _wait_gone(self, predecessor: str) -> Any:
        """Until the predecessor has gone, or our own znode, or the session."""
        self._stirred = stirred = Bell()
        watch = RecordedWatch(self._client, predecessor, WatchMode.CHILDREN, stirred.ring)
        try:
            # (RE-6) It may have gone since the list was read: then there is nothing to wait for.
            if (yield from self._watch_deletion(watch)) and not self._gone:
                yield stirred
        finally:
            watch.remove()

    def _wait_connected(self) -> Any:
        """(Session.wait_state) Returns as well when the session ends instead."""
        client = self._client
        while client.state is SessionState.SUSPENDED:
            changed = Bell()
            tell = partial(_ring, changed)
            client.on_change[tell] = None
            try:
                yield changed
            finally:
                client.on_change.pop(tell, None)

    # --- the body (Tenure) --------------------------------------------------------------------------------------------

    def _session_changed(self, state: SessionState) -> None:
        """In the step in which the state changes. A body that was frozen between a look and its write writes now: it runs again before
        anything can tell it what has happened meanwhile."""
        if state is not SessionState.CONNECTED and self.held:
            if self._plan.careless and self._task.stuck_in(Sleep):
                self._fence.write(self._client, self._path, self._token)
            self._lose()

    def _lose(self) -> None:
        if self.held:
            self.held = False
            self._see("doubts")
            self._task.interrupt(Doubted())

    def _body(self, node: Created) -> Any:
        """Writes to what the lock protects, by turns outside the ensemble and in it, until its time is over."""
        client, plan = self._client, self._plan
        rng = client.journal.rng
        left = plan.hold
        while left > 0:
            pause = min(left, rng.expovariate(1.0 / plan.pace))
            yield Sleep(client.journal, pause)
            left = 0.0 if self._stopping() else left - pause
            if not self.held:
                continue  # What it was about to do it has done, see _session_changed.
            if plan.careless or client.state is SessionState.CONNECTED:  # (Held.check)
                self._fence.write(client, self._path, self._token)
            if rng.random() < 0.2:
                yield client.write(self._guarded(node))

    def _guarded(self, node: Created) -> Multi:
        """(Transaction.guard) Fenced in the ensemble itself (S-9). An expired holder's fails, at the latest by its session."""
        path = "/guarded" + self._path
        return Multi((Check(node.path, None, node.stat.czxid, None), Ensure(path), SetData(path, b"%d" % self._token)))

    # --- the way out (Contender.withdraw, release) --------------------------------------------------------------------

    def _withdraw(self) -> None:
        """Take back what was, or may yet be, created; nothing is waited for. Idempotent."""
        self.held = False
        self._task.forgive(Doubted)
        if self._own_watch is not None:
            self._own_watch.remove()
            self._own_watch = None
        ticket, self._ticket = self._ticket, None
        client = self._client
        if ticket is not None and ticket.handed_over and client.state not in ENDED:
            client.write(DeleteOwn(self._stem))  # If the session has ended just now, so has the znode.
        self._out("released" if self._token else "gave up")

    def _out(self, state: str) -> None:
        """The znode is gone, or will be: it went with the session, somebody deleted it, or the session's order makes sure of it."""
        if self._znode:
            self._see(state)
            self._znode, self._token = "", 0

    def _release(self) -> Any:
        """Delete the znode and wait until that is done: a read waits for the session's earlier writes (Q-9)."""
        self._withdraw()
        try:
            yield self._client.read("exists", self._path)
        except (SessionExpiredError, Interrupt):
            return
