"""A whole ensemble in memory, in one process, with faults at hand: for the tests of applications.

Real nodes, with their real protocol, log and sessions; only network, disk and, under a ``MockClock``, time are simulated.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio
from trio.testing import MockClock

from ..client import Client
from ..config import NODE_ID_MAX, Config
from ..errors import BadArgumentsError
from ..log.memory import MemoryLog
from ..transport.memory import Fabric
from .member import Member

# Where a mock clock's zero is, in seconds since 1970: ctime and mtime are then part of the simulation.
VIRTUAL_EPOCH = 1_700_000_000.0
_OURS = ("node_id", "peers", "data_dir", "storage", "transport", "log")


@asynccontextmanager
async def open_ensemble(n: int = 3, *, seed: int = 0, run: Collection[int] | None = None, **overrides: Any) -> AsyncIterator[Ensemble]:
    """``async with open_ensemble(3) as ensemble``: members 1 to ``n``, in memory, founded and in touch with each other.

    seed: of all that the nodes draw by lot. (In which order trio runs tasks is not theirs to say.)  run: members that the ensemble
    runs; the others are stopped again once it is founded, for the application to run them with ``Ensemble.config``. Default: all.
    overrides: of ``Config``, for every member, such as ``session_timeout=4``; what is the ensemble's own is refused.

    Under a ``MockClock``, best ``autojump_clock``, in virtual time, wall clock included; else in real time.

    Enter: checkpoint; returns when the clients of ``run`` work. Raises BadArgumentsError, ConfigError.
    Exit: checkpoint; everything ends where it stands, paused or not. The body's exception leaves it unchanged; if a member had
    failed by itself, not crashed by the test, NodeFailedError is raised, or added as a note to the body's exception.
    """
    ensemble = Ensemble(n, seed, run, overrides)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        # No exception may pass the hidden nursery, which would make it a group. Members raise nothing once they run.
        try:
            await ensemble._found(nursery)
            yield ensemble
        except BaseException as error:  # Raised again below, Cancelled included.
            failure = error
        ensemble._end()
        nursery.cancel_scope.cancel(reason="zkembed: the ensemble has ended")
    ensemble._report(failure)


class Ensemble:
    """What ``open_ensemble`` gives. Everything but ``restart`` and ``wait_leader`` is plain."""

    def __init__(self, n: int, seed: int, run: Collection[int] | None, overrides: dict[str, Any]) -> None:
        if type(n) is not int or not 1 <= n <= NODE_ID_MAX:
            raise BadArgumentsError(f"n={n!r}: expected an integer from 1 to {NODE_ID_MAX}")
        if refused := [name for name in _OURS if name in overrides]:
            raise BadArgumentsError(f"{', '.join(refused)}: the ensemble's own business; override other settings of Config")
        ids = range(1, n + 1)
        self._run = tuple(ids) if run is None else tuple(sorted(set(run)))
        if strangers := [id for id in self._run if id not in ids]:
            raise BadArgumentsError(f"run={run!r}: members are 1 to {n}, not {', '.join(map(str, strangers))}")
        self._fabric = Fabric()
        self._nursery: trio.Nursery | None = None
        settings: dict[str, Any] = {"wall_clock": _wall_clock(), **overrides, "peers": {id: f"memory:{id}" for id in ids}}
        # Wrong settings are found here, once, and not by every member.
        Config(node_id=1, transport=Fabric().transport(1), log=MemoryLog(), **settings)
        self._members = {id: Member(id, self._fabric, settings, Random(f"{seed}.{id}")) for id in ids}
        self._failures: list[BaseException] = []
        # Unparked when a member starts or ends.
        self._changed = trio.lowlevel.ParkingLot()

    # --- members ------------------------------------------------------------------------------------------------------

    def zk(self, id: int) -> Client:
        """The client of a member that the ensemble runs; after a restart another one. BadArgumentsError if it does not run it."""
        member = self._member(id)
        if id not in self._run:
            raise BadArgumentsError(f"member {id} has no client here: the application runs it")
        return member.zk

    def config(self, id: int) -> Config:
        """For one start of a member's node by the application under test, as in ``async with zkembed.Node(ensemble.config(3))``.

        Its disk is the member's own and outlives the node. Raises BadArgumentsError for a member that the ensemble runs.
        """
        member = self._member(id)
        if id in self._run:
            raise BadArgumentsError(f"member {id} is run by the ensemble; leave it out of open_ensemble(run=...) to run it yourself")
        return member.config()

    def leader(self) -> int | None:
        """The member that leads the newest epoch, as far as the running members know; None while there is none."""
        newest = max(
            (
                (node.epoch, node.leader_id)
                for node in (member.zk.node for member in self._members.values() if member.running)
                if node.leader_id is not None and node.statistics().serving
            ),
            default=None,
        )
        return None if newest is None or self._members[newest[1]].crashed else newest[1]

    async def wait_leader(self) -> int:
        """Wait until there is a leader, and return it. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while (leader := self.leader()) is None:
            async with trio.open_nursery() as nursery:
                running = [member.driver.changed for member in self._members.values() if member.running]
                for lot in (self._changed, *running):
                    nursery.start_soon(_wait_change, lot, nursery.cancel_scope)
        return leader

    # --- faults -------------------------------------------------------------------------------------------------------

    def partition(self, *groups: Collection[int]) -> None:
        """Cut every pair of members from different groups, beside what is cut already: ``partition({1}, {2, 3})``."""
        for group in groups:
            for id in group:
                self._member(id)
        self._fabric.partition(*groups)

    def cut(self, a: int, b: int, *, one_way: bool = False) -> None:
        """Hold back all that ``a`` sends to ``b``, and unless ``one_way`` the reverse; nothing closes."""
        self._member(a)
        self._member(b)
        self._fabric.cut(a, b, one_way=one_way)

    def heal(self) -> None:
        """Undo all partitions and cuts; what was held back arrives. Paused members stay paused."""
        self._fabric.heal()

    def crash(self, id: int) -> None:
        """The member's process is gone, with all that its disk had not synced. Calls of its clients raise NodeFailedError.

        Of a member that the application runs, the node's block ends with NodeFailedError.
        """
        self._member(id).crash(f"member {id} was crashed by the test")
        self._changed.unpark_all()

    async def restart(self, id: int, *, wipe: bool = False) -> None:
        """Start a member again, from its disk, or with ``wipe`` from an empty one; one that still runs leaves in good order first.

        Returns when its new client, ``zk(id)``, works. Empty, it takes part without a vote at first; the others give it back soon. A
        checkpoint; cancelled before it works: it is left stopped.
        """
        member = self._member(id)
        if id not in self._run:
            raise BadArgumentsError(f"member {id} is run by the application, which starts it again with config({id})")
        await member.stop()
        self._note_failure(member)
        if wipe:
            member.wipe()
        assert self._nursery is not None
        await self._nursery.start(member.run, name=f"zkembed ensemble member {id}")
        self._changed.unpark_all()

    def pause(self, id: int) -> None:
        """Stop the member's node where it stands, as SIGSTOP stops a process: it neither sends, hears nor notices time, and nothing closes.

        Tasks of the test that use its client go on. Idempotent. Raises BadArgumentsError for one that is not running here.
        """
        self._running(id).pause()

    def resume(self, id: int) -> None:
        """A paused member goes on, and finds that time has passed. Idempotent."""
        self._running(id).resume()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _member(self, id: int) -> Member:
        member = self._members.get(id)
        if member is None:
            raise BadArgumentsError(f"there is no member {id!r}: they are 1 to {len(self._members)}")
        return member

    def _running(self, id: int) -> Member:
        member = self._member(id)
        if not member.running:
            raise BadArgumentsError(f"member {id} is not running here")
        return member

    async def _found(self, nursery: trio.Nursery) -> None:
        """Founding needs every member (I-4), so all are started; those that the application runs are stopped again."""
        self._nursery = nursery
        errors: list[BaseException] = []
        async with trio.open_nursery() as starting:

            async def start(member: Member) -> None:
                try:
                    await nursery.start(member.run, name=f"zkembed ensemble member {member.id}")
                except Exception as error:
                    errors.append(error)
                    starting.cancel_scope.cancel(reason="zkembed: a member of the ensemble did not start")

            for member in self._members.values():
                starting.start_soon(start, member)
        if errors:
            raise errors[0]
        for id, member in self._members.items():
            if id not in self._run:
                await member.stop()

    def _end(self) -> None:
        for member in self._members.values():
            member.kill("the ensemble has ended")

    def _note_failure(self, member: Member) -> None:
        if member.failure is not None:
            self._failures.append(member.failure)

    def _report(self, failure: BaseException | None) -> None:
        """Every member has ended: raise what leaves the block."""
        for member in self._members.values():
            self._note_failure(member)
        if failure is None and self._failures:
            failure = self._failures.pop(0)
        if failure is None:
            return
        for other in self._failures:
            if other is not failure:
                failure.add_note(f"zkembed: of the ensemble: {other!r}")
        raise failure


def _wall_clock() -> Any:
    if not isinstance(trio.lowlevel.current_clock(), MockClock):
        return time.time
    return lambda: VIRTUAL_EPOCH + trio.current_time()


async def _wait_change(lot: trio.lowlevel.ParkingLot, done: trio.CancelScope) -> None:
    await lot.park()
    done.cancel(reason="zkembed: something has changed")
