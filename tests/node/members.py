"""Nodes in memory for the tests of the driver: one fabric, one simulated disk a node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import frozen

import zkembed
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.transport.memory import Fabric


class Members:
    """peers 1..n on one fabric."""

    def __init__(self, n: int = 1) -> None:
        self.fabric = Fabric()
        self.peers = {id: f"memory:{id}" for id in range(1, n + 1)}
        self.disks = {id: SimulatedDisk() for id in self.peers}

    def config(self, id: int = 1, **overrides: Any) -> zkembed.Config:
        settings: dict[str, Any] = {
            "node_id": id,
            "peers": self.peers,
            "transport": self.fabric.transport(id),
            "log": MemoryLog(self.disks[id]),
            **overrides,
        }
        return zkembed.Config(**settings)


@frozen
class Running:
    node: zkembed.Node
    zk: zkembed.Client
    ended: list[BaseException]


@asynccontextmanager
async def all_up(members: Members, **overrides: Any) -> AsyncIterator[dict[int, Running]]:
    """All members running, by id. What their blocks ended with is collected, not raised."""
    running: dict[int, Running] = {}

    async def run(id: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        node, ended = zkembed.Node(members.config(id, **overrides)), list[BaseException]()
        try:
            async with node as zk:
                running[id] = Running(node, zk, ended)
                task_status.started()
                await trio.sleep_forever()
        except zkembed.ZkError as error:
            ended.append(error)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for id in members.peers:
                starting.start_soon(nursery.start, run, id)
        yield running
        nursery.cancel_scope.cancel()
