"""Loopback ports that are free and stay so until a transport takes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager


@contextmanager
def reserved_ports(count: int, host: str = "127.0.0.1") -> Iterator[list[int]]:
    """Bound and not listening: nobody is given these ports by chance, and who asks for one by name, with SO_REUSEADDR, gets it."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            keeper = stack.enter_context(closing(_bound(host, 0)))
            ports.append(keeper.getsockname()[1])
        yield ports


@contextmanager
def reserved_port_of_both_families() -> Iterator[int]:
    """One port, free on 127.0.0.1 and on ::1."""
    while True:
        with reserved_ports(1) as (port,):
            try:
                keeper = _bound("::1", port)
            except OSError:
                continue
            with closing(keeper):
                yield port
                return


def ipv6_works() -> bool:
    try:
        _bound("::1", 0).close()
    except OSError:
        return False
    return True


def _bound(host: str, port: int) -> socket.socket:
    keeper = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind((host, port))
    except BaseException:
        keeper.close()
        raise
    return keeper
