"""How an established leader leaves: everything committed, a successor that has it all, and a goodbye that names it (rule B-16)."""

from __future__ import annotations

from .attempt import Attempt
from .messages import Goodbye, GoodbyeCode, Vote


class HandOver:
    """until: when waiting ends; None while the leader stays."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._wanted_successor: int | None = None
        self.until: float | None = None

    def begin(self, successor: int | None) -> None:
        """No new requests from here on."""
        core = self._attempt.core
        self._attempt.leaving = True
        self.until = core.now + core.settings.leave_wait
        self._wanted_successor = successor

    def deadline(self) -> float:
        return float("inf") if self.until is None else self.until

    def finish_if_done(self) -> None:
        if self.until is None or self._attempt.ended:
            return
        history = self._attempt.core.history
        timed_out = self._attempt.core.now >= self.until
        whole = self._whole_successors(any_one=timed_out)
        alone = self._attempt.core.membership.active.voter_ids == (self._attempt.core.node_id,)
        if timed_out or (history.committed == history.end and (whole or alone)):
            self._say_goodbye(whole[0] if whole else None)

    def _whole_successors(self, *, any_one: bool) -> list[int]:
        """Voters that have acknowledged everything; only the wanted one, unless there is no time left for it."""
        active = self._attempt.core.membership.active
        end = self._attempt.core.history.end
        whole = sorted(
            (
                handler.link.node_id
                for handler in self._attempt.handlers.values()
                if handler.serving and handler.votes(active) and handler.acked == end
            ),
            reverse=True,
        )
        wanted = self._wanted_successor
        if wanted in whole:
            return [wanted]
        return whole if wanted is None or any_one else []

    def _say_goodbye(self, successor: int | None) -> None:
        core = self._attempt.core
        vote = None if successor is None else Vote(self._attempt.epoch, core.history.end, successor)
        self._attempt.successor = vote
        for handler in tuple(self._attempt.handlers.values()):
            core.links.send(handler.link.id, Goodbye(GoodbyeCode.LEAVING, vote))
            core.links.close(handler.link.id, "this leader is leaving", flush=True)
        self._attempt.end("the node is leaving" if vote is None else f"handed over to node {vote.leader}")
