"""The embedded side of a Client: its endpoint, its plain reads and its node, all standing on one Driver.

Nothing here decides; it turns calls into inputs of the replica and outcomes into return values. When the node is gone,
every call says so: trio.ClosedResourceError after its block was left, NodeFailedError after it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import trio

from .driver import Driver, Waiting
from .endpoint import Endpoint, NodeStatistics, SessionState, SessionWatch, Ticket, Watcher
from .errors import BadArgumentsError, NodeFailedError, NoNodeError
from .replica.lease import lease_end
from .replica.pipeline import Call, LocalSession
from .tree.ops import Op
from .tree.path import check_path
from .tree.results import public
from .tree.stat import Stat, Znode
from .tree.tree import Tree
from .tree.watches import WatchMode
from .zab.effects import Role
from .zxid import to_hex

T = TypeVar("T")


class Gate:
    """Whether the node behind these objects still is: shared by all of them, shut once."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.cause: BaseException | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.fresh()

    def fresh(self) -> BaseException:
        """A new exception each time: one object raised in many tasks would collect all their tracebacks."""
        if isinstance(self.error, NodeFailedError):
            failed = NodeFailedError(*self.error.args)
            failed.__cause__ = self.error.__cause__
            return failed
        return trio.ClosedResourceError(*(self.error.args if self.error is not None else ()))


class LocalSessionView:
    """One session of this process, as ``session.Session`` needs it."""

    def __init__(self, driver: Driver, session: LocalSession) -> None:
        self._driver = driver
        self._session = session
        self._watches: dict[SessionWatch, None] = {}
        self._node_gone = False
        session.observer = self._changed

    @property
    def id(self) -> int:
        return self._session.id

    @property
    def timeout(self) -> float:
        return self._session.timeout

    @property
    def zxid(self) -> int:
        return self._driver.replica.tree.applied

    @property
    def state(self) -> SessionState:
        """Judged by the clock as well: after a blocked loop the lease may have run out before anybody could notice."""
        state = self._session.state
        if self._node_gone and state is not SessionState.EXPIRED:
            return SessionState.CLOSED
        if state is SessionState.CONNECTED and self.expires_in() <= 0:
            return SessionState.SUSPENDED
        return state

    def expires_in(self) -> float:
        if self._session.state is not SessionState.CONNECTED or self._node_gone:
            return 0.0
        return max(0.0, lease_end(self._session) - self._driver.clock.now())

    def ephemerals(self, prefix: str) -> tuple[str, ...]:
        return self._driver.replica.tree.ephemerals(self._session.id, prefix)

    def on_change(self, watch: SessionWatch) -> None:
        self._watches[watch] = None

    def off_change(self, watch: SessionWatch) -> None:
        self._watches.pop(watch, None)

    def node_gone(self) -> None:
        """Nothing will be confirmed, applied or asked through it any more: for its owner it is over, and whoever watches it is told."""
        before, self._node_gone = self.state, True
        if self.state is not before:
            self._changed(self.state)

    def _changed(self, state: SessionState) -> None:
        for watch in tuple(self._watches):
            watch.session_changed(state)


class LocalEndpoint(Endpoint):
    """The default session of a node."""

    def __init__(self, driver: Driver, gate: Gate) -> None:
        self.data_bytes_max = driver.config.data_bytes_max
        self.txn_bytes_max = driver.config.txn_bytes_max
        self._driver = driver
        self._replica = driver.replica
        self._gate = gate
        self._waiting: dict[Waiting, None] = {}
        self._open()
        driver.on_session_end = self._session_ended

    def _open(self) -> None:
        self.local = self._replica.open_session(self._driver.config.session_timeout)
        self._view = LocalSessionView(self._driver, self.local)
        self._driver.wake()

    def _session_ended(self, session: LocalSession) -> None:
        """After an expiry the default session is replaced; after a close the node is leaving."""
        if session is self.local and session.state is SessionState.EXPIRED:
            self._open()

    @property
    def session(self) -> LocalSessionView:
        return self._view

    # --- writes -------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def submit(self, op: Op) -> Ticket:
        self._gate.check()
        call = self._replica.submit(self.local, op)
        self._driver.wake()
        return call

    @trio.lowlevel.enable_ki_protection
    async def result(self, ticket: Ticket) -> object:
        assert isinstance(ticket, Call)
        await self._wait(ticket, lambda: self._replica.withdraw(ticket))
        if ticket.error is not None:
            raise ticket.error
        return public(ticket.outcome, ticket.zxid)

    async def _wait(self, ticket: Waiting, give_up: Callable[[], object]) -> None:
        self._gate.check()
        self._waiting[ticket] = None
        try:
            await self._driver.wait(ticket, give_up)
        finally:
            del self._waiting[ticket]
        if not ticket.settled:
            raise self._gate.fresh()

    def shut(self) -> None:
        """The node is gone: everybody who waits is told."""
        for ticket in self._waiting:
            waiter, ticket.waiter = ticket.waiter, None
            if waiter is not None:
                trio.lowlevel.reschedule(waiter)  # type: ignore[arg-type]
        for watcher in self._replica.watches:
            cast(Watcher, watcher).end(self._gate.fresh())
        self._view.node_gone()

    # --- reads --------------------------------------------------------------------------------------------------------

    async def get(self, path: str, watcher: Watcher | None) -> Znode:
        return await self._read(lambda tree: self._get(tree, path, watcher))

    def _get(self, tree: Tree, path: str, watcher: Watcher | None) -> Znode:
        node = tree.get(path)
        if node is None:
            raise missing("get", path, tree)
        if watcher is not None:
            self._replica.watch(self.local, watcher, path, WatchMode.DATA)
        return node.znode()

    async def exists(self, path: str, watcher: Watcher | None) -> Stat | None:
        return await self._read(lambda tree: self._exists(tree, path, watcher))

    def _exists(self, tree: Tree, path: str, watcher: Watcher | None) -> Stat | None:
        if watcher is not None:
            self._replica.watch(self.local, watcher, path, WatchMode.EXISTS)
        node = tree.get(path)
        return None if node is None else node.stat()

    async def children(self, path: str, watcher: Watcher | None) -> tuple[str, ...]:
        return await self._read(lambda tree: self._children(tree, path, watcher))

    def _children(self, tree: Tree, path: str, watcher: Watcher | None) -> tuple[str, ...]:
        if tree.get(path) is None:
            raise missing("children", path, tree)
        if watcher is not None:
            self._replica.watch(self.local, watcher, path, WatchMode.CHILDREN)
        return tree.children(path)

    async def watch(self, path: str, mode: WatchMode, watcher: Watcher) -> int:
        def register(tree: Tree) -> int:
            self._replica.watch(None, watcher, path, mode)
            return tree.applied

        return await self._read(register)

    @trio.lowlevel.enable_ki_protection
    def unwatch(self, watcher: Watcher) -> None:
        self._replica.unwatch(watcher)

    @trio.lowlevel.enable_ki_protection
    async def _read(self, evaluate: Callable[[Tree], T]) -> T:
        """In the caller's own step if nothing of the session is under way, else in the step that resolves its last write (Q-9)."""
        self._gate.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        local = self.local
        if local.idle and self._replica.healthy and not local.gone:
            value = evaluate(self._replica.tree)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return value
        read = self._replica.read(local, lambda: evaluate(self._replica.tree))
        await self._wait(read, lambda: self._replica.forget(read))
        if read.error is not None:
            raise read.error
        return cast(T, read.result)

    @trio.lowlevel.enable_ki_protection
    async def sync(self) -> int:
        self._gate.check()
        barrier = self._replica.sync(self.local)
        self._driver.wake()
        await self._wait(barrier, lambda: self._replica.forget(barrier))
        if barrier.error is not None:
            raise barrier.error
        assert isinstance(barrier.result, int)
        return barrier.result


class LocalReplica:
    """``zk.replica``. See endpoint.ReplicaHandle."""

    def __init__(self, driver: Driver, gate: Gate) -> None:
        self._driver = driver
        self._replica = driver.replica
        self._gate = gate

    @property
    def zxid(self) -> int:
        return self._replica.tree.applied

    def get(self, path: str) -> Znode:
        """Data and Stat. Raises NoNodeError."""
        tree = self._tree()
        node = tree.get(path)
        if node is None:
            check_path(path)
            raise missing("get", path, tree)
        return node.znode()

    def exists(self, path: str) -> Stat | None:
        """The Stat, None if there is no such znode."""
        node = self._tree().get(path)
        if node is None:
            check_path(path)
            return None
        return node.stat()

    def children(self, path: str) -> tuple[str, ...]:
        """Names, sorted. Raises NoNodeError."""
        tree = self._tree()
        if tree.get(path) is None:
            check_path(path)
            raise missing("children", path, tree)
        return tree.children(path)

    def staleness(self) -> float:
        """Seconds since a quorum is known to have confirmed this replica's leader; inf if none has yet."""
        seen = self._replica.quorum_seen
        return float("inf") if seen is None else max(0.0, self._driver.clock.now() - seen)

    def _tree(self) -> Tree:
        if self._gate.error is not None or not self._replica.healthy:
            self._gate.check()
            raise NodeFailedError("this replica's state differs from its leader's and is being rebuilt; it is not served")
        return self._replica.tree


class LocalNode:
    """``zk.node``. See endpoint.NodeHandle."""

    def __init__(self, driver: Driver, replica: LocalReplica, gate: Gate) -> None:
        self._driver = driver
        self._replica = replica
        self._gate = gate

    @property
    def id(self) -> int:
        return self._driver.identity.node_id

    @property
    def role(self) -> Role:
        return self._driver.replica.peer.role

    @property
    def leader_id(self) -> int | None:
        return self._driver.replica.peer.leader_id

    @property
    def epoch(self) -> int:
        return self._driver.replica.peer.epoch

    @property
    def last_zxid(self) -> int:
        return self._driver.replica.peer.history.durable

    async def wait_role(self, *roles: Role) -> Role:
        """Wait until the node serves in one of ``roles`` (LOOKING: until it looks), and return it."""
        if not roles or not all(isinstance(role, Role) for role in roles):
            raise BadArgumentsError(f"wait_role{roles!r}: expected one or more of {', '.join(role.name for role in Role)}")
        await trio.lowlevel.checkpoint()
        while True:
            self._gate.check()
            role = self.role
            if role in roles and (role is Role.LOOKING or self._driver.replica.serving):
                return role
            await self._driver.changed.park()

    async def snapshot(self) -> int:
        """Write a snapshot of the present state now, while writes go on; its zxid. Cancelled: none is left behind. Raises StorageError."""
        self._gate.check()
        return await self._driver.snapshot()

    def statistics(self) -> NodeStatistics:
        driver, replica = self._driver, self._driver.replica
        peer = replica.peer
        return NodeStatistics(
            node_id=self.id,
            role=peer.role,
            leader_id=peer.leader_id,
            epoch=peer.epoch,
            serving=replica.serving,
            has_vote=peer.has_vote,
            vote_reason=peer.vote_reason,
            last_zxid=peer.history.durable,
            applied_zxid=replica.tree.applied,
            staleness=self._replica.staleness(),
            znodes=len(replica.tree),
            sessions=len(replica.tree.sessions),
            local_sessions=len(replica.sessions),
            watches=len(replica.watches),
            links=len(driver.links),
            calls_unresolved=sum(len(session.handed) + len(session.queued) for session in replica.sessions.values()),
            log=driver.log.statistics(),
        )


def missing(verb: str, path: str, tree: Tree) -> NoNodeError:
    return NoNodeError(f"{verb} {path!r}: no such znode (zxid {to_hex(tree.applied)})")
