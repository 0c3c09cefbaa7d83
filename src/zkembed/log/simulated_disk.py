"""A disk in memory that knows what is durable, and can lose any part of the rest.

The model: a write is durable per block, once its file was synced; a directory entry (create, rename, unlink) once the directory
was synced, whatever happened to the file. ``crash`` keeps any subset of what is not durable, so also torn writes and effects
out of order. After a *failed* sync the cache lies: the process still reads what it wrote, but no later sync of the file makes
it durable; a crash may lose it (rule P-10).

Every changing operation is one step. A test may cut the power before any step, or let any step fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import define, frozen

from ..errors import StorageError
from .disk import Disk, DiskFile, DiskFullError

BLOCK_BYTES = 512


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


@define(eq=False)
class _Inode:
    """cached: what the process reads.  durable: what surely survives.  pending, limbo: (offset, data) not synced, sync failed."""

    cached: bytearray
    durable: bytearray
    pending: list[tuple[int, bytes]]
    limbo: list[tuple[int, bytes]]
    sized: int = 0


@frozen
class _Entry:
    """A change of the directory. rename: ``name`` is the new one, ``old`` the one that goes."""

    kind: str
    name: str
    inode: _Inode | None = None
    old: str = ""


def _put(target: bytearray, offset: int, data: bytes) -> None:
    if offset > len(target):
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


def _blocks(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """The write cut where blocks end: what can be kept or lost by itself."""
    pieces = []
    start = 0
    while start < len(data):
        length = min(BLOCK_BYTES - (offset + start) % BLOCK_BYTES, len(data) - start)
        pieces.append((offset + start, data[start : start + length]))
        start += length
    return pieces


class SimulatedFile(DiskFile):
    def __init__(self, disk: SimulatedDisk, name: str, inode: _Inode) -> None:
        self.name = name
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        return len(self._inode.cached)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self._inode.cached[offset : offset + length])

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.step("write", self.name, offset)
        fits = self._disk.room_for(len(self._inode.cached), offset + len(data))
        if not fits:  # As much as there was room for.
            data = data[: len(data) // 2]
        self._inode.pending.append((offset, data))
        _put(self._inode.cached, offset, data)
        if not fits:
            raise DiskFullError("write: no space left", self.name, offset)

    def reserve(self, size: int) -> None:
        self._disk.step("reserve", self.name, size)
        if size <= len(self._inode.cached):
            return
        if not self._disk.room_for(len(self._inode.cached), size):
            raise DiskFullError("reserve: no space left", self.name, size)
        _put(self._inode.cached, size, b"")
        self._inode.sized = size

    def sync(self, *, always: bool = False) -> None:
        inode = self._inode
        try:
            self._disk.step("sync", self.name)
        except StorageError:
            inode.limbo += inode.pending
            inode.pending = []
            raise
        self._disk.count_sync()
        for offset, data in inode.pending:
            _put(inode.durable, offset, data)
        inode.pending.clear()
        if inode.sized > len(inode.durable):
            _put(inode.durable, inode.sized, b"")
        inode.sized = 0

    def close(self) -> None:
        pass


class SimulatedDisk(Disk):
    """capacity_bytes: room for all files; None: endless.

    steps: how many were made so far.  die_at: the power is cut before the step of that number (from 1).  fail_at: steps that fail
    instead of being done, with the error to raise (an exception made anew by the callable).
    """

    def __init__(self, *, capacity_bytes: int | None = None, place: str = "memory") -> None:
        self.place = place
        self.capacity_bytes = capacity_bytes
        self.steps = 0
        self.journal: list[str] | None = None
        self.die_at: int | None = None
        self.fail_at: dict[int, Callable[[str], StorageError]] = {}
        self.boots = 1
        self._off = False
        self._locked = False
        self._syncs = 0
        self._cached: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._entries: list[_Entry] = []

    # --- the port ---

    def lock(self) -> None:
        if self._off:
            raise PowerCutError
        if self._locked:
            raise StorageError("another process uses it (or another node in this one)", self.place)
        self._locked = True

    def unlock(self) -> None:
        self._locked = False

    def names(self) -> list[str]:
        return sorted(self._cached)

    def create(self, name: str) -> DiskFile:
        self.step("create", name)
        inode = _Inode(bytearray(), bytearray(), [], [])
        self._cached[name] = inode
        self._entries.append(_Entry("create", name, inode))
        return SimulatedFile(self, name, inode)

    def open(self, name: str) -> DiskFile:
        if name not in self._cached:
            raise StorageError("open: no such file", name)
        return SimulatedFile(self, name, self._cached[name])

    def rename(self, old: str, new: str) -> None:
        self.step("rename", new)
        inode = self._cached.pop(old)
        self._cached[new] = inode
        self._entries.append(_Entry("rename", new, inode, old))

    def unlink(self, name: str) -> None:
        if name in self._cached:
            self.step("unlink", name)
            del self._cached[name]
            self._entries.append(_Entry("unlink", name))

    def sync_directory(self, *, always: bool = False) -> None:
        self.step("sync_directory", "")
        self.count_sync()
        for entry in self._entries:
            self._apply(entry)
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

    # --- for tests ---

    def used_bytes(self) -> int:
        return sum(len(inode.cached) for inode in self._cached.values())

    def unsynced(self) -> list[Unsynced]:
        """What a crash now could lose, in order: first the files' blocks by name, then the directory's entries."""
        found: list[Unsynced] = []
        for name, inode in self._inodes():
            for offset, data in inode.limbo + inode.pending:
                found += [Unsynced(len(found) + i, "write", name, at, len(piece)) for i, (at, piece) in enumerate(_blocks(offset, data))]
            if inode.sized:
                found.append(Unsynced(len(found), "size", name, inode.sized))
        found += [Unsynced(len(found) + i, entry.kind, entry.name) for i, entry in enumerate(self._entries)]
        return found

    def crash(self, keep: Callable[[Unsynced], bool] = lambda _: False) -> None:
        """The power was cut and is back: of all that was not durable only what ``keep`` chooses is there, and the lock is free."""
        choice = iter([keep(effect) for effect in self.unsynced()])
        for _, inode in self._inodes():
            self._settle(inode, choice)
        for entry in self._entries:
            if next(choice):
                self._apply(entry)
        self._entries.clear()
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
            _put(content, offset, data)

    def replace(self, name: str, data: bytes) -> None:
        """Make the file's content exactly this, durably, behind everybody's back."""
        inode = _Inode(bytearray(data), bytearray(data), [], [])
        self._cached[name] = self._durable[name] = inode

    def copy(self) -> SimulatedDisk:
        """A second disk with the durable and cached content of this one, synced, unlocked and without injected faults."""
        twin = SimulatedDisk(capacity_bytes=self.capacity_bytes, place=self.place)
        for name in self.names():
            twin.replace(name, self.read(name))
        twin.boots = self.boots
        return twin

    def _inodes(self) -> list[tuple[str, _Inode]]:
        """Each inode that the directory knew, knows, or may come to know again, once."""
        named = [*self._durable.items(), *((entry.name, entry.inode) for entry in self._entries)]
        unique: dict[int, tuple[str, _Inode]] = {}
        for name, inode in named:
            if inode is not None:
                unique.setdefault(id(inode), (name, inode))
        return list(unique.values())

    def _settle(self, inode: _Inode, choice: Iterator[bool]) -> None:
        for offset, data in inode.limbo + inode.pending:
            for at, piece in _blocks(offset, data):
                if next(choice):
                    _put(inode.durable, at, piece)
        if inode.sized and next(choice) and inode.sized > len(inode.durable):
            _put(inode.durable, inode.sized, b"")
        inode.limbo, inode.pending, inode.sized = [], [], 0
        inode.cached = bytearray(inode.durable)

    def _apply(self, entry: _Entry) -> None:
        if entry.kind == "unlink":
            self._durable.pop(entry.name, None)
            return
        assert entry.inode is not None
        if self._durable.get(entry.old) is entry.inode:
            del self._durable[entry.old]
        self._durable[entry.name] = entry.inode
