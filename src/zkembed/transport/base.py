"""The port to the other peers: links that carry frames of bytes between authenticated-by-name nodes.

Two implementations pass one conformance function: TCP (``transport/tcp.py``) and a simulated fabric (``transport/memory.py``).
A link is up when both HELLOs were exchanged and accepted; from then on it only carries frames. What the frames mean is
not known here. Whatever a remote does ends at most its own link (rule N-4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum

import trio
from attrs import frozen

from ..errors import ZkError

PROTOCOL_VERSIONS = (1, 1)


class Refusal(IntEnum):
    """Why a handshake was refused (N-7)."""

    WRONG_CLUSTER = 1
    OWN_NODE_ID = 2
    UNKNOWN_NODE = 3
    STALE_INCARNATION = 4
    NO_COMMON_VERSION = 5
    NOT_THE_DIALLED_NODE = 6
    BUSY = 7


class LinkError(ZkError):
    """A dial or a link failed. refused: the other machine answered with a no (nobody listens, or a Refusal): it is surely not serving
    this node, as against silence.  by_us: it was this end that gave the refusal.
    """

    def __init__(self, message: str, *, refused: bool = False, refusal: Refusal | None = None, by_us: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
        self.refusal = refusal
        self.by_us = by_us


@frozen
class Hello:
    """What each end says of itself (N-5). purpose: "election" or "zab", said by the dialling end."""

    cluster: str
    node_id: int
    storage_id: bytes
    incarnation: int
    purpose: str = ""
    versions: tuple[int, int] = PROTOCOL_VERSIONS


@frozen
class Limits:
    """Bounds and deadlines of a transport (N-1, N-8). Bytes and seconds."""

    frame_bytes_max: int = 16 * 2**20
    preauth_frame_bytes_max: int = 4096
    handshake_timeout: float = 2.0
    frame_timeout: float = 10.0
    dial_timeout: float = 1.0
    unauthenticated_max: int = 64


class Link(ABC):
    """One connection after its handshake.

    remote: the other end's Hello (its purpose is the dialling end's).  outbound: this end dialled.
    """

    remote: Hello
    outbound: bool

    @abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send one frame. A checkpoint. Raises LinkError once the link is closed or broken; cancelled, it may be left broken."""

    @property
    def ready(self) -> bool:
        """``send_soon`` may be called now: no send is under way, and nothing is kept. Always False where there is no such thing."""
        return False

    def send_soon(self, frame: bytes) -> bool:
        """Send one frame as far as the network takes it at once; only while ``ready``. Plain.

        False: the rest is kept, and ``flush`` has to be called; errors come there.
        """
        raise NotImplementedError

    async def flush(self) -> None:
        """Send what is kept. A checkpoint. Raises LinkError as ``send`` does."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    async def receive(self) -> Sequence[bytes]:
        """All complete frames that have arrived, at least one; one task at a time. Raises LinkError when the link has ended, for
        whatever reason. Frames that arrived before the end are given first."""

    @abstractmethod
    def close(self) -> None:
        """Abruptly, without waiting; the other end sees the end. Idempotent."""


class Transport(ABC):
    """One node's access to its peers."""

    @abstractmethod
    async def serve(
        self,
        hello: Callable[[], Hello],
        known: Callable[[int], bool],
        accept: Callable[[Link], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled; ``started()`` once bound. Each link whose handshake succeeds is given to ``accept``, which does not block
        and does not raise. hello: asked at each handshake, since a storage may be renewed (I-6).  known: whether a node id may connect.
        Raises NodeStartError when it cannot listen.
        Refused, logged once an interval, nothing changed: see Refusal. A lower incarnation than one seen before from the same storage id is
        refused for ever after (I-6). Cancelling closes the listener and every handshake, not the accepted links.
        """

    async def check(self) -> None:
        """Raise NodeStartError if ``serve`` could not listen now. Asked before anything is written; without a promise for later."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    async def dial(self, node_id: int, hello: Hello) -> Link:
        """One attempt, at most ``dial_timeout`` and ``handshake_timeout`` long. Raises LinkError."""
