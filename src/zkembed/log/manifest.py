"""The ``manifest``: which files are the live log, and where each of its segments ends (rules P-1, P-6, P-7, P-10).

Live are the segments and snapshots that it lists and, beside them, those that were added to its generation since: they carry
the generation in their names and a number (a zxid) behind the last one listed. All other files are leftovers. A listed
end is a cut: bytes behind it are no longer part of the log, whatever they are.
"""

from __future__ import annotations

from attrs import frozen

from ..errors import DecodeError
from ..zxid import ZXID_MAX
from .cell import load_cell, replace_cell
from .disk import Disk

MANIFEST = "manifest"
OPEN_END = 0
_INT_MAX = 2**63 - 1


@frozen
class ListedSegment:
    """start: the zxid behind which its records begin.  end: offset of the cut; OPEN_END: it was still being written."""

    generation: int
    number: int
    start: int
    end: int


@frozen
class ListedSnapshot:
    generation: int
    zxid: int


@frozen
class Manifest:
    """salt: random, made with the manifest; part of every checksum in the log, so that bytes of another log are never taken for ours.
    durable: everything up to this zxid was durable when the manifest was written; it vouches like a batch's ``synced``.
    next_number: segments of this generation from this number on are live though not listed."""

    generation: int
    salt: int
    durable: int
    next_number: int
    segments: tuple[ListedSegment, ...] = ()
    snapshots: tuple[ListedSnapshot, ...] = ()

    def lives(self, generation: int, number: int) -> bool:
        """Whether a segment of that name belongs to the live log."""
        if generation == self.generation and number >= self.next_number:
            return True
        return any(listed.generation == generation and listed.number == number for listed in self.segments)

    def keeps(self, generation: int, zxid: int) -> bool:
        """Whether a snapshot of that name belongs to the live log."""
        newest = max((listed.zxid for listed in self.snapshots), default=-1)
        return (generation == self.generation and zxid > newest) or ListedSnapshot(generation, zxid) in self.snapshots


def save_manifest(disk: Disk, manifest: Manifest) -> None:
    segments = [[s.generation, s.number, s.start, s.end] for s in manifest.segments]
    snapshots = [[s.generation, s.zxid] for s in manifest.snapshots]
    value = [manifest.generation, manifest.salt, manifest.durable, manifest.next_number, segments, snapshots]
    replace_cell(disk, MANIFEST, value)


def load_manifest(disk: Disk) -> Manifest:
    """Raises DecodeError if no copy is valid."""
    match load_cell(disk, MANIFEST):
        case [generation, salt, durable, next_number, list(segments), list(snapshots)]:
            _check(generation, salt, durable, next_number)
            return Manifest(
                generation,
                salt,
                durable,
                next_number,
                tuple(ListedSegment(*_numbers(row, 4)) for row in segments),
                tuple(ListedSnapshot(*_numbers(row, 2)) for row in snapshots),
            )
    raise DecodeError("the manifest is not an array of six")


def _numbers(row: object, count: int) -> list[int]:
    if type(row) is not list or len(row) != count:
        raise DecodeError(f"a row of the manifest is not {count} numbers")
    _check(*row)
    return row


def _check(*numbers: object) -> None:
    for number in numbers:
        if type(number) is not int or not 0 <= number <= max(_INT_MAX, ZXID_MAX):
            raise DecodeError("a number of the manifest has the wrong type or range")
