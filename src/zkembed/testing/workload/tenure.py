"""The block of a lock or of a leader's term, and who it is for: a task of a session's process, without trio.

It follows recipes/tenure.py: what ends a body, and the way out; recipes/line.py for the turns of one session, and ``Election.run``
for the next term. Where trio would cancel a scope, an Interrupt is thrown. Its body writes to what the lock protects.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import frozen

from ...endpoint import SessionState
from ...errors import LockBusyError, SessionExpiredError, ZkError
from ...tree.ops import Check, Ensure, Multi, SetData
from ...tree.stat import Created
from .client import Client
from .contender import Contender
from .fence import Fence
from .line import Line
from .task import Bell, Interrupt, Sleep, Steps, Task

HURRIED_HOLD_S = 0.005
LOST = "lost"


class GaveUp(Interrupt):
    """Its caller was cancelled: an outer scope, a deadline."""

    outer = True


class Doubted(Interrupt):
    """The body's own scope: ownership is in doubt."""


@frozen
class Plan:
    """What one tenant is going to do.

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


class Tenure:
    """One task that wants the lock at ``path``, from its first step to its last. Made within a step of the client's node.

    held: it believes in its ownership.  line: of its session, for this path.  stopping: asked when it thinks of going on.
    ended: told when it has ended by itself.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        line: Line,
        fence: Fence,
        plan: Plan,
        stopping: Callable[[], bool],
        ended: Callable[[Tenure], object],
    ) -> None:
        self._client = client
        self._path = path
        self._line = line
        self._fence = fence
        self._plan = plan
        self._stopping = stopping
        self._tell_ended = ended
        self._contender = Contender(client, path, self._lose)
        self._place: Bell | None = None
        self._sleep: Sleep | None = None
        self.held = False
        client.on_change[self._session_changed] = None
        self._task = Task(client, self._run(), self._ended)

    @property
    def over(self) -> bool:
        return self._task.over

    @property
    def waiting_znode(self) -> str:
        """Its znode's path while it waits for its turn, else ""."""
        return "" if self._contender.token else self._contender.znode

    def give_up(self) -> None:
        """Cancel it, wherever it is. Plain, at any time."""
        self._task.interrupt(GaveUp())

    def hurry(self) -> None:
        """The workload stops: a holder lets go now, and whoever is not even in front of its session's line leaves."""
        if self._sleep is not None:
            self._sleep.ring()
        if self._place is not None and not self._place.rung:
            self.give_up()

    def abandon(self) -> None:
        """Its process has died."""
        self._task.abandon()

    def _ended(self) -> None:
        self._client.on_change.pop(self._session_changed, None)
        self._tell_ended(self)

    def __repr__(self) -> str:
        state = "holds" if self.held else "waits" if self._contender.znode else "is on its way"
        return f"<contender of client {self._client.number} for {self._path}: {state}, {self._task!r}>"

    # --- the whole of it (Election.run, PlaceInLine, Tenure.__aenter__ and __aexit__) ---------------------------------

    def _run(self) -> Steps:
        for _ in range(self._plan.terms):
            if (yield from self._take_turn()) != LOST or self._stopping():
                return

    def _take_turn(self) -> Any:
        if not self._plan.single:
            return (yield from self._serve())
        if not self._plan.wait and not self._line.empty:
            return "busy"
        place = self._place = self._line.join()
        try:
            yield place
            return (yield from self._serve())
        except GaveUp:
            return "gave up"
        finally:
            self._line.leave(place)

    def _serve(self) -> Any:
        """One block. Only the normal way out waits for the release. LOST, or another word for how it ended."""
        try:
            node = yield from self._contender.acquire(wait=self._plan.wait)
        except (LockBusyError, SessionExpiredError, Interrupt) as error:
            self._contender.withdraw()
            return type(error).__name__
        self.held = True
        self._contender.see("holds")
        try:
            yield from self._body(node)
        except (Interrupt, ZkError) as error:
            lost = isinstance(error, Doubted)
            self._leave_scope()
            self._contender.withdraw()
            return LOST if lost else "left"
        lost = not self.held  # It may have ended without feeling it.
        self._leave_scope()
        if lost:
            self._contender.withdraw()
            return LOST
        yield from self._contender.release()
        return "done"

    def _leave_scope(self) -> None:
        self.held = False
        self._task.forgive(Doubted)

    # --- doubt --------------------------------------------------------------------------------------------------------

    def _session_changed(self, state: SessionState) -> None:
        """In the step in which the state changes.

        A process that was frozen between a look at its lock and its write goes on with the write, before anything can tell it what has
        happened meanwhile: so does a careless body whose pause has run out while its loop was blocked.
        """
        if state is not SessionState.CONNECTED and self.held:
            if self._plan.careless and self._task.stuck_in(Sleep):
                self._fence.write(self._client, self._path, self._contender.token)
            self._lose()

    def _lose(self) -> None:
        """Ownership is in doubt, for good: the session is not CONNECTED, or somebody has deleted the znode."""
        if self.held:
            self.held = False
            self._contender.see("doubts")
            self._task.interrupt(Doubted())

    # --- the body -----------------------------------------------------------------------------------------------------

    def _body(self, node: Created) -> Any:
        """Writes to what the lock protects, by turns outside the ensemble and in it, until its time is over."""
        client, plan = self._client, self._plan
        rng = client.journal.rng
        left = min(plan.hold, HURRIED_HOLD_S) if self._stopping() else plan.hold
        while left > 0:
            pause = min(left, rng.expovariate(1.0 / plan.pace))
            self._sleep = Sleep(client.journal, pause)
            yield self._sleep
            left = 0.0 if self._stopping() else left - pause
            if not self.held:
                continue  # What it was about to do it has done, see _session_changed.
            if plan.careless or client.state is SessionState.CONNECTED:  # (Held.check)
                self._fence.write(client, self._path, node.stat.czxid)
            if rng.random() < 0.2:
                yield client.write(self._guarded(node))

    def _guarded(self, node: Created) -> Multi:
        """(Transaction.guard) Fenced in the ensemble itself (S-9). An expired holder's fails, at the latest by its session."""
        path = "/guarded" + self._path
        return Multi((Check(node.path, None, node.stat.czxid, None), Ensure(path), SetData(path, b"%d" % node.stat.czxid)))
