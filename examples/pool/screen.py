"""What one sees: a live picture on a terminal (with ``rich``), plain lines anywhere else."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .stage import Play

NOTES_SHOWN = 8
REFRESH_INTERVAL = 0.1
PLAIN_STEP = 0.1


class Screen(Protocol):
    """``note`` is plain and may be called at any time; ``run`` shows progress until cancelled."""

    def note(self, text: str) -> None: ...
    async def run(self, play: Callable[[], Play]) -> None: ...


class PlainScreen:
    """A line for each note, and one for each tenth of the work."""

    def __init__(self) -> None:
        self._started = trio.current_time()

    def note(self, text: str) -> None:
        print(f"{trio.current_time() - self._started:6.2f} s  {text}", flush=True)

    async def run(self, play: Callable[[], Play]) -> None:
        shown = 0.0
        while True:
            now = play()
            if now.jobs and now.done / now.jobs >= shown + PLAIN_STEP:
                shown = now.done / now.jobs
                self.note(f"{now.done} of {now.jobs} results ({100 * shown:.0f} %)")
            await trio.sleep(REFRESH_INTERVAL)


class LiveScreen:
    """A table of the workers, a progress bar, and the newest notes. Needs ``rich``."""

    def __init__(self) -> None:
        self._started = trio.current_time()
        self._notes: deque[str] = deque(maxlen=NOTES_SHOWN)

    def note(self, text: str) -> None:
        self._notes.append(f"{trio.current_time() - self._started:6.2f} s  {text}")

    async def run(self, play: Callable[[], Play]) -> None:
        from rich.live import Live

        with Live(self._picture(play()), auto_refresh=False) as live:
            try:
                while True:
                    live.update(self._picture(play()), refresh=True)
                    await trio.sleep(REFRESH_INTERVAL)
            finally:
                live.update(self._picture(play()), refresh=True)

    def _picture(self, play: Play) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table("worker", "process", "role", "epoch", "applied zxid", "results", "")
        for row in self._rows(play):
            table.add_row(*row)
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=max(play.jobs, 1), completed=play.done, width=60), f"{play.done} of {play.jobs} results")
        return Group(table, bar, Text("\n".join(self._notes)))

    def _rows(self, play: Play) -> Iterator[tuple[str, ...]]:
        written = {str(actor.id): 0 for actor in play.actors.values()}
        for said in play.answered:
            written[said["by"]] += 1
        for actor in play.actors.values():
            status, process = actor.status, actor.process
            code = process.returncode if process is not None else None
            alive = process is not None and code is None
            offices = [office for office, holder in (("leader", play.leader), ("foreman", play.foreman)) if holder == actor.id]
            yield (
                str(actor.id),
                str(process.pid) if process is not None and alive else "[red]killed[/red]" if code == -9 else "left",
                status.get("role", "starting").lower() if alive else "",
                str(status.get("epoch", "")),
                f"{status['zxid']:#x}" if status else "",
                str(written[str(actor.id)]),
                f"[bold green]{', '.join(offices)}[/bold green]" if offices else "",
            )


def open_screen(*, plain: bool) -> Screen:
    """The live one if this is a terminal and ``rich`` is there, unless ``plain``."""
    if not plain and sys.stdout.isatty():
        try:
            import rich  # noqa: F401
        except ImportError:
            pass
        else:
            return LiveScreen()
    return PlainScreen()
