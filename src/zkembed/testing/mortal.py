"""A transport that can die with its process: how a crash reaches a node that somebody else runs."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..errors import ZkError
from ..transport.base import Hello, Link, Transport


class CrashedError(ZkError):
    """A test has let this member crash; the cause of the node's NodeFailedError."""


class MortalTransport(Transport):
    """Passes everything on until ``die``; then the node that listens through it fails, as a process that was killed would end."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._reason: str | None = None
        self._serving = trio.CancelScope()

    def die(self, reason: str) -> None:
        """Plain, idempotent."""
        self._reason = reason
        self._serving.cancel(reason=f"zkembed: {reason}")

    async def check(self) -> None:
        await self._inner.check()

    async def serve(
        self,
        hello: Callable[[], Hello],
        known: Callable[[int], bool],
        accept: Callable[[Link], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with self._serving:
            await self._inner.serve(hello, known, accept, task_status=task_status)
        if self._reason is not None:
            raise CrashedError(self._reason)

    async def dial(self, node_id: int, hello: Hello) -> Link:
        return await self._inner.dial(node_id, hello)
