"""Who votes, and what is a majority: members, configurations, and the set of configurations that rule at a moment.

A *quorum* is a strict majority of the voters of each active configuration (docs/protocol.md section 0). Voters are named by
(node id, storage id): a node whose disk was replaced is another storage and has no vote (rule I-1). Configuration v0 is
made from the start-up arguments, knows no storage ids, serves to found and needs every member (rule I-4).

This file counts; it knows no links, messages or logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from attrs import evolve, field, frozen

from ..codec import decode, encode
from ..durable import STORAGE_ID_BYTES
from ..errors import DecodeError
from ..zxid import ZXID_MAX, to_hex

MEMBERS_MAX = 255
NODE_ID_MAX = 2**31 - 1
ADDRESS_CHARACTERS_MAX = 512
FOUNDING_VERSION = 0


class MemberRole(IntEnum):
    VOTER = 1
    OBSERVER = 2


@frozen
class Member:
    """address: where to dial it, opaque here.  storage_id: ``b""`` in v0 only."""

    node_id: int
    address: str
    role: MemberRole = MemberRole.VOTER
    storage_id: bytes = b""


def _by_id(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.node_id))


@frozen
class Configuration:
    """The members as of one CONFIG entry (rule C-1). version: that entry's zxid, 0 for v0.  members: sorted by node id."""

    version: int
    members: tuple[Member, ...] = field(converter=_by_id)
    voters: Mapping[int, bytes] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        voters = {member.node_id: member.storage_id for member in self.members if member.role is MemberRole.VOTER}
        object.__setattr__(self, "voters", voters)

    @classmethod
    def founding(cls, peers: Mapping[int, str]) -> Configuration:
        """v0: the initial member list as every initial member must have it (rule I-4)."""
        return cls(FOUNDING_VERSION, tuple(Member(node_id, address) for node_id, address in peers.items()))

    @property
    def peers(self) -> dict[int, str]:
        """Addresses by node id, in order of id."""
        return {member.node_id: member.address for member in self.members}

    @property
    def quorum(self) -> int:
        """How many voters decide: all of v0, else a strict majority."""
        return len(self.voters) if self.version == FOUNDING_VERSION else len(self.voters) // 2 + 1

    def names_voter(self, node_id: int, storage_id: bytes) -> bool:
        named = self.voters.get(node_id)
        return named is not None and (named == storage_id or self.version == FOUNDING_VERSION)

    def names_member(self, node_id: int) -> bool:
        return any(member.node_id == node_id for member in self.members)

    def has_quorum(self, present: Mapping[int, bytes]) -> bool:
        """present: storage ids by node id."""
        named = self.voters
        founding = self.version == FOUNDING_VERSION
        count = 0
        for node_id, storage_id in present.items():
            if node_id in named and (founding or named[node_id] == storage_id):
                count += 1
        return count >= self.quorum

    def quorum_point(self, reached: Mapping[tuple[int, bytes], int]) -> int:
        """The greatest number that a quorum has reached; 0 if none. reached: by (node id, storage id)."""
        founding = self.version == FOUNDING_VERSION
        named = self.voters
        points = [point for (node_id, storage), point in reached.items() if node_id in named and (founding or named[node_id] == storage)]
        need = self.quorum
        if len(points) < need:
            return 0
        points.sort(reverse=True)
        return points[need - 1]

    def with_storage(self, version: int, node_id: int, storage_id: bytes) -> Configuration:
        """The configuration in which this member has another storage, all else being as it is (rule I-3)."""
        members = (evolve(member, storage_id=storage_id) if member.node_id == node_id else member for member in self.members)
        return Configuration(version, tuple(members))

    def encode(self) -> bytes:
        rows = [[member.node_id, member.address, int(member.role), member.storage_id] for member in self.members]
        return encode([self.version, rows])

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """Raises DecodeError for anything that ``encode`` of a usable configuration would not give."""
        value = decode(data)
        if type(value) is not list or len(value) != 2 or type(value[0]) is not int or type(value[1]) is not list:
            raise DecodeError("a configuration is [version, members]")
        version, rows = value
        if not 0 <= version <= ZXID_MAX:
            raise DecodeError("a configuration's version is a zxid")
        if not 1 <= len(rows) <= MEMBERS_MAX:
            raise DecodeError(f"a configuration has 1 to {MEMBERS_MAX} members")
        configuration = cls(version, tuple(_decode_member(row, version) for row in rows))
        ids = [member.node_id for member in configuration.members]
        if len(set(ids)) != len(ids) or len({member.address for member in configuration.members}) != len(ids):
            raise DecodeError("a configuration names a node id or address twice")
        if not configuration.voters:
            raise DecodeError("a configuration without voters")
        return configuration

    def __str__(self) -> str:
        return f"configuration {to_hex(self.version)} of {', '.join(str(member.node_id) for member in self.members)}"


def _decode_member(row: object, version: int) -> Member:
    if type(row) is not list or len(row) != 4:
        raise DecodeError("a member is [node id, address, role, storage id]")
    node_id, address, role, storage_id = row
    storage_bytes = 0 if version == FOUNDING_VERSION else STORAGE_ID_BYTES
    if not (
        type(node_id) is type(role) is int
        and 0 <= node_id <= NODE_ID_MAX
        and type(address) is str
        and 1 <= len(address) <= ADDRESS_CHARACTERS_MAX
        and role in (MemberRole.VOTER, MemberRole.OBSERVER)
        and type(storage_id) is bytes
        and len(storage_id) == storage_bytes
    ):
        raise DecodeError("a field of a member has the wrong type or range")
    return Member(node_id, address, MemberRole(role), storage_id)


@frozen
class ActiveConfigurations:
    """The configurations that rule at this moment, oldest first: one, or two while a change is under way (rule C-3).

    Every quorum is a quorum of each.
    """

    configurations: tuple[Configuration, ...]

    @property
    def newest(self) -> Configuration:
        return self.configurations[-1]

    @property
    def founding(self) -> bool:
        return self.newest.version == FOUNDING_VERSION

    @property
    def voter_ids(self) -> tuple[int, ...]:
        """Every voter of any of them, in order of id."""
        return tuple(sorted({node_id for configuration in self.configurations for node_id in configuration.voters}))

    def names_voter(self, node_id: int, storage_id: bytes) -> bool:
        return any(configuration.names_voter(node_id, storage_id) for configuration in self.configurations)

    def names_candidate(self, node_id: int, storage_id: bytes) -> bool:
        """Who may be elected: a voter of each of them (rule E-5)."""
        return all(configuration.names_voter(node_id, storage_id) for configuration in self.configurations)

    def has_quorum(self, present: Mapping[int, bytes]) -> bool:
        return all(configuration.has_quorum(present) for configuration in self.configurations)

    def quorum_point(self, reached: Mapping[tuple[int, bytes], int]) -> int:
        return min(configuration.quorum_point(reached) for configuration in self.configurations)

    def decide_point(self, reached: Mapping[tuple[int, bytes], int], committed: int, before_newest: int) -> int:
        """The greatest zxid that may be committed, by what each voter has acknowledged (rule B-5); 0 if none.

        committed: the commit point so far.  before_newest: the entry before the newest configuration's own entry.

        1. One configuration rules: its quorum decides.
        2. Two rule, the newest not yet committed: entries before it need the old one alone, it needs both. Once it is
           decided, what stands behind it needs the new one alone.
        """
        newest = self.newest
        if len(self.configurations) == 1 or newest.version <= committed:
            return newest.quorum_point(reached)
        old = self.configurations[0].quorum_point(reached)
        if old < newest.version:
            return min(old, before_newest)
        if newest.quorum_point(reached) < newest.version:
            return before_newest
        return newest.quorum_point(reached)
