"""What the replica asks of its driver, beside the effects of the core that it passes on (zab/effects.py): those for network
and disk, Report and Halt. Values; nothing here calls back.
"""

from __future__ import annotations

from attrs import frozen

from ..endpoint import SessionState, Watcher
from ..errors import ZkError
from ..tree.events import WatchedEvent
from ..zab import effects as zab
from .pipeline import Barrier, Call, LocalSession, Read


@frozen
class Settled:
    """A call, read or barrier of a local session has its outcome; whoever waits for it goes on."""

    ticket: Call | Read | Barrier


@frozen
class Notify:
    watcher: Watcher
    event: WatchedEvent


@frozen
class EndWatcher:
    watcher: Watcher
    error: ZkError


@frozen
class SessionChanged:
    session: LocalSession
    state: SessionState


@frozen
class LoadState:
    """Read the own snapshot at ``base`` (0: the empty state), apply the own records (base, upto], and call ``Replica.state_loaded``."""

    base: int
    upto: int


@frozen
class TakeSnapshot:
    """Enough was applied since the last one: call ``Replica.begin_snapshot`` when no other is under way."""


@frozen
class RoleSeen:
    """Role, leader or serving state of the node has changed; read it from the replica."""


Effect = (
    Settled
    | Notify
    | EndWatcher
    | SessionChanged
    | LoadState
    | TakeSnapshot
    | RoleSeen
    | zab.Dial
    | zab.Send
    | zab.SendSnapshot
    | zab.SendRecords
    | zab.CloseLink
    | zab.DiskOp
    | zab.Report
    | zab.Halt
)
