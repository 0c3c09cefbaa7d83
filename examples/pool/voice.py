"""How a worker speaks to the stage: one JSON object a line, on standard output."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from typing import Protocol

import trio


class Say(Protocol):
    """Tells the stage of an event. Plain."""

    def __call__(self, event: str, /, **values: object) -> None: ...


class Voice:
    """Writes in a thread, in order, what has been said meanwhile: a slow reader holds up nobody."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](math.inf)

    def say(self, event: str, /, **values: object) -> None:
        self._send.send_nowait(json.dumps({"event": event, **values}) + "\n")

    async def run(self) -> None:
        """Until cancelled. What has not been written by then is not said."""
        async for line in self._receive:
            lines = [line]
            with suppress(trio.WouldBlock):
                while True:
                    lines.append(self._receive.receive_nowait())
            await trio.to_thread.run_sync(write_all, "".join(lines).encode(), abandon_on_cancel=True)


def write_all(data: bytes) -> None:
    """To standard output. Not sys.stdout: a thread abandoned in there would hold its lock while the interpreter ends."""
    while data:
        data = data[os.write(1, data) :]
