"""What an established leader proposes: the batch that leaves with the next flush, the window, and the commit point.

Invariant: every record of the batch is in the history and nowhere else yet.
"""

from __future__ import annotations

from ..errors import InternalError, ProtocolError
from ..record import Kind, Record
from ..zxid import counter_of, epoch_of, make, to_hex
from .attempt import Attempt
from .effects import ProposalsDone
from .handler import Handler, HandlerPhase
from .messages import Ack, Commit, Proposal
from .sync import split


class Proposals:
    """acks_moved: some voter, or this node, has acknowledged more since the last flush."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._batch: list[Record] = []
        self._outstanding_bytes = 0
        self._full = False
        self.acks_moved = False

    @property
    def can_propose(self) -> bool:
        if not self._attempt.established or self._attempt.ended or self._attempt.leaving:
            return False
        settings, history = self._attempt.core.settings, self._attempt.core.history
        return (
            counter_of(history.end) < settings.counter_limit
            and self._outstanding_bytes < settings.outstanding_bytes_max
            and self._outstanding() < settings.outstanding_max
        )

    def _outstanding(self) -> int:
        end, committed = self._attempt.core.history.end, self._attempt.core.history.committed
        return end - committed if epoch_of(end) == epoch_of(committed) else counter_of(end)

    @property
    def next_zxid(self) -> int:
        end = self._attempt.core.history.end
        return end + 1 if epoch_of(end) == self._attempt.epoch else make(self._attempt.epoch, 1)

    def append(self, kind: Kind, payload: bytes, time: int) -> Record:
        """Assign the next zxid; it leaves with the next ``flush`` (rules B-1, B-2). Raises InternalError unless established."""
        if not self._attempt.established or self._attempt.ended:
            raise InternalError("a proposal by a leader that is not established")
        history = self._attempt.core.history
        end = history.end
        record = Record.make(self.next_zxid, end, max(time, history.end_time), kind, history.committed, payload, history.end_chain)
        history.append(record)
        self._batch.append(record)
        self._outstanding_bytes += len(record.encoded)
        return record

    def flush(self) -> bool:
        """Commit what the acks allow, send what was proposed with the commit point riding on it (rules B-2, B-5, B-6).

        Returns whether the commit point moved.
        """
        attempt = self._attempt
        moved = self.acks_moved and self._advance_commit()
        if self._batch:
            self._send_batch()
        elif moved:
            commit = Commit(attempt.epoch, attempt.core.history.committed)
            for handler in attempt.handlers.values():
                if handler.phase is HandlerPhase.SERVING:
                    attempt.core.links.send(handler.link.id, commit)
        if moved:
            self._committed()
        return moved

    def _send_batch(self) -> None:
        core = self._attempt.core
        batch, self._batch = tuple(self._batch), []
        core.disk.append(batch, self._attempt)
        commit = core.history.committed
        proposals = [Proposal(self._attempt.epoch, records, commit) for records in split(batch, core.settings.proposal_bytes_max)]
        for handler in self._attempt.handlers.values():
            if handler.registered:
                for proposal in proposals:
                    core.links.send(handler.link.id, proposal)
        self._full = self._full or not self.can_propose

    def on_ack(self, handler: Handler, message: Ack) -> None:
        """(rule B-4) It names an entry that was sent; below the base, which may have moved on meanwhile, nobody can tell any more."""
        history = self._attempt.core.history
        if message.zxid > history.end or message.zxid < handler.acked:
            raise ProtocolError(f"ack of {to_hex(message.zxid)}: acked was {to_hex(handler.acked)}, sent {to_hex(history.end)}")
        if message.zxid >= history.base and not history.holds(message.zxid):
            raise ProtocolError(f"ack of {to_hex(message.zxid)}, which is no entry of the log")
        handler.acked = message.zxid
        handler.heard_at = self._attempt.core.now
        self.acks_moved = True

    def _advance_commit(self) -> bool:
        """(rules B-5, K-1) Entries of I_e were committed by NEWLEADER acks; from there on the point only grows."""
        core, history = self._attempt.core, self._attempt.core.history
        self.acks_moved = False
        before = history.committed
        while True:
            active = core.membership.active
            reached = {
                (handler.link.node_id, handler.link.storage_id): handler.acked
                for handler in self._attempt.handlers.values()
                if handler.synced and handler.votes(active)
            }
            reached[core.node_id, core.identity.storage_id] = history.durable
            point = active.decide_point(reached, history.committed, history.before(active.newest.version))
            if point <= history.committed:
                break
            history.set_committed(point)
        return history.committed > before

    def _committed(self) -> None:
        """The commit point has moved."""
        core, history = self._attempt.core, self._attempt.core.history
        self._outstanding_bytes = history.size(history.committed, history.end)
        if history.committed == history.end or (self._full and self.can_propose):
            self._full = False
            core.emit(ProposalsDone())
