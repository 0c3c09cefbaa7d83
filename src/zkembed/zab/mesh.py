"""The election links: dialling every other member, saying what this node's election state is, and whom it hears.

Election links are one-way. This node speaks on those it dialled and listens on those it was dialled on, so "heard" and "told" are
separate facts of each peer (rule E-2). What is said is state, not a stream: each peer is owed the current notification, at once
when it changes and now and then again (rule E-10). One unreachable peer delays no other: each has its own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .effects import Dial, Effect, Purpose
from .links import Link, Links
from .messages import Notify
from .settings import Settings

_NOTIFY_JITTER = 0.5
_DIAL_JITTER = 0.3


class Backoff:
    """When to dial next: at once, then ``dial_min`` doubling to ``dial_max``, plus jitter (rule E-12)."""

    __slots__ = ("_delay", "_jitter", "_settings", "at", "dialling")

    def __init__(self, settings: Settings, jitter: Callable[[], float], now: float) -> None:
        self._settings = settings
        self._jitter = jitter
        self._delay = settings.dial_min
        self.at = now
        self.dialling = False

    def failed(self, now: float) -> None:
        self.dialling = False
        self.at = now + self._delay * (1 + _DIAL_JITTER * self._jitter())
        self._delay = min(self._delay * 2, self._settings.dial_max)

    def closed(self, now: float, up_at: float) -> None:
        """A link that lived is redialled at once; one that was closed as soon as it was up counts as a failed attempt."""
        if now - up_at >= self._settings.dial_max:
            self._delay = self._settings.dial_min
            self.dialling = False
            self.at = now
        else:
            self.failed(now)

    def hurry(self, now: float) -> None:
        """There is a sign of life from the other end."""
        self._delay = self._settings.dial_min
        self.at = min(self.at, now)


REFUSED = "refused"
"""Trouble with an address where nobody listens: the process is surely down."""


class Remote:
    """One other member. newest: the last notification over the inbound link that is up, else None.

    due: when to repeat the own notification.  trouble: why the last dial failed.
    """

    __slots__ = ("backoff", "due", "inbound", "newest", "node_id", "outbound", "repeat", "trouble")

    def __init__(self, node_id: int, backoff: Backoff) -> None:
        self.node_id = node_id
        self.backoff = backoff
        self.outbound: Link | None = None
        self.inbound: Link | None = None
        self.newest: Notify | None = None
        self.due = 0.0
        self.repeat = 0.0
        self.trouble = "no answer"


class Mesh:
    """All other members, in order of node id."""

    def __init__(self, node_id: int, settings: Settings, jitter: Callable[[], float], links: Links, emit: Callable[[Effect], None]) -> None:
        self._node_id = node_id
        self._settings = settings
        self._jitter = jitter
        self._links = links
        self._emit = emit
        self._remotes: dict[int, Remote] = {}
        self._said: Notify | None = None

    def __iter__(self) -> Iterator[Remote]:
        return iter(tuple(self._remotes.values()))

    def get(self, node_id: int) -> Remote | None:
        return self._remotes.get(node_id)

    def set_members(self, node_ids: Iterable[int], now: float) -> tuple[Link, ...]:
        """Follow a changed configuration; the links to those no longer in it, for the caller to close."""
        wanted = sorted(set(node_ids) - {self._node_id})
        gone = [remote for remote in self if remote.node_id not in wanted]
        self._remotes = {
            node_id: self._remotes.get(node_id) or Remote(node_id, Backoff(self._settings, self._jitter, now)) for node_id in wanted
        }
        return tuple(link for remote in gone for link in (remote.outbound, remote.inbound) if link is not None)

    # --- links -------------------------------------------------------------------------------------------------------

    def up(self, link: Link, now: float) -> None:
        remote = self._remotes.get(link.node_id)
        if remote is None:
            return
        if link.outbound:
            remote.outbound = link
            remote.backoff.dialling = False
            self._tell(remote, now, first=True)
            return
        remote.inbound = link
        remote.newest = None
        stale = remote.outbound is not None and (remote.outbound.storage_id, remote.outbound.incarnation) != (
            link.storage_id,
            link.incarnation,
        )
        if stale and remote.outbound is not None:
            # Its process died and came back before the old connection noticed: what is said there, nobody hears.
            self._links.close(remote.outbound.id, "the node behind it has restarted")
            remote.outbound = None
        remote.backoff.hurry(now)

    def down(self, link: Link, now: float) -> None:
        """The link is gone, whoever closed it."""
        remote = self._remotes.get(link.node_id)
        if remote is None:
            return
        if remote.outbound is link:
            remote.outbound = None
            remote.backoff.closed(now, link.up_at)
        elif remote.inbound is link:
            remote.inbound = None
            remote.newest = None

    def dial_failed(self, node_id: int, reason: str, now: float) -> None:
        remote = self._remotes.get(node_id)
        if remote is not None and remote.backoff.dialling:
            remote.trouble = reason
            remote.backoff.failed(now)

    # --- hearing -----------------------------------------------------------------------------------------------------

    def hears(self, remote: Remote, now: float) -> bool:
        return remote.inbound is not None and now < remote.inbound.heard_at + self._settings.sync_limit

    def heard(self, now: float) -> dict[int, bytes]:
        """Storage ids by node id of everybody heard now (rule E-2)."""
        limit = self._settings.sync_limit
        return {
            remote.node_id: remote.inbound.storage_id
            for remote in self._remotes.values()
            if remote.inbound is not None and now < remote.inbound.heard_at + limit
        }

    # --- saying ------------------------------------------------------------------------------------------------------

    def publish(self, notify: Notify, now: float) -> bool:
        """This is the election state now; if that is news, everybody is told at once (rule E-10). Returns whether it was."""
        if notify == self._said:
            return False
        self._said = notify
        for remote in self._remotes.values():
            self._tell(remote, now, first=True)
        return True

    def answer(self, node_id: int, now: float) -> None:
        remote = self._remotes.get(node_id)
        if remote is not None:
            self._tell(remote, now, first=True)

    def _tell(self, remote: Remote, now: float, *, first: bool) -> None:
        if remote.outbound is None or self._said is None:
            return
        settings = self._settings
        remote.repeat = settings.notify_min if first else min(remote.repeat * 2, settings.notify_max)
        remote.due = now + remote.repeat * (1 + _NOTIFY_JITTER * self._jitter())
        self._links.send(remote.outbound.id, self._said)

    # --- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        for remote in self._remotes.values():
            if remote.outbound is None:
                if not remote.backoff.dialling and now >= remote.backoff.at:
                    remote.backoff.dialling = True
                    self._emit(Dial(remote.node_id, Purpose.ELECTION))
            elif now >= remote.due:
                self._tell(remote, now, first=False)

    def silent(self, now: float) -> tuple[Link, ...]:
        """Inbound links that have said nothing for so long that the other end cannot still believe in them."""
        return tuple(
            remote.inbound
            for remote in self._remotes.values()
            if remote.inbound is not None and now >= remote.inbound.heard_at + self._settings.init_limit
        )

    def deadline(self) -> float:
        times = [remote.due for remote in self._remotes.values() if remote.outbound is not None]
        times += [remote.backoff.at for remote in self._remotes.values() if remote.outbound is None and not remote.backoff.dialling]
        return min(times, default=float("inf"))

    def next_silence(self, now: float) -> float:
        """When the next peer that is heard now falls silent."""
        limit = self._settings.sync_limit
        times = (remote.inbound.heard_at + limit for remote in self._remotes.values() if remote.inbound is not None)
        return min((time for time in times if time > now), default=float("inf"))
