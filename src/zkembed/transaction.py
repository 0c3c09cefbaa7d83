"""Several operations as one: all or nothing, one zxid (rule Q-10).

Inside the block operations are only collected, by plain functions; leaving it sends them, as one entry. An exception in
the block sends nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import trio

from .endpoint import Endpoint, HeldView
from .errors import BadArgumentsError, ZkError
from .tree.ops import Check, CheckAbsent, Create, Delete, Multi, OpLimits, SetData, ZnodeOp, check
from .tree.stat import Created, Stat

T = TypeVar("T")


class Pending(Generic[T]):
    """The result of an operation that is still to come."""

    def __init__(self) -> None:
        self._settled = False
        self._value: Any = None
        self._error: ZkError | None = None

    @property
    def settled(self) -> bool:
        """Whether ``result`` has an answer."""
        return self._settled

    def result(self) -> T:
        """The value, or that operation's error raised. trio.WouldBlock until ``settled``. Plain."""
        if not self._settled:
            raise trio.WouldBlock
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def settle(self, value: Any, error: ZkError | None = None) -> None:
        """For the one who made it."""
        self._settled = True
        self._value = value
        self._error = error


class Transaction:
    """``async with zk.transaction() as t``. Enter: checkpoint. Exit: checkpoint; sends, and waits for the outcome.

    At the exit: TransactionError if the ensemble rejected it (nothing happened); DataTooLargeError; SessionExpiredError. Cancelled
    there: as any write, not done if it was never handed over, else unknown. Every method checks its arguments at the call.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ops: list[ZnodeOp] = []
        self._pending: list[Pending[Any]] = []
        self._state = "new"

    @property
    def results(self) -> tuple[object, ...]:
        """All results, in order: Created, Stat, or None. trio.WouldBlock before the end of the block."""
        return tuple(pending.result() for pending in self._pending)

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequential: bool = False, parents: bool = False
    ) -> Pending[Created]:
        """See ``Client.create``."""
        return self._add(Create(path, data, ephemeral, sequential, parents))

    def set(self, path: str, data: bytes, *, version: int | None = None) -> Pending[Stat]:
        """See ``Client.set``."""
        return self._add(SetData(path, data, version))

    def delete(self, path: str, *, version: int | None = None, recursive: bool = False) -> Pending[None]:
        """See ``Client.delete``."""
        return self._add(Delete(path, version, recursive))

    def check(self, path: str, *, version: int | None = None, czxid: int | None = None, num_children: int | None = None) -> Pending[None]:
        """The znode must exist, and be as said. czxid: guards against a znode that was deleted and made again."""
        return self._add(Check(path, version, czxid, num_children))

    def check_absent(self, path: str) -> Pending[None]:
        """The znode must not exist."""
        return self._add(CheckAbsent(path))

    def guard(self, held: HeldView) -> Pending[None]:
        """The lock must still be held: its node exists with the token's czxid (fencing, rule S-9)."""
        return self._add(Check(held.path, None, held.token, None))

    def _add(self, op: ZnodeOp) -> Pending[Any]:
        if self._state != "open":
            raise trio.ClosedResourceError("a transaction takes operations inside its block only")
        op.check()
        pending: Pending[Any] = Pending()
        self._ops.append(op)
        self._pending.append(pending)
        return pending

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise BadArgumentsError("a transaction object serves one block; make a new one")
        self._state = "open"
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._state = "closed"
        if kind is not None or not self._ops:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        op = Multi(tuple(self._ops))
        check(op, OpLimits(self._endpoint.data_bytes_max, self._endpoint.txn_bytes_max))
        try:
            results = await self._endpoint.result(self._endpoint.submit(op))
        except ZkError as failure:
            for pending in self._pending:
                pending.settle(None, failure)
            raise
        for pending, value in zip(self._pending, cast("tuple[object, ...]", results), strict=True):
            pending.settle(value)
