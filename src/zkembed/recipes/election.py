"""``Election``: one leader among those who stand, the others in order behind it, and a term that ends with the first doubt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar, TypeVarTuple

import trio

from ..client import Client
from ..endpoint import SessionState
from ..errors import BadArgumentsError, LockLostError, SessionExpiredError
from .contender import check_queue, read_first, read_labels
from .held import Held
from .tenure import Tenure, describe_self

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Election:
    """``async with Election(zk, "/leader", name="w1") as term``: the body runs while this candidate is the leader.

    path: a znode, made with its parents where missing, for this election alone.  name: what ``leader()`` tells the others; by
    default node and task. Every candidate stands for itself, also several of one process: the one who waits longest is next.
    ``term.token`` rises with each term: fence with it what the leader does. An object serves one block, but any number of runs.

    Enter: checkpoint; waits for its turn, and for a quorum. Raises SessionExpiredError, BadArgumentsError as ``Lock`` does.
    Exit: checkpoint; waits until the next one may lead, if the body ended normally. Raises LockLostError if the term was, or may
    have been, lost while the body ran, which was cancelled at that instant. Exceptions and cancellation as with ``Lock``.
    Source: ZooKeeper's recipe for leader election.
    """

    def __init__(self, zk: Client, path: str, *, name: str | None = None) -> None:
        check_queue(path)
        if name is not None and (type(name) is not str or not name):
            raise BadArgumentsError(f"name={name!r}: expected a text that is not empty")
        self._zk = zk
        self._path = path
        self._name = name
        self._tenure: Tenure | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Held:
        if self._tenure is not None:
            raise BadArgumentsError(f"election {self._path!r}: an Election object serves one block; make a new one for the next")
        self._tenure = self._stand()
        return await self._tenure.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        assert self._tenure is not None
        return await self._tenure.__aexit__(kind, error, trace)

    async def run(self, fn: Callable[[Held, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """``await fn(term, *args)`` while elected, once more in the next term if this one is lost, and return what it returns.

        What a lost term's ``fn`` returned, its LockLostError and its SessionExpiredError count as the loss itself; any other
        exception of ``fn`` leaves here unchanged, groups included. Ends by that, by a return, by cancellation, or
        when the node is left or fails. An expired session is no end: it stands again with the next.
        """
        while True:
            tenure = self._stand()
            try:
                async with tenure as term:
                    return await fn(term, *args)
            except (LockLostError, SessionExpiredError):
                began = tenure.held is not None
                if (began and not tenure.lost) or self._zk.session.state is SessionState.CLOSED:
                    raise

    def _stand(self) -> Tenure:
        return Tenure(self._zk, self._path, self._name or describe_self(self._zk), wait=True, single=False)

    async def leader(self) -> str | None:
        """Name of the leader, or of who is about to lead; None if nobody stands. As this replica knows it."""
        return await read_first(self._zk, self._path)

    async def contenders(self) -> tuple[str, ...]:
        """Names of all who stand, the leader first, then the standbys in the order in which they follow; as this replica knows it."""
        return await read_labels(self._zk, self._path)

    def __repr__(self) -> str:
        return f"<Election {self._path}>"
