"""Watches as an application holds them: one-shot (``Watch``) and streams (``EventStream``).

Both are told by the endpoint in the step that applies a change, and wake their task; no user code runs in that step.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self

import trio
from attrs import frozen

from .endpoint import Endpoint
from .errors import BadArgumentsError
from .tree.events import EventKind, WatchedEvent
from .tree.path import check_path
from .tree.watches import WatchMode


class Watch:
    """A one-shot watch, ZooKeeper's: made by the caller, given to one read, told once.

    ``exists`` on a missing znode sets it; ``get`` and ``children`` on a missing znode raise and set none. It may be given to
    several reads of one session; the first change that any of them watches for is the event.
    """

    def __init__(self) -> None:
        self._endpoint: Endpoint | None = None
        self._event: WatchedEvent | None = None
        self._error: BaseException | None = None
        self._told = trio.Event()

    @property
    def event(self) -> WatchedEvent | None:
        """What it was told, None so far. Plain."""
        return self._event

    async def wait(self) -> WatchedEvent:
        """The event. Raises SessionExpiredError if the session ended first; BadArgumentsError if it was never set, or was removed."""
        if self._endpoint is None and not self._told.is_set():
            raise BadArgumentsError("this Watch was not given to a read that set it, or was removed")
        await self._told.wait()
        if self._event is None:
            assert self._error is not None
            raise self._error
        return self._event

    def remove(self) -> None:
        """Stop watching. Idempotent; a wait that is under way raises BadArgumentsError."""
        if self._endpoint is not None:
            self._endpoint.unwatch(self)
            self._endpoint = None
        self.end(BadArgumentsError("this Watch was removed"))

    def bind(self, endpoint: Endpoint) -> None:
        """For clients: it is about to be set. Raises BadArgumentsError if it was used up or belongs elsewhere."""
        if self._told.is_set():
            raise BadArgumentsError("a Watch is used once: it has fired, ended or was removed; make a new one")
        if self._endpoint not in (None, endpoint):
            raise BadArgumentsError("this Watch was set through another client")
        self._endpoint = endpoint

    def deliver(self, event: WatchedEvent) -> None:
        """For endpoints, see endpoint.Watcher."""
        if not self._told.is_set():
            self._event = event
            self._told.set()
            if self._endpoint is not None:
                self._endpoint.unwatch(self)  # It may have been set on other znodes too: once is once.

    def end(self, error: BaseException) -> None:
        """For endpoints, see endpoint.Watcher."""
        if not self._told.is_set():
            self._error = error
            self._told.set()


@frozen
class StreamStatistics:
    """queued: events not read yet.  delivered: events read.  overflows: times the queue was full."""

    queued: int
    delivered: int
    overflows: int


class EventStream:
    """``async with zk.watch(path) as events: async for event in events``: persistent, and gap-free from the moment of entering.

    Bounded: when ``max_events`` are waiting unread they are replaced by one OVERFLOW event; the stream goes on behind its
    zxid. Belongs to the node, not to a session. Enter: checkpoint. Exit: no checkpoint. One task reads at a time.
    """

    def __init__(self, endpoint: Endpoint, path: str, *, recursive: bool, max_events: int) -> None:
        check_path(path)
        if type(max_events) is not int or max_events < 1:
            raise BadArgumentsError(f"max_events={max_events!r}: expected an integer of at least 1")
        self._endpoint = endpoint
        self._path = path
        self._mode = WatchMode.RECURSIVE if recursive else WatchMode.PERSISTENT
        self._max_events = max_events
        self._events: deque[WatchedEvent] = deque()
        self._covered = 0  # events up to this zxid are covered by an OVERFLOW
        self._error: BaseException | None = None
        self._parked = trio.lowlevel.ParkingLot()
        self._reading = False
        self._delivered = 0
        self._overflows = 0
        self._state = "new"
        self.zxid = 0
        """Changes behind this zxid are in the stream."""

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise BadArgumentsError("a watch stream is opened once; make a new one")
        self._state = "open"
        try:
            self.zxid = await self._endpoint.watch(self._path, self._mode, self)
        except BaseException:
            self._endpoint.unwatch(self)
            self._state = "closed"
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._state = "closed"
        self._endpoint.unwatch(self)
        self._parked.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchedEvent:
        """The next event. Raises trio.ClosedResourceError when the stream or its node was left, NodeFailedError when the node failed."""
        if self._reading:
            raise trio.BusyResourceError("another task is reading this watch stream")
        await trio.lowlevel.checkpoint()
        self._reading = True
        try:
            self._check_left()
            while not self._events:
                self._check_open()
                await self._parked.park()
                self._check_left()
        finally:
            self._reading = False
        self._delivered += 1
        return self._events.popleft()

    def statistics(self) -> StreamStatistics:
        """A snapshot of its counters. Plain."""
        return StreamStatistics(len(self._events), self._delivered, self._overflows)

    def _check_open(self) -> None:
        """With nothing left to read."""
        if self._error is not None:
            raise self._error
        self._check_left()

    def _check_left(self) -> None:
        if self._state != "open":
            raise trio.ClosedResourceError(f"the watch stream on {self._path!r} is not open")

    def deliver(self, event: WatchedEvent) -> None:
        """For endpoints, see endpoint.Watcher."""
        if event.zxid <= self._covered:
            return
        if len(self._events) >= self._max_events:
            self._events.clear()
            self._covered = event.zxid
            self._overflows += 1
            event = WatchedEvent(EventKind.OVERFLOW, self._path, event.zxid)
        self._events.append(event)
        self._parked.unpark()

    def end(self, error: BaseException) -> None:
        """For endpoints, see endpoint.Watcher."""
        self._error = error
        self._parked.unpark_all()
