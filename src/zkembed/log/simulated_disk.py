"""A disk in memory that knows what is durable, and can lose any part of the rest.

The model: a write is durable per block, once its file was synced; a directory entry (create, rename, unlink) once the directory
was synced, whatever happened to the file. ``crash`` keeps any subset of what is not durable, so also torn writes and effects
out of order. After a *failed* sync the cache lies: the process still reads what it wrote, but no later sync of the file, or of the
directory, makes it durable; a crash may lose it (rule P-10).

Every changing operation is one step. A test may cut the power before any step, look at the disk there, or let any step fail.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from attrs import evolve, frozen

from ..errors import StorageError
from .disk import Disk, DiskFile, DiskFullError
from .simulated_inode import BLOCK_BYTES as BLOCK_BYTES
from .simulated_inode import Inode, put


class PowerCutError(BaseException):
    """The machine is off. Not an Exception: no handler of the code under test may live through it."""


@frozen
class Unsynced:
    """One effect that a crash may lose. kind: write, size, create, rename, unlink.  index: its place among all of them."""

    index: int
    kind: str
    name: str
    offset: int = 0
    length: int = 0


@frozen
class _Entry:
    """A change of the directory. rename: ``name`` is the new one, ``old`` the one that goes."""

    kind: str
    name: str
    inode: Inode | None = None
    old: str = ""


class SimulatedFile(DiskFile):
    def __init__(self, disk: SimulatedDisk, name: str, inode: Inode) -> None:
        self.name = name
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        size = len(self._inode.cached)
        self._disk.notice(self._inode, size, 1 << 62)
        return size

    def read_at(self, offset: int, length: int) -> bytes:
        self._disk.notice(self._inode, offset, offset + length)
        return bytes(self._inode.cached[offset : offset + length])

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.step("write", self.name, offset)
        fits = self._disk.room_for(len(self._inode.cached), offset + len(data))
        if not fits:  # As much as there was room for.
            data = data[: len(data) // 2]
        self._inode.write(offset, data)
        if not fits:
            raise DiskFullError("write: no space left", self.name, offset)

    def reserve(self, size: int) -> None:
        self._disk.step("reserve", self.name, size)
        if not self._disk.room_for(len(self._inode.cached), size):
            raise DiskFullError("reserve: no space left", self.name, size)
        self._inode.reserve(size)

    def sync(self, *, always: bool = False) -> None:
        if not (self._disk.fsync or always):
            return
        try:
            self._disk.step("sync", self.name)
        except StorageError:
            self._inode.sync_failed()
            raise
        self._disk.count_sync()
        self._inode.sync()

    def close(self) -> None:
        pass


class SimulatedDisk(Disk):
    """capacity_bytes: room for all files; None: endless.  fsync: as for real files; without it only syncs ``always`` happen (rule I-5).

    steps: how many were made so far.  before_step: called before each.  die_at: the power is cut before the step of that number
    (from 1).  fail_at: steps that fail instead of being done, with the error to raise (an exception made anew by the callable).
    """

    def __init__(self, *, capacity_bytes: int | None = None, place: str = "memory", fsync: bool = True) -> None:
        self.place = place
        self.capacity_bytes = capacity_bytes
        self.fsync = fsync
        self.steps = 0
        self.before_step: Callable[[], None] | None = None
        self.journal: list[str] | None = None
        self.die_at: int | None = None
        self.fail_at: dict[int, Callable[[str], StorageError]] = {}
        self.boots = 1
        self._off = False
        self._locked = False
        self._syncs = 0
        self._cached: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        # Changes of the directory: not synced, and those before them of which a sync has failed.
        self._entries: list[_Entry] = []
        self._limbo: list[_Entry] = []
        self._directory_error: StorageError | None = None
        # Since the last crash: effects on the directory whose fate nobody has noticed, and where to tell of those that were.
        self._doubts: list[int] = []
        self._noticed: list[int] | None = None

    # --- the port ---

    def lock(self) -> None:
        if self._off:
            raise PowerCutError
        if self._locked:
            raise StorageError("another process uses it (or another node in this one)", self.place)
        self._locked = True
        self._directory_error = None

    def unlock(self) -> None:
        self._locked = False

    def names(self) -> list[str]:
        self._notice_entries()
        return sorted(self._cached)

    def create(self, name: str) -> DiskFile:
        self.step("create", name)
        inode = Inode()
        self._cached[name] = inode
        self._entries.append(_Entry("create", name, inode))
        return SimulatedFile(self, name, inode)

    def open(self, name: str) -> DiskFile:
        self._notice_entries()
        if name not in self._cached:
            raise StorageError("open: no such file", name)
        return SimulatedFile(self, name, self._cached[name])

    def rename(self, old: str, new: str) -> None:
        self._notice_entries()
        self.step("rename", new)
        inode = self._cached.pop(old)
        self._cached[new] = inode
        self._entries.append(_Entry("rename", new, inode, old))

    def unlink(self, name: str) -> None:
        self._notice_entries()
        if name in self._cached:
            self.step("unlink", name)
            del self._cached[name]
            self._entries.append(_Entry("unlink", name))

    def sync_directory(self, *, always: bool = False) -> None:
        if not (self.fsync or always):
            return
        try:
            self.step("sync_directory", "")
            if self._directory_error is not None:
                raise self._directory_error
        except StorageError as error:
            self._directory_error = error
            self._limbo += self._entries
            self._entries.clear()
            raise
        self.count_sync()
        for entry in self._entries:
            self._apply(entry)
            # What was done to the name since is durable: whatever became of it before.
            self._limbo = [earlier for earlier in self._limbo if earlier.name not in (entry.name, entry.old)]
        self._entries.clear()

    def forget(self, name: str) -> None:
        pass

    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    @property
    def syncs(self) -> int:
        return self._syncs

    # --- for the files ---

    def count_sync(self) -> None:
        self._syncs += 1

    def step(self, kind: str, name: str, offset: int = 0) -> None:
        """One changing operation is about to happen. Raises PowerCutError or the injected error in its stead."""
        if self._off:
            raise PowerCutError
        if self.before_step is not None:
            self.before_step()
        self.steps += 1
        if self.journal is not None:
            self.journal.append(f"{kind} {name} {offset}")
        if self.steps == self.die_at:
            self._off = True
            raise PowerCutError
        if (make := self.fail_at.get(self.steps)) is not None:
            raise make(f"{kind} {name}")

    def room_for(self, size: int, wanted: int) -> bool:
        """Whether a file of ``size`` bytes may grow to ``wanted``."""
        return self.capacity_bytes is None or wanted <= size or self.used_bytes() + wanted - size <= self.capacity_bytes

    def notice(self, inode: Inode, start: int, end: int) -> None:
        """Bytes of a file are being read; see ``crash``."""
        if self._noticed is not None:
            self._noticed += inode.noticed(start, end)

    def _notice_entries(self) -> None:
        if self._noticed is not None and self._doubts:
            self._noticed += self._doubts
            self._doubts = []

    # --- for tests ---

    def used_bytes(self) -> int:
        return sum(len(inode.cached) for inode in self._cached.values())

    def unsynced(self) -> list[Unsynced]:
        """What a crash now could lose, in order: first the files' blocks by name, then the directory's entries."""
        found: list[Unsynced] = []
        for name, inode in self._inodes():
            found += [Unsynced(len(found) + i, "write", name, at, len(piece)) for i, (at, piece) in enumerate(inode.unsynced())]
            if inode.sized:
                found.append(Unsynced(len(found), "size", name, inode.sized))
        found += [Unsynced(len(found) + i, entry.kind, entry.name) for i, entry in enumerate(self._limbo + self._entries)]
        return found

    def crash(self, keep: Callable[[Unsynced], bool] = lambda _: False, *, noticed: list[int] | None = None) -> None:
        """The power was cut and is back: of all that was not durable only what ``keep`` chooses is there, and the lock is free.

        noticed: gets the indices of effects, each once, when somebody first reads what depends on whether they were kept. Of those that
        never come, the one fate is as good as the other for all that was read so far.
        """
        effects = self.unsynced()
        choice = iter([keep(effect) for effect in effects])
        first = 0
        for _, inode in self._inodes():
            count = sum(1 for _ in inode.unsynced()) + (inode.sized > 0)
            inode.settle(first, choice)
            first += count
        for entry in self._limbo + self._entries:
            if next(choice):
                self._apply(entry)
        self._doubts = list(range(first, len(effects)))
        self._noticed = noticed
        self._entries.clear()
        self._limbo.clear()
        self._cached = dict(self._durable)
        self._off = self._locked = False
        self.die_at = None
        self.fail_at.clear()
        self.boots += 1

    def kill(self) -> None:
        """Only the process died: the cache is as it was, the lock is free, and so are faults still to come."""
        self._locked = False

    def read(self, name: str) -> bytes:
        return bytes(self._cached[name].cached)

    def damage(self, name: str, offset: int, data: bytes) -> None:
        """Put bytes on the device behind everybody's back."""
        for content in (self._cached[name].cached, self._cached[name].durable):
            put(content, offset, data)

    def replace(self, name: str, data: bytes) -> None:
        """Make the file's content exactly this, durably, behind everybody's back."""
        self._cached[name] = self._durable[name] = Inode(data)

    def copy(self) -> SimulatedDisk:
        """A second disk with the durable and cached content of this one, synced, unlocked and without injected faults."""
        twin = SimulatedDisk(capacity_bytes=self.capacity_bytes, place=self.place)
        for name in self.names():
            twin.replace(name, self.read(name))
        twin.boots = self.boots
        return twin

    def fork(self) -> SimulatedDisk:
        """A second disk just like this one, with all that is not synced, locked or not; without injected faults."""
        twin = SimulatedDisk(capacity_bytes=self.capacity_bytes, place=self.place, fsync=self.fsync)
        twins: dict[Inode, Inode] = {}

        def fork(inode: Inode) -> Inode:
            return twins.get(inode) or twins.setdefault(inode, inode.fork())

        twin._cached = {name: fork(inode) for name, inode in self._cached.items()}
        twin._durable = {name: fork(inode) for name, inode in self._durable.items()}
        twin._entries = [evolve(entry, inode=entry.inode and fork(entry.inode)) for entry in self._entries]
        twin._limbo = [evolve(entry, inode=entry.inode and fork(entry.inode)) for entry in self._limbo]
        twin.steps, twin.boots, twin._syncs = self.steps, self.boots, self._syncs
        twin._off, twin._locked, twin._directory_error = self._off, self._locked, self._directory_error
        return twin

    def digest(self) -> bytes:
        """Equal for disks that hold the same, durably and in the cache, and can lose the same: whatever happens to one has the same outcome
        on the other."""
        digest = blake2b(digest_size=16)
        for names in (self._cached, self._durable):
            for name in sorted(names):
                digest.update(f"{name} {len(names[name].cached)} {len(names[name].durable)} ".encode())
                digest.update(names[name].cached)
                digest.update(names[name].durable)
        for name, inode in self._inodes():
            for offset, data in (*inode.limbo, (-1, b""), *inode.pending):
                digest.update(f"{name} {inode.sized} {offset} {len(data)} ".encode())
                digest.update(data)
        for entry in (*self._limbo, _Entry("", ""), *self._entries):
            digest.update(f"{entry.kind} {entry.name} {entry.old} ".encode())
        return digest.digest()

    def _inodes(self) -> list[tuple[str, Inode]]:
        """Each inode that the directory knew, knows, or may come to know again, once."""
        named = [*self._durable.items(), *((entry.name, entry.inode) for entry in self._limbo + self._entries)]
        unique: dict[int, tuple[str, Inode]] = {}
        for name, inode in named:
            if inode is not None:
                unique.setdefault(id(inode), (name, inode))
        return list(unique.values())

    def _apply(self, entry: _Entry) -> None:
        if entry.kind == "unlink":
            self._durable.pop(entry.name, None)
            return
        assert entry.inode is not None
        if self._durable.get(entry.old) is entry.inode:
            del self._durable[entry.old]
        self._durable[entry.name] = entry.inode
