"""A start on a data directory: who we are, what we promised, what log we have; and what must be written before the first word
is said (rules P-10 to P-12, I-1, I-3, I-5, I-6).

Reading comes first and changes nothing. Then, each step durable before the next, so that a crash anywhere leads to the same verdict:

    damage      promises kept: the mark, then a new identity if there was none.  Promises lost: a new identity, then the mark.
    else        the batch nothing vouches for, written again; the manifest that cuts the old one; epochs; identity, incarnation raised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from attrs import define, evolve

from ..durable import STORAGE_ID_BYTES, Epochs, Identity
from ..errors import DecodeError, StorageError
from .disk import Disk
from .epochs import EPOCHS, load_epochs, save_epochs
from .identity import IDENTITY, LastRun, load_identity, save_identity
from .manifest import MANIFEST, Manifest, load_manifest
from .recovery import Verdict, recover
from .segments import parse_segment_name
from .snapshots import TEMPORARY, parse_snapshot_name

_T = TypeVar("_T")


@define
class Found:
    """What the directory holds before this start has written anything. None: missing, or no copy is valid."""

    run: LastRun | None
    epochs: Epochs | None
    manifest: Manifest | None
    verdict: Verdict
    fresh: bool
    generation: int
    damage: str = ""

    @property
    def identity_is_new(self) -> bool:
        """No identity, or one whose promises are lost: it must not vote as the old one (I-3)."""
        return self.run is None or self.epochs is None


def look(disk: Disk, cluster: str, node_id: int, *, volatile: bool) -> Found:
    """Read everything, and empty a directory whose content must not be believed (I-5). Raises StorageError."""
    run = _load(disk, IDENTITY, load_identity)
    if run is not None:
        _check_owner(disk, run.identity, cluster, node_id)
    notes = []
    if volatile or (run is not None and run.may_have_lost(disk.boot_id())):
        if _has_data(disk):
            notes.append("emptied: fsync was off and the machine has booted since; this is a new storage id")
        empty(disk)
        run = None
    epochs = _load(disk, EPOCHS, load_epochs)
    manifest = _load(disk, MANIFEST, load_manifest)
    files = _generations(disk)
    if run is None and not files and epochs in (None, Epochs()):
        # Empty, or a first start that did not come to its last step, the identity: nothing was ever said.
        return Found(None, Epochs(), None, Verdict(notes=notes), fresh=True, generation=0)
    generation = max([*files, manifest.generation if manifest else 0])
    found = Found(run, epochs, manifest, Verdict(), fresh=False, generation=generation)
    found.damage = _damage_of_cells(found)
    if not found.damage and manifest is not None:
        found.verdict = recover(disk, manifest)
        found.damage = found.verdict.damage
    return found


def _damage_of_cells(found: Found) -> str:
    missing = [
        f"the {name} file has no valid copy"
        for name, value in ((IDENTITY, found.run), (EPOCHS, found.epochs), (MANIFEST, found.manifest))
        if value is None
    ]
    if missing:
        return "; ".join(missing)
    assert found.epochs is not None
    return "marked DAMAGED by an earlier start, and not repaired since" if found.epochs.damaged else ""


def mark_damaged(disk: Disk, found: Found, run: LastRun) -> Epochs:
    """Make the mark durable before anything else (P-12); the identity first where the promises are lost, or they could be forgotten."""
    if found.epochs is None:
        save_identity(disk, run)
        epochs = Epochs(damaged=True)
    else:
        epochs = evolve(found.epochs, damaged=True)
    save_epochs(disk, epochs)
    return epochs


def next_run(disk: Disk, found: Found, cluster: str, node_id: int, *, fsync: bool, random_bytes: Callable[[int], bytes]) -> LastRun:
    """The identity of this start: the old one with its incarnation raised (I-6), or a new one (I-1, I-3)."""
    if found.identity_is_new or found.run is None:
        identity = Identity(cluster, node_id, random_bytes(STORAGE_ID_BYTES), 1, disk.boot_id())
    else:
        last = found.run.identity
        identity = evolve(last, incarnation=last.incarnation + 1, boot_id=disk.boot_id())
    return LastRun(identity, synced=fsync)


def sync_everything(disk: Disk) -> None:
    """For the first start with fsync behind one without, and for an orderly stop without: nothing may sit in the cache only."""
    for name in disk.names():
        file = disk.open(name)
        try:
            file.sync(always=True)
        finally:
            file.close()
    disk.sync_directory(always=True)


def sweep(disk: Disk, manifest: Manifest, *, keep: Collection[str] = (), unlink: Callable[[str], None] | None = None) -> None:
    """Delete the log's files that are not live, and half-written ones but for ``keep``. Files that are not ours stay.

    unlink: to be used instead of the disk's.
    """
    for name in disk.names():
        segment, snapshot = parse_segment_name(name), parse_snapshot_name(name)
        dead = name.endswith(TEMPORARY) and name not in keep
        dead = dead or (segment is not None and not manifest.lives(*segment))
        dead = dead or (snapshot is not None and not manifest.keeps(*snapshot))
        if dead:
            (unlink or disk.unlink)(name)


def sweep_newer(disk: Disk, generation: int) -> None:
    """In a damaged directory: delete only what a later, unfinished generation left; the old log stays until repair (P-12)."""
    for name in disk.names():
        parsed = parse_segment_name(name) or parse_snapshot_name(name)
        if name.endswith(TEMPORARY) or (parsed is not None and parsed[0] > generation):
            disk.unlink(name)


def empty(disk: Disk) -> None:
    """Delete all of ours, the identity last: a crash meanwhile leads here again."""
    ours = [name for name in disk.names() if parse_segment_name(name) or parse_snapshot_name(name) or name.endswith(TEMPORARY)]
    for name in [*ours, MANIFEST, EPOCHS]:
        disk.unlink(name)
    disk.sync_directory(always=True)
    disk.unlink(IDENTITY)
    disk.sync_directory(always=True)


def _has_data(disk: Disk) -> bool:
    return bool(_generations(disk)) or IDENTITY in disk.names()


def _generations(disk: Disk) -> list[int]:
    """The generations of all segments and snapshots there."""
    parsed = (parse_segment_name(name) or parse_snapshot_name(name) for name in disk.names())
    return [found[0] for found in parsed if found is not None]


def _load(disk: Disk, name: str, load: Callable[[Disk], _T]) -> _T | None:
    if name not in disk.names():
        return None
    try:
        return load(disk)
    except DecodeError:
        return None


def _check_owner(disk: Disk, found: Identity, cluster: str, node_id: int) -> None:
    if (found.cluster, found.node_id) != (cluster, node_id):
        raise StorageError(
            f"the data directory belongs to node {found.node_id} of cluster {found.cluster!r}, not to node {node_id} of {cluster!r}; "
            "name another directory",
            disk.place,
        )
