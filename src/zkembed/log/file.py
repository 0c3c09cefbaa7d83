"""FileLog: the log in a directory of real files."""

from __future__ import annotations

import os
from collections.abc import Callable

from .engine import LogEngine, LogOptions
from .os_disk import OsDisk

SEGMENT_BYTES = 32 << 20
EXTEND_BYTES = 1 << 20
RESERVE_BYTES = 8 << 20


class FileLog(LogEngine):
    """path: the data directory, made by ``open`` if it is missing; until then nothing is touched.

    fsync: False leaves it to the operating system when to write: a crash of the process loses nothing, one of the machine makes the
    next start a new storage id with an empty log (rule I-5). segment_bytes: a segment of this size gets no more batches.
    snapshots_kept: two at least (rule P-9). reserve_bytes: disk space set aside to finish on when the disk is full (rule P-13).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        snapshots_kept: int = 2,
        reserve_bytes: int = RESERVE_BYTES,
        extend_bytes: int = EXTEND_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        options = LogOptions(segment_bytes, extend_bytes, reserve_bytes, snapshots_kept, random_bytes)
        self._files = OsDisk(path, fsync=fsync)
        super().__init__(self._files, options, inline=False, durable=True, fsync=fsync)

    def check(self) -> None:
        self._files.check_unlocked()
