"""Words for what survives a crash, shared by the protocol (which decides) and the log (which stores).

Frozen values only: no behaviour beyond what their fields say, no I/O, no protocol.
"""

from __future__ import annotations

from attrs import frozen

from .zxid import EMPTY

STORAGE_ID_BYTES = 16


@frozen
class Identity:
    """Who this replica is, from its ``identity`` file (rules P-1, I-1, I-5, I-6).

    storage_id: 16 random bytes, minted when the data directory was made.  incarnation: counts the starts of this storage id, raised
    durably before the first message.  boot_id: the machine's boot at the last start; "" where the platform has none.
    """

    cluster: str
    node_id: int
    storage_id: bytes
    incarnation: int
    boot_id: str = ""


@frozen
class Epochs:
    """The promises: one file, replaced atomically (rules P-2, P-3, P-12).

    Invariant: current <= accepted, and neither ever falls.
    """

    accepted: int = 0
    accepted_leader: int = 0
    current: int = 0
    damaged: bool = False


@frozen
class SnapshotInfo:
    """What a snapshot is the state of (rule P-8).

    zxid: the last entry applied to it.  chain: the chain at that entry.  meta: opaque to the log; the configurations known at
    that zxid, in zab's encoding.
    """

    zxid: int = EMPTY
    chain: int = 0
    meta: bytes = b""
