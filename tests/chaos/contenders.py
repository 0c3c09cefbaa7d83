"""What locks and elections of one process do to their queues, told from the operations that pass: who waits, who holds, who has gone.

A contender's znode is known from the answer to its create, and as asked to go from the operation that takes it back. In between
the holder itself says when it begins to act, and from when on it does not any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from tests.process.load import tell
from zkembed import Held
from zkembed.testing.history import LockSeen
from zkembed.tree.ops import Create, DeleteOwn, Op
from zkembed.tree.path import parent_of
from zkembed.tree.stat import Created

from .diary import Diary

STEM = "-lock-"


class Contenders:
    """client, token: of each znode that is not known to have gone; 0 until it holds."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self._clients: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self.came = trio.Event()

    def answered(self, op: Op, answer: object, client: int) -> None:
        """A write was answered. Plain."""
        if isinstance(op, Create) and op.path.endswith(STEM) and isinstance(answer, Created):
            self._clients[answer.path] = client
            self._note(answer.path, "waits")
            self.came.set()

    def submitted(self, op: Op) -> None:
        """A write has taken its place in the session's order, and nothing takes it back."""
        for znode in self._taken_back(op):
            self._note(znode, "released" if znode in self._tokens else "gave up")
            self._tokens.pop(znode, None)
            del self._clients[znode]

    def _taken_back(self, op: Op) -> Iterator[str]:
        if isinstance(op, DeleteOwn):
            yield from [znode for znode in self._clients if znode.startswith(op.path)]

    def holds(self, held: Held) -> None:
        self._tokens[held.path] = held.token
        self._note(held.path, "holds")
        tell(event="holds", path=held.path)

    def doubts(self, held: Held) -> None:
        """Whether or not anybody has told it so: it does not act any more."""
        if held.path in self._clients:
            self._note(held.path, "doubts")

    def _note(self, znode: str, state: str) -> None:
        self._diary.write(LockSeen, self._clients[znode], parent_of(znode), znode, self._tokens.get(znode, 0), state)
