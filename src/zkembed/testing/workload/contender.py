"""One place in the queue for a lock, taken, held and given back by the recipe's steps, one by one, without trio.

It follows recipes/contender.py: ``acquire``, ``_join``, ``_wait_first``, ``_refuse``, ``_wait_gone``, ``withdraw`` and ``release`` bear the
same names here and do the same calls in the same order. Where the recipe waits, this yields. So what is wrong with the algorithm
shows under the faults of a simulation; whether the recipe does these steps on trio is tested with the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from ...endpoint import SessionState
from ...errors import LockBusyError, NoNodeError, SessionExpiredError
from ...tree.ops import Create, DeleteOwn
from ...tree.path import join, sequence_number
from ...tree.stat import Created
from ...tree.watches import WatchMode
from ..history import LockSeen
from .calls import Write
from .client import ENDED, Client
from .task import Bell, Interrupt
from .watches import RecordedWatch

CONTENDER = re.compile(r"[0-9a-f]{32}-lock-[0-9]{10,}")


class Contender:
    """All of it runs within steps of the client's node. Methods that wait are generators for a task.

    on_gone: told, in that step, that the znode has gone although nobody here has deleted it, or that the session has ended.
    znode, token: as the history knows them; "" while there is none, 0 unless it holds or held.
    """

    def __init__(self, client: Client, path: str, on_gone: Callable[[], None]) -> None:
        self._client = client
        self._path = path
        self._on_gone = on_gone
        self._stem = ""
        # Invariant: not None from the create's submission until it is taken back or known to be gone.
        self._ticket: Write | None = None
        self._own_watch: RecordedWatch | None = None
        self._gone = False
        self._stirred = Bell()
        self.znode = ""
        self.token = 0

    def see(self, state: str) -> None:
        """Write down where it is."""
        client = self._client
        journal = client.journal
        journal.record(LockSeen(journal.now, client.host.id, client.life, client.number, self._path, self.znode, self.token, state))

    def acquire(self, *, wait: bool) -> Any:
        """Return as the owner, in the step in which that was seen; the znode, whose czxid is the token.

        Queues anew if somebody else deletes the znode. Raises SessionExpiredError (its place went with the session),
        LockBusyError (not ``wait``). Left by any exception: call ``withdraw``.
        """
        while True:
            node = yield from self._join()
            if (yield from self._wait_first(node.path, wait=wait)):
                self.token = node.stat.czxid
                return node

    def _join(self) -> Any:
        """Create the znode, with the lock's own path where that is missing, and watch that it stays."""
        client = self._client
        self._stem = join(self._path, f"{client.journal.rng.getrandbits(128):032x}-lock-")
        self._gone = False
        self._ticket = client.write(Create(self._stem, b"%d" % client.number, ephemeral=True, sequential=True, parents=True))
        if self._ticket.over:  # Refused at the call: the session has ended.
            self._ticket = None
            raise SessionExpiredError("the session has ended")
        node: Created = yield self._ticket
        self.znode, self.token = node.path, 0
        self.see("waits")
        self._own_watch = RecordedWatch(client, node.path, WatchMode.CHILDREN, self._own_gone)
        if not (yield from self._watch_deletion(self._own_watch)):
            self._gone = True
        return node

    def _watch_deletion(self, watch: RecordedWatch) -> Any:
        """(DeletionWatch.set) False: there is no such znode, and nothing will be told."""
        try:
            yield self._client.read("children", watch.path, watch)
        except NoNodeError:
            return False
        return True

    def _own_gone(self) -> None:
        """Its znode was deleted by somebody else, or its session has ended."""
        self._gone = True
        self._stirred.ring()
        self._on_gone()

    def _wait_first(self, own_path: str, *, wait: bool) -> Any:
        """True: the owner, as of this very step. False: the znode is gone."""
        client = self._client
        while True:
            queue = yield from self._read_queue()
            if (state := client.state) in ENDED:
                raise SessionExpiredError("its place in the queue went with the session")
            if self._gone or own_path not in queue:
                self._ticket = None
                self._out("gave up")
                return False
            place = queue.index(own_path)
            if place > 0:
                if not wait:
                    yield from self._refuse(queue[0])
                else:
                    yield from self._wait_gone(queue[place - 1])
            elif state is SessionState.CONNECTED:
                return True
            else:
                yield from self._wait_connected()

    def _read_queue(self) -> Any:
        try:
            names = yield self._client.read("children", self._path)
        except NoNodeError:
            return []
        return [join(self._path, name) for name in sorted(filter(CONTENDER.fullmatch, names), key=sequence_number)]

    def _refuse(self, first: str) -> Any:
        """Raise LockBusyError, unless the owner has gone."""
        try:
            yield self._client.read("get", first)
        except NoNodeError:
            return
        raise LockBusyError(self._path)

    def _wait_gone(self, predecessor: str) -> Any:
        """Until the predecessor has gone, or our own znode, or the session."""
        self._stirred = stirred = Bell()
        watch = RecordedWatch(self._client, predecessor, WatchMode.CHILDREN, stirred.ring)
        try:
            # (RE-6) It may have gone since the list was read: then there is nothing to wait for.
            if (yield from self._watch_deletion(watch)) and not self._gone:
                yield stirred
        finally:
            watch.remove()

    def _wait_connected(self) -> Any:
        """(Session.wait_state) Returns as well when the session ends instead."""
        client = self._client
        while client.state is SessionState.SUSPENDED:
            changed = Bell()
            tell = partial(_ring, changed)
            client.on_change[tell] = None
            try:
                yield changed
            finally:
                client.on_change.pop(tell, None)

    def withdraw(self) -> None:
        """Take back what was, or may yet be, created; nothing is waited for. Idempotent."""
        if self._own_watch is not None:
            self._own_watch.remove()
            self._own_watch = None
        ticket, self._ticket = self._ticket, None
        client = self._client
        if ticket is not None and ticket.handed_over and client.state not in ENDED:
            client.write(DeleteOwn(self._stem))  # If the session has ended just now, so has the znode.
        self._out("released" if self.token else "gave up")

    def _out(self, state: str) -> None:
        """The znode is gone, or will be: it went with the session, somebody deleted it, or the session's order makes sure of it."""
        if self.znode:
            self.see(state)
            self.znode, self.token = "", 0

    def release(self) -> Any:
        """Delete the znode and wait until that is done: a read waits for the session's earlier writes (Q-9)."""
        self.withdraw()
        try:
            yield self._client.read("exists", self._path)
        except (SessionExpiredError, Interrupt):
            return


def _ring(bell: Bell, state: SessionState) -> None:
    bell.ring()
