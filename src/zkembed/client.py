"""The znode API, written once: checks arguments, makes operations of them, and leaves the rest to its endpoint.

A Client knows no replica and no network. Every async method is a checkpoint; its place in the session's order is taken
when it is called. No method has a timeout: callers bring their cancel scopes.
"""

from __future__ import annotations

from typing import cast

import trio

from .endpoint import Endpoint, NodeHandle, ReplicaHandle, Ticket
from .errors import BadArgumentsError
from .session import Session
from .transaction import Transaction
from .tree.ops import Create, Delete, Ensure, Op, OpLimits, SetData, check
from .tree.path import check_path
from .tree.stat import Created, Stat, Znode
from .watching import EventStream, Watch


class Client:
    """One session's access to the replicated tree; what ``async with Node(config) as zk`` gives.

    Writes are linearizable and return once this replica has applied them. Reads are local: they may miss what another session
    just wrote, never go back and never miss the own session's writes; ``sync`` first makes them current.

    Errors common to all: SessionExpiredError (``unknown`` names a write whose outcome is not known), NodeFailedError when the
    node has stopped, trio.ClosedResourceError after its block. A write waits as long as there is no quorum. Cancelled: a
    write that was not handed to a leader yet is not done, ever; one that was is unknown, and ``sync`` settles it.
    """

    def __init__(self, endpoint: Endpoint, *, node: NodeHandle | None = None, replica: ReplicaHandle | None = None) -> None:
        self._endpoint = endpoint
        self._node = node
        self._replica = replica
        self._limits = OpLimits(endpoint.data_bytes_max, endpoint.txn_bytes_max)
        self._session = Session(endpoint.session)
        self._session_view = endpoint.session

    @property
    def session(self) -> Session:
        """The present session; another object after an expiry."""
        view = self._endpoint.session
        if view is not self._session_view:
            self._session_view = view
            self._session = Session(view)
        return self._session

    @property
    def node(self) -> NodeHandle:
        """The node in this process. BadArgumentsError on a client that is not embedded."""
        if self._node is None:
            raise BadArgumentsError("this client is not embedded: there is no node in this process behind it")
        return self._node

    @property
    def replica(self) -> ReplicaHandle:
        """Plain reads of this process's replica. BadArgumentsError on a client that is not embedded."""
        if self._replica is None:
            raise BadArgumentsError("this client is not embedded: there is no replica in this process behind it")
        return self._replica

    # --- writes -------------------------------------------------------------------------------------------------------

    async def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False, parents: bool = False
    ) -> Created:
        """Create a znode and return its path and Stat.

        path: absolute, no trailing slash (but "/a/" names children of /a by their number alone, if sequential).  data: at most
        ``Config.data_bytes_max`` bytes.  ephemeral: it goes when the session ends, and has no children.  sequential: a ten-digit
        number is appended, unique under this parent.  parents: missing ones are created too, persistent and empty.
        Raises NoNodeError (no parent), NodeExistsError, NoChildrenForEphemeralsError, LimitReachedError.
        Source: ZooKeeper, create2.
        """
        return cast(Created, await self._write(Create(path, data, ephemeral, sequential, parents)))

    async def set(self, path: str, data: bytes, *, version: int | None = None) -> Stat:
        """Replace a znode's data and return its new Stat.

        data: at most ``Config.data_bytes_max`` bytes.  version: the data version that must be found, None for any.
        Raises NoNodeError, BadVersionError. Source: ZooKeeper, setData.
        """
        return cast(Stat, await self._write(SetData(path, data, version)))

    async def delete(self, path: str, *, version: int | None = None, recursive: bool = False) -> None:
        """Delete a znode; with ``recursive`` all below it too, in one entry.

        Raises NoNodeError, BadVersionError (looked at before children), NotEmptyError, LimitReachedError (too many for one entry).
        Source: ZooKeeper, delete; deleteRecursive of its shell.
        """
        await self._write(Delete(path, version, recursive))

    async def ensure(self, path: str) -> None:
        """The znode and its parents exist afterwards, persistent and empty where they did not. Sends nothing if this replica has it.

        Raises NoChildrenForEphemeralsError.
        """
        if path == "/" or await self.exists(path) is not None:
            await trio.lowlevel.checkpoint()
            return
        await self._write(Ensure(path))

    def transaction(self) -> Transaction:
        """``async with zk.transaction() as t``: several operations, all or nothing, one zxid; empty: nothing is sent.

        Enter: checkpoint. Exit: checkpoint; sends, and waits for the outcome. See Transaction.
        """
        return Transaction(self._endpoint)

    async def _write(self, op: Op) -> object:
        return await self._result(self._submit(op))

    def _submit(self, op: Op) -> Ticket:
        """For recipes: check a write and queue it now, whether or not anybody will wait for it. Plain."""
        check(op, self._limits)
        return self._endpoint.submit(op)

    async def _result(self, ticket: Ticket) -> object:
        return await self._endpoint.result(ticket)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def get(self, path: str, *, watch: Watch | None = None) -> Znode:
        """Data and Stat. watch: told of the next change of its data, or its deletion. Raises NoNodeError, and then sets no watch."""
        check_path(path)
        if watch is not None:
            watch.bind(self._endpoint)
        return await self._endpoint.get(path, watch)

    async def exists(self, path: str, *, watch: Watch | None = None) -> Stat | None:
        """The Stat, None if there is no such znode. watch: told of its creation, deletion, or the next change of its data."""
        check_path(path)
        if watch is not None:
            watch.bind(self._endpoint)
        return await self._endpoint.exists(path, watch)

    async def children(self, path: str, *, watch: Watch | None = None) -> tuple[str, ...]:
        """Names of the children, sorted. watch: told when one comes or goes, or the znode goes.

        Raises NoNodeError, and then sets no watch.
        """
        check_path(path)
        if watch is not None:
            watch.bind(self._endpoint)
        return await self._endpoint.children(path, watch)

    async def sync(self) -> int:
        """Quorum-checked barrier: reads behind it see every write that was answered anywhere before the call. The zxid reached.

        Also waits for this session's earlier writes, those whose callers were cancelled included, so it settles what was
        unknown. Idempotent; waits while there is no quorum. Source: rules R-1 to R-4; unlike ZooKeeper's, a deposed leader can't answer it.
        """
        return await self._endpoint.sync()

    def watch(self, path: str, *, recursive: bool = False, max_events: int = 1024) -> EventStream:
        """``async with zk.watch(path) as events``: every change of the znode and of its list of children, in order.

        recursive: every creation, deletion and change of data of the znode and all below it instead.

        Enter: checkpoint. Exit: no checkpoint. See EventStream. Source: ZooKeeper, addWatch.
        """
        return EventStream(self._endpoint, path, recursive=recursive, max_events=max_events)

    def __repr__(self) -> str:
        return f"<Client of {self.session!r}>"
