"""One member of an ensemble in memory: its simulated disk, and its node where the ensemble runs it.

A crash takes the disk away from the dying node: what survives is copied at that instant, and whatever the node's last steps
still write goes to a disk that nobody will read.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from random import Random
from typing import Any

import trio

from ..client import Client
from ..config import Config
from ..driver import Driver
from ..errors import BadArgumentsError, NodeFailedError
from ..log.memory import MemoryLog
from ..log.simulated_disk import SimulatedDisk
from ..node import Node
from ..transport.memory import Fabric
from .mortal import MortalTransport


class Member:
    """settings: of its Config, but for node id, transport and log.  chance: of what its disks draw."""

    def __init__(self, id: int, fabric: Fabric, settings: Mapping[str, Any], chance: Random) -> None:
        self.id = id
        self._fabric = fabric
        self._settings = settings
        self._chance = chance
        self._disk = SimulatedDisk(place=f"memory of member {id}")
        self._transports: list[MortalTransport] = []
        self._node: Node | None = None
        self._stop = trio.CancelScope()
        self._ended = trio.Event()
        self._ended.set()
        self._zk: Client | None = None
        self._aborted = False
        self.crashed = False
        """It has crashed, and was not started again."""
        self.failure: NodeFailedError | None = None
        """Why it has ended by itself."""

    # --- its node -----------------------------------------------------------------------------------------------------

    def config(self) -> Config:
        """For one start, of this member as it is: its disk, and a fresh access to the fabric."""
        self._fabric.unsilence(self.id)  # Its last process may have been paused.
        transport = MortalTransport(self._fabric.transport(self.id))
        self._transports.append(transport)
        self.crashed = False
        log = MemoryLog(self._disk, random_bytes=self._chance.randbytes)
        return Config(node_id=self.id, transport=transport, log=log, **self._settings)

    @property
    def zk(self) -> Client:
        """Of its newest start by the ensemble. BadArgumentsError while it is starting."""
        if self._zk is None:
            raise BadArgumentsError(f"member {self.id} has no client yet: it is starting")
        return self._zk

    @property
    def running(self) -> bool:
        """The ensemble runs it, and its node has neither crashed, failed nor been stopped."""
        return self._zk is not None and not self._ended.is_set() and not self.crashed

    @property
    def driver(self) -> Driver:
        """Of the running node."""
        assert self._node is not None
        assert self._node._driver is not None
        return self._node._driver

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The life of its node, in a task; ``started()`` when its client works.

        Raises NodeStartError or StorageError before that, nothing after it.
        """
        await self._ended.wait()
        self._ended = trio.Event()
        self._zk, self.failure, self._aborted = None, None, False
        self._stop = trio.CancelScope()
        self._node = node = Node(self.config())
        try:
            with self._stop:
                async with node as self._zk:
                    task_status.started()
                    await trio.sleep_forever()
        except NodeFailedError as error:
            if not self._aborted:
                self.failure = error
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Leave in good order, and wait until that is done. A checkpoint."""
        self._stop.cancel(reason="zkembed: the test stops this member")
        await self._ended.wait()

    # --- faults -------------------------------------------------------------------------------------------------------

    def crash(self, reason: str) -> None:
        """Its process is gone, at once, and with it all that was not synced."""
        survivor = deepcopy(self._disk)
        survivor.crash()
        self._disk = survivor
        self.kill(reason)

    def kill(self, reason: str) -> None:
        """Its process is gone, at once."""
        self.crashed = True
        self._fabric.crash(self.id)
        if self._node is not None and self._node._failure is None:
            self._aborted = True
            self._node.abort(reason)
        dying, self._transports = self._transports, []
        for transport in dying:
            transport.die(reason)

    def wipe(self) -> None:
        """An empty disk for the next start."""
        self._disk = SimulatedDisk(place=f"memory of member {self.id}")

    def pause(self) -> None:
        self.driver.freeze()
        self._fabric.silence(self.id)

    def resume(self) -> None:
        self._fabric.unsilence(self.id)
        self.driver.thaw()
