"""Kills what a run has started if the run itself is killed: ``python -m tests.chaos.guardian``, a process that outlives it by an instant.

It reads process ids from its standard input. Whatever ends the run, by ``kill -9`` too, also ends that input, and then it kills what is
left. A member ends by itself at the end of its own input, but not one that is stopped, and stopped ones are what a run leaves
behind. (PR_SET_PDEATHSIG would be sent when the *thread* ends that made the process, and trio makes processes in threads that come and go.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import trio

PROJECT = Path(__file__).resolve().parents[2]


class Guardian:
    """The run's side of it."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        self._pipe = process.stdin.fileno()  # type: ignore[attr-defined]

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        command = [sys.executable, "-m", "tests.chaos.guardian"]
        # A session of its own: Ctrl-C on the run must not reach it.
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, cwd=PROJECT, start_new_session=True)
        assert process.stdin is not None
        try:
            yield cls(process)
        finally:
            with trio.CancelScope(shield=True):
                await process.stdin.aclose()
                await process.wait()

    def watch(self, pid: int) -> None:
        """Plain: a line fits into the pipe."""
        os.write(self._pipe, b"%d %s\n" % (pid, began(pid).encode()))


def began(pid: int) -> str:
    """When the process began, as the kernel counts it: tells it from another one that has got its number. "" where that can't be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def main() -> None:
    watched = [line.split() for line in sys.stdin]
    for pid, *when in watched:
        if [began(int(pid))] == (when or [""]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    main()
