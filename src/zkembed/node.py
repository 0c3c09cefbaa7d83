"""``Node``: the life of a replica in an application's process, from the data directory's lock to the orderly leave.

The nursery with the driver's tasks is hidden: the application's exception passes unchanged, and a failure of a
background task ends the block with NodeFailedError from its cause (docs of ``Node``). Nothing is global: one process may
run several nodes.
"""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import trio

from .client import Client
from .config import Config
from .driver import Driver
from .durable import Identity
from .errors import NodeFailedError, NodeStartError, SessionExpiredError, StorageError
from .loading import load_snapshot
from .local import Gate, LocalEndpoint, LocalNode, LocalReplica
from .log.base import Log, Recovered
from .log.file import FileLog
from .log.memory import MemoryLog
from .log_worker import LogWorker
from .replica.replica import Replica
from .transport.tcp import TcpTransport
from .tree.ops import CloseSession, OpLimits
from .tree.tree import Tree
from .zab.history import History
from .zab.peer import Peer

READ_BYTES = 2**20
START_REPORT_INTERVALS = (2.0, 60.0)
LOG_CLOSE_TIMEOUT = 5.0


class Node:
    """``async with zkembed.Node(config) as zk``: inside the block this process is a replica, and ``zk`` its Client.

    Enter: checkpoint; returns when the node is synced with a quorum and its session is open; logs what is missing meanwhile.
    Raises NodeStartError (``Config.start_timeout``, or it cannot listen), StorageError. Cancelled: nothing is left running.
    Exit: checkpoint; closes the session, hands leadership over, flushes, within ``Config.close_timeout``, also when cancelled.

    An exception of the block leaves it unchanged; if the node failed too, a note says so. If only the node failed,
    NodeFailedError is raised from the cause, and the block was cancelled. A Node serves one block.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._logger = logging.getLogger(f"zkembed.node.{config.node_id}")
        self._used = False
        self._chance = random.Random()
        self._gate = Gate()
        self._worker: LogWorker | None = None
        self._driver: Driver | None = None
        self._endpoint: LocalEndpoint | None = None
        self._nursery_manager: Any = None
        self._nursery: trio.Nursery | None = None
        # The driver's own scope, shielded: a cancellation from outside ends the block, and the block's end needs the driver to leave in
        # order. Side by side with the body's: were the nursery's cancelled, the block would see that as coming from outside.
        self._running = trio.CancelScope(shield=True)
        self._body = trio.CancelScope()
        self._listening = trio.Event()
        self._failure: BaseException | None = None

    # --- entering -----------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Client:
        if self._used:
            raise trio.ClosedResourceError("a Node serves one block; make a new one")
        self._used = True
        # The nursery encloses the start's deadline, not the other way round: it lives until the exit.
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        try:
            with trio.fail_after(self.config.start_timeout if self.config.start_timeout is not None else float("inf")):
                client = await self._start()
        except trio.TooSlowError:
            missing = self._missing()
            await self._stop()
            raise NodeStartError(f"not in touch with a quorum after {self.config.start_timeout:g} s: {missing}") from None
        except BaseException:
            await self._stop()
            self._raise_failure(NodeStartError)
            raise
        if self._failure is not None:
            await self._stop()
            self._raise_failure(NodeStartError)
        self._body.__enter__()
        return client

    async def _start(self) -> Client:
        config = self.config
        transport = config.transport if config.transport is not None else TcpTransport(config.address, config.peers)
        worker = LogWorker(config.log if config.log is not None else _default_log(config))
        await worker.aside(worker.log.check)
        await transport.check()
        self._worker = worker
        recovered = await worker.in_order(worker.log.open, config.cluster, config.node_id)
        for note in recovered.notes:
            self._logger.warning("%s", note)
        if recovered.damage:
            self._logger.error("this disk is damaged: %s; it does not vote until it is restored from the others", recovered.damage)
        replica = await self._recover(worker, recovered)
        self._driver = driver = Driver(config, recovered.identity, replica, worker, transport)
        driver.on_storage_renewed = self._reseed
        assert self._nursery is not None
        self._nursery.start_soon(self._supervise, name=f"zkembed[{config.node_id}]")
        await self._listening.wait()
        self._raise_failure(NodeStartError)
        self._endpoint = LocalEndpoint(driver, self._gate)
        await self._wait_started(driver, self._endpoint)
        plain = LocalReplica(driver, self._gate)
        return Client(self._endpoint, node=LocalNode(driver, plain, self._gate), replica=plain)

    async def _recover(self, worker: LogWorker, recovered: Recovered) -> Replica:
        """The state from the newest snapshot; the records behind it into the history, which the core delivers when it starts."""
        config, log, aside = self.config, worker.log, worker.aside
        base = recovered.snapshot
        tree = Tree() if base.zxid == 0 else (await load_snapshot(log, base.zxid, aside))[0]
        settings = config.settings()
        history = History(base, cache_bytes_max=settings.cache_bytes_max)
        if recovered.last_zxid > base.zxid:
            reader = await aside(log.read_records, base.zxid, recovered.last_zxid)
            try:
                while records := await aside(reader.read, READ_BYTES):
                    history.recover(records)
                    await trio.lowlevel.checkpoint()
            finally:
                reader.close()
        # Another sequence for each storage and each start, and the same again where a test draws the storage id from a seed.
        identity = recovered.identity
        self._reseed(identity)
        chance = self._chance
        peer = Peer(
            identity=identity,
            peers=config.peers,
            bootstrap=config.bootstrap,
            epochs=recovered.epochs,
            history=history,
            settings=settings,
            jitter=chance.random,
        )
        return Replica(
            peer=peer,
            tree=tree,
            chain=base.chain,
            identity=identity,
            limits=OpLimits(config.data_bytes_max, config.txn_bytes_max),
            snapshot_every=round(config.snapshot_every * chance.uniform(0.75, 1.25)) or 1,
            ids=lambda: chance.getrandbits(63),
        )

    def _reseed(self, identity: Identity) -> None:
        """An old copy of a directory (I-6) draws what the original drew at that start, until it is another storage."""
        self._chance.seed(f"{identity.storage_id.hex()}.{identity.incarnation}")

    @trio.lowlevel.enable_ki_protection
    async def _supervise(self) -> None:
        """Run the driver; its failure cancels the application's block instead of flying out of the hidden nursery."""
        assert self._driver is not None
        try:
            with self._running:
                await self._driver.run(self._listening.set)
        except Exception as error:
            self._fail(_only(error))
        self._listening.set()

    def _fail(self, cause: BaseException, level: int = logging.ERROR) -> None:
        self._failure = cause
        self._logger.log(level, "the node has failed: %s", cause)
        error = NodeFailedError(f"node {self.config.node_id} has failed: {cause}")
        error.__cause__ = cause
        self._gate.error = error
        if self._endpoint is not None:
            self._endpoint.shut()
        if self._driver is not None:
            self._driver.changed.unpark_all()
        self._body.cancel(reason=f"zkembed: node {self.config.node_id} has failed: {cause}")

    def abort(self, reason: str) -> None:
        """Stop at once, leaving nothing in order, as a killed process would: the block ends with NodeFailedError. Plain."""
        if self._gate.error is None:
            self._fail(RuntimeError(reason), logging.INFO)  # It was asked for.
            self._running.cancel(reason=f"zkembed: {reason}")

    async def _wait_started(self, driver: Driver, endpoint: LocalEndpoint) -> None:
        """Until the session is open; now and then, and ever more rarely, say what is missing."""
        interval, interval_max = START_REPORT_INTERVALS
        while not endpoint.local.created or not driver.replica.serving:
            self._raise_failure(NodeStartError)
            with trio.move_on_after(interval) as scope:
                await driver.changed.park()
            if scope.cancelled_caught:
                interval = min(2 * interval, interval_max)
                self._logger.warning("not in touch with a quorum yet: %s", self._missing())
        peer = driver.replica.peer
        if not peer.has_vote:
            self._logger.warning("this node takes part without a vote: %s", peer.vote_reason)

    def _missing(self) -> str:
        return self._driver.replica.peer.missing() if self._driver is not None else "the data directory is still being read"

    # --- leaving ------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        try:
            swallowed = self._body.__exit__(kind, error, trace)
        except BaseException as remaining:
            await self._leave()
            self._annotate(remaining)
            raise
        await self._leave()
        if error is None or swallowed:
            self._raise_failure(NodeFailedError)
            return swallowed
        self._annotate(error)
        return None

    async def _leave(self) -> None:
        try:
            if self._failure is None:
                with trio.move_on_after(self.config.close_timeout, shield=True) as scope:
                    await self._leave_orderly()
                if scope.cancelled_caught:
                    self._logger.warning("left before the ensemble had answered (close_timeout %g s)", self.config.close_timeout)
        finally:  # Also when Ctrl-C cuts the orderly part short: it may come at any checkpoint of the main task.
            await self._stop()

    async def _leave_orderly(self) -> None:
        """Close the session, hand leadership over (B-16), and let the disk finish."""
        driver, endpoint = self._driver, self._endpoint
        assert driver is not None
        assert endpoint is not None
        local = endpoint.local
        with suppress(SessionExpiredError, NodeFailedError):  # It has just ended by itself; or the node has, which ``_failure`` tells.
            if not local.gone and not local.closing:
                endpoint.submit(CloseSession(local.id, False))
        if not await driver.wait_leaving(lambda: self._failure is not None or local.gone):
            self._logger.info("left without closing the session: the other voters are down; it will expire")
            return
        if self._failure is None:
            driver.leave()
        await driver.wait_leaving(lambda: self._failure is not None or (driver.replica.peer.left and driver.worker.idle))

    async def _stop(self) -> None:
        """End all tasks and release the directory. Everything durable is durable already; this only tidies."""
        if self._gate.error is None:
            self._gate.error = trio.ClosedResourceError(f"node {self.config.node_id} was left")
        if self._endpoint is not None:
            self._endpoint.shut()
        if self._driver is not None:
            self._driver.changed.unpark_all()
        try:
            await self._end_tasks()
        finally:
            await self._close_log()

    async def _end_tasks(self) -> None:
        if self._nursery is None:
            return
        manager, nursery, self._nursery_manager, self._nursery = self._nursery_manager, self._nursery, None, None
        nursery.cancel_scope.shield = True  # What is cancelled outside must not cut the tidying short.
        self._running.cancel(reason=f"zkembed: node {self.config.node_id} is being left")
        try:
            await manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:  # Ctrl-C while it waited; the nursery is a hidden one (T7).
            raise _only(group) from None

    async def _close_log(self) -> None:
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        with trio.move_on_after(LOG_CLOSE_TIMEOUT, shield=True):
            try:
                await worker.in_order(partial(worker.log.close, orderly=self._failure is None))
            except StorageError as error:
                self._logger.warning("closing the log failed: %s", error)

    # --- errors -------------------------------------------------------------------------------------------------------

    def _raise_failure(self, kind: type[NodeFailedError] | type[NodeStartError]) -> None:
        if self._failure is None:
            return
        if isinstance(self._failure, NodeStartError):
            raise self._failure
        raise kind(f"node {self.config.node_id} has failed: {self._failure}") from self._failure

    def _annotate(self, error: BaseException) -> None:
        if self._failure is not None and not isinstance(error, NodeFailedError):
            error.add_note(f"zkembed: node {self.config.node_id} had failed as well: {self._failure!r}")


async def serve(config: Config, *, task_status: trio.TaskStatus[Client] = trio.TASK_STATUS_IGNORED) -> None:
    """A node for those who bring a nursery: ``zk = await nursery.start(zkembed.serve, config)``. Runs until cancelled; errors as Node's."""
    async with Node(config) as client:
        task_status.started(client)
        await trio.sleep_forever()


def _default_log(config: Config) -> Log:
    if config.storage == "memory":
        return MemoryLog(durable=False)
    assert config.data_dir is not None
    if not config.fsync:
        logging.getLogger(f"zkembed.node.{config.node_id}").warning(
            "fsync=False: answered writes are lost with this machine's power, and then the node loses its vote"
        )
    return FileLog(config.data_dir, fsync=config.fsync)


def _only(error: BaseException) -> BaseException:
    """The one cause inside nested groups; of several, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
