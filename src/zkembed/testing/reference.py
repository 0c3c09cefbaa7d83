"""The reference: what C must lead to, in one plain copy that remembers every zxid. Shares no code with ``tree/``.

Feed it the ``Committed`` events of a history, before whatever may reveal them. It evaluates each entry once and then answers: what
became of which request, which sessions there were, which changes watches had to tell, and how any znode looked at any
zxid. A write costs some ten microseconds, a look back a bisection.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from ..codec import decode
from .history import Committed, Plain
from .plain.digest import MASK, hash_result, hash_session, hash_znode
from .plain.request import Op, decode_request
from .plain.rules import Rules
from .plain.session import PlainSession
from .plain.znode import GAP, MALFORMED, RESOLVED, SESSION_EXISTS, SESSION_EXPIRED, Change, Outcome, Refusal, Stat, Znode, plain_result
from .plain.znodes import Znodes

CONFIG_PATH = "/zookeeper/config"
SESSIONS_PATH = "/zookeeper/sessions"
_VOTER = 1


class Entry(NamedTuple):
    """What one entry of C came to. session, cseq, op: of a request, else 0, 0, None; of the leader's own request session is 0.

    time: microseconds.  executed: it had an effect, if only a result.  why: if not: "malformed", "closed" (its session is not
    open), "duplicate" or "gap".  result: (status, value) as in a Return.  opened: the session it opened, or 0.  closed: those it closed.
    """

    zxid: int
    kind: str
    time: int
    session: int
    cseq: int
    op: Op | None
    executed: bool
    why: str
    result: tuple[str, Plain]
    opened: int
    closed: tuple[int, ...]
    changes: tuple[Change, ...]


_DONE = ("ok", None)


class Reference:
    """entries, zxids: C so far.  sessions: all there ever were, by id.  executed: the entry of each (session, cseq) that was executed.

    reopened: ids of closed sessions that an entry tried to open again, with that zxid (S3).
    """

    def __init__(self, *, digests: bool = True) -> None:
        """digests: also know the digest at every zxid; costs as much as everything else."""
        self.entries: list[Entry] = []
        self.zxids: list[int] = []
        self.sessions: dict[int, PlainSession] = {}
        self.executed: dict[tuple[int, int], Entry] = {}
        self.reopened: list[tuple[int, int]] = []
        self._at: dict[int, Entry] = {}
        self._znodes = Znodes()
        self._open: dict[int, PlainSession] = {}
        self._digests: dict[int, int] | None = {} if digests else None
        self._digest = 0
        self._hashes: dict[str, int] = {}
        self._grow()

    def _grow(self) -> None:
        """(A3) A fresh tree holds ZooKeeper's own znodes, all numbers zero; they are no changes."""
        put = self._znodes.insert
        put(0, "/", Znode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 1))
        put(0, "/zookeeper", Znode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 3))
        for path in (CONFIG_PATH, "/zookeeper/quota", SESSIONS_PATH):
            put(0, path, Znode(b"", 0, 0, 0, 0, 0, 0, 0, 0, 0))
        self._znodes.commit(0)
        if self._digests is not None:
            self._hashes = {path: hash_znode(path, znode) for path, znode in self._znodes.now.items()}
            self._digest = self._digests[0] = sum(self._hashes.values()) & MASK

    # --- C ------------------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The newest zxid of C; 0 for none."""
        return self.zxids[-1] if self.zxids else 0

    def add(self, event: Committed) -> Entry:
        """The next entry of C."""
        entry = self._evaluate(event)
        self.entries.append(entry)
        self.zxids.append(entry.zxid)
        self._at[entry.zxid] = entry
        if entry.cseq and entry.executed:
            self.executed[entry.session, entry.cseq] = entry
        return entry

    def _evaluate(self, event: Committed) -> Entry:
        zxid, kind, time = event.zxid, event.kind, event.time
        if kind == "REQUEST":
            return self._request(zxid, time, event.payload)
        if kind == "CONFIG":
            Rules(self._znodes, zxid, time, 0).write(CONFIG_PATH, config_text(event.payload))
        return Entry(zxid, kind, time, 0, 0, None, True, "", _DONE, 0, (), self._commit(zxid, None))

    def _request(self, zxid: int, time: int, payload: bytes) -> Entry:
        """(Q-5, S-6)"""
        request = decode_request(payload)
        if request is None:
            return self._ignored(zxid, time, 0, 0, None, "malformed", Refusal(MALFORMED))
        id, cseq, ack_below, op = request
        rules = Rules(self._znodes, zxid, time, id)
        if not cseq:
            return self._unnumbered(rules, zxid, time, id, op)
        session = self._open.get(id)
        if session is None:
            return self._ignored(zxid, time, id, cseq, op, "closed", Refusal(SESSION_EXPIRED))
        if cseq > session.last_cseq + 1:
            return self._ignored(zxid, time, id, cseq, op, "gap", Refusal(GAP))
        if cseq <= session.last_cseq:
            known = cseq >= session.kept_from
            return self._ignored(
                zxid, time, id, cseq, op, "duplicate", session.kept[cseq - session.kept_from] if known else Refusal(RESOLVED)
            )
        if op[0] == "close session":
            self._close(rules, zxid, session, expired=False)
            return Entry(zxid, "REQUEST", time, id, cseq, op, True, "", _DONE, 0, (id,), self._commit(zxid, None))
        outcome = rules.run(op)
        self._keep(session, cseq, ack_below, outcome)
        changes = self._commit(zxid, session)
        return Entry(zxid, "REQUEST", time, id, cseq, op, True, "", plain_result(outcome), 0, (), changes)

    def _ignored(self, zxid: int, time: int, session: int, cseq: int, op: Op | None, why: str, outcome: Outcome) -> Entry:
        return Entry(zxid, "REQUEST", time, session, cseq, op, False, why, plain_result(outcome), 0, (), self._commit(zxid, None))

    def _unnumbered(self, rules: Rules, zxid: int, time: int, id: int, op: Op) -> Entry:
        opened, closed, outcome = 0, [], None
        session: PlainSession | None = None
        if op[0] == "open session":
            outcome = self._open_session(rules, zxid, id, op)
            if outcome is None:
                opened, session = id, self._open[id]
        elif op[0] == "close session":
            closed = [self._open[op[1]]] if op[1] in self._open else []
        else:
            closed = [self._open[each] for each in sorted(self._open) if self._older(self._open[each], op[1], op[2])]
        for each in closed:
            self._close(rules, zxid, each, expired=True)
        changes = self._commit(zxid, session)
        closed_ids = tuple(each.id for each in closed)
        return Entry(zxid, "REQUEST", time, id, 0, op, True, "", plain_result(outcome), opened, closed_ids, changes)

    @staticmethod
    def _older(session: PlainSession, storage_id: bytes, below: int) -> bool:
        return session.storage_id == storage_id and session.incarnation < below

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _open_session(self, rules: Rules, zxid: int, id: int, op: Op) -> Refusal | None:
        """(S-1)"""
        if id in self._open:
            return Refusal(SESSION_EXISTS, "open session", found=id)
        _, timeout_ms, node_id, storage_id, incarnation = op
        text = f'{{"node_id": {node_id}, "incarnation": {incarnation}, "timeout_ms": {timeout_ms}}}'
        refusal = rules.make(f"{SESSIONS_PATH}/{id:#x}", text.encode())
        if refusal is not None:
            return refusal
        if id in self.sessions:
            self.reopened.append((id, zxid))
        self.sessions[id] = self._open[id] = PlainSession(id, zxid, timeout_ms, node_id, storage_id, incarnation)
        return None

    def _close(self, rules: Rules, zxid: int, session: PlainSession, *, expired: bool) -> None:
        """(S-6)"""
        for path in sorted(self._znodes.owned.get(session.id, ())):
            rules.remove(path)
        rules.remove(f"{SESSIONS_PATH}/{session.id:#x}")
        del self._open[session.id]
        session.closed, session.expired = zxid, expired
        self._digest -= session.hash

    def _keep(self, session: PlainSession, cseq: int, ack_below: int, outcome: Outcome) -> None:
        """(Q-7)"""
        session.kept.append(outcome)
        session.last_cseq = cseq
        if self._digests is not None:
            session.hashes.append(hash_result(session.id, cseq, outcome))
        while session.kept_from < ack_below:
            session.kept.popleft()
            if session.hashes:
                session.hashes.popleft()

    def _commit(self, zxid: int, session: PlainSession | None) -> tuple[Change, ...]:
        """session: whose own state has changed too."""
        changes, written = self._znodes.commit(zxid)
        if self._digests is not None:
            now = self._znodes.now
            for path in written:
                self._digest -= self._hashes.pop(path, 0)
                if path in now:
                    self._hashes[path] = hashed = hash_znode(path, now[path])
                    self._digest += hashed
            if session is not None:
                before, session.hash = session.hash, hash_session(session.head()) + sum(session.hashes)
                self._digest += session.hash - before
            self._digest &= MASK
            self._digests[zxid] = self._digest
        return changes

    # --- questions ----------------------------------------------------------------------------------------------------

    def entry(self, zxid: int) -> Entry | None:
        """None: C has none, or not yet."""
        return self._at.get(zxid)

    def znode_at(self, path: str, zxid: int) -> Znode | None:
        return self._znodes.at(path, zxid)

    def children_at(self, path: str, zxid: int) -> tuple[str, ...]:
        """Names, sorted; empty where there is no such znode."""
        return self._znodes.children_at(path, zxid)

    def state_at(self, zxid: int) -> Iterator[tuple[str, bytes, Stat]]:
        """Every path with data and stat, in no order: to be compared with a snapshot or a tree (D4, D5)."""
        return ((path, znode.data, znode.stat()) for path, znode in self._znodes.state_at(zxid))

    def sessions_at(self, zxid: int) -> list[PlainSession]:
        """Those open then. Their other fields are those of now."""
        return [session for session in self.sessions.values() if session.open_at(zxid)]

    def ephemerals(self, session: int) -> tuple[str, ...]:
        """Paths that it owns now, sorted."""
        return tuple(sorted(self._znodes.owned.get(session, ())))

    def digest_at(self, zxid: int) -> int | None:
        """None: no such entry, or nobody asked for digests."""
        return None if self._digests is None else self._digests.get(zxid)

    @property
    def changes(self) -> list[Change]:
        """All of C, in order. Treat as frozen."""
        return self._znodes.changes

    def changes_of(self, path: str) -> list[Change]:
        """Those that concern the very path, in order. Treat as frozen; it grows."""
        return self._znodes.changes_of.setdefault(path, [])

    def following(self, zxid: int) -> int:
        """Where in ``zxids`` those behind ``zxid`` begin."""
        return bisect_right(self.zxids, zxid)


def config_text(payload: bytes) -> bytes:
    """What /zookeeper/config shows (A3): a line for each member in order of id, and the version."""
    version, members = decode(payload)
    roles = ("participant" if role == _VOTER else "observer" for _, _, role, _ in sorted(members))
    lines = [f"server.{id}={address}:{role}" for (id, address, _, _), role in zip(sorted(members), roles, strict=True)]
    return "\n".join([*lines, f"version={version:x}"]).encode()
