"""A load whose outcome can be judged afterwards, whatever was killed meanwhile: every answer is told, and only then.

Each writer raises a counter of its own by plain sets, and makes sequential znodes that carry a name used once. A write that
was done twice would show: as a counter whose data and version differ, or as two znodes of one name. One task takes a
lock again and again, and raises a shared counter while it holds it, from what it read, with nothing but the lock and
its token to protect it: two holders at once would write the same number twice.
"""

from __future__ import annotations

import json
import os
from typing import Any

import trio

import zkembed
from zkembed import Client, Held, Lock

ITEM_EVERY = 5


def tell(**said: Any) -> None:
    """One line, whole, before anything else happens: what was told had happened, even if this process is killed right behind."""
    line = json.dumps(said).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


class Load:
    """who: a name used by no other load, before or after.  writers: tasks that write; none, no lock either."""

    def __init__(self, zk: Client, who: str, writers: int) -> None:
        self._zk = zk
        self._who = who
        self._writers = writers
        self._stopping = False
        self._stopped = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(self._writers):
                nursery.start_soon(self._write, f"{self._who}.{number}")
            if self._writers:
                nursery.start_soon(self._take_turns)
        self._stopped.set()

    async def stop(self) -> None:
        """No new writes; returns when those under way are answered."""
        self._stopping = True
        await self._stopped.wait()

    async def _write(self, name: str) -> None:
        """One series after the other: an expired session leaves the outcome of its last write open, so that series ends there."""
        series = 0
        while not self._stopping:
            series += 1
            try:
                await self._write_series(f"{name}.{series}")
            except zkembed.SessionExpiredError as error:
                tell(event="expired", series=f"{name}.{series}", text=str(error))

    async def _write_series(self, name: str) -> None:
        counter = (await self._zk.create(f"/count/{name}", b"0", parents=True)).path
        value = 0
        while not self._stopping:
            value += 1
            stat = await self._zk.set(counter, b"%d" % value)
            tell(event="counted", path=counter, value=value, version=stat.version, zxid=stat.mzxid)
            if value % ITEM_EVERY == 0:
                item = f"{name}.{value}"
                created = await self._zk.create(f"/items/{item}-", item.encode(), sequential=True, parents=True)
                tell(event="made", item=item, path=created.path, zxid=created.stat.czxid)

    async def _take_turns(self) -> None:
        while not self._stopping:
            try:
                async with Lock(self._zk, "/lock") as held:
                    await self._raise_shared(held)
            except (zkembed.LockLostError, zkembed.SessionExpiredError) as error:
                tell(event="lost", text=str(error))

    async def _raise_shared(self, held: Held) -> None:
        if await self._zk.exists("/shared") is None:
            await self._zk.create("/shared", b"0")
        value = int((await self._zk.get("/shared")).data) + 1
        try:
            async with self._zk.transaction() as t:
                t.guard(held)
                t.set("/shared", b"%d" % value)
                t.create(f"/receipts/{value}", b"%d" % held.token, parents=True)
        except zkembed.TransactionError as error:
            if error.index != 0:
                raise
            tell(event="fenced", token=held.token)
        else:
            tell(event="shared", value=value, token=held.token)
