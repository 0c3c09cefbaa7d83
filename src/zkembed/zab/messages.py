"""The messages that peers exchange (docs/protocol.md section 16), as frozen values. How they look as bytes: codec.py.

Every message of an attempt carries that attempt's epoch; the leader is the link's other end, so a link belongs to one
attempt and an epoch that differs closes it (rule N-9). Records and requests inside are opaque bytes here.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from ..record import Record


class NodeState(IntEnum):
    """What a node says of itself in NOTIFY."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2


class SyncMode(IntEnum):
    DIFF = 0
    TRUNC = 1
    SNAP = 2


class RejectCode(IntEnum):
    """Why a leader will not propose a request (Q-2). LIMIT codes are answered by the origin with an empty failing operation."""

    TOO_LARGE = 1
    MALFORMED = 2
    SESSION_CLOSING = 3
    SESSION_MOVED = 4


class GoodbyeCode(IntEnum):
    LEAVING = 1
    ABDICATING = 2
    REMOVED = 3


@frozen(order=True)
class Vote:
    """(E-1) Compared field by field, greatest wins. All parts come from durable state."""

    epoch: int
    zxid: int
    leader: int


@frozen
class Notify:
    """Election state of the sender; idempotent, only the newest matters (E-10).

    has_vote: the sender is a voter by its own configuration and its log is trusted (E-4).  vote: None for nobody.
    established: the epoch in which the sender leads (established) or follows (served), else 0 (E-7, E-8).
    config: the newest configuration the sender knows committed, or v1, encoded; version 0 (v0): none. config_committed: it is one of those,
    so that others may adopt it (I-4, C-9).
    """

    state: NodeState
    has_vote: bool
    round: int
    vote: Vote | None
    established: int
    config_version: int
    config_committed: bool
    config: bytes


@frozen
class KeepAlive:
    """Nothing to say, but alive. Sent each tick on a link on which nothing else was (E-2, E-11)."""


@frozen
class Outdated:
    """(I-6) The receiver's storage ``storage_id`` has been seen at a later start, ``incarnation``: the directory is an old copy. Said
    on a link that is refused for it, right before its end."""

    storage_id: bytes
    incarnation: int


@frozen
class FollowerInfo:
    """(D-1) accepted_epoch: the learner's promise.  config_version: of its newest *committed* CONFIG (D-9)."""

    accepted_epoch: int
    config_version: int
    joining: bool
    damaged: bool


@frozen
class LeaderInfo:
    epoch: int


@frozen
class AckEpoch:
    """(D-4) counts: whether this promise may count towards the quorum.  wants_snap: the learner trusts nothing else (P-12)."""

    epoch: int
    counts: bool
    current_epoch: int
    last_zxid: int
    chain: int
    wants_snap: bool


@frozen
class Sync:
    """Header of the sync stream (Y-5). common: T.  base: s, 0 unless SNAP.  cut: p."""

    epoch: int
    mode: SyncMode
    common: int
    common_chain: int
    base: int
    base_chain: int
    base_meta: bytes
    cut: int


@frozen
class SyncReject:
    """(Y-6.1) The learner does not have the common point as the leader has it; the leader falls back to SNAP."""

    epoch: int
    reason: str


@frozen
class SnapChunk:
    """One chunk of the snapshot at ``base``. index counts from 0; checksum: CRC-32 of data; last: the snapshot ends here."""

    epoch: int
    base: int
    index: int
    data: bytes
    checksum: int
    last: bool


@frozen
class Entries:
    """Part of the sync stream: consecutive records (message ENTRY)."""

    epoch: int
    records: tuple[Record, ...]


@frozen
class NewLeader:
    """End of the sync stream (Y-5). configs: the configurations known to the leader, encoded, oldest first."""

    epoch: int
    cut: int
    cut_chain: int
    configs: tuple[bytes, ...]


@frozen
class AckNewLeader:
    epoch: int
    cut: int


@frozen
class UpToDate:
    epoch: int
    commit: int


@frozen
class Proposal:
    """One or more consecutive records, and the leader's commit point riding along (B-2, B-6)."""

    epoch: int
    records: tuple[Record, ...]
    commit: int


@frozen
class Ack:
    """(B-4) Cumulative: everything up to zxid is durable at the sender."""

    epoch: int
    zxid: int


@frozen
class Commit:
    epoch: int
    commit: int


@frozen
class Ping:
    """(B-9, B-15, S-4) echo: the highest PONG seq of this link received before the newest quorum-answered PING round was sent.

    digest_zxid/digest: newest boundary and the state digest there (0, 0: none yet).  not_open: sessions the learner listed
    that are not open; nothing is confirmed for them.
    """

    epoch: int
    seq: int
    commit: int
    digest_zxid: int
    digest: int
    echo: int
    not_open: tuple[int, ...]


@frozen
class Pong:
    """ping_seq: the PING answered.  seq: the sender's own count on this link.  sessions: its live sessions; None: as before.

    applied: its applied zxid.  normal: not DAMAGED any more (P-12).  digest_mismatch: zxid of the last boundary that differed, else 0.
    """

    epoch: int
    ping_seq: int
    seq: int
    sessions: tuple[int, ...] | None
    applied: int
    normal: bool
    digest_mismatch: int


@frozen
class Request:
    """Entries for the leader to propose, encoded at their origin, in the session's order (Q-2, Q-3)."""

    epoch: int
    entries: tuple[bytes, ...]


@frozen
class Reject:
    epoch: int
    session: int
    cseq: int
    code: RejectCode


@frozen
class SyncRequest:
    """(R-1) id: the origin's own number for it."""

    epoch: int
    id: int


@frozen
class SyncOk:
    epoch: int
    id: int
    barrier: int


@frozen
class Goodbye:
    """(B-16) successor: the vote of the node that should lead next, None if there is none."""

    code: GoodbyeCode
    successor: Vote | None


Message = (
    Notify
    | KeepAlive
    | Outdated
    | FollowerInfo
    | LeaderInfo
    | AckEpoch
    | Sync
    | SyncReject
    | SnapChunk
    | Entries
    | NewLeader
    | AckNewLeader
    | UpToDate
    | Proposal
    | Ack
    | Commit
    | Ping
    | Pong
    | Request
    | Reject
    | SyncRequest
    | SyncOk
    | Goodbye
)
