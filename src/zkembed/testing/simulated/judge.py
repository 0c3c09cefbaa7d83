"""The judge of agreement: A1 to A12, D4, D5, E1 and E2 of docs/invariants.md, from disks, messages and states, not from what the machines
believe.

It looks after every step, so a run stops at the first bad one. What it takes for committed it tells a History, if it has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...durable import Epochs
from ...record import Kind, Record
from ...tree.tree import Applied, Tree
from ...zab.effects import Append, CommitInstall, Deliver, Effect, InstallRecords, LoadSnapshot, Role, Send, Serving, SetEpochs, Truncate
from ...zab.messages import Ack, AckEpoch, AckNewLeader, LeaderInfo, Message, NewLeader, Sync
from ...zab.quorum import Configuration
from ...zxid import EMPTY, epoch_of, to_hex
from ..checkers import Violation
from ..history import Committed, History
from .disk import Generation

if TYPE_CHECKING:
    from .node import SimNode

Voter = tuple[int, bytes]
"""Node id and storage id."""


def majority_point(configuration: Configuration, held: Mapping[Voter, int]) -> int:
    """The greatest zxid that a majority of its voters hold."""
    points = sorted((held.get(voter, EMPTY) for voter in configuration.voters.items()), reverse=True)
    return points[len(points) // 2]


class Judge:
    """committed: the sequence C. An entry of epoch e is in it once a quorum of voters have each held it durably, at some moment while their
    current = accepted = e; no node needs to know.

    judged: how often each invariant had something to judge.
    """

    ids = ("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "D4", "D5", "E1", "E2")

    def __init__(self, history: History | None = None, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.history = history
        self.clock = clock
        self.judged: Counter[str] = Counter()
        self.committed: list[Record] = []
        self.position: dict[int, int] = {EMPTY: 0}
        self.proposed: dict[int, Record] = {}
        self._given: dict[int, Record] = {}  # found on disks at a start: a test may have put them there
        self.established: dict[int, int] = {}
        self.established_count = 0
        self.configurations: list[Configuration] = []
        """Committed ones, oldest first."""
        self.told = EMPTY
        """Up to where entries are known committed on a majority's disks: by the hints of entries behind them (C-3)."""
        self.check_every = 1
        self._steps = 0
        self._held: dict[int, dict[Voter, int]] = {}
        self._epochs: dict[bytes, Epochs] = {}
        self._commit_points: dict[tuple[int, int], int] = {}
        self._acked: dict[tuple[int, int, int], dict[Voter, int]] = {}
        self._applied: dict[tuple[int, int], int] = {}
        self._distrusted: set[bytes] = set()
        self._initial: dict[int, tuple[int, int]] = {}
        self._digests: dict[int, tuple[int, int]] = {}

    @property
    def end(self) -> int:
        return self.committed[-1].zxid if self.committed else EMPTY

    def _fail(self, check: str, text: str, *nodes: int) -> None:
        raise Violation(check, text, nodes)

    def distrust(self, storage_id: bytes) -> None:
        """A DAMAGED log's copies do not count until it is whole again."""
        self._distrusted.add(storage_id)

    def distrusted(self, storage_id: bytes) -> bool:
        return storage_id in self._distrusted

    def forget(self, storage_id: bytes) -> None:
        """An old copy of its directory is back: its promises of since are not known to it."""
        self._epochs.pop(storage_id, None)

    # disks

    def disk_changed(self, node: SimNode, effect: Any, before: Generation | None) -> None:
        """before: what was live, if this operation may take something away."""
        disk = node.disk
        kind = type(effect)
        if kind is SetEpochs:
            self._check_epochs(node)
            if not disk.epochs.damaged:
                self._distrusted.discard(disk.storage_id)
        if before is not None and kind in (Truncate, CommitInstall):
            self._check_cut(node, before)
        if kind in (Append, SetEpochs, CommitInstall):
            self._note_held(node)

    def _check_epochs(self, node: SimNode) -> None:
        storage, epochs = node.disk.storage_id, node.disk.epochs
        known = self._epochs.get(storage, Epochs())
        self.judged["A6"] += 1
        if epochs.accepted < known.accepted or epochs.current < known.current or epochs.current > epochs.accepted:
            self._fail("A6", f"node {node.id}: epochs went from {known} to {epochs}", node.id)
        self._epochs[storage] = epochs
        if epochs.current > known.current and not epochs.damaged:
            self._check_initial(node)

    def _check_initial(self, node: SimNode) -> None:
        """A8: current = e becomes durable only on top of the whole of I_e (rules Y-6, D-6); the leader's own log is I_e."""
        epochs, live = node.disk.epochs, node.disk.live
        if epochs.accepted_leader == node.id:
            self._initial.setdefault(epochs.current, (live.end, live.end_chain))
        zxid, chain = self._initial.get(epochs.current, (EMPTY, 0))
        self.judged["A8"] += 1
        if live.base.zxid < zxid and live.chain_at(zxid) != chain:
            self._fail("A8", f"node {node.id} has current = {epochs.current} without its initial history up to {to_hex(zxid)}", node.id)

    def _check_cut(self, node: SimNode, before: Generation) -> None:
        """A11: a log is never cut below what is committed and it held."""
        if node.disk.storage_id in self._distrusted:
            return
        self.judged["A11"] += 1
        held = next((record for record in reversed(self.committed) if before.chain_at(record.zxid) == record.chain), None)
        live = node.disk.live
        if held is not None and not self._covers(live, held):
            self._fail("A11", f"node {node.id} cut its log to {to_hex(live.end)}, committed entry {to_hex(held.zxid)} was there", node.id)

    @staticmethod
    def _covers(live: Generation, record: Record) -> bool:
        return live.base.zxid >= record.zxid or live.chain_at(record.zxid) == record.chain

    def _note_held(self, node: SimNode) -> None:
        disk = node.disk
        epoch, live = disk.epochs.current, disk.live
        if epoch != disk.epochs.accepted or epoch == 0 or disk.storage_id in self._distrusted:
            return
        held = self._held.setdefault(epoch, {})
        voter = (node.id, disk.storage_id)
        if live.end > held.get(voter, EMPTY):
            held[voter] = live.end
            self._extend(node, epoch, held)

    def _extend(self, node: SimNode, epoch: int, held: Mapping[Voter, int]) -> None:
        """What a quorum holds is committed: before an undecided CONFIG by the old one's, at it by both, behind it by its own (B-5)."""
        if not self.configurations:
            first = node.disk.live.records[0] if node.disk.live.records else None
            if first is None or first.kind is not Kind.CONFIG:
                return
            self.configurations.append(Configuration.decode(first.payload))
        while True:
            ruling = self.configurations[-1]
            point = majority_point(ruling, held)
            if point <= self.end:
                self._check_known(epoch, point)
                return
            path = self._path_to(point, epoch, node)
            change = next((record for record in path if record.kind is Kind.CONFIG and record.zxid > ruling.version), None)
            if change is None:
                self._commit(path)
                return
            self._commit(record for record in path if record.zxid < change.zxid)
            following = Configuration.decode(change.payload)
            self.judged["A12"] += 1
            if majority_point(following, held) < change.zxid:
                return
            self._commit((change,))
            self.configurations.append(following)

    def _check_known(self, epoch: int, point: int) -> None:
        """A4: what an epoch commits once later ones have committed something is in C already."""
        if point not in self.position and self.committed and point > self.committed[0].prev_zxid:
            self._fail("A4", f"epoch {epoch} commits {to_hex(point)}, C ends at {to_hex(self.end)} without it")

    def _path_to(self, point: int, epoch: int, node: SimNode) -> list[Record]:
        """The records behind what is committed, up to ``point``; they must stand on it (A2)."""
        self.judged["A2"] += 1
        path: list[Record] = []
        zxid = point
        while zxid > self.end:
            record = self.proposed.get(zxid) or self._given[zxid]
            path.append(record)
            zxid = record.prev_zxid
        if zxid != self.end:
            self._fail("A2", f"epoch {epoch} commits up to {to_hex(point)}, but its log lacks committed {to_hex(self.end)}", node.id)
        path.reverse()
        return path

    def _commit(self, records: Iterable[Record]) -> None:
        for record in records:
            self._check_order(record)
            self.told = max(self.told, record.commit_hint)
            self.position[record.zxid] = len(self.committed) + 1
            self.committed.append(record)
            if self.history is not None:
                self.history.record(Committed(self.clock(), 0, 0, record.zxid, record.chain, record.kind.name, record.time, record.payload))

    def _check_order(self, record: Record) -> None:
        """A3, A4: counters rise by one within an epoch, from 1; epochs rise."""
        last = self.end
        self.judged["A3"] += 1
        self.judged["A4"] += 1
        if epoch_of(record.zxid) < epoch_of(last) or record.zxid <= last:
            self._fail("A4", f"{to_hex(record.zxid)} is committed behind {to_hex(last)}")
        expected = last + 1 if epoch_of(record.zxid) == epoch_of(last) else (epoch_of(record.zxid) << 32) + 1
        if record.zxid != expected:
            self._fail("A3", f"{to_hex(record.zxid)} is committed behind {to_hex(last)}, expected {to_hex(expected)}")

    def survived(self, held: Mapping[Voter, int]) -> None:
        """D1: every majority of the ruling voters that could still act has a member with the newest committed entry.

        held: up to where each trusted disk holds the log for sure. Who has lost his disk, or may not trust it, has no vote to act with.
        """
        if not self.committed:
            return
        self.judged["D1"] += 1
        voters = self.configurations[-1].voters
        able = [voter for voter in voters.items() if voter in held and voter[1] not in self._distrusted]
        without = [voter[0] for voter in able if held[voter] < self.end]
        if len(without) * 2 > len(voters):
            self._fail("D1", f"committed {to_hex(self.end)} is on no disk of {without}, a majority of the voters", *without)

    # effects

    def effect(self, node: SimNode, effect: Effect) -> None:
        kind = type(effect)
        if kind is Send:
            self._check_message(node, effect.message)  # type: ignore[union-attr]
        elif kind is Append or kind is InstallRecords:
            self._check_records(node, effect)
        elif kind is Deliver:
            self._check_delivery(node, effect.records)  # type: ignore[union-attr]
        elif kind is LoadSnapshot:
            base = effect.base  # type: ignore[union-attr]
            if base not in self.position:
                self._fail("A9", f"node {node.id} loads a snapshot at {to_hex(base)}, which is not committed", node.id)
            self._applied[node.id, node.life] = self.position[base]
        elif kind is Serving and node.peer.role is Role.LEADING:
            self._check_established(node, effect.epoch)  # type: ignore[union-attr]

    def _check_records(self, node: SimNode, effect: Any) -> None:
        leads = node.peer.role is Role.LEADING and type(effect) is Append
        for record in effect.records:
            if record.zxid not in self.proposed and record.zxid not in self._given:
                self._check_proposer(node, record, leads=leads)
            known = self.proposed.setdefault(record.zxid, record)
            self.judged["A1"] += 1
            if known is not record and known.encoded != record.encoded:
                self._fail("A1", f"two different records for {to_hex(record.zxid)}", node.id)
            if record.kind is Kind.CONFIG and node.peer.role is Role.LEADING and type(effect) is Append:
                self._check_change(node, record)

    def _check_proposer(self, node: SimNode, record: Record, *, leads: bool) -> None:
        """A1: a record comes into the world from the established leader of its epoch."""
        epoch = epoch_of(record.zxid)
        if not leads or node.peer.epoch != epoch or not node.peer.serving or self.established.get(epoch, node.id) != node.id:
            self._fail("A1", f"node {node.id} logs {to_hex(record.zxid)}, which no established leader has proposed", node.id)

    def _check_change(self, node: SimNode, change: Record) -> None:
        """A12: a configuration is proposed only when the one before it is committed."""
        self.judged["A12"] += 1
        ruling = self.configurations[-1].version if self.configurations else EMPTY
        zxid = change.prev_zxid
        while zxid > ruling:
            before = self.proposed.get(zxid) or self._given[zxid]
            if before.kind is Kind.CONFIG and self.configurations:
                self._fail("A12", f"node {node.id} proposes a configuration while that of {to_hex(zxid)} is not committed", node.id)
            zxid = before.prev_zxid

    def _check_delivery(self, node: SimNode, records: Iterable[Record]) -> None:
        position = self._applied.get((node.id, node.life))
        if position is None:
            self._fail("A2", f"node {node.id} delivers before it has started", node.id)
            return
        for record in records:
            self.judged["A9"] += 1
            committed = self.committed[position] if position < len(self.committed) else None
            if committed is None or (committed is not record and committed.encoded != record.encoded):
                known = self.position.get(record.zxid)
                check = "A9" if known is None else "A2"
                self._fail(
                    check, f"node {node.id} delivers {to_hex(record.zxid)}, place {position} of {len(self.committed)} committed", node.id
                )
            if node.disk.live.chain_at(record.zxid) != record.chain:
                self._fail("A9", f"node {node.id} delivers {to_hex(record.zxid)}, which is not on its disk", node.id)
            position += 1
        self._applied[node.id, node.life] = position

    def _check_established(self, node: SimNode, epoch: int) -> None:
        self.judged["A5"] += 1
        if self.established.setdefault(epoch, node.id) != node.id:
            self._fail("A5", f"nodes {self.established[epoch]} and {node.id} are both established in epoch {epoch}", node.id)
        self.established_count += 1
        lower = next((record for record in reversed(self.committed) if epoch_of(record.zxid) < epoch), None)
        if lower is not None and not self._covers(node.disk.live, lower):
            self._fail("A5", f"node {node.id} leads epoch {epoch} without committed {to_hex(lower.zxid)}", node.id)

    def _check_message(self, node: SimNode, message: Message) -> None:
        """A7, A8: what a message promises is on the disk before it leaves."""
        disk = node.disk
        epochs, end = disk.epochs, disk.live.end
        match message:
            case LeaderInfo(epoch=epoch):
                fits = epochs.accepted == epoch and epochs.accepted_leader == node.id
            case AckEpoch(epoch=epoch, last_zxid=last):
                self._check_promise(node, epoch, message)
                fits = epochs.accepted == epoch and last == end
            case Sync(epoch=epoch) | NewLeader(epoch=epoch):
                fits = epochs.current == epoch == epochs.accepted
            case AckNewLeader(epoch=epoch, cut=zxid) | Ack(epoch=epoch, zxid=zxid):
                self._check_promise(node, epoch, message)
                fits = epochs.current == epoch and zxid <= end
            case _:
                return
        self.judged["A8"] += 1
        if not fits:
            self._fail("A8", f"node {node.id} says {message} with {epochs} and a log up to {to_hex(end)}", node.id)

    def _check_promise(self, node: SimNode, epoch: int, message: Message) -> None:
        accepted = node.disk.epochs.accepted
        self.judged["A7"] += 1
        if accepted > epoch:
            self._fail("A7", f"node {node.id} says {message} after it accepted epoch {accepted}", node.id)

    def arrived(self, voter: Voter, target: SimNode, messages: Iterable[Message]) -> None:
        """Messages of ``voter`` are about to be handed to ``target``: acknowledgements are counted a second time, for A10."""
        for message in messages:
            if type(message) is Ack or type(message) is AckNewLeader:
                zxid = message.zxid if type(message) is Ack else message.cut  # type: ignore[union-attr]
                acked = self._acked.setdefault((target.id, target.life, message.epoch), {})
                acked[voter] = max(acked.get(voter, EMPTY), zxid)

    def started(self, node: SimNode) -> None:
        """A new life: its state is that of its snapshot."""
        self._epochs.setdefault(node.disk.storage_id, node.disk.epochs)
        self._check_epochs(node)
        for record in node.disk.live.records:
            self._given.setdefault(record.zxid, record)
        base = node.disk.newest_snapshot()[0].zxid
        if base not in self.position:
            self._fail("A9", f"node {node.id} starts from a snapshot at {to_hex(base)}, which is not committed", node.id)
        self._applied[node.id, node.life] = self.position[base]
        self._note_held(node)  # What became durable as the last life ended counts, though nobody was told.

    def after_step(self, node: SimNode) -> None:
        if node.app is None:
            return
        peer = node.app.peer
        self._steps += 1
        if self._steps % self.check_every == 0:
            peer.check_invariants()
        committed = peer.history.committed
        key = (node.id, node.life)
        known = self._commit_points.get(key, EMPTY)
        if committed == known:
            return
        self.judged["A10"] += 1
        if committed < known:
            self._fail("A10", f"the commit point of node {node.id} fell to {to_hex(committed)}", node.id)
        if committed > self.end:
            self._fail("A10", f"node {node.id} takes {to_hex(committed)} for committed, a quorum has {to_hex(self.end)}", node.id)
        if peer.role is Role.LEADING and known:
            self._recount(node, committed)
        self._commit_points[key] = committed

    def _recount(self, node: SimNode, committed: int) -> None:
        """A leader may not decide by copies it was not told of."""
        epoch = node.peer.epoch
        acked = dict(self._acked.get((node.id, node.life, epoch), {}))
        acked[node.id, node.disk.storage_id] = node.disk.live.end
        if not self.configurations or not node.peer.serving:
            return
        ruling = [each for each in self.configurations if each.version <= committed]
        # At a configuration's own entry the one before it decides as well; behind it, it alone (B-5).
        needed = ruling[-2:] if ruling[-1].version == committed else ruling[-1:]
        if any(majority_point(configuration, acked) < committed for configuration in needed):
            self._fail("A10", f"node {node.id} decides up to {to_hex(committed)} without acknowledgements of a quorum", node.id)

    # states

    def state(self, node: SimNode, tree: Tree, applied: Applied) -> None:
        """E1, E2: what an entry made of the ephemerals in a node's own tree. The checkers judge the same of C."""
        for _, path, before, after in applied.changes:
            if after is not None and after.ephemeral_owner:
                self.judged["E1"] += 1
                if after.ephemeral_owner not in tree.sessions:
                    self._fail("E1", f"node {node.id}: {path} belongs to session {after.ephemeral_owner:#x}, which is not open", node.id)
            elif after is None and before is not None and before.ephemeral_owner and applied.closed:
                self.judged["E2"] += 1
                if before.ephemeral_owner not in applied.closed:
                    self._fail("E2", f"node {node.id}: {path} of {before.ephemeral_owner:#x} goes with another's session", node.id)
        for path, znode in tree.items() if applied.closed else ():
            if znode.ephemeral_owner in applied.closed:
                self._fail("E2", f"node {node.id}: {path} stays behind its session {znode.ephemeral_owner:#x}", node.id)

    def digest(self, node: SimNode, zxid: int, digest: int, *, of: str = "D5") -> None:
        """D4, D5: one state at one zxid."""
        self.judged[of] += 1
        known = self._digests.setdefault(zxid, (digest, node.id))
        if known[0] != digest:
            text = "the snapshot of" if of == "D4" else "the state of"
            self._fail(of, f"{text} node {node.id} at {to_hex(zxid)} differs from that of node {known[1]}", node.id, known[1])
