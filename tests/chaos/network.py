"""The network between the members of an ensemble: a TCP proxy on the loopback interface for each ordered pair, and what may go wrong there.

Every member dials each other one through a proxy of its own, so it is known whose bytes they are. Bytes from A to B travel on
connections that A dialled, and, the other way round, on those that B dialled; a fault of the path from A to B is in force on both.

The proxies live in the process of whoever makes the faults. Network namespaces would do the same a layer deeper (lost packets instead of
bytes held back) and need rights that few machines give; what TCP makes of either looks the same to its two ends.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import permutations
from socket import SO_LINGER, SOL_SOCKET

import trio
from attrs import frozen

from .stream import Condition, Direction, Path

Pair = tuple[int, int]
"""From one member to another."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER so that ``close`` sends RST."""


@frozen
class Rule:
    """A fault in force: each path of ``paths`` is held, delayed or throttled. refused: who dials along them is turned away at once."""

    paths: frozenset[Pair]
    held: bool = False
    refused: bool = False
    delay: float = 0.0
    rate: float = math.inf


class Network:
    """Made by ``open_network``. Rules add up: a path is as bad as all that are in force make it."""

    def __init__(self, addresses: Mapping[int, str]) -> None:
        """addresses: where each member listens, "host:port"."""
        self._targets = {id: (host, int(port)) for id, address in addresses.items() for host, port in [address.rsplit(":", 1)]}
        self._paths = {pair: Path() for pair in permutations(sorted(addresses), 2)}
        self._rules: list[Rule] = []
        self._proxies: dict[Pair, str] = {}
        self._connections: dict[trio.SocketStream, Pair] = {}  # both ends of each, by who dialled whom

    # --- for members --------------------------------------------------------------------------------------------------

    def addresses_for(self, id: int) -> dict[int, str]:
        """Where this member finds each other one."""
        return {other: address for (dialling, other), address in self._proxies.items() if dialling == id}

    # --- faults -------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule) -> None:
        """In force at once, also for bytes that are on their way. Plain."""
        self._rules.append(rule)
        self._settle()
        if rule.refused:
            self.reset(rule.paths)

    def remove(self, rule: Rule) -> None:
        """Plain. What was held back arrives now, late and in order."""
        self._rules.remove(rule)
        self._settle()

    def reset(self, paths: Iterable[Pair]) -> int:
        """Break every connection that was dialled along one of ``paths``: both ends are reset, what is under way is lost. How many."""
        gone = [stream for stream, pair in self._connections.items() if pair in frozenset(paths)]
        for stream in gone:
            _reset(stream)
        return len(gone) // 2

    def heal(self) -> None:
        """All rules go. Plain."""
        self._rules.clear()
        self._settle()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._rules)

    def bytes_passed(self, pair: Pair) -> int:
        return self._paths[pair].bytes_passed

    def _settle(self) -> None:
        for pair, path in self._paths.items():
            rules = [rule for rule in self._rules if pair in rule.paths]
            path.become(
                Condition(
                    held=any(rule.held for rule in rules),
                    delay=max((rule.delay for rule in rules), default=0.0),
                    rate=min((rule.rate for rule in rules), default=math.inf),
                )
            )

    def _refuses(self, pair: Pair) -> bool:
        return any(rule.refused and pair in rule.paths for rule in self._rules)

    # --- proxies ------------------------------------------------------------------------------------------------------

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started when every proxy listens."""
        async with trio.open_nursery() as nursery:
            for pair in self._paths:
                [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
                host, port = listener.socket.getsockname()
                self._proxies[pair] = f"{host}:{port}"
                nursery.start_soon(self._accept, listener, pair, nursery)
            task_status.started()

    async def _accept(self, listener: trio.SocketListener, pair: Pair, nursery: trio.Nursery) -> None:
        async with listener:
            while True:
                near = await listener.accept()
                if self._refuses(pair):
                    _reset(near)
                else:
                    nursery.start_soon(self._carry, near, pair)

    async def _carry(self, near: trio.SocketStream, pair: Pair) -> None:
        """One connection, from its first byte to its last. Whatever ends it ends nothing else."""
        async with near:
            try:
                far = await self._dial(pair)
            except OSError:  # Nobody listens there: the one who dialled hears that at once, as without a proxy.
                _reset(near)
                return
            async with far:
                self._connections |= {near: pair, far: pair}
                try:
                    await self._exchange(near, far, pair)
                finally:
                    del self._connections[near], self._connections[far]

    async def _dial(self, pair: Pair) -> trio.SocketStream:
        host, port = self._targets[pair[1]]
        sock = trio.socket.socket()
        try:
            await sock.connect((host, port))
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    async def _exchange(self, near: trio.SocketStream, far: trio.SocketStream, pair: Pair) -> None:
        there, back = self._paths[pair], self._paths[pair[::-1]]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Direction(near, far, there).run)
                nursery.start_soon(Direction(far, near, back).run)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            _reset(near)
            _reset(far)


def _reset(stream: trio.SocketStream) -> None:
    """Close with RST. Idempotent."""
    if stream.socket.fileno() >= 0:
        stream.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
        stream.socket.close()


@asynccontextmanager
async def open_network(addresses: Mapping[int, str]) -> AsyncIterator[Network]:
    async with trio.open_nursery() as nursery:
        network = Network(addresses)
        await nursery.start(network.serve)
        yield network
        nursery.cancel_scope.cancel(reason="the network is not needed any more")


# --- shapes ----------------------------------------------------------------------------------------------------------


def between(ones: Iterable[int], others: Iterable[int]) -> frozenset[Pair]:
    """All paths from one group to the other and back."""
    return frozenset(pair for one in ones for other in others if one != other for pair in ((one, other), (other, one)))


def towards(ones: Iterable[int], others: Iterable[int]) -> frozenset[Pair]:
    """All paths from one group to the other, and none back."""
    return frozenset((one, other) for one in ones for other in others if one != other)


def ring(ids: Iterable[int]) -> frozenset[Pair]:
    """The paths to take away so that everybody sees a majority, itself included, and no two the same one. Of three a chain is left."""
    around = list(ids)
    if len(around) == 3:
        return between(around[:1], around[1:2])
    reach = (len(around) // 2 + 1) // 2  # so many neighbours on either side
    return frozenset(
        (one, other)
        for i, one in enumerate(around)
        for j, other in enumerate(around)
        if min((i - j) % len(around), (j - i) % len(around)) > reach
    )
