"""A process's part of the history, in a file of its own: one event a line, written before what it announces and behind what it reports.

A line is in the kernel's hands when ``record`` returns, so ``kill -9`` loses none; the last one may be torn, and then what it announced
was never begun, or what it reports was never told to anybody. Time is the monotonic clock, which all processes of a machine
share: sorted by it, the files of all processes are one history.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from heapq import merge
from pathlib import Path
from typing import Any

from zkembed.testing.history import Event, from_row, to_row

BYTES = "bytes"


class Diary:
    """path: appended to, made if missing.  node, life: whose events ``write`` notes."""

    def __init__(self, path: Path, node: int = 0, life: int = 0) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.node = node
        self.life = life

    def write(self, kind: type[Event], *fields: Any) -> None:
        """An event of this kind, of this node and life, now. fields: those behind ``t``, ``node`` and ``life``."""
        self.write_of(self.node, self.life, kind, *fields)

    def write_of(self, node: int, life: int, kind: type[Event], *fields: Any) -> None:
        """Likewise, of another's."""
        self.record(kind(time.monotonic(), node, life, *fields))

    def record(self, event: Event) -> None:
        line = encode_line(event)
        while line:
            line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        os.close(self._fd)


def encode_line(event: Event) -> bytes:
    return json.dumps(to_row(event), default=_wrap, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _wrap(value: object) -> dict[str, str]:
    """Bytes as text that people can read where they were text."""
    if isinstance(value, bytes):
        return {BYTES: value.decode("latin-1")}
    raise TypeError(f"{value!r} is no plain value")


def _unwrap(value: dict[str, str]) -> bytes:
    return value[BYTES].encode("latin-1")


def read_diary(path: Path) -> Iterator[Event]:
    """Its events in order. A torn last line is left out; any other bad line raises DecodeError or ValueError."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield from_row(json.loads(line.decode("utf-8", "surrogatepass"), object_hook=_unwrap))


def merge_diaries(paths: Iterable[Path]) -> list[Event]:
    """All their events by time. Events of one file keep their order; where two files name one instant, the first file comes first."""
    return list(merge(*(read_diary(path) for path in paths), key=lambda event: event.t))
