"""A connection from its first byte on: a ``Link`` that must be greeted before it carries frames.

Handshakes (``reception.py``) know connections by this shape alone, so TCP and the simulated fabric shake hands by the same code.
"""

from __future__ import annotations

from abc import abstractmethod

from .base import Hello, Link


class Wire(Link):
    """where: the other end's address, for messages.

    Before ``establish``: ``receive_first``, ``send``, ``refuse`` and ``close``. After it: a Link.
    """

    where: str

    @abstractmethod
    async def receive_first(self) -> bytes:
        """The frame that opens the connection, of at most ``preauth_frame_bytes_max`` bytes, and not a byte of what follows it.

        A checkpoint; it sets no deadline. Raises LinkError.
        """

    @abstractmethod
    def refuse(self, frame: bytes) -> None:
        """Send as much of ``frame`` as goes without waiting, and close: nothing is ever awaited from who was turned away."""

    @abstractmethod
    def establish(self, remote: Hello) -> None:
        """The handshake is done: ``remote`` is the other end, and larger frames may come."""
