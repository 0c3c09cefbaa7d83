"""One znode as the tree keeps it: a value. Changing a znode is making a new one, so a reader's copy never moves.

It knows neither its path nor its children's names; those live in the store.
"""

from __future__ import annotations

from .stat import Stat, StatRow, Znode

# Bounds of rule Z-3. Reaching one is an error of that operation, never a wrap.
VERSION_MAX = 2**63 - 1
CREATED_CHILDREN_MAX = 2**62


class TreeNode:
    """Treat as frozen; slotted and hand-written because a million of them live in memory and every write makes one.

    ctime_us, mtime_us: microseconds since 1970.  ephemeral_owner: session id, 0 for none.  created_children: how many
    children were ever created here: the counter of sequential names (A8).
    """

    __slots__ = (
        "aversion",
        "created_children",
        "ctime_us",
        "czxid",
        "data",
        "ephemeral_owner",
        "mtime_us",
        "mzxid",
        "num_children",
        "pzxid",
        "version",
    )

    def __init__(
        self,
        data: bytes,
        czxid: int,
        mzxid: int,
        pzxid: int,
        ctime_us: int,
        mtime_us: int,
        version: int,
        aversion: int,
        ephemeral_owner: int,
        created_children: int,
        num_children: int,
    ) -> None:
        self.data = data
        self.czxid = czxid
        self.mzxid = mzxid
        self.pzxid = pzxid
        self.ctime_us = ctime_us
        self.mtime_us = mtime_us
        self.version = version
        self.aversion = aversion
        self.ephemeral_owner = ephemeral_owner
        self.created_children = created_children
        self.num_children = num_children

    @classmethod
    def new(cls, data: bytes, zxid: int, time_us: int, ephemeral_owner: int = 0) -> TreeNode:
        return cls(data, zxid, zxid, zxid, time_us, time_us, 0, 0, ephemeral_owner, 0, 0)

    def with_data(self, data: bytes, zxid: int, time_us: int) -> TreeNode:
        """A write: version, mzxid and mtime move, whether or not the bytes differ (A19)."""
        return TreeNode(
            data,
            self.czxid,
            zxid,
            self.pzxid,
            self.ctime_us,
            time_us,
            self.version + 1,
            self.aversion,
            self.ephemeral_owner,
            self.created_children,
            self.num_children,
        )

    def with_child(self, zxid: int) -> TreeNode:
        """A child was created: pzxid moves, and both counters (A8, A29)."""
        return self._with_children(zxid, self.created_children + 1, self.num_children + 1)

    def without_child(self, zxid: int) -> TreeNode:
        """A child was deleted: pzxid moves (A29), the counter of sequential names does not (A8)."""
        return self.without_children(1, zxid)

    def without_children(self, count: int, zxid: int) -> TreeNode:
        """So many were deleted by one entry."""
        return self._with_children(zxid, self.created_children, self.num_children - count)

    def _with_children(self, zxid: int, created_children: int, num_children: int) -> TreeNode:
        return TreeNode(
            self.data,
            self.czxid,
            self.mzxid,
            zxid,
            self.ctime_us,
            self.mtime_us,
            self.version,
            self.aversion,
            self.ephemeral_owner,
            created_children,
            num_children,
        )

    @property
    def cversion(self) -> int:
        """As ZooKeeper reports it (A29)."""
        return 2 * self.created_children - self.num_children

    def row(self) -> StatRow:
        return StatRow(
            self.czxid,
            self.mzxid,
            self.pzxid,
            self.ctime_us,
            self.mtime_us,
            self.version,
            2 * self.created_children - self.num_children,
            self.aversion,
            self.ephemeral_owner,
            len(self.data),
            self.num_children,
        )

    def stat(self) -> Stat:
        return self.row().public()

    def znode(self) -> Znode:
        return Znode(self.data, self.row().public())

    def _values(self) -> tuple[object, ...]:
        return (self.data, self.created_children, *self.row())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeNode) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"<TreeNode {len(self.data)} bytes, {self.row()}>"
