"""A simulated network for tests: ``Fabric`` and its ``MemoryTransport``, the twin of the TCP transport.

Times are those of trio's clock, so under a ``MockClock`` a whole ensemble runs in virtual time. Faults are switched by plain calls::

    fabric.cut(1, 2)                    # frames vanish into the dark, nothing closes, dials time out
    fabric.cut(1, 2, one_way=True)      # only those from 1 to 2
    fabric.partition({1, 2}, {3})       # cut every pair of nodes from different groups
    fabric.isolate(3)                   # cut a node from everybody
    fabric.heal()                       # undo all of these: what was held arrives, in order
    fabric.silence(3); fabric.unsilence(3)   # a paused process: its frames are held both ways
    fabric.drop_links(1, 2)             # break what is up; new links are possible
    fabric.crash(3)                     # its links end, its listener is gone, its transport is of no use any more
    fabric.delay(1, 2, 0.2)             # from now on, both ways, seconds
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import combinations, product

import trio
from attrs import frozen

from ..errors import BadArgumentsError, NodeStartError
from .base import Hello, Limits, Link, LinkError, Transport
from .handshake import Admission, encode_hello
from .memory_link import MemoryLink, connect_ends
from .reception import Reception, introduce
from .throttle import ThrottledLog


@frozen
class _Listener:
    """What a node that serves has on the fabric."""

    reception: Reception
    nursery: trio.Nursery
    limits: Limits


@frozen
class FabricStatistics:
    """link_ends: ends of connections that have not ended, those still shaking hands included.  listeners: nodes that serve."""

    link_ends: int
    listeners: int


class Fabric:
    """The network between the transports made by it.  delay: seconds one way, unless said otherwise for a pair."""

    def __init__(self, *, delay: float = 0.001) -> None:
        self._delay = _checked_delay(delay)
        self._delays: dict[tuple[int, int], float] = {}
        self._cuts: set[tuple[int, int]] = set()
        self._isolated: set[int] = set()
        self._silent: set[int] = set()
        self._listeners: dict[int, _Listener] = {}
        self._transports: dict[int, list[MemoryTransport]] = {}
        # Every end that has not ended; a dict, for its order.
        self._links: dict[MemoryLink, None] = {}
        self._changed = trio.lowlevel.ParkingLot()

    def transport(self, node_id: int, limits: Limits | None = None) -> MemoryTransport:
        """Node ``node_id``'s access. A node that restarts takes a new one."""
        transport = MemoryTransport(self, node_id, Limits() if limits is None else limits)
        self._transports.setdefault(node_id, []).append(transport)
        return transport

    def statistics(self) -> FabricStatistics:
        return FabricStatistics(len(self._links), len(self._listeners))

    # --- faults ------------------------------------------------------------------------------------------------------

    def cut(self, a: int, b: int, *, one_way: bool = False) -> None:
        """Hold everything from ``a`` to ``b``, and from ``b`` to ``a`` unless ``one_way``."""
        with self._switching():
            self._cuts |= {(a, b)} if one_way else {(a, b), (b, a)}

    def partition(self, *groups: Collection[int]) -> None:
        """Cut every pair of nodes from different groups, in addition to what is cut. Nodes in no group stay connected to all."""
        if any(set(one) & set(other) for one, other in combinations(groups, 2)):
            raise BadArgumentsError("a node is in two groups of the partition")
        with self._switching():
            for one, other in combinations(groups, 2):
                self._cuts |= {*product(one, other), *product(other, one)}

    def isolate(self, node_id: int) -> None:
        """Cut a node from every other, also from those that come later."""
        with self._switching():
            self._isolated.add(node_id)

    def heal(self) -> None:
        """Undo every cut, partition and isolation; what was held arrives one delay from now. Silenced nodes stay silent."""
        with self._switching():
            self._cuts.clear()
            self._isolated.clear()

    def silence(self, node_id: int) -> None:
        """Hold all packets from and to a node, as if its process were paused; nothing closes."""
        with self._switching():
            self._silent.add(node_id)

    def unsilence(self, node_id: int) -> None:
        with self._switching():
            self._silent.discard(node_id)

    def delay(self, a: int, b: int, seconds: float) -> None:
        """How long what is sent from now on takes between two nodes, each way."""
        self._delays[a, b] = self._delays[b, a] = _checked_delay(seconds)

    def drop_links(self, a: int, b: int) -> None:
        """Break the links between two nodes: both ends see it at once, what is under way is lost, new links are possible."""
        for link in self._ends_of(a):
            if link.outgoing.target == b:
                link.sever()

    def crash(self, node_id: int) -> None:
        """A node's process dies: its links end, dials to it are refused, its transports are dead for ever.

        Behind a cut the others see nothing of it before they are healed. The caller cancels the tasks that ran in the process.
        """
        self._listeners.pop(node_id, None)
        for transport in self._transports.pop(node_id, []):
            transport.crash()
        for link in self._ends_of(node_id):
            link.crash()

    def _ends_of(self, node_id: int) -> list[MemoryLink]:
        return [link for link in self._links if link.outgoing.source == node_id]

    # --- what links ask (Network) ------------------------------------------------------------------------------------

    def dark(self, source: int, target: int) -> bool:
        hidden = self._isolated | self._silent
        return (source, target) in self._cuts or source in hidden or target in hidden

    def travel_time(self, source: int, target: int) -> float:
        return self._delays.get((source, target), self._delay)

    def forget(self, link: MemoryLink) -> None:
        self._links.pop(link, None)

    # --- what transports ask -----------------------------------------------------------------------------------------

    def check_free(self, node_id: int) -> None:
        """Raises NodeStartError if somebody listens as ``node_id``."""
        if node_id in self._listeners:
            raise NodeStartError(f"cannot listen as node {node_id} on the fabric: another transport does already")

    def listen(self, node_id: int, listener: _Listener) -> None:
        self._listeners[node_id] = listener

    def stop_listening(self, node_id: int, listener: _Listener) -> None:
        if self._listeners.get(node_id) is listener:
            del self._listeners[node_id]

    async def connect(self, source: int, target: int, limits: Limits) -> MemoryLink:
        """A connection from ``source`` to whoever listens as ``target``, after one round trip. Raises LinkError if nobody does."""
        await self._travel(source, target)
        listener = self._listeners.get(target)
        if listener is None:
            await self._travel(target, source)
            raise LinkError(f"cannot connect to node {target}: nobody listens", refused=True)
        near, far = connect_ends(self, source, target, limits, listener.limits)
        self._links |= {near: None, far: None}
        listener.reception.receive(far, listener.nursery)
        try:
            await self._travel(target, source)
        except BaseException:
            near.close()
            raise
        return near

    async def _travel(self, source: int, target: int) -> None:
        """As long as one packet takes, sent again when the way is lit if it was dark on arrival."""
        while True:
            await trio.sleep(self.travel_time(source, target))
            if not self.dark(source, target):
                return
            while self.dark(source, target):
                await self._changed.park()

    @contextmanager
    def _switching(self) -> Iterator[None]:
        """Around a change of what is dark: what has had its time by now arrives first, what was held until now is sent again."""
        pipes = [link.incoming for link in self._links]
        for pipe in pipes:
            pipe.settle()
        were_dark = [pipe for pipe in pipes if pipe.dark]
        yield
        for pipe in were_dark:
            if not pipe.dark:
                pipe.relight()
        self._changed.unpark_all()
        for link in self._links:
            link.wake()


def _checked_delay(seconds: float) -> float:
    if not 0 <= seconds < math.inf:
        raise BadArgumentsError(f"a delay of {seconds} s: expected 0 or more")
    return seconds


class MemoryTransport(Transport):
    """One node's access to a ``Fabric``; made by ``Fabric.transport``."""

    def __init__(self, fabric: Fabric, node_id: int, limits: Limits) -> None:
        self._fabric = fabric
        self._node_id = node_id
        self._limits = limits
        self._admission = Admission()
        self._log = ThrottledLog()
        self._crashed = False

    def crash(self) -> None:
        """Called by the fabric."""
        self._crashed = True

    async def serve(
        self,
        hello: Callable[[], Hello],
        known: Callable[[int], bool],
        accept: Callable[[Link], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        encode_hello(hello())  # A HELLO that nobody would accept is refused here, not at the first connection.
        if self._crashed:
            raise NodeStartError(f"cannot listen as node {self._node_id} on the fabric: this transport has crashed")
        self._fabric.check_free(self._node_id)
        reception = Reception(hello, known, accept, admission=self._admission, limits=self._limits, log=self._log)
        async with trio.open_nursery() as nursery:
            listener = _Listener(reception, nursery, self._limits)
            self._fabric.listen(self._node_id, listener)
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._fabric.stop_listening(self._node_id, listener)

    async def dial(self, node_id: int, hello: Hello) -> Link:
        if not hello.purpose:
            raise BadArgumentsError(f"dial node {node_id}: the HELLO names no purpose")
        link = await self._connect(node_id)
        return await introduce(link, node_id, hello, admission=self._admission, limits=self._limits)

    async def _connect(self, node_id: int) -> MemoryLink:
        seconds = self._limits.dial_timeout
        with trio.move_on_after(seconds):
            link = await self._fabric.connect(self._node_id, node_id, self._limits)
            if self._crashed:
                link.close()
                raise LinkError(f"dial node {node_id}: node {self._node_id}, which dials, has crashed")
            return link
        raise LinkError(f"node {node_id} did not answer within {seconds:g} s")
