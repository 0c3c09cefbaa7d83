"""JSON objects, one a line, over a pipe: how the benchmark and its members talk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trio.abc import ReceiveStream, SendStream

READ_BYTES = 2**16


class LineReader:
    """receive: the next object; None at the end of the stream."""

    def __init__(self, stream: ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def receive(self) -> dict[str, Any] | None:
        while (end := self._buffer.find(b"\n")) < 0:
            chunk = await self._stream.receive_some(READ_BYTES)
            if not chunk:
                return None
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message


async def send_line(stream: SendStream, message: Mapping[str, object]) -> None:
    await stream.send_all(json.dumps(message).encode() + b"\n")
