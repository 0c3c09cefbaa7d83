"""An ensemble of real processes, and what a test can do to them: ask, kill, interrupt, start again.

Nothing here sleeps: every wait is for something a member says or logs, or for its end, and has a deadline that names what
did not come. Each start of a member is a *life* of it, with its own lines.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
LOG_LINES_SHOWN = 40


class Refused(Exception):
    """A command was answered with an error of zkembed; ``name`` is its class."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class Life:
    """One run of a member's process: its events, log lines and replies so far."""

    def __init__(self, member_id: int, number: int, process: trio.Process, told: Callable[[], None]) -> None:
        """told: called after each batch of lines."""
        self.member_id = member_id
        self.number = number
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._replies: dict[int, dict[str, Any]] = {}
        self._commands = 0
        self._told = told
        self._moved = trio.Event()
        self._open = 2

    # --- asking -------------------------------------------------------------------------------------------------------

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Its value. Raises Refused."""
        return await self.reply(await self.send(do, **arguments))

    async def send(self, do: str, **arguments: Any) -> int:
        """Without waiting for the reply; the number to ask for it with."""
        self._commands += 1
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps({"id": self._commands, "do": do, **arguments}).encode() + b"\n")
        return self._commands

    async def reply(self, command: int) -> Any:
        await self.wait(lambda: command in self._replies, f"the reply to command {command}")
        reply = self._replies[command]
        if "error" in reply:
            raise Refused(reply["error"], reply["text"])
        return reply["value"]

    def replied(self, command: int) -> bool:
        return command in self._replies

    async def leave(self) -> None:
        """Out of its block in order, and wait for the end of the process."""
        await self.send("leave")
        assert await self.wait_exit() == 0, self.story()

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def wait(self, reached: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Until ``reached`` is true; it is asked again after each line. Fails when the process ends first, or it takes too long."""
        with trio.move_on_after(patience):
            while not reached():
                if not self._open:
                    break
                await self._moved.wait()
        assert reached(), f"member {self.member_id}: {what} did not come\n{self.story()}"

    def said(self, event: str, **values: Any) -> dict[str, Any] | None:
        """The newest such event."""
        wanted = {"event": event, **values}
        return next((said for said in reversed(self.events) if wanted.items() <= said.items()), None)

    async def wait_said(self, event: str, **values: Any) -> dict[str, Any]:
        await self.wait(lambda: self.said(event, **values), f"event {event} {values or ''}")
        said = self.said(event, **values)
        assert said is not None
        return said

    async def wait_more(self, count: int) -> None:
        """So many events more."""
        goal = len(self.events) + count
        await self.wait(lambda: len(self.events) >= goal, f"{count} more events")

    async def wait_logged(self, text: str) -> str:
        await self.wait(lambda: any(text in line for line in self.log), f"a log line with {text!r}")
        return next(line for line in self.log if text in line)

    async def wait_exit(self, patience: float = PATIENCE) -> int:
        """Its status, once all it has said is read. Negative: ended by that signal."""
        with trio.move_on_after(patience):
            while self._open:
                await self._moved.wait()
            return await self.process.wait()
        raise AssertionError(f"member {self.member_id} has not ended within {patience:g} s\n{self.story()}")

    # --- ending -------------------------------------------------------------------------------------------------------

    async def kill(self) -> None:
        """kill -9, and read what it had said before."""
        self.process.kill()
        await self.wait_exit()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def story(self) -> str:
        """For the message of a failed assertion."""
        events = [json.dumps(said) for said in self.events[-10:]]
        return "\n".join([f"member {self.member_id}, life {self.number}, its last words:", *events, *self.log[-LOG_LINES_SHOWN:]])

    # --- hearing ------------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, self.process.stdout, self._hear)
            nursery.start_soon(self._read, self.process.stderr, self._overhear)

    async def _read(self, stream: trio.abc.ReceiveStream | None, hear: Callable[[bytes], None]) -> None:
        assert stream is not None
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                hear(line)
            self._wake()
        self._open -= 1
        self._wake()

    def _hear(self, line: bytes) -> None:
        said = json.loads(line)
        if "id" in said:
            self._replies[said["id"]] = said
        else:
            self.events.append(said)

    def _overhear(self, line: bytes) -> None:
        self.log.append(line.decode(errors="replace"))

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
        self._told()


class Ensemble:
    """Members 1..n, each with a directory and an address of its own. ``lives``: all there were, oldest first."""

    program = "tests.process.member"

    def __init__(self, nursery: trio.Nursery, directory: Path, n: int, **settings: Any) -> None:
        self.directory = directory
        self.peers = {id: f"127.0.0.1:{port}" for id, port in enumerate(free_ports(n), start=1)}
        self.data_dirs = {id: directory / f"member-{id}" for id in self.peers}
        self.lives: list[Life] = []
        self._settings = settings
        self._nursery = nursery
        self._moved = trio.Event()

    def __getitem__(self, id: int) -> Life:
        """The present life of a member, or its last."""
        return next(life for life in reversed(self.lives) if life.member_id == id)

    def settings_for(self, id: int, number: int) -> dict[str, Any]:
        """What the program is told when member ``id`` starts for the ``number``-th time."""
        return {"node_id": id, "peers": self.peers, "data_dir": str(self.data_dirs[id]), "who": f"{id}.{number}", "writers": 0}

    async def start(self, id: int, **settings: Any) -> Life:
        """A new process; returns as soon as it runs, which is before it is in."""
        number = 1 + sum(life.member_id == id for life in self.lives)
        everything = {**self.settings_for(id, number), **self._settings, **settings}
        command = [sys.executable, "-m", self.program, json.dumps(everything)]
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C on the test run must not reach it.
        process = await trio.lowlevel.open_process(
            command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=PROJECT, start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        life = Life(id, number, process, self._wake)
        self.lives.append(life)
        self._nursery.start_soon(life.listen)
        return life

    async def start_all(self, ids: Iterable[int] | None = None, **settings: Any) -> None:
        """Start members, by default all, and wait until they are in."""
        lives = [await self.start(id, **settings) for id in (self.peers if ids is None else ids)]
        for life in lives:
            await life.wait_said("in")

    async def wait(self, reached: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Until ``reached`` is true; it is asked again whenever any member has said something."""
        with trio.move_on_after(patience):
            while not reached():
                await self._moved.wait()
        assert reached(), "\n".join([f"{what} did not come", *(life.story() for life in self.running())])

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def leader(self, *, after_epoch: int = 0) -> Life:
        """The one that leads and serves, as it says itself, in an epoch higher than that. Waits for one."""
        await self.wait(lambda: self._leaders(after_epoch), f"a leader of an epoch behind {after_epoch}")
        return self._leaders(after_epoch)[-1]

    def _leaders(self, after_epoch: int) -> list[Life]:
        newest = [(said["epoch"], life) for life in self.running() if (said := life.said("role")) and said["role"] == "LEADING"]
        return [life for epoch, life in sorted(newest, key=lambda pair: pair[0]) if epoch > after_epoch]

    async def followers(self) -> list[Life]:
        leader = await self.leader()
        return [life for life in self.running() if life is not leader]

    def running(self) -> list[Life]:
        return [life for life in map(self.__getitem__, {life.member_id for life in self.lives}) if life.alive]

    async def dump(self, id: int) -> tuple[int, dict[str, list[Any]]]:
        """A member's zxid, and its whole tree as of that: path to data and stat. It has everything answered before the call."""
        await self[id].ask("sync")
        file = self.directory / f"dump-{id}.jsonl"
        zxid = await self[id].ask("dump", file=str(file))
        rows = (json.loads(line) for line in file.read_text().splitlines())
        return zxid, {row[0]: row[1:] for row in rows}

    async def dumps(self) -> list[dict[str, list[Any]]]:
        """All members' trees of one and the same zxid. Nobody may be writing; what sessions of the dead leave behind may still go."""
        with trio.fail_after(PATIENCE):
            while True:
                found = [await self.dump(id) for id in self.peers]
                if len({zxid for zxid, _ in found}) == 1:
                    return [tree for _, tree in found]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Of all lives, in the order in which each told them."""
        return [said for life in self.lives for said in life.events if said.get("event") == event]


@asynccontextmanager
async def open_ensemble(directory: Path, n: int = 3, **settings: Any) -> AsyncIterator[Ensemble]:
    """``settings``: as for zkembed.Config, for every member. At the end every process is killed, whatever has happened."""
    async with trio.open_nursery() as nursery:
        ensemble = Ensemble(nursery, directory, n, **settings)
        try:
            yield ensemble
        finally:
            with trio.CancelScope(shield=True):
                for life in ensemble.lives:
                    life.process.kill()
                    await life.process.wait()
        nursery.cancel_scope.cancel(reason="the test is over")


def free_ports(count: int) -> list[int]:
    """Of the loopback, free a moment ago, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
