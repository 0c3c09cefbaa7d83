"""One node in a process of its own, driven through pipes: ``python -m tests.process.member SETTINGS``, a JSON object.

Standard input brings commands, ``{"id": 7, "do": "set", ...}``; standard output takes their replies, ``{"id": 7, "value": ...}`` or
``{"id": 7, "error": "NoNodeError", "text": ...}``, and events, ``{"event": "in", ...}``. Log records go to standard error. Each
command runs in a task of its own, so one that waits for a quorum holds up none behind it. The end of standard input ends
the process. Signals are left alone, as the library does: SIGTERM is a crash, SIGINT a KeyboardInterrupt.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import trio

import zkembed
from zkembed import Client, Config

from .load import Load, tell

INTERRUPTED = 130
FAILED = 3


class Work(Protocol):
    """What the application in this process does by itself."""

    async def run(self) -> None:
        """Until ``stop`` and all that was begun has ended."""

    async def stop(self) -> None: ...


class Member:
    """Executes commands on one client."""

    def __init__(self, zk: Client, load: Work) -> None:
        self.zk = zk
        self.load = load
        self.running: dict[int, trio.CancelScope] = {}

    async def run(self, commands: trio.MemoryReceiveChannel[dict[str, Any]]) -> None:
        async with trio.open_nursery() as nursery:
            for task in self.tasks():
                nursery.start_soon(task)
            async for command in commands:
                nursery.start_soon(self.execute, command)
            nursery.cancel_scope.cancel(reason="asked to leave")

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        """What goes on all the time."""
        return [self.load.run, self.tell_states, self.tell_roles]

    async def tell_states(self) -> None:
        while (session := self.zk.session).state is not zkembed.SessionState.CLOSED:
            async for state in session.states():
                tell(event="session", session=session.id, state=state.name)

    async def tell_roles(self) -> None:
        role = None
        while True:
            role = await self.zk.node.wait_role(*(other for other in zkembed.Role if other is not role))
            tell(event="role", role=role.name, epoch=self.zk.node.epoch)

    async def execute(self, command: dict[str, Any]) -> None:
        id, do = command.pop("id"), getattr(self, f"do_{command.pop('do')}")
        with trio.CancelScope() as scope:
            self.running[id] = scope
            try:
                tell(id=id, value=await do(**command))
            except zkembed.ZkError as error:
                tell(id=id, error=type(error).__name__, text=str(error))
            finally:
                del self.running[id]
        if scope.cancelled_caught:
            tell(id=id, error="Cancelled", text="")

    # --- commands -----------------------------------------------------------------------------------------------------

    async def do_create(self, path: str, data: str = "", **flags: bool) -> str:
        return (await self.zk.create(path, data.encode(), **flags)).path

    async def do_set(self, path: str, data: str) -> int:
        return (await self.zk.set(path, data.encode())).version

    async def do_get(self, path: str) -> str:
        return (await self.zk.get(path)).data.decode()

    async def do_exists(self, path: str) -> bool:
        return await self.zk.exists(path) is not None

    async def do_replica_get(self, path: str) -> str:
        await trio.lowlevel.checkpoint()
        return self.zk.replica.get(path).data.decode()

    async def do_sync(self) -> int:
        return await self.zk.sync()

    async def do_snapshot(self) -> int:
        return await self.zk.node.snapshot()

    async def do_cancel(self, which: int) -> None:
        await trio.lowlevel.checkpoint()
        self.running[which].cancel(reason="asked to")

    async def do_statistics(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        node = self.zk.node.statistics()
        names = ("leader_id", "epoch", "serving", "has_vote", "vote_reason", "applied_zxid", "staleness", "sessions", "znodes")
        return {"role": node.role.name, "state": self.zk.session.state.name, **{name: getattr(node, name) for name in names}}

    async def do_hold_loop(self, seconds: float) -> float:
        """What a careless application does. Returns when it began, by a clock that all processes of the machine share."""
        began = time.monotonic()
        time.sleep(seconds)  # noqa: ASYNC251  # It is the point.
        await trio.lowlevel.checkpoint()
        return began

    async def do_limit_file_size(self, size: int) -> None:
        """From here on this process can't write behind ``size`` bytes of any file; the system says EFBIG."""
        await trio.lowlevel.checkpoint()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def do_stop_load(self) -> None:
        await self.load.stop()

    async def do_dump(self, file: str) -> int:
        """The whole tree, of one moment, as JSON lines; its zxid."""
        zxid, lines = self.zk.replica.zxid, list(self.walk("/"))
        await trio.Path(file).write_text("".join(lines))
        return zxid

    def walk(self, path: str) -> Iterator[str]:
        data, stat = self.zk.replica.get(path)
        numbers = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime, stat.version, stat.cversion, stat.ephemeral_owner]
        yield json.dumps([path, data.decode(), *numbers, stat.num_children]) + "\n"
        for name in self.zk.replica.children(path):
            yield from self.walk(f"{path.rstrip('/')}/{name}")


async def read_commands(commands: trio.MemorySendChannel[dict[str, Any]], scope: trio.CancelScope) -> None:
    """From standard input. "leave" ends the commands, and with them the block; end of file ends everything."""
    rest = b""
    async with commands, trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if command["do"] == "leave":
                    await commands.aclose()
                else:
                    await commands.send(command)
    scope.cancel(reason="standard input has ended")


async def main(settings: dict[str, Any]) -> None:
    who, writers = settings.pop("who"), settings.pop("writers")
    peers = {int(id): address for id, address in settings.pop("peers").items()}
    config = Config(peers=peers, data_dir=Path(settings.pop("data_dir")), **settings)
    send, receive = trio.open_memory_channel[dict[str, Any]](100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_commands, send, nursery.cancel_scope)
        tell(event="starting")
        async with zkembed.Node(config) as zk:
            tell(event="in", session=zk.session.id, epoch=zk.node.epoch, role=zk.node.role.name)
            await Member(zk, Load(zk, who, writers)).run(receive)
        tell(event="left")
        nursery.cancel_scope.cancel(reason="left")


def first_of(group: BaseExceptionGroup[zkembed.ZkError]) -> BaseException:
    """Several tasks of an application may be told of one failure."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_member(main: Callable[[dict[str, Any]], Awaitable[None]], settings: dict[str, Any]) -> int:
    """A member's whole life, and the status of its process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    status = 0
    try:
        trio.run(main, settings)
    except* KeyboardInterrupt:
        tell(event="interrupted")
        status = INTERRUPTED
    except* zkembed.ZkError as group:
        error = first_of(group)
        causes = [kind.__name__ for kind in type(error.__cause__).__mro__]
        tell(event="failed", error=type(error).__name__, causes=causes, text=str(error))
        status = FAILED
    return status


if __name__ == "__main__":
    sys.exit(run_member(main, json.loads(sys.argv[1])))
