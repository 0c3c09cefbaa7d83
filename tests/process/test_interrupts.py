"""Ctrl-C that arrives exactly where it hurts: in the middle of the node's own work, and again while it leaves (T9, I17).

The signal is raised by a transport, so in a task of the node; the interpreter raises KeyboardInterrupt at the next
bytecode of whatever is not protected. It must always reach the application's block, and the node must leave in order.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

import zkembed
from zkembed.transport.base import Hello, Link, Transport
from zkembed.transport.memory import Fabric

PEERS = {1: "memory:1", 2: "memory:2", 3: "memory:3"}


class InterruptedLink(Link):
    """Another link, in whose ``send`` and ``receive`` the signal comes."""

    def __init__(self, link: Link, interrupt: Callable[[], None]) -> None:
        self._link = link
        self._interrupt = interrupt
        self.remote = link.remote
        self.outbound = link.outbound

    async def send(self, frame: bytes) -> None:
        self._interrupt()
        await self._link.send(frame)

    async def receive(self) -> Sequence[bytes]:
        frames = await self._link.receive()
        self._interrupt()
        return frames

    def close(self) -> None:
        self._link.close()


class InterruptedTransport(Transport):
    """Raises SIGINT once, at the first frame behind ``arm``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._armed = False

    def arm(self) -> None:
        self._armed = True

    def interrupt(self) -> None:
        if self._armed:
            self._armed = False
            signal.raise_signal(signal.SIGINT)

    async def serve(
        self,
        hello: Callable[[], Hello],
        known: Callable[[int], bool],
        accept: Callable[[Link], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def accept_interrupted(link: Link) -> None:
            accept(InterruptedLink(link, self.interrupt))

        await self._transport.serve(hello, known, accept_interrupted, task_status=task_status)

    async def dial(self, node_id: int, hello: Hello) -> Link:
        return InterruptedLink(await self._transport.dial(node_id, hello), self.interrupt)


async def others(fabric: Fabric, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Members 2 and 3, without a disk."""
    async with trio.open_nursery() as nursery:
        for id in (2, 3):
            config = zkembed.Config(node_id=id, peers=PEERS, storage="memory", transport=fabric.transport(id))
            nursery.start_soon(zkembed.serve, config)
        task_status.started()


def interrupted_leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in interrupted_leaves(part)]
    return [error]


def test_ctrl_c_in_the_middle_of_the_nodes_own_work_reaches_the_application(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not the node's tasks: else its links or its disk would die of it, and the rest could not leave in order."""
    seen: list[str] = []

    async def main() -> None:
        fabric = Fabric()
        transport = InterruptedTransport(fabric.transport(1))
        async with trio.open_nursery() as nursery:
            await nursery.start(others, fabric)
            async with zkembed.Node(zkembed.Config(node_id=1, peers=PEERS, data_dir=tmp_path / "1", transport=transport)) as zk:
                await zk.create("/a")
                transport.arm()
                try:
                    await trio.sleep_forever()
                except BaseException as error:
                    seen.append(type(error).__name__)
                    raise
                finally:
                    seen.append(zk.session.state.name)

    caplog.set_level(logging.WARNING)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # Groups or not: its leaves are looked at.
        trio.run(main)
    assert {type(leaf) for leaf in interrupted_leaves(caught.value)} == {KeyboardInterrupt}
    assert seen == ["KeyboardInterrupt", "CONNECTED"]
    assert [record.message for record in caplog.records if record.name == "zkembed.node.1"] == []


def test_ctrl_c_again_while_it_leaves_ends_it_at_once_and_releases_the_directory(tmp_path: Path) -> None:
    """The second one cuts the orderly part short, and nothing else: the tasks end, the log is closed, the lock is gone."""

    async def main() -> None:
        fabric = Fabric()
        async with trio.open_nursery() as nursery:
            await nursery.start(others, fabric)
            config = zkembed.Config(node_id=1, peers=PEERS, data_dir=tmp_path / "1", transport=fabric.transport(1), close_timeout=60.0)
            async with zkembed.Node(config) as zk:
                await zk.create("/a")
                fabric.isolate(1)
                nursery.start_soon(interrupt_twice)
                await trio.sleep_forever()

    @trio.lowlevel.enable_ki_protection  # Else it would be raised here, and not where Ctrl-C at a terminal mostly is.
    async def interrupt_twice() -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        trio.run(main)
    assert KeyboardInterrupt in {type(leaf) for leaf in interrupted_leaves(caught.value)}

    async def again() -> None:
        config = zkembed.Config(node_id=1, peers=PEERS, data_dir=tmp_path / "1", transport=Fabric().transport(1), start_timeout=1.0)
        with pytest.raises(zkembed.NodeStartError, match="1 of 3 voters reachable"):  # Not: another process uses the directory.
            async with zkembed.Node(config):
                pass

    trio.run(again)
