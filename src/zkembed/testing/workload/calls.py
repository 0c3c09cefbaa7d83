"""Calls of a session: each puts its Invoke and its one Return into the history, and can be waited for or given up.

What a Return says of a write is what its caller can know. ``session``, ``cseq`` and ``zxid`` are those of the replica's Call: the zxid
of an outcome that was found in a state that jumped is that state's, not the entry's (Q-7), and the close of a session has none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ZkError
from ...local import missing
from ...replica.pipeline import Barrier, Call, Read
from ...tree.ops import Op
from ...tree.results import public
from ...tree.stat import Stat, Znode
from ...tree.tree import Tree
from ..history import Invoke, Plain, Return, plain_error, plain_op, plain_outcome, plain_stat

if TYPE_CHECKING:
    from .client import Client
    from .watches import RecordedWatch


class Pending(ABC):
    """One call under way. Made by ``Client``; ``settle`` is for it alone.

    over: it has returned, or nobody waits for it any more.  loose: nothing is built on it, so its caller may give up at any time.
    """

    __slots__ = ("_wake", "client", "id", "loose", "op", "over")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.id = client.journal.next_call()
        self.op: tuple[Plain, ...] = ()
        self.over = False
        self.loose = False
        self._wake: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<call {self.id}: {' '.join(map(str, self.op[:2]))}>"

    def _invoke(self, op: tuple[Plain, ...]) -> None:
        client = self.client
        self.op = op
        client.journal.record(Invoke(client.journal.now, client.host.id, client.life, self.id, client.number, op))
        client.calls[self.id] = self

    def _return(self, status: str, value: Plain, session: int, cseq: int, zxid: int, applied: int) -> None:
        client = self.client
        self.over = True
        del client.calls[self.id]
        client.journal.record(
            Return(client.journal.now, client.host.id, client.life, self.id, client.number, status, value, session, cseq, zxid, applied)
        )
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def begin(self, wake: Callable[[], None]) -> None:
        """For one task: call ``wake`` when there is a result, at once if there is one already."""
        if self.over:
            wake()
        else:
            self._wake = wake

    @abstractmethod
    def settle(self) -> None:
        """The replica says that it has ended."""

    @abstractmethod
    def abandon(self) -> None:
        """Its caller gives up. Within a step of the node; without effect if it has ended."""

    @abstractmethod
    def result(self) -> Any:
        """Once it has ended. Raises its error."""


class Write(Pending):
    """ticket: None if it was refused at the call."""

    __slots__ = ("_op", "ticket")

    def __init__(self, client: Client, op: Op) -> None:
        super().__init__(client)
        self._op = op
        self.ticket: Call | None = None
        self._invoke(plain_op(op))

    def submit(self) -> None:
        """Raises SessionExpiredError."""
        self.ticket = self.client.replica.submit(self.client.session, self._op)
        self.ticket.waiter = self

    def refuse(self, error: ZkError) -> None:
        """It was never queued."""
        self._return("not done", plain_error(error), 0, 0, 0, 0)

    @property
    def handed_over(self) -> bool:
        """Whether a leader may have it."""
        return self.ticket is not None and self.ticket.handed_over

    def settle(self) -> None:
        ticket = self.ticket
        assert ticket is not None
        session = ticket.session.id if ticket.cseq else 0
        if ticket.error is None:
            status, value = plain_outcome(ticket.outcome)
        else:
            status, value = "unknown" if ticket.cseq else "not done", plain_error(ticket.error)
        self._return(status, value, session, ticket.cseq, ticket.zxid, 0)

    def abandon(self) -> None:
        """(Q-8) Not done if it was never handed over; else it stays, and nobody here will know."""
        ticket = self.ticket
        if ticket is None or ticket.settled:
            return
        ticket.waiter = self._wake = None
        if self.client.replica.withdraw(ticket):
            self._return("not done", None, 0, 0, 0, 0)
        else:
            self._return("unknown", None, ticket.session.id, ticket.cseq, 0, 0)

    def result(self) -> Any:
        assert self.ticket is not None
        if self.ticket.error is not None:
            raise self.ticket.error
        return public(self.ticket.outcome, self.ticket.zxid)


class Reading(Pending):
    """verb: get, exists or children. watch: set with the read, as ZooKeeper does; its mode goes with the verb.

    (LocalEndpoint) Answered in the caller's own step if nothing of the session is under way, else in the one that resolves
    its last write (Q-9).
    """

    __slots__ = ("_applied", "_error", "_path", "_value", "_verb", "_watch", "ticket")

    def __init__(self, client: Client, verb: str, path: str, watch: RecordedWatch | None) -> None:
        super().__init__(client)
        self._verb = verb
        self._path = path
        self._watch = watch
        self._applied = 0
        self._value: Any = None
        self._error: ZkError | None = None
        self.ticket: Read | None = None
        self._invoke((verb, path))

    def submit(self) -> None:
        """Raises SessionExpiredError."""
        session, replica = self.client.session, self.client.replica
        if session.idle and replica.healthy and not session.gone:
            self._evaluate_now()
        else:
            self.ticket = replica.read(session, self._evaluate)
            self.ticket.waiter = self

    def _evaluate_now(self) -> None:
        try:
            self._value = self._evaluate()
        except ZkError as error:
            self._error = error
        self._finish()

    def _evaluate(self) -> object:
        """The state as it is when its turn has come. Raises NoNodeError."""
        tree = self.client.replica.tree
        self._applied = tree.applied
        value = _EVALUATE[self._verb](tree, self._path)
        if self._watch is not None:
            self._watch.set(tree.applied)
        return value

    def settle(self) -> None:
        assert self.ticket is not None
        self._value, self._error = self.ticket.result, self.ticket.error
        self._finish()

    def refuse(self, error: ZkError) -> None:
        self._error = error
        self._finish()

    def _finish(self) -> None:
        if self._error is None:
            self._return("ok", _plain(self._value), 0, 0, 0, self._applied)
        else:
            self._return("error", plain_error(self._error), 0, 0, 0, self._applied)

    def abandon(self) -> None:
        if self.over or self.ticket is None or self.ticket.settled:
            return
        self.ticket.waiter = self._wake = None
        self.client.replica.forget(self.ticket)
        self._return("not done", None, 0, 0, 0, 0)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Syncing(Pending):
    __slots__ = ("_error", "ticket")

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._error: ZkError | None = None
        self.ticket: Barrier | None = None
        self._invoke(("sync",))

    def submit(self) -> None:
        """Raises SessionExpiredError."""
        self.ticket = self.client.replica.sync(self.client.session)
        self.ticket.waiter = self

    def settle(self) -> None:
        assert self.ticket is not None
        if self.ticket.error is not None:
            self.refuse(self.ticket.error)
        else:
            reached = self.ticket.result
            assert isinstance(reached, int)
            self._return("ok", reached, 0, 0, 0, reached)

    def refuse(self, error: ZkError) -> None:
        self._error = error
        self._return("error", plain_error(error), 0, 0, 0, 0)

    def abandon(self) -> None:
        if self.ticket is None or self.ticket.settled:
            return
        self.ticket.waiter = self._wake = None
        self.client.replica.forget(self.ticket)
        self._return("not done", None, 0, 0, 0, 0)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return None if self.ticket is None else self.ticket.result


class Opening(Pending):
    """The creation of a session. It returns when its owner may believe in it, or when it has ended without that."""

    __slots__ = ()

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._invoke(("open", client.session.timeout))

    def settle(self) -> None:
        session = self.client.session
        if session.gone:
            self._return("error", ("SessionExpiredError",), session.id, 0, 0, 0)
        else:
            self._return("ok", session.id, session.id, 0, 0, 0)

    def abandon(self) -> None:
        """Nobody gives up on a session; it goes when its owner closes it."""

    def result(self) -> Any:
        return self.client.session.id


def _get(tree: Tree, path: str) -> Znode:
    node = tree.get(path)
    if node is None:
        raise missing("get", path, tree)
    return node.znode()


def _exists(tree: Tree, path: str) -> Stat | None:
    node = tree.get(path)
    return None if node is None else node.stat()


def _children(tree: Tree, path: str) -> tuple[str, ...]:
    if tree.get(path) is None:
        raise missing("children", path, tree)
    return tree.children(path)


_EVALUATE: dict[str, Callable[[Tree, str], object]] = {"get": _get, "exists": _exists, "children": _children}


def _plain(value: Any) -> Plain:
    """What a read returned: ``(data, stat)``, a stat or None, or names."""
    if isinstance(value, Znode):
        return (value.data, plain_stat(value.stat))
    if isinstance(value, Stat):
        return plain_stat(value)
    return value
