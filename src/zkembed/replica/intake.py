"""The leader's door for requests: what may be proposed, in whose name, and in what order (rules Q-2, Q-3, S-2, S-5).

Made when a leader is established, dropped when it ends. An operation is checked once, here; behind this door every
replica applies what it gets. Requests that find the window full wait in one queue, in order of arrival (D30).
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

from ..errors import BadArgumentsError, DataTooLargeError, DecodeError, ProtocolError
from ..tree.codec import Entry, decode_entry
from ..tree.ops import CloseIncarnations, CloseSession, OpenSession, OpLimits, check
from ..tree.tree import Tree
from ..zab.messages import RejectCode
from .expiry import Expiry

# Of one learner. Twice what an honest origin has under way (pipeline.WINDOW_BYTES); this node's own requests keep that by themselves.
WAITING_BYTES_MAX = 32 * 2**20


@frozen
class Origin:
    """Where a request came from. link: 0 for this node itself."""

    link: int
    node_id: int
    storage_id: bytes
    incarnation: int


@frozen
class Rejected:
    session: int
    cseq: int
    code: RejectCode


class Intake:
    """Checks requests against the applied state, the limits and what this leader has proposed."""

    def __init__(self, expiry: Expiry, limits: OpLimits) -> None:
        self._expiry = expiry
        self._limits = limits
        self._skipping: dict[tuple[int, int], int] = {}  # (link, session) -> the cseq that was rejected and must come again
        self.waiting: deque[tuple[Origin, bytes]] = deque()
        self._waiting_bytes: dict[int, int] = {}  # by link

    def hold(self, origin: Origin, entry: bytes) -> None:
        """The window is full: keep it in its place. Raises ProtocolError when a peer has more under way than it may."""
        waiting = self._waiting_bytes.get(origin.link, 0) + len(entry)
        if origin.link and waiting > WAITING_BYTES_MAX:
            raise ProtocolError(f"node {origin.node_id} sent more than {WAITING_BYTES_MAX} bytes of requests that have to wait")
        self._waiting_bytes[origin.link] = waiting
        self.waiting.append((origin, entry))

    def next_waiting(self) -> tuple[Origin, bytes]:
        origin, entry = self.waiting.popleft()
        self._waiting_bytes[origin.link] -= len(entry)
        return origin, entry

    def forget_link(self, link: int) -> None:
        """The link is gone: what it sent and was not proposed comes again over another (Q-4, N-9)."""
        self._skipping = {key: cseq for key, cseq in self._skipping.items() if key[0] != link}
        self.waiting = deque((origin, entry) for origin, entry in self.waiting if origin.link != link)
        self._waiting_bytes.pop(link, None)

    def admit(self, origin: Origin, encoded: bytes, tree: Tree, entry: Entry | None = None) -> Entry | Rejected | None:
        """Decide on one request: the entry to propose, a rejection to send, or None to drop it in silence.

        entry: what ``encoded`` holds, where this process has just encoded it.

        1. Bytes that are no entry: they can't be attributed; ProtocolError ends the link.
        2. Entries of the ensemble's own (session 0): only the closing of a node's own older incarnations (S-8).
        3. Behind a rejected cseq: dropped until that cseq comes again (Q-2).
        4. Another owner's session, or one that is closing: rejected; what apply says is the answer (S-2, S-5).
        5. Over a limit: rejected; the origin sends an empty operation in its place.
        """
        if entry is None:
            entry = _decode(origin, encoded)
        op = entry.op
        if entry.session == 0:
            if type(op) is not CloseIncarnations or op.storage_id != origin.storage_id or op.below > origin.incarnation:
                raise ProtocolError(f"node {origin.node_id} sent a request without a session")
            return entry
        key = (origin.link, entry.session)
        skipping = self._skipping.get(key)
        if skipping is not None:
            if entry.cseq != skipping:
                return None
            del self._skipping[key]
        code = self._objection(origin, entry, tree)
        if code is not None:
            self._skipping[key] = entry.cseq
            return Rejected(entry.session, entry.cseq, code)
        return entry

    def _objection(self, origin: Origin, entry: Entry, tree: Tree) -> RejectCode | None:
        op = entry.op
        if self._expiry.is_closing(entry.session):
            return RejectCode.SESSION_CLOSING
        owner = tree.sessions.get(entry.session)
        if owner is not None and (owner.node_id, owner.storage_id, owner.incarnation) != (
            origin.node_id,
            origin.storage_id,
            origin.incarnation,
        ):
            return RejectCode.SESSION_MOVED
        if type(op) is OpenSession:
            if entry.cseq or (op.node_id, op.storage_id, op.incarnation) != (origin.node_id, origin.storage_id, origin.incarnation):
                raise ProtocolError(f"node {origin.node_id} opened a session in another's name")
            return None
        if type(op) is CloseSession and (op.expired or op.session != entry.session):
            raise ProtocolError(f"node {origin.node_id} closed a session that is not its own")
        try:
            check(op, self._limits)
        except DataTooLargeError:
            return RejectCode.TOO_LARGE
        except BadArgumentsError:
            return RejectCode.MALFORMED
        return None


def _decode(origin: Origin, encoded: bytes) -> Entry:
    try:
        return decode_entry(encoded, exact=True)
    except DecodeError as error:
        raise ProtocolError(f"node {origin.node_id} sent a malformed request: {error}") from error
