"""A watch whose every event stands in the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...tree.events import WatchedEvent
from ...tree.watches import WatchMode
from ..history import WatchEnded, WatchFired, WatchSet, plain_stat

if TYPE_CHECKING:
    from .client import Client

STREAMS = (WatchMode.PERSISTENT, WatchMode.RECURSIVE)


class RecordedWatch:
    """One watch on one path; a Watcher for the replica. zxid: of the state in which it was set, -1 before.

    tell: asked in the step of the event, and in the step in which it ends; plain.
    """

    __slots__ = ("_client", "_tell", "mode", "number", "over", "path", "zxid")

    def __init__(self, client: Client, path: str, mode: WatchMode, tell: Callable[[], None] | None = None) -> None:
        self._client = client
        self._tell = tell
        self.path = path
        self.mode = mode
        self.number = 0
        self.zxid = -1
        self.over = False

    @property
    def loose(self) -> bool:
        """Nothing is built on it."""
        return self._tell is None

    def set(self, zxid: int) -> None:
        """Register it; the replica's state is that of ``zxid``. A stream belongs to the node, any other watch to the session.

        Recorded at once, before the read that sets it has returned: what is applied later in this very step may be an event for it.
        """
        client = self._client
        self.zxid = zxid
        client.replica.watch(None if self.mode in STREAMS else client.session, self, self.path, self.mode)
        journal = client.journal
        self.number = journal.next_watch()
        owner = 0 if self.mode in STREAMS else client.number
        journal.record(WatchSet(journal.now, client.host.id, client.life, self.number, owner, self.path, self.mode.name, zxid))
        client.watches[self] = None

    def deliver(self, event: WatchedEvent) -> None:
        client = self._client
        journal = client.journal
        stat = plain_stat(event.stat)
        journal.record(
            WatchFired(journal.now, client.host.id, client.life, self.number, event.kind.name, event.path, event.zxid, event.data, stat)
        )
        if self.mode not in STREAMS:
            self.over = True
            client.watches.pop(self, None)
        self._told()

    def end(self, error: BaseException) -> None:
        self.note_end("ended")
        self._told()

    def remove(self) -> None:
        """Its owner wants no more events. Idempotent; plain."""
        if self.zxid >= 0 and not self.over and self._client.alive:
            self._client.replica.unwatch(self)
            self.note_end("removed")
        self.over = True
        self._tell = None

    def note_end(self, how: str) -> None:
        if self.number and not self.over:
            client = self._client
            client.journal.record(WatchEnded(client.journal.now, client.host.id, client.life, self.number, how))
            client.watches.pop(self, None)
        self.over = True

    def _told(self) -> None:
        if self._tell is not None:
            self._tell()
