"""Rules that only a running node can show."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import trio

import zkembed
from zkembed.durable import SnapshotInfo
from zkembed.log.memory import MemoryLog
from zkembed.record import Record

from .members import Members


class SlowLog(MemoryLog):
    """A log on a device of its own, whose appends wait in the log's thread for a word of the test."""

    def __init__(self, members: Members) -> None:
        super().__init__(members.disks[1])
        self.inline = False
        self.slow = False
        self.entered, self.go = threading.Event(), threading.Event()

    def append(self, records: Sequence[Record]) -> None:
        if self.slow:
            self.entered.set()
            assert self.go.wait(10.0)
        super().append(records)


async def test_p_14_cancelling_a_node_neither_cuts_a_write_short_nor_hides_that_it_was_done() -> None:
    """P-14: the block is cancelled while a write is on the device; leaving waits for it, and the next start finds it."""
    members = Members()
    log = SlowLog(members)
    with trio.move_on_after(10.0) as scope:
        async with zkembed.Node(members.config(log=log, close_timeout=0.05)) as zk:
            await zk.create("/before")
            log.slow = True

            async def write() -> None:
                await zk.create("/on-the-device")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await trio.to_thread.run_sync(log.entered.wait)
                timer = threading.Timer(0.2, log.go.set)
                timer.start()
                scope.cancel()
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert log.go.is_set(), "the node has waited for its disk"
    timer.join()
    async with zkembed.Node(members.config()) as zk:
        assert await zk.exists("/on-the-device") is not None


class ReplacedLog(MemoryLog):
    """A received snapshot replaces the log between the end of an own snapshot and its purge, as the disk's thread may."""

    def purge(self) -> int:
        reader = self.read_records(0, self.statistics().durable_zxid)
        self.begin_install(SnapshotInfo())
        while records := reader.read(2**20):
            self.install_records(records)
        reader.close()
        self.commit_install()
        return super().purge()


async def test_p_7_an_own_snapshot_that_went_with_the_old_log_is_offered_to_nobody() -> None:
    """P-7, P-8, Y-4: else a leader would promise its learners a snapshot that it does not have, again and again."""
    members = Members()
    node = zkembed.Node(members.config(log=ReplacedLog(members.disks[1])))
    async with node as zk:
        await zk.create("/a")
        await zk.node.snapshot()
        assert zk.node.statistics().log.snapshots == ()
        assert node._driver is not None
        assert node._driver.replica.peer.history.snapshots == []
