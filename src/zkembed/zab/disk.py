"""Disk operations in flight, and what is durable: the only place where a completion becomes a fact (rule X-2).

The disk executes operations strictly in order, so a completion always answers the oldest one. Each operation belongs to the role
that asked for it; when that role has ended the completion still moves the durable marks, and triggers nothing more (rule X-3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import frozen

from ..durable import Epochs, SnapshotInfo
from ..errors import InternalError
from ..record import Record
from .effects import (
    AbortInstall,
    Append,
    BeginInstall,
    CommitInstall,
    DiskOp,
    Effect,
    InstallChunk,
    InstallRecords,
    Seal,
    SetEpochs,
    Truncate,
)
from .history import History


@frozen
class Pending:
    """One operation in flight. upto: end of the log once it is done (Append, CommitInstall).  staged: see ``commit_install``."""

    effect: DiskOp
    owner: object
    upto: int = 0
    staged: History | None = None


class Disk:
    """Invariant: ``epochs`` is what the disk holds; ``promised`` is what it will hold when all in flight is done."""

    def __init__(self, history: History, epochs: Epochs, emit: Callable[[Effect], None]) -> None:
        self.history = history
        self.epochs = epochs
        self.promised = epochs
        self._emit = emit
        self._pending: deque[Pending] = deque()
        self._op = 0
        self._installing = False
        self._idle_since = 0.0
        self._sealed = True

    @property
    def idle(self) -> bool:
        return not self._pending

    def _issue(self, effect: DiskOp, owner: object, upto: int = 0, staged: History | None = None) -> None:
        self._pending.append(Pending(effect, owner, upto, staged))
        self._emit(effect)

    def _next(self) -> int:
        self._op += 1
        return self._op

    def append(self, records: tuple[Record, ...], owner: object) -> None:
        self._sealed = False
        self._issue(Append(self._next(), records), owner, upto=records[-1].zxid)

    def set_epochs(self, epochs: Epochs, owner: object) -> None:
        """Raises InternalError if a promise would be broken (section 18.1)."""
        before = self.promised
        if epochs.accepted < before.accepted or epochs.current < before.current or epochs.current > epochs.accepted:
            raise InternalError(f"epochs may not go from {before} to {epochs}")
        self.promised = epochs
        self._issue(SetEpochs(self._next(), epochs), owner)

    def truncate(self, zxid: int, owner: object) -> None:
        self.history.truncate(zxid)
        self._sealed = True
        self._issue(Truncate(self._next(), zxid), owner)

    def begin_install(self, info: SnapshotInfo, owner: object) -> None:
        self._installing = True
        self._issue(BeginInstall(self._next(), info), owner)

    def install_chunk(self, data: bytes, owner: object) -> None:
        self._issue(InstallChunk(self._next(), data), owner)

    def install_records(self, records: tuple[Record, ...], owner: object) -> None:
        self._issue(InstallRecords(self._next(), records), owner)

    def commit_install(self, staged: History, owner: object) -> None:
        """The history becomes ``staged`` when this is done; until then the old one is what the node reports (rule P-7)."""
        self._installing = False
        self._sealed = True
        self._issue(CommitInstall(self._next()), owner, upto=staged.end, staged=staged)

    def abandon_install(self) -> None:
        """The role ended before the switch was asked for: the new generation is dropped, the old log stays (rule Y-10)."""
        if self._installing:
            self._installing = False
            self._issue(AbortInstall(self._next()), None)

    def seal_if_idle(self, now: float, tick: float) -> None:
        """Rule P-4: vouch for the last batch once the log has been idle for a tick."""
        if not self._sealed and not self._pending and now - self._idle_since >= tick:
            self._sealed = True
            self._issue(Seal(self._next()), None)

    def done(self, op: int, now: float) -> Pending:
        """The oldest operation is durable: move the marks, and return it for its owner. Raises InternalError for any other ``op``."""
        if not self._pending or self._pending[0].effect.op != op:
            raise InternalError(f"disk operation {op} completed out of order")
        pending = self._pending.popleft()
        effect = pending.effect
        self._idle_since = now
        if type(effect) is Append:
            self.history.set_durable(pending.upto)
        elif type(effect) is SetEpochs:
            self.epochs = effect.epochs
        elif type(effect) is CommitInstall:
            assert pending.staged is not None
            self.history.adopt(pending.staged)
            self.history.set_durable(pending.upto)
        return pending
