"""``TcpTransport``: links over TCP, on the loopback interface until there is authentication (rule N-5)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

import trio

from ..errors import BadArgumentsError, ConfigError
from . import sockets
from .address import Address, check_loopback
from .base import Hello, Limits, Link, LinkError, Transport
from .handshake import Admission, encode_hello
from .reception import Reception, introduce
from .tcp_link import TcpLink
from .throttle import ThrottledLog

# How long to leave off accepting when the process is out of descriptors or memory, seconds.
ACCEPT_PAUSE = 0.1
# What accept() reports of one connection, or of nothing at all. Linux passes on errors that are pending on the new socket.
_CONNECTION_ERRORS = {
    errno.EPERM,
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EPROTO,
    errno.EINTR,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
}


class TcpTransport(Transport):
    """listen: this node's address, "host:port"; port 0 lets the machine choose (see ``addresses``).  peers: node id to address.

    Raises ConfigError for an address that is malformed or leaves this machine.
    """

    def __init__(self, listen: str, peers: Mapping[int, str], limits: Limits | None = None) -> None:
        faults: list[str] = []
        self._listen = _checked("listen", listen, faults)
        self._peers = {node_id: _checked(f"peers[{node_id}]", text, faults) for node_id, text in peers.items()}
        if faults:
            raise ConfigError("; ".join(faults))
        self._limits = Limits() if limits is None else limits
        self._admission = Admission()
        self._log = ThrottledLog()
        self._addresses: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where ``serve`` listens, one for each family; empty while it does not."""
        return self._addresses

    async def check(self) -> None:
        for listener in await sockets.listen(self._listen):
            listener.close()

    @trio.lowlevel.enable_ki_protection
    async def serve(
        self,
        hello: Callable[[], Hello],
        known: Callable[[int], bool],
        accept: Callable[[Link], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        encode_hello(hello())  # A HELLO that nobody would accept is refused here, not at the first connection.
        reception = Reception(hello, known, accept, admission=self._admission, limits=self._limits, log=self._log)
        listeners = await sockets.listen(self._listen)
        try:
            self._addresses = tuple(sockets.name_of(listener.getsockname()) for listener in listeners)
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._accept_from, listener, reception, nursery, name=f"zkembed[{hello().node_id}].listener")
                task_status.started()
        finally:
            self._addresses = ()
            for listener in listeners:
                listener.close()

    @trio.lowlevel.enable_ki_protection
    async def _accept_from(self, listener: socket.socket, reception: Reception, nursery: trio.Nursery) -> None:
        """Until cancelled: nothing that a connection, or the want of descriptors, does ends this loop (N-4)."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                connection, sockaddr = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _CONNECTION_ERRORS:
                    await self._pause(error, reception)
                continue
            try:
                sockets.prepare(connection)
            except OSError:
                connection.close()
                continue
            reception.receive(TcpLink(connection, where=sockets.name_of(sockaddr), outbound=False, limits=self._limits), nursery)

    async def _pause(self, error: OSError, reception: Reception) -> None:
        self._log.warning("accept", f"cannot accept connections on {self._listen}: {error}; trying again", trio.current_time())
        # Out of descriptors: the one that has waited longest without a HELLO is the likeliest to be of no use.
        reception.drop_oldest()
        await trio.sleep(ACCEPT_PAUSE)

    async def dial(self, node_id: int, hello: Hello) -> Link:
        if not hello.purpose:
            raise BadArgumentsError(f"dial node {node_id}: the HELLO names no purpose")
        address = self._peers.get(node_id)
        if address is None:
            raise LinkError(f"no address is known for node {node_id}; known are {sorted(self._peers)}")
        link = await self._connect(node_id, address)
        return await introduce(link, node_id, hello, admission=self._admission, limits=self._limits)

    async def _connect(self, node_id: int, address: Address) -> TcpLink:
        seconds = self._limits.dial_timeout
        with trio.move_on_after(seconds):
            connection, where = await sockets.connect(address)
            return TcpLink(connection, where=where, outbound=True, limits=self._limits)
        raise LinkError(f"node {node_id} at {address} did not answer within {seconds:g} s")


def _checked(field: str, text: str, faults: list[str]) -> Address:
    """The address; a fault is noted, so that one error can name them all."""
    try:
        return check_loopback(text)
    except ConfigError as error:
        faults.append(f"{field}: {error}")
        return Address("", 0)
