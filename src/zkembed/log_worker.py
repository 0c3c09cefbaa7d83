"""The way to the log that never blocks the loop: one thread for what changes it, in order; others for readers and snapshots.

Operations that queued while the disk was busy go to the log together: all their appends are one write and one fsync. A log
that is ``inline`` (in memory) is called on the loop, so that virtual time does not run on while it works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

import trio

from .bell import Bell
from .log.base import Log
from .record import Record
from .zab import effects as zab

ASIDE_THREADS = 2

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class LogWorker:
    """Its limiters are its own: trio's default one the application may have filled (T12)."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._queue: list[zab.DiskOp] = []
        self._busy = False
        self._bell = Bell()
        self._in_order = trio.CapacityLimiter(1)
        self._aside = trio.CapacityLimiter(ASIDE_THREADS)

    def put(self, op: zab.DiskOp) -> None:
        """Queue an operation behind all others. Plain."""
        self._queue.append(op)
        self._bell.ring()

    @property
    def idle(self) -> bool:
        return not self._queue and not self._busy

    @trio.lowlevel.enable_ki_protection
    async def run(self, done: Callable[[Sequence[zab.DiskOp]], None]) -> None:
        """Execute what is queued, for ever; ``done`` hears of operations that are durable. Cancelling interrupts none (P-14).

        Raises StorageError, and then nothing is executed any more (P-13).
        """
        while True:
            while not self._queue:
                await self._bell.wait()
            ops, self._queue = self._queue, []
            self._busy = True
            await self.in_order(perform, self.log, ops)
            self._busy = False
            done(ops)

    async def in_order(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """A call that changes the log: never beside another one."""
        return await self._call(self._in_order, call, *args)

    async def aside(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """A call that may go on beside those: reading, and writing a snapshot."""
        return await self._call(self._aside, call, *args)

    async def _call(self, limiter: trio.CapacityLimiter, call: Callable[[*Ts], T], *args: *Ts) -> T:
        if self.log.inline:
            await trio.lowlevel.checkpoint()
            return call(*args)
        return await trio.to_thread.run_sync(call, *args, limiter=limiter)


def perform(log: Log, ops: Sequence[zab.DiskOp]) -> None:
    """Execute operations in order; appends that stand together are one batch. Raises StorageError."""
    records: list[Record] = []
    for op in ops:
        if type(op) is zab.Append:
            records.extend(op.records)
            continue
        if records:
            log.append(records)
            records = []
        _PERFORM[type(op)](log, op)
    if records:
        log.append(records)


_PERFORM: dict[type, Callable[..., None]] = {
    zab.SetEpochs: lambda log, op: log.set_epochs(op.epochs),
    zab.Truncate: lambda log, op: log.truncate(op.zxid),
    zab.BeginInstall: lambda log, op: log.begin_install(op.info),
    zab.InstallChunk: lambda log, op: log.install_chunk(op.data),
    zab.InstallRecords: lambda log, op: log.install_records(op.records),
    zab.CommitInstall: lambda log, op: log.commit_install(),
    zab.AbortInstall: lambda log, op: log.abort_install(),
    zab.Seal: lambda log, op: log.seal(),
}

DISK_OPS = (zab.Append, *_PERFORM)
"""The effects that ``put`` takes."""
