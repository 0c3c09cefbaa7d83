"""What a znode says of itself: the public ``Stat``, and ``StatRow``, the same as plain integers.

A StatRow is what results keep and snapshots store: eleven integers, exact, and no hold on the znode's data.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import field, frozen

from ..zxid import to_hex

US_PER_S = 1_000_000


@frozen
class Stat:
    """ZooKeeper's eleven fields (A29). ctime, mtime: the leader's wall clock, seconds since 1970 (A30).

    cversion: 2 * children ever created - children now; it is not the counter of sequential names.  ephemeral_owner: a
    session id, None for persistent znodes.  pzxid: of the last create or delete of a child.
    """

    czxid: int = field(repr=to_hex)
    mzxid: int = field(repr=to_hex)
    pzxid: int = field(repr=to_hex)
    ctime: float
    mtime: float
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int | None
    data_length: int
    num_children: int


class Znode(NamedTuple):
    """Data and Stat of one znode at one moment."""

    data: bytes
    stat: Stat


class Created(NamedTuple):
    """Answer of a create. path: with the sequence number, if one was asked for."""

    path: str
    stat: Stat


class StatRow(NamedTuple):
    """A Stat as integers: times in microseconds, owner 0 for none."""

    czxid: int
    mzxid: int
    pzxid: int
    ctime_us: int
    mtime_us: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int

    def public(self) -> Stat:
        return Stat(
            self.czxid,
            self.mzxid,
            self.pzxid,
            self.ctime_us / US_PER_S,
            self.mtime_us / US_PER_S,
            self.version,
            self.cversion,
            self.aversion,
            self.ephemeral_owner or None,
            self.data_length,
            self.num_children,
        )
