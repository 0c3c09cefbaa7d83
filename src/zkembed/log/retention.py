"""What purge may delete (rule P-9). A pure choice: no files here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from .segments import Segment


@frozen
class Purge:
    """segments: how many go, from the front.  snapshots: zxids of those that go."""

    segments: int = 0
    snapshots: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.segments > 0 or bool(self.snapshots)


def plan_purge(
    segments: Sequence[Segment],
    snapshots: Iterable[int],
    *,
    records_from: int,
    kept: int,
    may_go: Callable[[Segment], bool],
    snapshot_may_go: Callable[[int], bool],
) -> Purge:
    """Keep the ``kept`` newest snapshots, two at least, from which the log is unbroken, and the log behind the oldest of them.

    All snapshots were read back when they were made; one without the log behind it does not count. may_go: not pinned and not
    being written.
    """
    usable = sorted((zxid for zxid in snapshots if zxid >= records_from), reverse=True)[: max(kept, 2)]
    if len(usable) < 2:
        return Purge()
    floor = usable[-1]
    gone = 0
    for segment in segments:
        if segment.last > floor or not may_go(segment):
            break
        gone += 1
    return Purge(gone, tuple(sorted(zxid for zxid in snapshots if zxid < floor and snapshot_may_go(zxid))))
