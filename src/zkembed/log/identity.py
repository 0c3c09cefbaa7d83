"""The ``identity`` file: who this replica is and how its last run kept its promises to the disk (rules P-1, I-1, I-5, I-6)."""

from __future__ import annotations

from attrs import frozen

from ..durable import STORAGE_ID_BYTES, Identity
from ..errors import DecodeError, StorageError
from .cell import load_cell, replace_cell
from .disk import Disk

IDENTITY = "identity"
FORMAT = 1
_INT_MAX = 2**63 - 1


@frozen
class LastRun:
    """identity: of the run that wrote the file.  synced: it ran with fsync.  orderly: it has ended, and synced everything."""

    identity: Identity
    synced: bool = True
    orderly: bool = False

    def may_have_lost(self, boot_id: str) -> bool:
        """Whether data of that run may be gone since (I-5): fsync was off, no orderly stop, and the machine has (perhaps) booted."""
        same_boot = boot_id != "" and boot_id == self.identity.boot_id
        return not (self.synced or self.orderly or same_boot)


def save_identity(disk: Disk, run: LastRun) -> None:
    """Synced even where fsync is switched off: the next start decides by it whether the rest may be believed."""
    who = run.identity
    value = [FORMAT, who.cluster, who.node_id, who.storage_id, who.incarnation, who.boot_id, run.synced, run.orderly]
    replace_cell(disk, IDENTITY, value, always=True)


def load_identity(disk: Disk) -> LastRun:
    """Raises DecodeError if no copy is valid, StorageError if a later version of zkembed wrote it."""
    value = load_cell(disk, IDENTITY)
    if type(value) is list and value and type(value[0]) is int and value[0] > FORMAT:
        raise StorageError(f"the data directory has format {value[0]}, this version knows up to {FORMAT}; use a newer zkembed", disk.place)
    match value:
        case [1, str(cluster), node_id, bytes(storage_id), incarnation, str(boot_id), bool(synced), bool(orderly)] if (
            type(node_id) is type(incarnation) is int
            and 0 <= node_id <= _INT_MAX
            and 0 <= incarnation <= _INT_MAX
            and len(storage_id) == STORAGE_ID_BYTES
        ):
            return LastRun(Identity(cluster, node_id, storage_id, incarnation, boot_id), synced, orderly)
    raise DecodeError("the identity file does not hold what it should")
