"""A wake-up for one task: rung by plain code, any number of times, heard once."""

from __future__ import annotations

import trio


class Bell:
    """Cheaper than an Event for each wake-up: one ``reschedule``, no allocation."""

    __slots__ = ("_rung", "_task")

    def __init__(self) -> None:
        self._rung = False
        self._task: trio.lowlevel.Task | None = None

    def ring(self) -> None:
        """The waiting task goes on; if none waits, the next wait returns at once. Plain."""
        task = self._task
        if task is None:
            self._rung = True
        else:
            self._task = None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Park until rung. One task only. A checkpoint; cancelled, a ring is not lost."""
        if self._rung:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._rung = False
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
