"""``Held``: what the holder of a lock, or the leader of a term, has in its hands."""

from __future__ import annotations

import trio

from ..endpoint import SessionState
from ..errors import LockLostError
from ..session import Session
from ..zxid import to_hex


class Held:
    """A lock or term that is held; what ``async with`` gives to the block. All of it is plain.

    It is lost, for good, the instant that ownership is in doubt: the session is not CONNECTED, or somebody has deleted the
    znode that stands for it.
    """

    def __init__(self, path: str, token: int, session: Session, scope: trio.CancelScope) -> None:
        """scope: the block's; cancelled by nobody but for doubt."""
        self._path = path
        self._token = token
        self._session = session
        self._scope = scope
        # Invariant: None until it is lost, then why, and never None again.
        self._loss: str | None = None
        self._over = False

    @property
    def path(self) -> str:
        """The znode that stands for this acquisition; ``Transaction.guard`` looks at it."""
        return self._path

    @property
    def token(self) -> int:
        """The fencing token: czxid of the znode, so it rises with every acquisition of this lock (S-9).

        Pass it to whatever the lock protects, and let that refuse a token below the highest it has seen: a holder whose
        process was paused may still believe in a lock that somebody else holds by now.
        """
        return self._token

    def expires_in(self) -> float:
        """Seconds for which nobody else can get it, conservative, by the local clock; 0.0 once it is lost, in doubt or given back."""
        return 0.0 if self._over or self.find_loss() is not None else self._session.expires_in()

    def check(self) -> None:
        """Raise LockLostError if it is lost or in doubt; trio.ClosedResourceError behind the block.

        Also sees what no cancellation could tell yet because the program has held the event loop.
        """
        if (loss := self.find_loss()) is not None:
            raise LockLostError(loss)
        if self._over:
            raise trio.ClosedResourceError(f"{self!r}: its block has ended")

    # --- for the recipe -----------------------------------------------------------------------------------------------

    def lose(self, reason: str) -> None:
        """The first reason stays. Without effect behind the block."""
        if self._loss is None and not self._over:
            self._loss = f"{self._path} (token {to_hex(self._token)}) is lost: {reason}"

    def find_loss(self) -> str | None:
        """Why it is lost, None if it is not. Judges the session by the clock as well (S-7)."""
        session, state = self._session, self._session.state
        if state is not SessionState.CONNECTED:
            self.lose(f"session {session.id:#x} is {state.name}")
        elif self._scope.cancel_called:  # It has come back since, but others could not know that it would.
            self.lose(f"session {session.id:#x} was SUSPENDED meanwhile")
        return self._loss

    def end(self) -> str | None:
        """The block has ended; why it was lost until then, if it was."""
        loss = self.find_loss()
        self._over = True
        return loss

    def __repr__(self) -> str:
        return f"<Held {self._path} token {to_hex(self._token)}>"
