"""From committed records to the state that readers see: in slices, across loaded snapshots, and compared with the leader's.

Rules X-4 (what is applied was delivered by the core), Q-7 (what happens when a snapshot replaces the state), B-15 (digests)
and when an own snapshot is due (P-8). Invariant: ``Shared.tree`` never goes back: a state that was loaded from
a snapshot replaces it only once it is as far as readers have seen.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ..durable import SnapshotInfo
from ..record import Record
from ..tree.tree import Applied, Tree
from ..zxid import to_hex
from .agreement import Agreement
from .config_text import config_text
from .effects import LoadState, TakeSnapshot
from .shared import Shared


class Applier:
    """on_applied: called for each entry that becomes visible; on_jump(old): the state was replaced by a later one, entries unseen."""

    def __init__(
        self,
        shared: Shared,
        chain: int,
        snapshot_every: int,
        on_applied: Callable[[Applied], None],
        on_jump: Callable[[Tree], None],
    ) -> None:
        self._shared = shared
        self._on_applied = on_applied
        self._on_jump = on_jump
        self._backlog: deque[Record] = deque()
        self._chain = chain  # at the last record applied to whichever tree is growing
        self._loading: LoadState | None = None  # what is being read back; kept if it cannot be, until another load replaces it
        self._incoming: Tree | None = None  # loaded, not yet as far as readers have seen
        self._mark = shared.tree.applied  # last zxid applied as an entry or settled at
        self._snapshot_every = snapshot_every
        self._snapshot_at = shared.tree.applied
        self._since_snapshot = 0
        self._snapshot_asked = False
        self._untold = 0  # boundary of a difference that the leader has not been told of
        self._hopeless = False  # only another node can give the state
        self.agreement = Agreement()

    @property
    def hopeless(self) -> bool:
        """The own disk does not give a right state: only another node's snapshot can."""
        return self._hopeless

    @property
    def busy(self) -> bool:
        """Records wait to be applied, and could be."""
        return bool(self._backlog) and self._loading is None

    @property
    def settled(self) -> bool:
        """The state readers see is the one that grows."""
        return self._loading is None and self._incoming is None

    def deliver(self, records: tuple[Record, ...]) -> None:
        self._backlog.extend(records)

    def work(self, count: int) -> int:
        """Apply up to ``count`` waiting records; how many it were."""
        backlog = self._backlog
        done = 0
        record = None
        while backlog and done < count:
            record = backlog.popleft()
            done += 1
            if self._incoming is not None:
                self._apply_incoming(record)
            else:
                self._apply(record)
        if record is not None:
            self._chain = record.chain
            self._shared.peer.applied(record.zxid)
            self._compare()
            self._consider_snapshot()
        return done

    def _apply(self, record: Record) -> None:
        applied = self._shared.tree.apply(record, config_text(record))
        self._mark = record.zxid
        self._since_snapshot += 1
        self._on_applied(applied)

    # --- the state is replaced ----------------------------------------------------------------------------------------

    def load(self, base: int) -> None:
        """The history jumped: what is delivered from here on stands behind ``base``, and waits for the state there."""
        self._backlog.clear()
        self._incoming = None
        self._hopeless = False
        self._begin_load(base, base)

    def _begin_load(self, base: int, upto: int) -> None:
        self._loading = LoadState(base, upto)
        self._shared.emit(self._loading)

    def loaded(self, load: LoadState, tree: Tree, chain: int) -> None:
        """A load that another has overtaken gives a state to which what is delivered now does not fit: it is dropped."""
        if load is not self._loading:
            return
        self._loading = None
        self._incoming = tree
        self._chain = chain
        self._since_snapshot = 0
        self._snapshot_at = tree.applied
        self._adopt()

    def unreadable(self, load: LoadState, reason: str) -> None:
        """What is on this disk can't give the state; a peer's snapshot can. Nothing is applied until that is loaded."""
        if load is not self._loading:
            return
        self._shared.healthy = False
        self._shared.say(logging.ERROR, f"own state cannot be read back ({reason}); asking the leader for its own")
        self._give_up()

    def _give_up(self) -> None:
        self._hopeless = True
        self._shared.peer.resync()

    def _apply_incoming(self, record: Record) -> None:
        """Entries up to the mark were applied, answered and announced before the state was replaced (Q-7)."""
        assert self._incoming is not None
        self._incoming.apply(record, config_text(record))
        self._adopt()

    def _adopt(self) -> None:
        """Show the loaded state as soon as it is as far as what readers have seen."""
        tree, shared = self._incoming, self._shared
        if tree is None or tree.applied < self._mark:
            return
        old, shared.tree, self._incoming = shared.tree, tree, None
        if not shared.healthy:
            shared.healthy = True
            shared.say(logging.WARNING, f"state rebuilt as of {to_hex(tree.applied)}; serving again")
        shared.peer.applied(tree.applied)
        if tree.applied > self._mark:
            self._mark = tree.applied
            self._on_jump(old)

    # --- agreement ----------------------------------------------------------------------------------------------------

    def leader_says(self, zxid: int, digest: int) -> int:
        """A PING's boundary and digest. The boundary at which we differ, to be told with the PONG, else 0 (B-15)."""
        if self.settled:
            mismatch = self.agreement.leader_says(zxid, digest, self._shared.tree)
            if mismatch:
                self._disagree(mismatch)
        return self._untold

    def told(self) -> None:
        """The PONG is out. Only now may a hopeless replica leave: a leader that is itself wrong has to hear it from a quorum."""
        if self._untold:
            self._untold = 0
            if self._hopeless:
                self._shared.peer.resync()

    def _compare(self) -> None:
        if self.settled:
            mismatch = self.agreement.passed(self._shared.tree)
            if mismatch:
                self._disagree(mismatch)

    def _disagree(self, boundary: int) -> None:
        """(B-15) Stop serving; rebuild from the own disk, and if that is wrong too, from the leader's snapshot."""
        again, self.agreement.rebuilt = self.agreement.rebuilt, True
        self.agreement.forget_own()
        self._untold = boundary
        self._shared.healthy = False
        self._shared.say(
            logging.ERROR, f"the state here differs from the leader's at {to_hex(boundary)}; it is not served until it is rebuilt"
        )
        if again:
            self._hopeless = True
            return
        applied = self._shared.tree.applied
        newest = max((info.zxid for info in self._shared.peer.history.snapshots if info.zxid <= applied), default=0)
        self._begin_load(newest, applied)

    # --- own snapshots ------------------------------------------------------------------------------------------------

    def _consider_snapshot(self) -> None:
        if self._since_snapshot >= self._snapshot_every and not self._snapshot_asked and self.settled:
            self._snapshot_asked = True
            self._shared.emit(TakeSnapshot())

    def begin_snapshot(self) -> SnapshotInfo | None:
        """What a snapshot of the tree in this very step is the state of; None if there is nothing new, or no sound state."""
        self._snapshot_asked = False
        applied = self._shared.tree.applied
        if not self._shared.healthy or not self.settled or applied == self._snapshot_at:
            return None
        self._since_snapshot = 0
        self._snapshot_at = applied
        return SnapshotInfo(applied, self._chain, self._shared.peer.snapshot_meta())
