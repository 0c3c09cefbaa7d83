"""One process of the measured ensemble: a node with its data on disk, doing what its pipe says.

``python member.py CONFIG ID``: CONFIG is the node's Config as JSON, ID its id, for whoever reads a list of processes. Answers on
stdout, logs on stderr. Ends when stdin does, so that nothing is left behind when the benchmark dies.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import trio
from lines import LineReader, send_line
from tasks import Tasks

import zkembed


async def main(settings: dict[str, Any]) -> None:
    settings["peers"] = {int(id): address for id, address in settings["peers"].items()}
    async with trio.open_nursery() as nursery:
        send, orders = trio.open_memory_channel[dict[str, Any]](1)
        nursery.start_soon(hear, send, nursery.cancel_scope)
        async with zkembed.Node(zkembed.Config(**settings)) as zk:
            await obey(zk, orders, str(settings["data_dir"]))


async def hear(orders: trio.MemorySendChannel[dict[str, Any]], alive: trio.CancelScope) -> None:
    """Whatever is under way, the end of stdin is the end of this process."""
    reader = LineReader(trio.lowlevel.FdStream(0))
    while (order := await reader.receive()) is not None:
        await orders.send(order)
    alive.cancel(reason="the benchmark has ended")


async def obey(zk: zkembed.Client, orders: trio.MemoryReceiveChannel[dict[str, Any]], data_dir: str) -> None:
    answers = trio.lowlevel.FdStream(1)
    async with trio.open_nursery() as nursery:
        tasks = Tasks(zk, nursery, data_dir)
        await send_line(answers, {"ready": True})
        async for order in orders:
            await send_line(answers, await tasks.run(order.pop("do"), order))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, format=f"member {sys.argv[2]}: %(message)s")
    trio.run(main, json.loads(sys.argv[1]))
