"""DU-7, DU-13, SN-5 where trio matters: nodes with their driver, and the task that waits for the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
import trio
import trio.testing

import zkembed
from tests.log.helpers import history, open_log
from tests.node.members import Members, Running, all_up
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.log_worker import LogWorker
from zkembed.tree import freeze
from zkembed.zab.effects import Append, DiskOp

CONNECTED = zkembed.SessionState.CONNECTED


def leader_of(running: dict[int, Running]) -> int:
    (leader,) = [id for id, member in running.items() if member.zk.node.role is zkembed.Role.LEADING]
    return leader


# --- DU-13: the task that waits for the disk is cancelled --------------------------------------------------------------


class CancelAfter(trio.abc.Instrument):
    """Cancels its scope before the k-th step of any task."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()

    @contextmanager
    def watching(self) -> Iterator[None]:
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)


class ThreadedLog(MemoryLog):
    """Says of itself that it may block, so that the worker calls it in its thread."""

    def __init__(self, disk: SimulatedDisk) -> None:
        super().__init__(disk)
        self.inline = False


def durable_behind_a_power_cut(disk: SimulatedDisk) -> int:
    disk.crash()
    return open_log(MemoryLog(disk)).last_zxid


@pytest.mark.parametrize("make", [MemoryLog, ThreadedLog])
async def test_DU_13_a_cancelled_write_is_done_and_told_or_not_begun(make: Callable[[SimulatedDisk], MemoryLog]) -> None:
    """P-14: cancelled at each of its steps, the task has told the core exactly what is durable: nothing acknowledged is missing on the
    disk, and nothing was written that the core does not know of."""
    outcomes: Counter[int] = Counter()
    for steps in range(1, 60):
        disk = SimulatedDisk()
        log = make(disk)
        open_log(log)
        worker, told = LogWorker(log), list[int]()
        records = history(6)

        finished = trio.Event()

        def done(ops: Any, told: list[int] = told, finished: trio.Event = finished) -> None:
            told.extend(op.records[-1].zxid for op in ops)
            if len(told) == 6:
                finished.set()

        cancel = CancelAfter(steps)
        with cancel.watching(), cancel.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run, done)
                for number, record in enumerate(records):
                    worker.put(Append(number, (record,)))
                    await trio.lowlevel.checkpoint()
                await finished.wait()
                nursery.cancel_scope.cancel()
        assert told == [record.zxid for record in records[: len(told)]]
        assert durable_behind_a_power_cut(disk) == (told[-1] if told else 0)
        outcomes[len(told)] += 1
    assert {0, 6} < outcomes.keys()


async def test_DU_13_a_write_is_waited_for_however_long_it_takes() -> None:
    """P-14: cancelled while the device is busy: the scope ends when the device is done, and the core has heard of it."""
    disk = SimulatedDisk()
    log = ThreadedLog(disk)
    open_log(log)
    worker, told = LogWorker(log), list[DiskOp]()
    busy, go_on = Event(), Event()

    def hang() -> None:
        busy.set()
        assert go_on.wait(30.0)

    disk.before_step = hang
    op = Append(1, tuple(history(3)))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run, told.extend)
            worker.put(op)
            await trio.to_thread.run_sync(busy.wait)
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            assert not told
            go_on.set()
    assert scope.cancelled_caught
    assert told == [op]
    assert durable_behind_a_power_cut(disk) == history(3)[-1].zxid


async def test_DU_13_a_cancelled_block_leaves_every_answered_write(autojump_clock: trio.testing.MockClock) -> None:
    """P-14, D1: the application cancels the node's own block at any step of its life under load; the machine loses power right behind it;
    every write that was answered is there."""
    counts = set()
    for steps in range(2, 400, 9):
        members = Members()
        answered: list[str] = []
        cancel = CancelAfter(steps)
        with cancel.watching(), cancel.scope:
            async with zkembed.Node(members.config()) as zk:
                for number in range(40):
                    await zk.create(f"/{number}")
                    answered.append(str(number))
        members.disks[1].crash()
        async with zkembed.Node(members.config()) as zk:
            assert set(answered) <= set(await zk.children("/"))
        counts.add(len(answered))
    assert len(counts) > 10
    assert min(counts) == 0


# --- DU-7: a purge that fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["by itself", "by the application"])
async def test_DU_7_a_purge_that_fails_ends_the_node_at_once(
    asked: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-13: writing a snapshot may fail, but behind it the manifest changes; a leader whose manifest cannot be written stops leading, also
    when nobody writes."""
    members = Members(3)
    purge = MemoryLog.purge

    def fail(self: MemoryLog) -> int:
        if self.disk is members.disks[leader]:
            self.disk.fail_at = dict.fromkeys(range(self.disk.steps + 1, self.disk.steps + 10), zkembed.StorageError)
        return purge(self)

    async with all_up(members, snapshot_every=20) as running:
        leader = leader_of(running)
        other = next(id for id in running if id != leader)
        for number in range(50):
            await running[leader].zk.create(f"/{number}")
        monkeypatch.setattr(MemoryLog, "purge", fail)
        if asked == "by itself":
            for number in range(50, 90):
                if running[leader].ended:
                    break
                with trio.move_on_after(5.0):
                    await running[other].zk.create(f"/{number}")
        else:
            with pytest.raises(zkembed.StorageError):
                await running[leader].zk.node.snapshot()
        await trio.sleep(0.1)
        (ended,) = running[leader].ended
        assert isinstance(ended.__cause__, zkembed.StorageError)
        await running[other].zk.create("/on")
        assert running[other].zk.node.leader_id != leader


# --- SN-5: a snapshot under load -------------------------------------------------------------------------------------


class Slices(trio.abc.Instrument):
    """The most rows that were written between two steps of the loop."""

    def __init__(self) -> None:
        self.rows = self.most = self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most = max(self.most, self.rows)
        self.steps += self.rows > 0
        self.rows = 0


async def test_SN_5_a_snapshot_under_load(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-8, B-12: a snapshot of 10,000 znodes, each chunk of which takes the disk a while, so that all of it takes longer than a silent
    leader would be borne: it is written in slices of at most a page, and between them PINGs and writes go on as if it were not there."""
    slices = Slices()
    row, aside = freeze.node_row, LogWorker.aside

    def counted(path: str, node: Any) -> tuple[object, ...]:
        slices.rows += 1
        return row(path, node)

    async def slow(self: LogWorker, call: Any, *args: Any) -> Any:
        await trio.sleep(0.1)
        return await aside(self, call, *args)

    async with all_up(Members(3)) as running:
        leader = leader_of(running)
        zk = running[leader].zk
        for first in range(0, 10_000, 500):
            async with zk.transaction() as t:
                for number in range(first, first + 500):
                    t.create(f"/{number:05d}")
        monkeypatch.setattr(freeze, "node_row", counted)
        monkeypatch.setattr(LogWorker, "aside", slow)
        epoch, began = zk.node.epoch, trio.current_time()
        answered = 0
        states: set[zkembed.SessionState] = set()

        async def write_on() -> None:
            nonlocal answered
            while True:
                await zk.set("/00000", b"%d" % answered)
                answered += 1
                states.update(member.zk.session.state for member in running.values())
                await trio.sleep(0.02)

        trio.lowlevel.add_instrument(slices)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on)
            await zk.node.snapshot()
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(slices)
        took = trio.current_time() - began
        assert took > 2.0
        assert slices.most <= freeze.PAGE_ROWS
        assert slices.steps >= 10_000 // freeze.PAGE_ROWS
        assert answered > took / 0.02 / 2
        assert states == {CONNECTED}
        assert (leader_of(running), zk.node.epoch) == (leader, epoch)
