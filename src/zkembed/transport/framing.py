"""Frames on a byte stream: a length of four bytes, big-endian, and that many bytes of body (rule N-1).

Pure: bytes in, frames out. What a frame holds, where bytes come from and how long they may take is not known here.
A length is judged as soon as its four bytes are there, before any buffer is grown for it.
"""

from __future__ import annotations

from ..errors import BadArgumentsError

HEADER_BYTES = 4


def encode_frame(frame: bytes, frame_bytes_max: int) -> bytes:
    """``frame`` as it goes over the wire. Raises BadArgumentsError for an empty one and for one that the other end would refuse."""
    length = len(frame)
    if not 0 < length <= frame_bytes_max:
        raise BadArgumentsError(f"a frame of {length} bytes cannot be sent: 1 to {frame_bytes_max} are allowed")
    return length.to_bytes(HEADER_BYTES, "big") + frame


class FrameSplitter:
    """Cuts a stream into frames, fed with pieces of any size.

    frame_bytes_max: may be raised at a frame's border; a handshake has a smaller one than what follows it.
    error: why the stream cannot go on; None as long as it can. Frames in front of the fault are still given out.
    """

    __slots__ = ("_pending", "error", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.error: str | None = None
        # Invariant: a header, or part of one, and less than its whole body; empty between frames.
        self._pending = bytearray()

    @property
    def partial(self) -> bool:
        """Whether the first byte of a frame is here and its last is not."""
        return bool(self._pending)

    @property
    def missing(self) -> int:
        """How many bytes may be read without reading past a border: the rest of a header, or the rest of a body."""
        held = len(self._pending)
        if held < HEADER_BYTES:
            return HEADER_BYTES - held
        return HEADER_BYTES + int.from_bytes(self._pending[:HEADER_BYTES], "big") - held

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, in order. Behind a fault (see ``error``) everything is dropped."""
        frames: list[bytes] = []
        if self.error is not None:
            return frames
        start = self._finish_pending(data, frames) if self._pending else 0
        end = len(data)
        while end - start >= HEADER_BYTES:
            body = start + HEADER_BYTES
            stop = body + int.from_bytes(data[start:body], "big")
            if not self._allowed(stop - body):
                return frames
            if stop > end:
                break
            frames.append(data[body:stop])
            start = stop
        if start < end:
            self._pending += data[start:]
        return frames

    def _finish_pending(self, data: bytes, frames: list[bytes]) -> int:
        """Add to the frame begun earlier, and to nothing else. Returns how many bytes of ``data`` it took."""
        start = 0
        if len(self._pending) < HEADER_BYTES:
            start = self.missing
            self._pending += data[:start]
            if len(self._pending) < HEADER_BYTES:
                return len(data)
            if not self._allowed(int.from_bytes(self._pending, "big")):
                return len(data)
        stop = start + self.missing
        self._pending += data[start:stop]
        if stop > len(data):
            return len(data)
        frames.append(bytes(memoryview(self._pending)[HEADER_BYTES:]))
        self._pending = bytearray()
        return stop

    def _allowed(self, length: int) -> bool:
        if 0 < length <= self.frame_bytes_max:
            return True
        self.error = f"a frame of {length} bytes was announced: 1 to {self.frame_bytes_max} are allowed"
        self._pending = bytearray()
        return False
