"""Non-blocking TCP sockets from addresses: resolve, listen, connect. Every error is named for who has to act on it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any

import trio
from attrs import frozen

from ..errors import NodeStartError
from .address import Address, is_loopback
from .base import LinkError

BACKLOG = 128

_CAUSES = {
    errno.EADDRINUSE: "port {port} is taken by another program; stop that or give this node another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "this user may not listen on port {port}; choose one above 1023",
}
# A family that is switched off on this machine, as IPv6 often is.
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@frozen
class Target:
    """One numeric socket address that an ``Address`` stands for."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    def with_port(self, port: int) -> Target:
        return Target(self.family, (self.sockaddr[0], port, *self.sockaddr[2:]))


async def resolve(address: Address) -> list[Target]:
    """The loopback addresses that ``address`` stands for, without doubles. Raises OSError if there are none."""
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    targets = dict.fromkeys(Target(family, sockaddr) for family, _, _, _, sockaddr in found)
    # Even a name that should mean this machine is not believed: a hosts file can say anything.
    return [target for target in targets if is_loopback(str(target.sockaddr[0]))]


def name_of(sockaddr: tuple[Any, ...]) -> str:
    return str(Address(str(sockaddr[0]), int(sockaddr[1])))


async def listen(address: Address) -> list[socket.socket]:
    """Listening sockets for every family of ``address``, all on one port. Raises NodeStartError naming address and cause."""
    listeners: list[socket.socket] = []
    try:
        for target in await resolve(address):
            port = listeners[0].getsockname()[1] if listeners else address.port
            _listen_on(target.with_port(port), listeners)
        if not listeners:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))  # noqa: TRY301
    except OSError as error:
        _close(listeners)
        raise NodeStartError(f"cannot listen on {address}: {_cause_of(error, address.port)}") from error
    except BaseException:
        _close(listeners)
        raise
    return listeners


def _cause_of(error: OSError, port: int) -> str:
    cause = _CAUSES.get(error.errno or 0)
    return str(error) if cause is None else cause.format(port=port)


def _listen_on(target: Target, listeners: list[socket.socket]) -> None:
    """Add a listener for ``target``, unless its family does not exist here while another one's does."""
    try:
        listeners.append(_listener(target))
    except OSError as error:
        if not listeners or error.errno not in _NO_SUCH_FAMILY:
            raise


def _listener(target: Target) -> socket.socket:
    listener = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if os.name == "posix":
            # A node that restarts must not wait for its old connections to time out. (On Windows the option means theft.)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target.sockaddr)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _close(sockets: Sequence[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


async def connect(address: Address) -> tuple[socket.socket, str]:
    """A connection to the first target of ``address`` that answers, and that target's name.

    Raises LinkError; refused if there is a target and nobody listens at any.
    """
    try:
        targets = await resolve(address)
    except OSError as error:
        raise LinkError(f"{address} cannot be resolved: {error}") from error
    faults: list[OSError] = []
    for target in targets:
        try:
            return await _connect_to(target), name_of(target.sockaddr)
        except OSError as error:
            faults.append(error)
    refused = bool(faults) and all(isinstance(fault, ConnectionRefusedError) for fault in faults)
    causes = "nobody listens" if refused else "; ".join(str(fault) for fault in faults) or "no loopback address"
    raise LinkError(f"cannot connect to {address}: {causes}", refused=refused)


async def _connect_to(target: Target) -> socket.socket:
    """Cancelled: closed again."""
    connection = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        prepare(connection)
        fault = connection.connect_ex(target.sockaddr)
        if fault in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            await trio.lowlevel.wait_writable(connection)
            fault = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not fault and meets_itself(connection):
            fault = errno.ECONNREFUSED
        if fault:
            raise OSError(fault, os.strerror(fault))  # noqa: TRY301
    except BaseException:
        connection.close()
        raise
    return connection


def meets_itself(connection: socket.socket) -> bool:
    """Whether both ends are one. Dialling a port of the range that the kernel hands out, with nobody listening there, the very same
    port can be chosen for the near end; TCP then connects the socket to itself."""
    return bool(connection.getsockname() == connection.getpeername())


def prepare(connection: socket.socket) -> None:
    """What every connection needs, dialled or accepted. Raises OSError if it has been reset already."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
