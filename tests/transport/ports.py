"""Loopback ports that are free and stay so until a transport takes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_ports(count: int, host: str = "127.0.0.1") -> Iterator[list[int]]:
    """Bound and not listening: nobody is given these ports by chance, and who asks for one by name, with SO_REUSEADDR, gets it."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            keeper = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind((host, 0))
            ports.append(keeper.getsockname()[1])
        yield ports
