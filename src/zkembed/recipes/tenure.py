"""The block of a lock or of a leader's term: from ownership to the way out, and which exception leaves it.

1. The body is cancelled the instant ownership is in doubt: a cancel scope around it, cancelled in the step in which the session
   is not CONNECTED any more or the znode has gone.
2. The way out raises LockLostError whenever it was lost, whether or not the body felt it: it may have ended without another
   checkpoint, or have been in a shield.
3. An outer cancellation, or the body's own exception, wins over LockLostError; the loss is then added to it as a note.
4. Only the normal way out waits for the release. Any other leaves it to the session's order, and so never hangs.
"""

from __future__ import annotations

from types import TracebackType

import trio

from ..client import Client
from ..errors import BadArgumentsError, LockLostError
from ..session import SessionScope
from .contender import Contender, check_queue
from .held import Held
from .line import PlaceInLine

LABEL_CHARS_MAX = 200


class Tenure:
    """Enter: checkpoint. Exit: checkpoint. Serves one block. ``Lock`` and ``Election`` say what it raises.

    label: what others see of us.  single: only one task of this client queues in the ensemble at a time.
    """

    def __init__(self, zk: Client, path: str, label: str, *, wait: bool, single: bool) -> None:
        check_queue(path)
        self._path = path
        self._wait = wait
        self._used = False
        self._place = PlaceInLine(zk, path, single=single)
        self._contender = Contender(zk, path, label, self._znode_gone)
        self._session_scope: SessionScope | None = None
        self._scope: trio.CancelScope | None = None
        self.held: Held | None = None

    @property
    def lost(self) -> bool:
        """It began, and ownership was lost before its end."""
        return self.held is not None and self.held.find_loss() is not None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Held:
        if self._used:
            raise BadArgumentsError(f"{self._path!r}: this object has served its block; make a new one for the next")
        self._used = True
        await self._place.take(wait=self._wait)
        try:
            node = await self._contender.acquire(wait=self._wait)
            # From here to the return there is no await: what was seen is still so, and is watched over.
            self._session_scope = self._contender.session.move_on_suspend()
            self._scope = self._session_scope.__enter__()
        except BaseException:
            self._leave()
            raise
        self.held = Held(node.path, node.stat.czxid, self._contender.session, self._scope)
        return self.held

    def _znode_gone(self, reason: str) -> None:
        if self.held is not None and self._scope is not None:
            self.held.lose(reason)
            self._scope.cancel(reason=f"zkembed: {self.held!r} is lost: {reason}")

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        assert self.held is not None
        assert self._session_scope is not None
        loss = self.held.end()
        try:
            swallowed = self._session_scope.__exit__(kind, error, trace)
        except BaseException as own:  # What is left of a group when our own cancellation is taken out of it.
            self._leave()
            _note(own, loss)
            raise
        if error is not None and not swallowed:
            self._leave()
            _note(error, loss)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return False
        if loss is not None:
            self._leave()
            raise LockLostError(loss) from None
        try:
            await self._contender.release()
        finally:
            self._place.leave()
        return False

    def _leave(self) -> None:
        self._contender.withdraw()
        self._place.leave()


def _note(error: BaseException, loss: str | None) -> None:
    if loss is not None:
        error.add_note(f"zkembed: {loss}")


def describe_self(zk: Client) -> str:
    """Who this is, for those who look at the queue: ``node 2, task app.worker``."""
    try:
        where = f"node {zk.node.id}"
    except BadArgumentsError:  # Not embedded.
        where = f"session {zk.session.id:#x}"
    return f"{where}, task {trio.lowlevel.current_task().name}"[:LABEL_CHARS_MAX]
