"""Where the tasks of one client line up before they go to the ensemble, so that a process contends with one znode (H9).

The one in front takes a new znode for each acquisition: tokens rise, and other processes get their turn in between. Here
is also seen when a task is about to wait for itself (H8).
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import trio

from ..client import Client
from ..errors import BadArgumentsError


class Line:
    """The tasks that have, or want, the lock at one path through one client."""

    def __init__(self) -> None:
        self.front = trio.Lock()
        self.tasks: set[trio.lowlevel.Task] = set()


# Weak: a client that is gone takes its lines along. Invariant: every line in it has tasks.
_lines: WeakKeyDictionary[Client, dict[str, Line]] = WeakKeyDictionary()


class PlaceInLine:
    """One task's place. single: only the task in front goes on; else all do, and only ``tasks`` is kept."""

    def __init__(self, zk: Client, path: str, *, single: bool) -> None:
        self._zk = zk
        self._path = path
        self._single = single
        self._line: Line | None = None
        self._task: trio.lowlevel.Task | None = None

    async def take(self, *, wait: bool) -> None:
        """Return when in front. A checkpoint. Raises BadArgumentsError (this very task is in the line), trio.WouldBlock (not ``wait``)."""
        task = trio.lowlevel.current_task()
        line = _lines.setdefault(self._zk, {}).setdefault(self._path, Line())
        if task in line.tasks:
            raise BadArgumentsError(f"{self._path!r}: this task holds it already, and would wait for itself for ever (it is not reentrant)")
        line.tasks.add(task)
        self._line, self._task = line, task
        try:
            if not self._single:
                await trio.lowlevel.checkpoint()
            elif wait:
                await line.front.acquire()
            else:
                line.front.acquire_nowait()
                await trio.lowlevel.checkpoint()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """The next one's turn. Plain, idempotent."""
        line, self._line = self._line, None
        if line is None:
            return
        assert self._task is not None
        line.tasks.discard(self._task)
        if line.front.statistics().owner is self._task:
            line.front.release()
        if not line.tasks:
            del _lines[self._zk][self._path]
