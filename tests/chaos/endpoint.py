"""An endpoint that notes in a diary all that a client does, and passes everything on: so recipes are recorded like any other code.

An operation is noted before it is queued, its end behind the answer. For reads it is noted of which zxid the state was that they
were answered from: that is known only in the step that answers them, hence this file knows the embedded endpoint from inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

import trio

import zkembed
from zkembed import SessionState
from zkembed.endpoint import Endpoint, Ticket, Watcher
from zkembed.local import LocalEndpoint, LocalSessionView
from zkembed.replica.pipeline import Call
from zkembed.testing.history import (
    Invoke,
    Plain,
    Return,
    SessionSeen,
    WatchEnded,
    WatchFired,
    WatchSet,
    plain_answer,
    plain_error,
    plain_op,
    plain_outcome,
    plain_stat,
)
from zkembed.tree.events import WatchedEvent
from zkembed.tree.ops import Op
from zkembed.tree.stat import Stat, Znode
from zkembed.tree.tree import Tree
from zkembed.tree.watches import WatchMode

from .contenders import Contenders
from .diary import Diary

T = TypeVar("T")

IDS_A_LIFE = 10**9
LIVES = 10**6
_GONE = (zkembed.NodeFailedError, zkembed.SessionExpiredError, trio.ClosedResourceError)


def numbers(node: int, life: int) -> Iterator[int]:
    """Unique in a run: of this node's start ``life``."""
    return count((node * LIVES + life) * IDS_A_LIFE + 1)


class RecordedWatcher:
    """Stands for a watcher where the endpoint knows it. Told once it has ended, it tells no more."""

    def __init__(self, diary: Diary, watcher: Watcher, watch: int, *, once: bool) -> None:
        self.watch = watch
        self._diary = diary
        self._watcher = watcher
        self._once = once
        self.is_set = False
        self._over = False

    def now_set(self, client: int, path: str, mode: WatchMode, zxid: int) -> None:
        self.is_set = True
        self._diary.write(WatchSet, self.watch, client, path, mode.name, zxid)

    def deliver(self, event: WatchedEvent) -> None:
        if not self._over:
            self._over = self._once
            self._diary.write(WatchFired, self.watch, event.kind.name, event.path, event.zxid, event.data, plain_stat(event.stat))
        self._watcher.deliver(event)

    def end(self, error: BaseException) -> None:
        self.note_end("ended")
        self._watcher.end(error)

    def note_end(self, how: str) -> None:
        if self.is_set and not self._over:
            self._over = True
            self._diary.write(WatchEnded, self.watch, how)


class RecordedSession:
    """Notes the states of one session, in the steps in which they change."""

    def __init__(self, diary: Diary, view: LocalSessionView, client: int) -> None:
        self.view = view
        self.client = client
        self._diary = diary
        self._created = False
        view.on_change(self)
        if view.state is SessionState.CONNECTED:
            self.session_changed(view.state)

    def session_changed(self, state: SessionState) -> None:
        if not self._created and state is SessionState.CONNECTED:  # Only now its id is one that stays.
            self._created = True
            self._diary.write(SessionSeen, self.client, self.view.id, "created")
        if self._created:
            self._diary.write(SessionSeen, self.client, self.view.id, state.value)


class RecordingEndpoint(Endpoint):
    """inner: the one that does it.  ids: for calls, watches and session handles."""

    def __init__(self, inner: LocalEndpoint, diary: Diary, ids: Iterator[int]) -> None:
        self.data_bytes_max = inner.data_bytes_max
        self.txn_bytes_max = inner.txn_bytes_max
        self._inner = inner
        self._diary = diary
        self._ids = ids
        self._session = RecordedSession(diary, inner.session, next(ids))
        # Submitted, and nobody has been told the end: those that nobody waits for are noted by ``settle``.
        self._calls: dict[Call, tuple[int, int]] = {}
        self._awaited: set[Call] = set()
        self._watchers: dict[Watcher, RecordedWatcher] = {}
        self.contenders = Contenders(diary)
        self.calls_ended = 0

    @property
    def session(self) -> LocalSessionView:
        return self._recorded().view

    @property
    def client(self) -> int:
        """Number of the present session handle."""
        return self._recorded().client

    @property
    def calls_open(self) -> int:
        return len(self._calls)

    def _recorded(self) -> RecordedSession:
        view = self._inner.session
        if view is not self._session.view:
            self._session = RecordedSession(self._diary, view, next(self._ids))
        return self._session

    # --- writes -------------------------------------------------------------------------------------------------------

    def submit(self, op: Op) -> Ticket:
        id, client = self._invoke(plain_op(op))
        try:
            call = self._inner.submit(op)
        except _GONE as error:
            self._return(id, client, "not done", plain_error(error))
            raise
        assert isinstance(call, Call)
        self._calls[call] = id, client
        self.contenders.submitted(op)
        return call

    async def result(self, ticket: Ticket) -> object:
        assert isinstance(ticket, Call)
        self._awaited.add(ticket)
        try:
            answer = await self._inner.result(ticket)
        except BaseException as error:
            self._note_error(ticket, error)
            raise
        _, client = self._calls[ticket]
        self._note(ticket, "ok", plain_answer(answer))
        self.contenders.answered(ticket.op, answer, client)
        return answer

    def _note_error(self, call: Call, error: BaseException) -> None:
        # Given up first, its outcome may have come all the same before its caller ran again: nobody was told.
        if call.settled and call.error is None and isinstance(error, zkembed.ZkError):
            self._note(call, "error", plain_error(error))
        else:
            self._note(call, "unknown" if call.handed_over else "not done", plain_error(error))

    def _note(self, call: Call, status: str, value: Plain) -> None:
        self._awaited.discard(call)
        known = self._calls.pop(call, None)
        if known is not None:
            id, client = known
            session = call.session.id if call.cseq else 0
            self._return(id, client, status, value, session=session, cseq=call.cseq, zxid=call.zxid)

    def settle(self) -> None:
        """Note the ends of calls that nobody waits for."""
        for call in [call for call in self._calls if call.settled and call not in self._awaited]:
            if call.error is not None:
                self._note_error(call, call.error)
            else:
                self._note(call, *plain_outcome(call.outcome))

    # --- reads --------------------------------------------------------------------------------------------------------

    async def get(self, path: str, watcher: Watcher | None) -> Znode:
        told = self._recorded_watcher(watcher)

        def read(tree: Tree) -> Znode:
            value = self._inner._get(tree, path, told)
            self._watch_set(told, path, WatchMode.DATA, tree)
            return value

        return await self._read(("get", path), read, lambda node: (node.data, plain_stat(node.stat)))

    async def exists(self, path: str, watcher: Watcher | None) -> Stat | None:
        told = self._recorded_watcher(watcher)

        def read(tree: Tree) -> Stat | None:
            value = self._inner._exists(tree, path, told)
            self._watch_set(told, path, WatchMode.EXISTS, tree)
            return value

        return await self._read(("exists", path), read, plain_stat)

    async def children(self, path: str, watcher: Watcher | None) -> tuple[str, ...]:
        told = self._recorded_watcher(watcher)

        def read(tree: Tree) -> tuple[str, ...]:
            value = self._inner._children(tree, path, told)
            self._watch_set(told, path, WatchMode.CHILDREN, tree)
            return value

        return await self._read(("children", path), read, tuple)

    async def _read(self, op: tuple[Plain, ...], evaluate: Callable[[Tree], T], plain: Callable[[T], Plain]) -> T:
        id, client = self._invoke(op)
        seen = []

        def evaluate_here(tree: Tree) -> T:
            seen.append(tree.applied)
            return evaluate(tree)

        try:
            value = await self._inner._read(evaluate_here)
        except zkembed.NoNodeError as error:
            self._return(id, client, "error", plain_error(error), applied=seen[-1])
            raise
        except BaseException as error:
            self._return(id, client, "not done", plain_error(error))
            raise
        self._return(id, client, "ok", plain(value), applied=seen[-1])
        return value

    async def sync(self) -> int:
        id, client = self._invoke(("sync",))
        try:
            reached = await self._inner.sync()
        except BaseException as error:
            self._return(id, client, "not done", plain_error(error))
            raise
        self._return(id, client, "ok", reached, applied=reached)
        return reached

    # --- watches ------------------------------------------------------------------------------------------------------

    async def watch(self, path: str, mode: WatchMode, watcher: Watcher) -> int:
        told = RecordedWatcher(self._diary, watcher, next(self._ids), once=False)
        self._watchers[watcher] = told

        def register(tree: Tree) -> int:
            self._inner._replica.watch(None, told, path, mode)
            told.now_set(0, path, mode, tree.applied)
            return tree.applied

        return await self._inner._read(register)

    def unwatch(self, watcher: Watcher) -> None:
        told = self._watchers.pop(watcher, None)
        if told is not None:
            told.note_end("removed")
            self._inner.unwatch(told)

    def _recorded_watcher(self, watcher: Watcher | None) -> RecordedWatcher | None:
        if watcher is None:
            return None
        told = self._watchers.get(watcher)
        assert told is None or not told.is_set, "a recorded watch is set by one read"
        if told is None:
            told = self._watchers[watcher] = RecordedWatcher(self._diary, watcher, next(self._ids), once=True)
        return told

    def _watch_set(self, told: RecordedWatcher | None, path: str, mode: WatchMode, tree: Tree) -> None:
        if told is not None:
            told.now_set(self.client, path, mode, tree.applied)

    # --- notes --------------------------------------------------------------------------------------------------------

    def _invoke(self, op: tuple[Plain, ...]) -> tuple[int, int]:
        id, client = next(self._ids), self.client
        self._diary.write(Invoke, id, client, op)
        return id, client

    def _return(
        self, id: int, client: int, status: str, value: Plain, *, session: int = 0, cseq: int = 0, zxid: int = 0, applied: int = 0
    ) -> None:
        self.calls_ended += 1
        self._diary.write(Return, id, client, status, value, session, cseq, zxid, applied)
