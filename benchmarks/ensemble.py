"""The measured ensemble: real processes, real sockets, real files; started, asked, killed and stopped from here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import trio
from lines import LineReader, send_line

MEMBER = Path(__file__).with_name("member.py")
# Nothing measured here takes longer; a member that does hangs.
ANSWER_TIMEOUT = 300.0
STOP_TIMEOUT = 20.0


class MemberDiedError(Exception):
    """A member ended by itself; its last words are on stderr."""


class Member:
    """One process. ``start`` and ``kill`` may follow each other any number of times."""

    def __init__(self, id: int, config: dict[str, Any]) -> None:
        self.id = id
        self._config = config
        self._process: trio.Process | None = None
        self._answers: LineReader | None = None

    async def start(self) -> float:
        """Until its node is ready; how long that took, in seconds, the interpreter's start included."""
        began = perf_counter()
        # A process group of its own: Ctrl-C reaches the benchmark alone, which then ends its members by closing their stdin.
        self._process = await trio.lowlevel.open_process(
            [sys.executable, str(MEMBER), json.dumps(self._config), str(self.id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self._process.stdout is not None
        self._answers = LineReader(self._process.stdout)
        await self._hear()
        return perf_counter() - began

    async def ask(self, task: str, **arguments: object) -> dict[str, Any]:
        """Have it do a task (see tasks.py), and return what came of it. One at a time."""
        assert self._process is not None
        assert self._process.stdin is not None
        await send_line(self._process.stdin, {"do": task, **arguments})
        return await self._hear()

    def kill_nowait(self) -> None:
        """With -9. ``reap`` has to follow."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)

    async def kill(self) -> None:
        self.kill_nowait()
        await self.reap()

    async def stop(self) -> None:
        """It leaves the ensemble in order; killed if it does not."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with trio.move_on_after(STOP_TIMEOUT, shield=True):
            await process.stdin.aclose()
            await process.wait()
        await self.reap()

    async def _hear(self) -> dict[str, Any]:
        assert self._answers is not None
        with trio.fail_after(ANSWER_TIMEOUT):
            answer = await self._answers.receive()
        if answer is None:
            raise MemberDiedError(f"member {self.id} has ended")
        return answer

    async def reap(self) -> None:
        """What is left of a process that has ended, or will have."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


class Ensemble:
    """members: by node id, all up."""

    def __init__(self, members: dict[int, Member]) -> None:
        self.members = members

    async def leader(self) -> Member:
        """The member that leads, once the others agree."""
        while True:
            ids = {(await member.ask("status"))["leader_id"] for member in self.members.values()}
            if len(ids) == 1 and None not in ids:
                return self.members[ids.pop()]
            await trio.sleep(0.05)

    def others(self, member: Member) -> list[Member]:
        return [each for each in self.members.values() if each is not member]


@asynccontextmanager
async def open_ensemble(directory: Path, size: int = 3, **settings: object) -> AsyncIterator[Ensemble]:
    """``size`` members with default settings on loopback, their data below ``directory``, which must not hold any yet."""
    addresses = {id: f"127.0.0.1:{port}" for id, port in enumerate(_free_ports(size), 1)}
    members = {id: Member(id, {"node_id": id, "peers": addresses, "data_dir": str(directory / str(id)), **settings}) for id in addresses}
    try:
        async with trio.open_nursery() as nursery:
            for member in members.values():
                nursery.start_soon(member.start)
        yield Ensemble(members)
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for member in members.values():
                    nursery.start_soon(member.stop)


def _free_ports(count: int) -> list[int]:
    """All asked for before one is given back: no two are the same."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
