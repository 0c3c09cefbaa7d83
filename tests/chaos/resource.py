"""What a lock protects in real life: a resource outside the ensemble, which knows nothing of it and trusts tokens alone.

It refuses a token lower than the highest it has seen, for reads as for writes, and notes every attempt. It holds one number; a holder
reads it and writes it back raised by one. Two holders who both got through would write the same number twice, or lose one: the
accepted writes tell.

It lives in the process of whoever makes the faults, which is never stopped. Lines of JSON over the loopback interface.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from zkembed.testing.history import GuardedWrite

from .diary import Diary

LINE_BYTES_MAX = 4096


class FencedOffError(Exception):
    """A higher token has been seen: somebody else has the lock by now."""


@frozen
class Accepted:
    """One write that was let through, in order. path: of the lock."""

    path: str
    token: int
    value: int


class Resource:
    """The side of the resource: state, and who may change it. One number for each lock path.

    journal: a file that gets each accepted write, a line each.
    """

    def __init__(self, diary: Diary, journal: Path) -> None:
        self._diary = diary
        self._journal = journal
        self._tokens: dict[str, int] = {}
        self._values: dict[str, int] = {}
        self.accepted = 0
        self.refused = 0

    def read(self, path: str, token: int) -> int | None:
        """None: refused."""
        return self._values.get(path, 0) if self._admit(path, token) else None

    def write(self, path: str, token: int, value: int) -> bool:
        admitted = self._admit(path, token)
        if admitted:
            self._values[path] = value
            self.accepted += 1
            with self._journal.open("a") as file:
                file.write(json.dumps([path, token, value]) + "\n")
        return admitted

    def _admit(self, path: str, token: int) -> bool:
        highest = self._tokens.get(path, 0)
        self._tokens[path] = max(highest, token)
        self.refused += token < highest
        return token >= highest

    # --- as a server --------------------------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        """One visitor, until it goes; it may be killed in the middle of a line."""
        rest = b""
        try:
            async with stream:
                async for data in stream:
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        await stream.send_all(json.dumps(self._answer(json.loads(line))).encode() + b"\n")
        except trio.BrokenResourceError:
            pass

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        path, token, who = request["path"], request["token"], request["who"]
        if request["do"] == "read":
            return {"value": self.read(path, token)}
        accepted = self.write(path, token, request["value"])
        node, life, client = who
        self._diary.write_of(node, life, GuardedWrite, client, path, token, accepted)
        return {"value": request["value"] if accepted else None}


def read_journal(journal: Path) -> list[Accepted]:
    return [Accepted(*json.loads(line)) for line in journal.read_text().splitlines()] if journal.exists() else []


def judge_journal(accepted: Iterable[Accepted]) -> Iterator[str]:
    """L1 as the resource saw it: tokens never fall, and each holder built on what the one before it had written."""
    last: dict[str, Accepted] = {}
    for write in accepted:
        before = last.get(write.path, Accepted(write.path, 0, 0))
        if write.token < before.token:
            yield f"{write.path}: token {write.token:#x} was let through behind {before.token:#x}"
        if write.value != before.value + 1:
            yield f"{write.path}: token {write.token:#x} wrote {write.value} where {before.value} stood: it had read an older number"
        last[write.path] = write


@asynccontextmanager
async def open_resource(diary: Diary, journal: Path) -> AsyncIterator[tuple[Resource, str]]:
    """The resource, and where to reach it."""
    async with trio.open_nursery() as nursery:
        resource = Resource(diary, journal)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, resource.serve, listeners)
        host, port = listeners[0].socket.getsockname()
        yield resource, f"{host}:{port}"
        nursery.cancel_scope.cancel(reason="the resource is not needed any more")


class Visitor:
    """The side of a lock's holder. who: node, life and client, for the notes."""

    def __init__(self, address: str, path: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._path = path

    async def read(self, token: int, who: tuple[int, int, int]) -> int:
        """Raises FencedOffError."""
        return await self._ask({"do": "read", "path": self._path, "token": token, "who": who})

    async def write(self, token: int, value: int, who: tuple[int, int, int]) -> None:
        """Raises FencedOffError. Cancelled: it may have been written."""
        await self._ask({"do": "write", "path": self._path, "token": token, "value": value, "who": who})

    async def _ask(self, request: dict[str, Any]) -> int:
        """A connection of its own for each: one that was cancelled leaves no half of an answer to the next."""
        async with await trio.open_tcp_stream(self._host, int(self._port)) as stream:
            await stream.send_all(json.dumps(request).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                data = await stream.receive_some(LINE_BYTES_MAX)
                if not data:
                    raise trio.BrokenResourceError("the resource has closed the connection")
                line += data
        value = json.loads(line)["value"]
        if value is None:
            raise FencedOffError(f"{request['do']} of {self._path} with token {request['token']:#x}")
        assert isinstance(value, int)
        return value
