"""One place in the queue for a lock: an ephemeral, sequential znode below the lock's path (H2).

The rules here:

1. The order is that of the sequence numbers; whoever has the lowest is the owner, while its session is CONNECTED (S-7).
2. Everybody else watches the one before it and nobody else, so that a release wakes one task and no herd; and looks again
   when woken, since the one before may have gone without ever having been the owner.
3. The name begins with a unique id. So a create whose answer never came can be taken back all the same, by a write sent behind
   it in the session's order: at once, with nothing to wait for, and exactly (RE-3, RE-7).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import cast
from uuid import uuid4

import trio

from ..client import Client
from ..endpoint import SessionState, Ticket
from ..errors import LockBusyError, NodeFailedError, NoNodeError, SessionExpiredError
from ..session import Session
from ..tree.events import WatchedEvent
from ..tree.ops import Create, DeleteOwn
from ..tree.path import check_path, check_writable, join, sequence_number
from ..tree.stat import Created
from ..watching import Watch
from ..zxid import to_hex

_CONTENDER = re.compile(r"[0-9a-f]{32}-lock-[0-9]{10,}")
_ENDED = (SessionState.EXPIRED, SessionState.CLOSED)


def new_stem(path: str) -> str:
    """What a contender's path begins with; the sequence number follows."""
    return join(path, f"{uuid4().hex}-lock-")


def check_queue(path: str) -> None:
    """Raise BadArgumentsError unless there can be contenders below ``path``."""
    check_path(path)
    check_writable(path)
    check_path(new_stem(path), sequential=True)


async def read_queue(zk: Client, path: str) -> list[str]:
    """The contenders' names, the owner's first. Other znodes there are none of ours. A checkpoint."""
    try:
        names = await zk.children(path)
    except NoNodeError:
        return []
    return sorted(filter(_CONTENDER.fullmatch, names), key=sequence_number)


async def read_label(zk: Client, path: str, name: str) -> str | None:
    """What a contender says of itself; None if it has gone meanwhile."""
    try:
        data, _ = await zk.get(join(path, name))
    except NoNodeError:
        return None
    return data.decode(errors="replace")


async def read_labels(zk: Client, path: str) -> tuple[str, ...]:
    """What the contenders say of themselves, the owner first, as far as this replica knows. A checkpoint."""
    labels = [await read_label(zk, path, name) for name in await read_queue(zk, path)]
    return tuple(label for label in labels if label is not None)


async def read_first(zk: Client, path: str) -> str | None:
    """What the owner says of itself; None if there is none. A checkpoint."""
    while queue := await read_queue(zk, path):
        if (label := await read_label(zk, path, queue[0])) is not None:
            return label
    return None


class DeletionWatch(Watch):
    """Tells, in the very step, that an ephemeral znode has gone, or that nobody will say so any more.

    Set as a watch on its children: an ephemeral has none, so nothing but its deletion fires it; new data would fire the others.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """tell: plain; must not raise."""
        super().__init__()
        self._tell = tell

    async def set(self, zk: Client, path: str) -> bool:
        """False: there is no such znode, and nothing will be told. A checkpoint."""
        try:
            await zk.children(path, watch=self)
        except NoNodeError:
            return False
        return True

    def deliver(self, event: WatchedEvent) -> None:
        super().deliver(event)
        self._tell(f"its znode was deleted at {to_hex(event.zxid)}")

    def end(self, error: BaseException) -> None:
        super().end(error)
        self._tell(str(error))


class Contender:
    """on_gone: told why, in the step in which the znode goes although nobody here has deleted it, or its session ends."""

    def __init__(self, zk: Client, path: str, label: str, on_gone: Callable[[str], None]) -> None:
        self._zk = zk
        self._path = path
        self._label = label.encode(errors="replace")
        self._on_gone = on_gone
        self.session: Session = zk.session
        self._stem = ""
        # Invariant: not None from the create's submission until it is taken back or known to be gone.
        self._ticket: Ticket | None = None
        self._own_watch: DeletionWatch | None = None
        self._gone = False
        self._stirred = trio.Event()

    async def acquire(self, *, wait: bool) -> Created:
        """Queue up and return as the owner, in the step in which that was seen; the znode, whose czxid is the token.

        Queues anew if somebody else deletes the znode. Raises SessionExpiredError (its place went with the session),
        LockBusyError (not ``wait``). Left by any exception: call ``withdraw``.
        """
        while True:
            node = await self._join()
            if await self._wait_first(node.path, wait=wait):
                return node

    async def _join(self) -> Created:
        """Create the znode, with the lock's own path where that is missing, and watch that it stays."""
        self._stem = new_stem(self._path)
        self._gone = False
        # One step: the session that is asked for here is the one that will own the znode (H4).
        self.session = self._zk.session
        self._ticket = self._zk._submit(Create(self._stem, self._label, ephemeral=True, sequential=True, parents=True))
        node = cast(Created, await self._zk._result(self._ticket))
        self._own_watch = DeletionWatch(self._own_gone)
        if not await self._own_watch.set(self._zk, node.path):
            self._gone = True
        return node

    def _own_gone(self, reason: str) -> None:
        self._gone = True
        self._stirred.set()
        self._on_gone(reason)

    async def _wait_first(self, own_path: str, *, wait: bool) -> bool:
        """True: the owner, as of this very step. False: the znode is gone."""
        while True:
            # Raises if the node has gone; so that is told first, and the end of the session, which follows from it, is not.
            queue = [join(self._path, name) for name in await read_queue(self._zk, self._path)]
            if (state := self.session.state) in _ENDED:
                raise SessionExpiredError(
                    f"session {self.session.id:#x} is {state.name}; its place in the queue for {self._path!r} went with it"
                )
            if self._gone or own_path not in queue:
                self._ticket = None
                return False
            place = queue.index(own_path)
            if place > 0:
                if not wait:
                    await self._refuse(queue[0])
                else:
                    await self._wait_gone(queue[place - 1])
            elif state is SessionState.CONNECTED:
                return True
            else:
                with suppress(SessionExpiredError):
                    await self.session.wait_state(SessionState.CONNECTED)

    async def _refuse(self, first: str) -> None:
        """Raise LockBusyError naming the owner, unless it has gone."""
        try:
            data, stat = await self._zk.get(first)
        except NoNodeError:
            return
        holder = data.decode(errors="replace")
        raise LockBusyError(f"{self._path!r} is held by {holder}, since zxid {to_hex(stat.czxid)}")

    async def _wait_gone(self, predecessor: str) -> None:
        """Until the predecessor has gone, or our own znode, or the session."""
        self._stirred = stirred = trio.Event()
        watch = DeletionWatch(lambda _: stirred.set())
        try:
            # (RE-6) It may have gone since the list was read: then there is nothing to wait for.
            if await watch.set(self._zk, predecessor) and not self._gone:
                await stirred.wait()
        finally:
            watch.remove()

    def withdraw(self) -> None:
        """Take back what was, or may yet be, created; nothing is waited for. Plain, idempotent."""
        if self._own_watch is not None:
            self._on_gone = lambda _: None
            self._own_watch.remove()
        ticket, self._ticket = self._ticket, None
        if ticket is None or not ticket.handed_over or self.session.state in _ENDED:
            return  # Nothing was made, or it went with its session.
        with suppress(SessionExpiredError, NodeFailedError, trio.ClosedResourceError):  # So it did just now.
            self._zk._submit(DeleteOwn(self._stem))

    async def release(self) -> None:
        """Delete the znode and wait until that is done. Cancelled: it will be done. A checkpoint."""
        self.withdraw()
        with suppress(SessionExpiredError):
            # A read waits for the session's earlier writes. So the delete itself has no waiter, and no cancellation
            # can call it off.
            await self._zk.exists(self._path)
