"""Executes the replica's effects with trio: links, disk, timers, waiting tasks. The only place where core and machine meet.

One wake-up a batch: whatever has arrived is fed into the replica, then its effects run once. Executing an effect is a
put into a queue or a wake-up, never an ``await``; what it causes comes back as a new input. The tasks here are

* the core task, which ticks at the replica's deadlines and whenever local clients have queued something,
* a reader and a writer for each link, and one short task for each dial,
* the disk task, which hands all queued operations to the log together (one write and one fsync for all appends),
* a task for each snapshot being written or loaded.

Every step begins with ``tick`` (rule B-12) and is protected from KeyboardInterrupt, so an apply is never cut in half.
Decisions live in the replica; this file only carries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import trio

from .bell import Bell
from .clock import LeaseClock
from .config import Config
from .durable import Identity
from .endpoint import SessionState
from .errors import CorruptLogError, DecodeError, StorageError
from .loading import load_state
from .log_worker import DISK_OPS, LogWorker
from .outbox import Outbox, PeerLink
from .replica.effects import Effect, EndWatcher, LoadState, Notify, RoleSeen, SessionChanged, Settled, TakeSnapshot
from .replica.pipeline import Barrier, Call, LocalSession, Read
from .replica.replica import Replica
from .transport.base import Hello, Link, LinkError, Refusal, Transport
from .transport.throttle import ThrottledLog
from .zab import effects as zab
from .zab.codec import decode_frame
from .zab.mesh import REFUSED

READ_BYTES = 2**20
# Seconds since 1970, the end of the year 9999: what a record can carry and everybody can read back.
WALL_CLOCK_MAX = 253_402_300_799

Waiting = Call | Read | Barrier


class Driver:
    """One running replica. ``run`` is its life; everything else is plain and belongs to the same trio run."""

    def __init__(self, config: Config, identity: Identity, replica: Replica, worker: LogWorker, transport: Transport) -> None:
        self.config = config
        self.identity = identity
        self.replica = replica
        self.worker = worker
        self.log = worker.log
        self.logger = logging.getLogger(f"zkembed.node.{identity.node_id}")
        self.changed = trio.lowlevel.ParkingLot()
        """Everybody who waits for a change of role, serving state or session creation."""
        self.on_session_end: Callable[[LocalSession], None] = lambda session: None
        self.on_storage_renewed: Callable[[Identity], None] = lambda identity: None
        self.clock = LeaseClock()
        self.links: dict[int, PeerLink] = {}
        self._transport = transport
        self._bell = Bell()
        self._link_ids = 0
        self._nursery: trio.Nursery | None = None
        self._throttle = ThrottledLog(target=self.logger)
        self._last_wall_us = 0
        self._spoken: dict[int, PeerLink] = {}  # links that this step has queued something for
        self._snapshotting = False
        self._leaving = False
        # Inputs that wait: for the replica's start at first, later for ``thaw``. None: nothing waits.
        self._frozen: list[Callable[[], None]] | None = []

    # --- life ---------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def run(self, listening: Callable[[], None]) -> None:
        """Listen, dial, tick and write until cancelled or until something fails. ``listening`` is called when it does.

        Raises NodeStartError (cannot listen), StorageError (P-13), or what the core halted with.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(
                    self._transport.serve, lambda: self._hello(""), self._known, self._accepted, name=self._name("listener")
                )
                nursery.start_soon(self.worker.run, self._written, name=self._name("disk"))
                self._begin()
                nursery.start_soon(self._run_core, name=self._name("core"))
                listening()
        finally:
            self._nursery = None
            for link in self.links.values():
                link.close()

    @trio.lowlevel.enable_ki_protection
    async def _run_core(self) -> None:
        while True:
            self._input(lambda: None)
            deadline = self.replica.deadline() if self._frozen is None else float("inf")
            with trio.move_on_at(self.clock.trio_time(deadline)):
                await self._bell.wait()

    def wake(self) -> None:
        """Local clients have queued something; it goes out in the core task's next step, together with what else is queued by then."""
        self._bell.ring()

    # --- steps --------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def _begin(self) -> None:
        """The replica's very first input; what has arrived since we listen comes behind it (X-1)."""
        held, self._frozen = self._frozen or [], None
        self.replica.start(self.clock.now(), self._wall_us())
        self._execute(self.replica.drain())
        for give in held:
            self._input(give)

    @trio.lowlevel.enable_ki_protection
    def _input(self, give: Callable[[], None]) -> None:
        """One step: time, then the input, then all effects."""
        if self._frozen is not None:
            self._frozen.append(give)
            return
        self.replica.tick(self.clock.now(), self._wall_us())
        give()
        self._execute(self.replica.drain())
        if self.replica.busy:
            self._bell.ring()
        if self._leaving:
            self.changed.unpark_all()

    def leave(self) -> None:
        """The orderly end of the protocol's part (B-16)."""
        self._input(self.replica.leave)

    async def wait_leaving(self, done: Callable[[], bool]) -> bool:
        """Wait until ``done``, asked at every step. False: it never will be, since a quorum of voters is down. A checkpoint."""
        self._leaving = True
        await trio.lowlevel.checkpoint()
        while not done():
            if self.replica.peer.quorum_gone:
                return False
            await self.changed.park()
        return True

    def _execute(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _EXECUTE[type(effect)](self, effect)
        if self._spoken:
            self._send_short()

    def _send_short(self) -> None:
        """What this step said goes out at its end, all of it to one peer as one frame, where the socket takes it and nothing is before it.

        That saves the wake-up of the link's writer, which does the rest.
        """
        for peer in self._spoken.values():
            if peer.writing or not peer.outbox.short or not peer.link.ready:
                peer.outbox.ring()
                continue
            frame = peer.outbox.take()
            assert isinstance(frame, bytes)
            if not peer.link.send_soon(frame):
                peer.outbox.ring()
        self._spoken.clear()

    def _wall_us(self) -> int:
        """The application's wall clock in microseconds. What is no time of this era is not believed: the last good one stays."""
        try:
            seconds = self.config.wall_clock()
            if 0 <= seconds <= WALL_CLOCK_MAX:
                self._last_wall_us = int(seconds * 1_000_000)
                return self._last_wall_us
            found = repr(seconds)
        except Exception as error:
            found = repr(error)
        self._warn(f"wall_clock gives {found:.100}, expected seconds since 1970; the last good time is used", "wall clock")
        return self._last_wall_us

    def freeze(self) -> None:
        """For tests: from here on nothing of this node runs, as if its process were stopped; inputs queue up."""
        if self._frozen is None:
            self._frozen = []

    def thaw(self) -> None:
        """For tests: the process goes on. Time has passed in one jump; what queued up comes behind it."""
        held, self._frozen = self._frozen or [], None
        self._bell.ring()
        for give in held:
            self._input(give)

    # --- local clients ------------------------------------------------------------------------------------------------

    def _settled(self, effect: Settled) -> None:
        waiter = effect.ticket.waiter
        if waiter is not None:
            effect.ticket.waiter = None
            trio.lowlevel.reschedule(waiter)  # type: ignore[arg-type]

    async def wait(self, ticket: Waiting, give_up: Callable[[], object]) -> None:
        """Park until the ticket is settled. Cancelled: ``give_up`` is called, and nobody waits for it any more."""
        if ticket.settled:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        ticket.waiter = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            ticket.waiter = None
            give_up()
            self.wake()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _notify(self, effect: Notify) -> None:
        effect.watcher.deliver(effect.event)

    def _end_watcher(self, effect: EndWatcher) -> None:
        effect.watcher.end(effect.error)

    def _session_changed(self, effect: SessionChanged) -> None:
        observer = effect.session.observer
        if observer is not None:
            observer(effect.state)
        if effect.state is SessionState.EXPIRED:
            self.logger.warning("session %#x has expired", effect.session.id)
        elif effect.state is SessionState.SUSPENDED and effect.session.created:
            self.logger.warning("session %#x is suspended: no leader with a quorum has confirmed it in time", effect.session.id)
        if effect.session.gone:
            self.on_session_end(effect.session)
        self.changed.unpark_all()

    def _role_seen(self, effect: RoleSeen) -> None:
        self.changed.unpark_all()

    # --- links --------------------------------------------------------------------------------------------------------

    def _hello(self, purpose: str) -> Hello:
        identity = self.identity
        return Hello(identity.cluster, identity.node_id, identity.storage_id, identity.incarnation, purpose)

    def _known(self, node_id: int) -> bool:
        return node_id in self.config.peers

    def _spawn(self, task: Callable[..., object], *args: object, name: str) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(task, *args, name=self._name(name))  # type: ignore[arg-type]

    def _name(self, what: str) -> str:
        return f"zkembed[{self.identity.node_id}].{what}"

    def _dial(self, effect: zab.Dial) -> None:
        self._spawn(self._run_dial, effect, name=f"peer[{effect.node_id}].dial")

    @trio.lowlevel.enable_ki_protection
    async def _run_dial(self, effect: zab.Dial) -> None:
        identity = self.identity
        try:
            link = await self._transport.dial(effect.node_id, self._hello(effect.purpose.value))
        except LinkError as error:
            if identity is self.identity and error.refusal is Refusal.STALE_INCARNATION and not error.by_us:
                self._input(self.replica.outdated)
            self._input(partial(self.replica.dial_failed, effect.node_id, effect.purpose, error.refused, why_not(error)))
            return
        if identity is self.identity:
            await self._run_link(link, effect.purpose, identity)
        else:
            link.close()
            self._input(partial(self.replica.dial_failed, effect.node_id, effect.purpose, False, "it was told an old storage id"))

    def _accepted(self, link: Link) -> None:
        self._spawn(self._run_link, link, zab.Purpose(link.remote.purpose), self.identity, name=f"peer[{link.remote.node_id}]")

    @trio.lowlevel.enable_ki_protection
    async def _run_link(self, link: Link, purpose: zab.Purpose, identity: Identity) -> None:
        """A link's whole life. Whatever goes wrong here ends this link and nothing else (N-4). identity: what the other end was told."""
        if identity is not self.identity:
            link.close()
            return
        self._link_ids += 1
        peer = PeerLink(self._link_ids, link)
        self.links[peer.id] = peer
        remote = link.remote
        reason = "cancelled"
        try:
            self._input(
                partial(self.replica.link_up, peer.id, remote.node_id, remote.storage_id, remote.incarnation, purpose, link.outbound)
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_writer, peer, name=self._name(f"peer[{remote.node_id}].writer"))
                reason = await self._read_link(peer)
                nursery.cancel_scope.cancel(reason=f"zkembed: link ended: {reason}")
        finally:
            peer.close()
            self.links.pop(peer.id, None)
        if not peer.closed_by_us:
            self._input(partial(self.replica.link_down, peer.id, reason))

    async def _read_link(self, peer: PeerLink) -> str:
        """Feed what arrives until the link ends; why it did."""
        while True:
            try:
                frames = await peer.link.receive()
            except LinkError as error:
                return str(error)
            try:
                self._input(partial(self._feed, peer, frames))
            except DecodeError as error:
                self._warn(f"node {peer.link.remote.node_id} sent what is no message: {error}", "garbage")
                return str(error)

    def _feed(self, peer: PeerLink, frames: Sequence[bytes]) -> None:
        receive = self.replica.receive
        for frame in frames:
            for message in decode_frame(frame):
                receive(peer.id, message)

    @trio.lowlevel.enable_ki_protection
    async def _run_writer(self, peer: PeerLink) -> None:
        outbox = peer.outbox
        try:
            while True:
                await outbox.wait()
                peer.writing = True
                await peer.link.flush()
                while item := outbox.take():
                    if isinstance(item, bytes):
                        await peer.link.send(item)
                    elif isinstance(item, zab.SendSnapshot):
                        await self._send_snapshot(peer, item)
                    else:
                        await self._send_records(peer, item)
                if outbox.last:
                    peer.link.close()
                    return
                peer.writing = False
        except LinkError:
            peer.link.close()  # The reader reports it.
        except (CorruptLogError, StorageError) as error:
            self.logger.warning("node %d cannot be synced from this disk: %s", peer.link.remote.node_id, error)
            peer.link.close()

    async def _send_snapshot(self, peer: PeerLink, effect: zab.SendSnapshot) -> None:
        reader = await self.worker.aside(self.log.read_snapshot, effect.base)
        try:
            index = 0
            chunk = await self.worker.aside(reader.read)
            while chunk is not None:
                following = await self.worker.aside(reader.read)
                await peer.link.send(Outbox.snapshot_frame(effect, index, chunk, last=following is None))
                index, chunk = index + 1, following
        finally:
            reader.close()

    async def _send_records(self, peer: PeerLink, effect: zab.SendRecords) -> None:
        reader = await self.worker.aside(self.log.read_records, effect.after, effect.upto)
        try:
            while records := await self.worker.aside(reader.read, READ_BYTES):
                await peer.link.send(Outbox.records_frame(effect, records))
        finally:
            reader.close()

    def _send(self, effect: zab.Send) -> None:
        peer = self.links.get(effect.link)
        if peer is None:
            return
        if not peer.outbox.put(effect.message):
            self._overfull(peer)
        self._spoken[peer.id] = peer

    def _send_source(self, effect: zab.SendSnapshot | zab.SendRecords) -> None:
        peer = self.links.get(effect.link)
        if peer is not None:
            peer.outbox.put_source(effect)

    def _overfull(self, peer: PeerLink) -> None:
        """(B-13) It does not keep up: it goes, and syncs again; the quorum never waits for it. The reader reports the end."""
        self._warn(f"node {peer.link.remote.node_id} does not keep up; its link is closed", "overfull")
        peer.link.close()

    def _close_link(self, effect: zab.CloseLink) -> None:
        peer = self.links.pop(effect.link, None)
        if peer is None:
            return
        peer.closed_by_us = True
        if effect.flush:
            peer.outbox.finish()
        else:
            peer.link.close()

    # --- disk ---------------------------------------------------------------------------------------------------------

    def _disk_op(self, effect: zab.DiskOp) -> None:
        self.worker.put(effect)

    def _written(self, ops: Sequence[zab.DiskOp]) -> None:
        self._input(partial(self._disk_done, ops))

    def _disk_done(self, ops: Sequence[zab.DiskOp]) -> None:
        for op in ops:
            self.replica.disk_done(op.op)

    def _renew_storage(self, effect: zab.RenewStorage) -> None:
        self._spawn(self._run_renewal, name="identity")

    @trio.lowlevel.enable_ki_protection
    async def _run_renewal(self) -> None:
        """From the step in which the core learns of it, every handshake says the new identity (I-6)."""
        self.identity = await self.worker.in_order(self.log.renew_storage)
        self.on_storage_renewed(self.identity)
        self._input(partial(self.replica.storage_renewed, self.identity))

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _take_snapshot(self, effect: TakeSnapshot) -> None:
        self._spawn(self._run_snapshot, name="snapshot")

    @trio.lowlevel.enable_ki_protection
    async def _run_snapshot(self) -> None:
        try:
            await self.snapshot()
        except StorageError as error:
            self.logger.warning("no snapshot was written: %s", error)  # Not fatal (P-8).

    async def snapshot(self) -> int:
        """Write a snapshot of the state as it is now, while writes go on, then purge; its zxid. Waits for one that is under way."""
        while self._snapshotting:
            await self.changed.park()
        info = self.replica.begin_snapshot()
        if info is None:
            await trio.lowlevel.checkpoint()
            return self.replica.tree.applied
        self._snapshotting = True
        frozen = self.replica.tree.freeze()
        try:
            writer = await self.worker.aside(self.log.snapshot_writer, info)
            try:
                for chunk in frozen.chunks():
                    await self.worker.aside(writer.write, chunk)
                await self.worker.aside(writer.finish)
            finally:
                writer.abort()
            records_from = await self._purge()
            if info.zxid in self.log.statistics().snapshots:  # Else a received one has replaced the log meanwhile, this one with it (P-7).
                self._input(partial(self.replica.snapshot_stored, info, records_from))
        finally:
            frozen.close()
            self._snapshotting = False
            self.changed.unpark_all()
        while frozen.merge_step():
            await trio.lowlevel.checkpoint()
        return info.zxid

    async def _purge(self) -> int:
        """Not a matter of the snapshot any more, which is there: what is live changes, so an error ends the node, whoever asked (P-13)."""
        try:
            return await self.worker.in_order(self.log.purge)
        except StorageError as error:
            self._spawn(self._fail, error, name="storage")
            raise

    async def _fail(self, error: StorageError) -> None:
        raise error

    def _load_state(self, effect: LoadState) -> None:
        self._spawn(self._run_load, effect, name="load")

    @trio.lowlevel.enable_ki_protection
    async def _run_load(self, effect: LoadState) -> None:
        try:
            tree, chain = await load_state(self.log, effect.base, effect.upto, self.worker.aside)
        except (CorruptLogError, DecodeError) as error:
            self._input(partial(self.replica.state_unreadable, effect, str(error)))
        else:
            self._input(partial(self.replica.state_loaded, effect, tree, chain))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _warn(self, text: str, key: str) -> None:
        self._throttle.log(logging.WARNING, key, text, trio.current_time())

    def _report(self, effect: zab.Report) -> None:
        if effect.key:
            self._throttle.log(effect.level, effect.key, effect.text, trio.current_time())
        else:
            self.logger.log(effect.level, "%s", effect.text)

    def _halt(self, effect: zab.Halt) -> None:
        raise effect.error


def why_not(error: LinkError) -> str:
    """In two or three words, for the list of who is missing. ``REFUSED`` is said of an address where nobody listens."""
    if error.refusal is not None:
        return f"refuses us ({error.refusal.name.lower().replace('_', ' ')})"
    return REFUSED if error.refused else "no answer"


_EXECUTE: dict[type, Callable[..., None]] = {
    Settled: Driver._settled,
    Notify: Driver._notify,
    EndWatcher: Driver._end_watcher,
    SessionChanged: Driver._session_changed,
    LoadState: Driver._load_state,
    TakeSnapshot: Driver._take_snapshot,
    RoleSeen: Driver._role_seen,
    zab.Dial: Driver._dial,
    zab.Send: Driver._send,
    zab.SendSnapshot: Driver._send_source,
    zab.SendRecords: Driver._send_source,
    zab.CloseLink: Driver._close_link,
    zab.Report: Driver._report,
    zab.Halt: Driver._halt,
    zab.RenewStorage: Driver._renew_storage,
    **dict.fromkeys(DISK_OPS, Driver._disk_op),
}
