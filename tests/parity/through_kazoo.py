"""Tells a story to ZooKeeper, through kazoo, and writes down what came over the wire.

kazoo's connection and its requests are used below its convenience: it would tidy up paths before ZooKeeper could
judge them, and hand events and replies to different threads. Here both are put down by the thread that reads the socket, so
that what came first is known. Blocks the calling thread.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, ClassVar

from attrs import frozen
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import KazooException, RolledBackError, RuntimeInconsistency  # type: ignore[import-untyped]
from kazoo.handlers.threading import AsyncResult, SequentialThreadingHandler  # type: ignore[import-untyped]
from kazoo.protocol import serialization as wire  # type: ignore[import-untyped]
from kazoo.protocol.states import ZnodeStat  # type: ignore[import-untyped]
from kazoo.security import OPEN_ACL_UNSAFE  # type: ignore[import-untyped]

from .server import ZooKeeperServer
from .story import (
    Check,
    Children,
    Close,
    Create,
    Delete,
    Exists,
    Get,
    Multi,
    Op,
    Set,
    Step,
    StopWatching,
    Story,
    Stream,
    Sync,
    TransactionOp,
    Vanish,
)
from .transcript import Absent, Answer, Done, Event, Failed, Heard, Line, Made, Named, Names, RawStat, Several, Value, render

ANSWER_TIMEOUT = 20.0
SESSION_TIMEOUT = 60.0
# Of a session that is to expire; ZooKeeper rounds it up to its next tick.
SHORT_SESSION_TIMEOUT = 2.5
NOWHERE = "127.0.0.1:1"
ROOT = "/story"
_EPHEMERAL, _SEQUENTIAL = 1, 2
_EVENTS = {1: "CREATED", 2: "DELETED", 3: "DATA_CHANGED", 4: "CHILDREN_CHANGED"}


@frozen
class AddWatch:
    """Opcode 106 of ZooKeeper 3.6, which kazoo does not have. mode: 0 persistent, 1 persistent and recursive."""

    path: str
    mode: int
    type: ClassVar[int] = 106

    def serialize(self) -> bytes:
        return bytes(wire.write_string(self.path) + wire.int_struct.pack(self.mode))

    @classmethod
    def deserialize(cls, data: bytes, offset: int) -> bool:
        return True


@frozen
class RemoveWatches:
    """Opcode 18: all of this connection's watches on the path."""

    path: str
    type: ClassVar[int] = 18

    def serialize(self) -> bytes:
        any_kind = 3
        return bytes(wire.write_string(self.path) + wire.int_struct.pack(any_kind))

    @classmethod
    def deserialize(cls, data: bytes, offset: int) -> bool:
        return True


class _Reply(AsyncResult):  # type: ignore[misc]
    """A reply that remembers how many events had come before it."""

    def __init__(self, handler: _Handler) -> None:
        super().__init__(handler)
        self._events = handler.events
        self.events_before = 0

    def set(self, value: Any = None) -> None:
        self.events_before = len(self._events)
        super().set(value)

    def set_exception(self, exception: BaseException) -> None:
        self.events_before = len(self._events)
        super().set_exception(exception)


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def reply(self) -> _Reply:
        return _Reply(self)


class ZooKeeperSession:
    """One session of one story."""

    def __init__(self, server: ZooKeeperServer, *, timeout: float = SESSION_TIMEOUT) -> None:
        self._server = server
        self._handler = _Handler()
        self._client = KazooClient(server.address, timeout=timeout, handler=self._handler, logger=_quiet_logger())
        self._client._connection._read_watch_event = self._note
        self._client.start(timeout=ANSWER_TIMEOUT)
        self.id: int = self._client.client_id[0]
        self._told = 0

    def close(self) -> None:
        self._client.stop()
        self._client.close()

    def vanish(self) -> None:
        """Its connection ends and never comes back; returns when the server has given the session up."""
        self._client.set_hosts(NOWHERE)
        self._client._connection._socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while f"{self.id:#x}" in self._server.ask("dump"):
            assert time.monotonic() < deadline, "ZooKeeper does not give up a session that has vanished"
            time.sleep(0.02)

    def _note(self, data: bytes, offset: int) -> None:
        """In kazoo's place: every event as the server sends it, once."""
        watch, _ = wire.Watch.deserialize(data, offset)
        self._handler.events.append(Event(_EVENTS[watch.type], watch.path))

    def hear(self, op: Op, root: str) -> Heard:
        if isinstance(op, Close | Vanish):
            self.close() if isinstance(op, Close) else self.vanish()
            return Heard(Done())
        reply = self._handler.reply()
        self._client._call(_request(op, root), reply)
        try:
            answer = _answer(op, reply.get(timeout=ANSWER_TIMEOUT))
        except KazooException as error:
            answer = Failed(_name(error))
        events = tuple(self._handler.events[self._told : reply.events_before])
        self._told = reply.events_before
        return Heard(answer, events)


def tell(story: Story, server: ZooKeeperServer) -> list[Line]:
    """The story's transcript. What it made is gone afterwards."""
    root = "" if story.fresh else ROOT
    sessions: dict[str, ZooKeeperSession] = {}
    try:
        for name in story.sessions:
            vanishes = Step(name, Vanish()) in story.steps
            sessions[name] = ZooKeeperSession(server, timeout=SHORT_SESSION_TIMEOUT if vanishes else SESSION_TIMEOUT)
        if root:
            sessions["a"].hear(Create(root), "")
        heard = [sessions[step.session].hear(step.op, root) for step in story.steps]
        names = {session.id: name for name, session in sessions.items()}
    finally:
        for session in sessions.values():
            session.close()
        if root:
            _remove(server.address, root)
    return render(story, heard, names, root)


def _remove(address: str, root: str) -> None:
    client = KazooClient(address, logger=_quiet_logger())
    client.start(timeout=ANSWER_TIMEOUT)
    try:
        client.delete(root, recursive=True)
    finally:
        client.stop()
        client.close()


def _request(op: Op | TransactionOp, root: str, create: Any = wire.Create2) -> Any:
    """What kazoo is to send. create: in transactions ZooKeeper knows no create2, and gives no Stat of what it made."""
    if isinstance(op, Multi):
        return wire.Transaction([_request(each, root, wire.Create) for each in op.ops])
    if isinstance(op, Sync):
        return wire.Sync("/")
    assert not isinstance(op, Close | Vanish)
    path = root + op.path[1:] if op.path.startswith("~") else op.path
    match op:
        case Create(_, data, ephemeral, sequential):
            return create(path, data, OPEN_ACL_UNSAFE, _EPHEMERAL * ephemeral + _SEQUENTIAL * sequential)
        case Set(_, data, version):
            return wire.SetData(path, data, _version(version))
        case Delete(_, version):
            return wire.Delete(path, _version(version))
        case Check(_, version):
            return wire.CheckVersion(path, _version(version))
        case Get(_, watch):
            return wire.GetData(path, watch)
        case Exists(_, watch):
            return wire.Exists(path, watch)
        case Children(_, watch):
            return wire.GetChildren(path, watch)
        case Stream(_, recursive):
            return AddWatch(path, int(recursive))
        case StopWatching():
            return RemoveWatches(path)


def _version(version: int | None) -> int:
    return -1 if version is None else version


def _answer(op: Op | TransactionOp, value: Any) -> Answer:
    if value is None:
        return Absent()
    match op:
        case Create():
            return Named(value) if isinstance(value, str) else Made(value[0], _stat(value[1]))
        case Set() | Exists():
            return _stat(value)
        case Get():
            return Value(value[0] or b"", _stat(value[1]))
        case Children():
            return Names(tuple(sorted(value)))
        case Multi(ops):
            return _transaction(ops, value)
        case _:
            return Done()


def _transaction(ops: tuple[TransactionOp, ...], values: list[Any]) -> Answer:
    """Of a rejected one: which operation failed. Those before it were rolled back, those behind it not tried."""
    for index, value in enumerate(values):
        if isinstance(value, Exception) and not isinstance(value, RolledBackError):
            assert all(isinstance(each, RolledBackError) for each in values[:index]), values
            assert all(isinstance(each, RuntimeInconsistency) for each in values[index + 1 :]), values
            return Failed(_name(value), index)
    return Several(tuple(_answer(op, value) for op, value in zip(ops, values, strict=True)))


def _stat(stat: ZnodeStat) -> RawStat:
    return RawStat(
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeralOwner,
        stat.dataLength,
        stat.numChildren,
        stat.ctime,
        stat.mtime,
    )


def _name(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")


def _quiet_logger() -> logging.Logger:
    """kazoo tells of every packet otherwise."""
    logger = logging.getLogger("tests.parity.kazoo")
    logger.setLevel(logging.CRITICAL)
    return logger
