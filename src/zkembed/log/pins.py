"""Which files readers still need; a file that must go while it is pinned goes with its last pin (rule Y-4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock

from ..errors import StorageError
from .disk import Disk


class Pins:
    """Thread-safe: readers close in threads of their own."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = Lock()
        self._pins: Counter[str] = Counter()
        self._doomed: set[str] = set()

    def pin(self, names: Iterable[str]) -> None:
        with self._lock:
            self._pins.update(names)

    def unpin(self, names: Iterable[str]) -> None:
        """Never raises: what could not be deleted now is a leftover, and the next start deletes it."""
        with self._lock:
            for name in names:
                self._pins[name] -= 1
                if self._pins[name] <= 0:
                    del self._pins[name]
                    if name in self._doomed:
                        self._doomed.remove(name)
                        with suppress(StorageError):
                            self._disk.unlink(name)

    def is_pinned(self, name: str) -> bool:
        with self._lock:
            return name in self._pins

    def unlink(self, name: str) -> None:
        """Delete the file, which is live no more, now or with its last pin."""
        with self._lock:
            if name in self._pins:
                self._doomed.add(name)
            else:
                self._disk.unlink(name)

    def clear(self) -> None:
        """The directory is about to be given up: what is doomed stays for the next start, which may be another process's."""
        with self._lock:
            self._doomed.clear()
