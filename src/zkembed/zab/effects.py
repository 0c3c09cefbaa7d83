"""What the core asks for. Every effect is a value; executing one is a put into a bounded outbox, and what it causes
comes back later as a new input (ARCHITECTURE.md). Nothing here calls back.

Three readers: the *driver* sends, dials and writes to disk; the *replica* delivers, settles and tends sessions; both see
``RoleChanged``. The disk executes operations strictly in the order of their effects (P-4); each is answered by
``Peer.disk_done(op)`` once it is durable. Consecutive Appends may be written as one batch, and are then all answered.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from ..durable import Epochs, SnapshotInfo
from ..errors import ZkError
from ..record import Record
from .messages import Message, RejectCode


class Role(Enum):
    LOOKING = "looking"
    FOLLOWING = "following"
    LEADING = "leading"
    OBSERVING = "observing"


class Purpose(Enum):
    """What a link is for. ELECTION links are one-way: whoever dialled speaks, the other end listens. ZAB links go from
    learner to leader and carry both directions."""

    ELECTION = "election"
    ZAB = "zab"


# --- for the driver: network -----------------------------------------------------------------------------------------


@frozen
class Dial:
    """One attempt to connect. Answered by ``link_up`` or ``dial_failed``."""

    node_id: int
    purpose: Purpose


@frozen
class Send:
    link: int
    message: Message


@frozen
class SendSnapshot:
    """Send the own snapshot at ``base`` as SnapChunk messages of ``epoch``, in its place among this link's messages (Y-1).

    The snapshot stays pinned until the transfer ends (Y-4). Cannot be read: close the link.
    """

    link: int
    epoch: int
    base: int


@frozen
class SendRecords:
    """Send the durable records (after, upto] from the log as Entries messages of ``epoch``, in their place. Cannot: close the link."""

    link: int
    epoch: int
    after: int
    upto: int


@frozen
class CloseLink:
    """Close after sending what is queued for it, if ``flush``; answered by nothing (no ``link_down`` follows)."""

    link: int
    reason: str
    flush: bool = False


# --- for the driver: disk, executed in order, each answered by disk_done(op) -----------------------------------------


@frozen
class Append:
    op: int
    records: tuple[Record, ...]


@frozen
class SetEpochs:
    op: int
    epochs: Epochs


@frozen
class Truncate:
    """P-6: the log ends at zxid."""

    op: int
    zxid: int


@frozen
class BeginInstall:
    """P-7: a new generation beside the live one; a begun one is dropped."""

    op: int
    info: SnapshotInfo


@frozen
class InstallChunk:
    op: int
    data: bytes


@frozen
class InstallRecords:
    """Records behind the snapshot, into the new generation."""

    op: int
    records: tuple[Record, ...]


@frozen
class CommitInstall:
    """The switch: snapshot and records are whole and durable, now they are the live generation."""

    op: int


@frozen
class AbortInstall:
    op: int


@frozen
class Seal:
    """An empty batch whose ``synced`` vouches for the last record (P-4). Nothing waits for it."""

    op: int


@frozen
class RenewStorage:
    """I-6: the directory becomes another storage: a new storage id in its identity, in its first incarnation, all else as it is.

    Asked for while no other operation is in flight. Answered by ``storage_renewed`` once durable; from then on every HELLO says the new
    identity. Links from before are closed by the core then; one that is still being made with the old identity must not come up.
    """


DiskOp = Append | SetEpochs | Truncate | BeginInstall | InstallChunk | InstallRecords | CommitInstall | AbortInstall | Seal


# --- for the replica -------------------------------------------------------------------------------------------------


@frozen
class Deliver:
    """Records that are committed and durable here, in order, each exactly once (X-4)."""

    records: tuple[Record, ...]


@frozen
class LoadSnapshot:
    """The state must become that of the own snapshot at ``base``; Delivers behind it in order start right after ``base``."""

    base: int


@frozen
class RoleChanged:
    """leader_id: None while LOOKING.  Emitted at every change of role or leader, also when a role begins that is not serving yet."""

    role: Role
    leader_id: int | None


@frozen
class Serving:
    """The node now serves in ``epoch``: a follower has UPTODATE, a leader is established (Y-8, Y-9).

    Follows the Deliver of everything up to ``commit`` that is durable here. The replica settles and re-sends (Q-4, Q-7).
    """

    epoch: int
    commit: int


@frozen
class ServingEnded:
    """The end of what ``Serving`` began. Requests handed over are unresolved from here on (B-10)."""

    reason: str


@frozen
class RequestsArrived:
    """Leader: entries from the learner at the other end of ``link`` (Q-3)."""

    link: int
    node_id: int
    storage_id: bytes
    incarnation: int
    entries: tuple[bytes, ...]


@frozen
class RequestRejected:
    """Origin: the leader will not propose (session, cseq)."""

    session: int
    cseq: int
    code: RejectCode


@frozen
class SyncAnswered:
    """Origin: the barrier asked for with ``request_sync(id)`` (R-2)."""

    id: int
    barrier: int


@frozen
class PingDue:
    """Leader: a PING round should go out; the replica answers with ``Peer.ping``. listed: by link, what that learner's PONG listed."""

    seq: int
    listed: tuple[tuple[int, tuple[int, ...]], ...]


@frozen
class PingArrived:
    """Learner: the replica answers with ``Peer.pong``. echo: see Ping."""

    seq: int
    digest_zxid: int
    digest: int
    echo: int
    not_open: tuple[int, ...]


@frozen
class SessionsTouched:
    """Leader: a PONG of this learner, which may still be syncing, listed these sessions now (S-4)."""

    link: int
    node_id: int
    storage_id: bytes
    incarnation: int
    sessions: tuple[int, ...]


@frozen
class LearnerServing:
    """Leader: this learner was sent UPTODATE; its node may now send requests."""

    link: int
    node_id: int
    storage_id: bytes
    incarnation: int


@frozen
class LearnerGone:
    link: int
    node_id: int


@frozen
class RoundAnswered:
    """Leader: a quorum has answered the PING round that was sent at ``sent_at``, since establishment (S-4, S-7)."""

    sent_at: float


@frozen
class ProposalsDone:
    """Leader: everything it has proposed is committed, or the window has room again: proposing may go on."""


# --- for both --------------------------------------------------------------------------------------------------------


@frozen
class Report:
    """One line for the log. level: as in ``logging``.  once: repeated at most once an interval for the same text key."""

    level: int
    text: str
    key: str = ""


@frozen
class Halt:
    """The node must stop; its data stays (section 18, Y-6.1)."""

    error: ZkError


Effect = (
    Dial
    | Send
    | SendSnapshot
    | SendRecords
    | CloseLink
    | DiskOp
    | RenewStorage
    | Deliver
    | LoadSnapshot
    | RoleChanged
    | Serving
    | ServingEnded
    | RequestsArrived
    | RequestRejected
    | SyncAnswered
    | PingDue
    | PingArrived
    | SessionsTouched
    | LearnerServing
    | LearnerGone
    | RoundAnswered
    | ProposalsDone
    | Report
    | Halt
)
