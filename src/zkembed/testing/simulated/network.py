"""Links between processes: frames in order, each with the time at which it arrives; cuts hold them back, breaks end them.

A link is two pipes. What one end sends in one step mostly arrives together, as with a real socket; sometimes not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from attrs import define, field

from ...errors import CorruptLogError, DecodeError
from ...zab.codec import decode_frame, encode_frame
from ...zab.effects import Dial, Purpose, SendRecords, SendSnapshot
from ...zab.messages import Entries, Goodbye, GoodbyeCode, Message, SnapChunk
from ..checkers import Violation

if TYPE_CHECKING:
    from .cluster import Cluster
    from .node import SimNode

DIAL_TIMEOUT = 1.0
TINY = 1e-9
RESET = "connection reset"
DIED = "the process died"


@define(eq=False)
class Pipe:
    """One direction of a connection: frames in order, each with the time it arrives; ``closing``: an end of the stream stands behind them.

    sent_at: when the newest frame was sent; what leaves in one step mostly arrives together.
    """

    source: int
    target: int
    target_link: int
    frames: deque[tuple[float, bytes | tuple[Message, ...]]] = field(factory=deque)
    ready_at: float = 0.0
    sent_at: float = -1.0
    closing: str = ""
    broken: bool = False


@define(eq=False)
class Connection:
    """links: the link number at each end; a node may be connected with itself only by mistake, so node ids name the ends."""

    purpose: Purpose
    dialler: int
    acceptor: int
    links: dict[int, int]
    pipes: dict[int, Pipe]
    open_at: set[int]
    lives: dict[int, int]
    storages: dict[int, bytes]


class Network:
    """delay: seconds a frame takes, from and to; ``slow`` names other bounds for one direction between two nodes.
    clogged: by direction, the seconds that each frame holds up those behind it.

    together: how often a message arrives with the one sent before it in the same step.  wire: messages go through the codec.
    records_together: how many records of a stream go into one message.
    """

    def __init__(self, world: Cluster, *, wire: bool) -> None:
        self.delay = (0.0002, 0.001)
        self.slow: dict[tuple[int, int], tuple[float, float]] = {}
        self.clogged: dict[tuple[int, int], float] = {}
        self.together = 0.8
        self.wire = wire
        self.records_together = 3
        self._world = world
        self._links = 0
        self._cuts: set[tuple[int, int]] = set()
        self._connections: dict[tuple[int, int], Connection] = {}

    def _delay(self, source: int, target: int) -> float:
        return self._world.rng.uniform(*self.slow.get((source, target), self.delay))

    def reachable(self, source: int, target: int) -> bool:
        return (source, target) not in self._cuts

    @property
    def whole(self) -> bool:
        """Nothing is cut, slow or clogged."""
        return not self._cuts and not self.slow and not self.clogged

    # --- faults

    def cut(self, one: int, other: int, *, both: bool = True) -> None:
        """What ``one`` sends to ``other`` (and back, if ``both``) no longer arrives. Links stay up, silent."""
        self._cuts.add((one, other))
        if both:
            self._cuts.add((other, one))

    def heal(self, one: int, other: int) -> None:
        """Arrives again, also what was sent meanwhile."""
        self._cuts -= {(one, other), (other, one)}
        for connection in list(self._connections.values()):
            if set(connection.links) == {one, other}:
                for pipe in connection.pipes.values():
                    self._pump(connection, pipe)

    def break_links(self, one: int, other: int, purpose: Purpose | None = None) -> None:
        """Their connections break; both ends are told."""
        for connection in list(self._connections.values()):
            if set(connection.links) == {one, other} and purpose in (None, connection.purpose):
                for node_id in sorted(connection.open_at):
                    self._end(connection, node_id, RESET, tell=True)

    def died(self, node_id: int, *, silent: bool) -> None:
        """All its links end. silent: like a power cut, nobody is told."""
        for connection in [each for each in self._connections.values() if node_id in each.links]:
            self._end(connection, node_id, DIED, tell=not silent)

    # --- dialling

    def dial(self, node: SimNode, effect: Dial) -> None:
        world, life = self._world, node.life
        target = world.nodes.get(effect.node_id)
        if target is None or not self.reachable(node.id, target.id) or not self.reachable(target.id, node.id):
            world.at(
                DIAL_TIMEOUT,
                lambda: world.give(node, life, lambda m: m.dial_failed(effect.node_id, effect.purpose, False, "no answer")),
            )
        else:
            world.at(self._delay(node.id, target.id), lambda: self._arrive(node, life, target, effect))

    def _arrive(self, node: SimNode, life: int, target: SimNode, effect: Dial) -> None:
        world = self._world
        if node.life != life:
            return
        if target.app is None or target.halted is not None:
            world.at(
                self._delay(target.id, node.id),
                lambda: world.give(node, life, lambda m: m.dial_failed(target.id, effect.purpose, True, "refused")),
            )
            return
        self._links += 2
        links = {node.id: self._links, target.id: self._links + 1}
        pipes = {
            node.id: Pipe(node.id, target.id, links[target.id], ready_at=world.now),
            target.id: Pipe(target.id, node.id, links[node.id], ready_at=world.now),
        }
        connection = Connection(
            effect.purpose,
            node.id,
            target.id,
            links,
            pipes,
            {node.id, target.id},
            {node.id: life, target.id: target.life},
            {node.id: node.disk.storage_id, target.id: target.disk.storage_id},
        )
        self._connections[node.id, links[node.id]] = connection
        self._connections[target.id, links[target.id]] = connection
        self._give_link(connection, target, node, outbound=False)
        # The acceptor may speak at once; the dialler's end is up first all the same.
        world.at(0.0, lambda: self._give_link(connection, node, target, outbound=True))

    def _give_link(self, connection: Connection, node: SimNode, other: SimNode, *, outbound: bool) -> None:
        if node.id not in connection.open_at and not outbound:
            return
        storage_id, incarnation = connection.storages[other.id], other.disk.incarnation
        link = connection.links[node.id]
        self._world.give(
            node,
            connection.lives[node.id],
            lambda m: m.link_up(link, other.id, storage_id, incarnation, connection.purpose, outbound),
        )
        if outbound and connection.pipes[other.id].closing:
            self._pump(connection, connection.pipes[other.id])

    # --- sending

    def send(self, node: SimNode, link: int, messages: list[Message]) -> None:
        connection = self._connections.get((node.id, link))
        if connection is None or node.id not in connection.open_at or not messages:
            return
        world, pipe = self._world, connection.pipes[node.id]
        if pipe.broken:
            return
        together = pipe.sent_at == world.now and world.rng.random() < self.together
        if not together:
            delay = self._delay(pipe.source, pipe.target)
            pipe.ready_at = max(pipe.ready_at, world.now + delay) if pipe.sent_at != world.now else pipe.ready_at + delay
            pipe.ready_at += self.clogged.get((pipe.source, pipe.target), 0.0)
            world.at(pipe.ready_at - world.now, lambda: self._pump(connection, pipe))
        pipe.sent_at = world.now
        pipe.frames.append((pipe.ready_at, encode_frame(messages) if self.wire else tuple(messages)))

    def send_snapshot(self, node: SimNode, effect: SendSnapshot) -> None:
        try:
            _, chunks = node.disk.read_snapshot(effect.base)
        except CorruptLogError as error:
            self.close(node, effect.link, str(error), tell=True)
            return
        last = len(chunks) - 1
        self.send(
            node,
            effect.link,
            [SnapChunk(effect.epoch, effect.base, index, chunk, crc32(chunk), index == last) for index, chunk in enumerate(chunks)],
        )

    def send_records(self, node: SimNode, effect: SendRecords) -> None:
        try:
            records = tuple(node.disk.read_records(effect.after, effect.upto))
        except CorruptLogError as error:
            self.close(node, effect.link, str(error), tell=True)
            return
        size = self.records_together
        self.send(node, effect.link, [Entries(effect.epoch, records[at : at + size]) for at in range(0, len(records), size)])

    def close(self, node: SimNode, link: int, reason: str, *, flush: bool = False, tell: bool = False) -> None:
        """The node's end closes. tell: its own core hears of it too (it did not ask for it)."""
        connection = self._connections.get((node.id, link))
        if connection is not None:
            self._end(connection, node.id, reason, tell=False, flush=flush)
            if tell:
                life = node.life
                self._world.at(0.0, lambda: self._world.give(node, life, lambda m: m.link_down(link, reason)))

    def _pump(self, connection: Connection, pipe: Pipe) -> None:
        """Deliver what has arrived, together, if the way is open."""
        if not self.reachable(pipe.source, pipe.target):
            return
        world = self._world
        target = world.nodes[pipe.target]
        if pipe.target not in connection.open_at:
            pipe.frames.clear()
            return
        arrived: list[Message] = []
        while pipe.frames and pipe.frames[0][0] <= world.now + TINY:
            frame = pipe.frames.popleft()[1]
            arrived.extend(decode_frame(frame) if isinstance(frame, bytes) else frame)
        if arrived and target.life == connection.lives[pipe.target]:
            link = pipe.target_link
            world.judge.arrived((pipe.source, connection.storages[pipe.source]), target, arrived)
            world.step(target, *[_receive(link, message) for message in arrived])
        if pipe.frames:
            return
        if pipe.closing and pipe.target in connection.open_at:
            reason = pipe.closing
            connection.open_at.discard(pipe.target)
            self._connections.pop((pipe.target, pipe.target_link), None)
            world.give(target, connection.lives[pipe.target], lambda m: m.link_down(pipe.target_link, reason))

    def _end(self, connection: Connection, node_id: int, reason: str, *, tell: bool, flush: bool = True) -> None:
        """``node_id``'s end closes; the other end hears of it behind what was sent. tell: a dying process tells its peer as well."""
        if node_id not in connection.open_at:
            return
        world = self._world
        connection.open_at.discard(node_id)
        self._connections.pop((node_id, connection.links[node_id]), None)
        node = world.nodes[node_id]
        if reason == RESET:
            link = connection.links[node_id]
            world.at(0.0, lambda: world.give(node, connection.lives[node_id], lambda m: m.link_down(link, reason)))
        pipe = connection.pipes[node_id]
        if reason == DIED and not tell:
            pipe.broken = True
            return
        if reason == RESET or (not flush and world.rng.random() < 0.5):
            pipe.frames.clear()
        pipe.closing = reason
        world.at(max(pipe.ready_at - world.now, 0.0) + self._delay(pipe.source, pipe.target), lambda: self._pump(connection, pipe))

    def garble(self, source: int, target: int, rng: Random) -> bool:
        """What ``source`` sends to ``target`` next arrives as bytes that are no frame: the receiver ends the link (N-4). False: no link.

        Bytes that happen to be a frame are not used: a member that lies is another matter.
        """
        if not self.reachable(source, target) or self._world.now < self._world.nodes[target].blocked_until:
            return False
        open_pipes = [
            each
            for each in self._connections.values()
            if {source, target} == set(each.links) and target in each.open_at and source in each.open_at
        ]
        if not open_pipes:
            return False
        connection = open_pipes[rng.randrange(len(open_pipes))]
        frame = bytearray(
            encode_frame([Goodbye(GoodbyeCode.LEAVING, None)]) if rng.random() < 0.3 else rng.randbytes(rng.choice([0, 1, 7, 300]))
        )
        for _ in range(rng.randint(0, 4) if frame else 0):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        try:
            decode_frame(bytes(frame))
        except DecodeError as error:
            self._end_garbled(connection, target, str(error))
            return True
        except Exception as error:
            raise Violation("V6", f"bytes from a peer raise {error!r}: {bytes(frame)!r}", (target,)) from error
        return False

    def _end_garbled(self, connection: Connection, target: int, reason: str) -> None:
        """As the driver does: this link ends. V6: promises stay as they are, and no other link ends in the same step."""
        world, node = self._world, self._world.nodes[target]
        promises, others = node.peer.epochs, self._links_of(target) - {connection.links[target]}
        self.close(node, connection.links[target], reason)
        world.give(node, node.life, lambda m: m.link_down(connection.links[target], reason))
        world.judge.judged["V6"] += 1
        if node.app is not None and connection.purpose is Purpose.ELECTION:
            gone = others - self._links_of(target)
            if node.peer.epochs != promises or (gone and node.peer.serving):
                raise Violation("V6", f"garbage on link {connection.links[target]} ended links {sorted(gone)} or moved promises", (target,))

    def _links_of(self, node_id: int) -> set[int]:
        return {link for node, link in self._connections if node == node_id}

    def linked(self, one: int, other: int) -> bool:
        """They have a link with each other, of whatever purpose."""
        return any({one, other} == set(connection.links) for connection in self._connections.values())

    def count(self, node_id: int) -> int:
        """Links that this node has open."""
        return sum(node == node_id for node, _ in self._connections)

    def connection(self, node_id: int, link: int) -> Connection | None:
        """The one that this node calls ``link``."""
        return self._connections.get((node_id, link))


def _receive(link: int, message: Message) -> Callable[[Any], None]:
    return lambda machine: machine.receive(link, message)
