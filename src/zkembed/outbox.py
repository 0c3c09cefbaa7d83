"""What waits to be sent on one link, in order: messages, and streams that are read from disk when their turn comes.

Messages that queued while the socket was busy leave together in one frame. Bounded: beyond its byte budget a link is given
up (rule B-13). A sync stream is not counted: what comes from disk is read only as fast as the link takes it, what comes from the
history's cache is in memory anyway; counted, it could never be sent to a learner that is far behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from zlib import crc32

from .bell import Bell
from .record import Record
from .transport.base import Link
from .zab.codec import encode_frame
from .zab.effects import SendRecords, SendSnapshot
from .zab.messages import Entries, Message, Proposal, Request, SnapChunk

# More than a leader may have outstanding and more than an origin may have under way: only one that does not keep up reaches it.
QUEUED_BYTES_MAX = 64 * 2**20
FRAME_BYTES = 2 * 2**20
"""A frame is closed once it holds this much; one message may take it beyond."""

SHORT_BYTES = 64 * 2**10
"""What a socket that is not full takes at once."""

OVERHEAD_BYTES = 64
RECORD_OVERHEAD_BYTES = 8

Item = Message | SendSnapshot | SendRecords


class Outbox:
    """Invariant: ``_bytes`` is the sum of the sizes of the queued messages that count."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()  # with their sizes, worked out once
        self._bytes = 0
        self._sources = 0  # streams, and parts of streams, among the items
        self._bell = Bell()
        self.last = False
        """Nothing follows what is queued: close the link behind it."""

    def put(self, message: Message) -> bool:
        """Queue a message; False if the link is over its budget. The writer is not woken: see ``ring``."""
        size = size_of(message)
        self._items.append((message, size))
        if type(message) is Entries:
            self._sources += 1
        else:
            self._bytes += size
        return self._bytes <= QUEUED_BYTES_MAX

    def put_source(self, source: SendSnapshot | SendRecords) -> None:
        self._items.append((source, 0))
        self._sources += 1
        self._bell.ring()

    def ring(self) -> None:
        """Wake the writer: there is something for it to send."""
        self._bell.ring()

    def finish(self) -> None:
        self.last = True
        self._bell.ring()

    @property
    def short(self) -> bool:
        """Messages alone are queued, and they are one small frame."""
        return 0 < self._bytes <= SHORT_BYTES and not self.last and not self._sources

    async def wait(self) -> None:
        """Until something is queued, or nothing ever will be. A checkpoint."""
        await self._bell.wait()

    def take(self) -> bytes | SendSnapshot | SendRecords | None:
        """The next frame, made of all messages up to the next stream; or that stream; None if nothing is queued."""
        items = self._items
        if not items:
            return None
        first, _ = items[0]
        if isinstance(first, (SendSnapshot, SendRecords)):
            items.popleft()
            self._sources -= 1
            return first
        messages: list[Message] = []
        taken = 0
        while items and taken < FRAME_BYTES:
            message, size = items[0]
            if isinstance(message, (SendSnapshot, SendRecords)):
                break
            items.popleft()
            taken += size
            if type(message) is Entries:
                self._sources -= 1
            else:
                self._bytes -= size
            messages.append(message)
        return encode_frame(messages)

    @staticmethod
    def snapshot_frame(source: SendSnapshot, index: int, chunk: bytes, *, last: bool) -> bytes:
        return encode_frame((SnapChunk(source.epoch, source.base, index, chunk, crc32(chunk), last),))

    @staticmethod
    def records_frame(source: SendRecords, records: Sequence[Record]) -> bytes:
        return encode_frame((Entries(source.epoch, tuple(records)),))


class PeerLink:
    """A link with its number (the core's name for it) and what waits to be sent on it."""

    __slots__ = ("closed_by_us", "id", "link", "outbox", "writing")

    def __init__(self, id: int, link: Link) -> None:
        self.id = id
        self.link = link
        self.outbox = Outbox()
        self.closed_by_us = False
        self.writing = False  # the writer has taken something and is not through with all of it

    def close(self) -> None:
        self.link.close()


def size_of(message: Message) -> int:
    """About how many bytes it takes on the wire."""
    if isinstance(message, (Proposal, Entries)):
        return OVERHEAD_BYTES + sum(len(record.encoded) + RECORD_OVERHEAD_BYTES for record in message.records)
    if isinstance(message, Request):
        return OVERHEAD_BYTES + sum(len(entry) + RECORD_OVERHEAD_BYTES for entry in message.entries)
    if isinstance(message, SnapChunk):
        return OVERHEAD_BYTES + len(message.data)
    return OVERHEAD_BYTES
