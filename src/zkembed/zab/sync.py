"""How a learner is brought to the leader's history: the choice of mode, and the stream (rules Y-1, Y-2, Y-4, Y-5).

Pure functions of the leader's history and what the learner said of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from ..durable import SnapshotInfo
from ..record import Record
from .effects import Effect, Send, SendRecords, SendSnapshot
from .history import History
from .messages import Entries, NewLeader, Sync, SyncMode


@frozen
class SyncPlan:
    """common: T; the stream's entries begin behind it, or behind the snapshot."""

    mode: SyncMode
    common: int
    snapshot: SnapshotInfo

    @property
    def after(self) -> int:
        return self.snapshot.zxid if self.mode is SyncMode.SNAP else self.common


def plan_sync(history: History, last_zxid: int, *, wants_snap: bool, diff_bytes_max: int) -> SyncPlan:
    """Which of DIFF, TRUNC and SNAP, for a learner whose log ends at ``last_zxid`` (rule Y-2).

    1. It asked for SNAP, or its log ends below this log's base: SNAP.
    2. A DIFF would carry more than ``diff_bytes_max`` and a snapshot lies ahead of it: SNAP.
    3. It ends at a record of this log: DIFF.  4. Else TRUNC to the greatest common zxid.

    The snapshot is the newest own one. A leader that has none still has its whole log: its "snapshot" is the empty history.
    """
    snapshot = history.snapshot or SnapshotInfo()
    common = history.floor(last_zxid)
    if wants_snap or common is None:
        return SyncPlan(SyncMode.SNAP, 0, snapshot)
    if snapshot.zxid > common and history.size(common, history.end) > diff_bytes_max:
        return SyncPlan(SyncMode.SNAP, 0, snapshot)
    mode = SyncMode.DIFF if common == last_zxid else SyncMode.TRUNC
    return SyncPlan(mode, common, SnapshotInfo())


def stream(history: History, plan: SyncPlan, link: int, epoch: int, bytes_max: int, send: Callable[[Effect], None]) -> int:
    """Queue the whole sync stream for ``link``; returns the cut p. The records not in the cache come from the disk, the rest from the
    cache; both are this one log, so they join exactly (rule Y-4)."""
    cut, snapshot = history.end, plan.snapshot
    snap = plan.mode is SyncMode.SNAP
    common_chain = 0 if snap else history.chain(plan.common) or 0
    send(Send(link, Sync(epoch, plan.mode, plan.common, common_chain, snapshot.zxid, snapshot.chain, snapshot.meta, cut)))
    if snap and snapshot.zxid:
        send(SendSnapshot(link, epoch, snapshot.zxid))
    after, cached = plan.after, history.cached_after()
    if after < cached:
        send(SendRecords(link, epoch, after, cached))
        after = cached
    for records in split(history.cached(after, cut), bytes_max):
        send(Send(link, Entries(epoch, records)))
    configs = tuple(configuration.encode() for configuration in history.configurations)
    send(Send(link, NewLeader(epoch, cut, history.end_chain, configs)))
    return cut


def split(records: Sequence[Record], bytes_max: int) -> Iterator[tuple[Record, ...]]:
    """Consecutive groups of at most ``bytes_max`` encoded bytes, but at least one record."""
    start = size = 0
    for position, record in enumerate(records):
        length = len(record.encoded)
        if position > start and size + length > bytes_max:
            yield tuple(records[start:position])
            start, size = position, 0
        size += length
    if start < len(records):
        yield tuple(records[start:])
