"""``Lock``: one holder in the whole ensemble, and a body that stops when it may not be the holder any more."""

from __future__ import annotations

from types import TracebackType

import trio

from ..client import Client
from ..errors import BadArgumentsError, LockBusyError
from .contender import check_queue, read_first, read_labels
from .held import Held
from .tenure import Tenure, describe_self


class Lock:
    """``async with Lock(zk, "/locks/billing") as held``: the body runs while this task holds the lock, and nobody else does.

    path: a znode, made with its parents where missing, for this lock alone.  wait: False: raise LockBusyError, naming the
    holder, if somebody has it. An object serves one block; make a new one for the next. Fair across processes by order of
    arrival; tasks of one client line up behind each other first. Not reentrant. ``held.token`` is the fencing token.

    Enter: checkpoint; waits for the lock, and for a quorum. Raises LockBusyError; SessionExpiredError (the place in the queue
    went with the session; try again); BadArgumentsError (this very task holds it). Left by exception or cancellation at any point
    it leaves nothing behind and waits for nothing.
    Exit: checkpoint; waits until the lock is free, if the body ended normally. Raises LockLostError if ownership was, or may
    have been, lost while the body ran, which was cancelled at that instant: the session was not CONNECTED, or
    somebody deleted ``held.path``. An exception of the body, or an outer cancellation, leaves unchanged, at once; a
    loss is added to it as a note. Cancelled while it waits: the lock will be free.
    Source: ZooKeeper's recipe for locks, without the herd.
    """

    def __init__(self, zk: Client, path: str, *, wait: bool = True) -> None:
        check_queue(path)
        self._zk = zk
        self._path = path
        self._wait = wait
        self._tenure: Tenure | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Held:
        if self._tenure is not None:
            raise BadArgumentsError(f"lock {self._path!r}: a Lock object serves one block; make a new one for the next")
        self._tenure = Tenure(self._zk, self._path, describe_self(self._zk), wait=self._wait, single=True)
        try:
            return await self._tenure.__aenter__()
        except trio.WouldBlock:
            holder = await self.holder()
        raise LockBusyError(f"{self._path!r}: another task of this process is before us; it is held by {holder or 'nobody yet'}")

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        assert self._tenure is not None
        return await self._tenure.__aexit__(kind, error, trace)

    async def contenders(self) -> tuple[str, ...]:
        """Who has or wants the lock, the holder first, in the order in which they get it; as this replica knows it.

        Of each process with one node only the task in front is there: "node 2, task app.worker".
        """
        return await read_labels(self._zk, self._path)

    async def holder(self) -> str | None:
        """Who has the lock, or gets it next; None: it is free. As this replica knows it."""
        return await read_first(self._zk, self._path)

    def __repr__(self) -> str:
        return f"<Lock {self._path}>"
