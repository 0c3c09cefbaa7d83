"""What may be asked of the tree: one frozen value for each operation, and the limits it must keep.

``check`` is called at the origin before a request is queued and by the leader before it is proposed (Q-2); the decoder
calls each operation's own ``check`` again, so that whatever reaches the tree has the right shape (D22).
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from attrs import frozen

from ..durable import STORAGE_ID_BYTES
from ..errors import BadArgumentsError, DataTooLargeError
from ..zxid import ZXID_MAX
from .path import check_path, check_writable
from .results import ErrorCode
from .znode import VERSION_MAX

SESSION_MAX = 2**63 - 1
CSEQ_MAX = 2**63 - 1
INCARNATION_MAX = 2**63 - 1
TIMEOUT_MS_MAX = 2**31 - 1
NODE_ID_MAX = 255
# Operations in one Multi: it holds the loop while it is applied.
MULTI_OPS_MAX = 10_000
# Counted for each operation besides its path and data.
OP_OVERHEAD_BYTES = 16


@frozen
class OpLimits:
    """Limits of one node's configuration, in bytes. Those that apply itself depends on are constants of the tree."""

    data_bytes_max: int = 2**20
    txn_bytes_max: int = 2**22


@frozen
class Create:
    """sequential: a counter is appended to the path.  parents: missing ones are created, persistent and empty (A13)."""

    path: str
    data: bytes = b""
    ephemeral: bool = False
    sequential: bool = False
    parents: bool = False
    verb: ClassVar[str] = "create"

    def check(self) -> None:
        _check_flag("sequential", self.sequential)
        check_path(self.path, sequential=self.sequential)
        # "/zookeeper" with a number behind it is not reserved.
        check_writable(self.path + "0" if self.sequential else self.path)
        _check_data(self.data)
        _check_flag("ephemeral", self.ephemeral)
        _check_flag("parents", self.parents)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path) + len(self.data)


@frozen
class Ensure:
    """The znode and its parents exist afterwards, persistent and empty where they did not."""

    path: str
    verb: ClassVar[str] = "ensure"

    def check(self) -> None:
        check_path(self.path)
        check_writable(self.path)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path)


@frozen
class SetData:
    """version: the data version that must be found; None for any."""

    path: str
    data: bytes
    version: int | None = None
    verb: ClassVar[str] = "set"

    def check(self) -> None:
        check_path(self.path)
        check_writable(self.path)
        _check_data(self.data)
        _check_optional("version", self.version, VERSION_MAX)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path) + len(self.data)


@frozen
class Delete:
    """version: as in SetData, of the znode itself.  recursive: with all that is below it (A16)."""

    path: str
    version: int | None = None
    recursive: bool = False
    verb: ClassVar[str] = "delete"

    def check(self) -> None:
        check_path(self.path)
        check_writable(self.path, deleting=True)
        _check_optional("version", self.version, VERSION_MAX)
        _check_flag("recursive", self.recursive)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path)


@frozen
class DeleteOwn:
    """Take back: delete the ephemerals of this session that sequential creates of the same ``path`` made. None there: fine.

    For whoever has lost the answer of such a create, and with it the znode's name: behind it in the session's order this
    finds exactly what it made. Let a path that is to be taken back be unique.
    """

    path: str
    verb: ClassVar[str] = "delete own"

    def check(self) -> None:
        check_path(self.path, sequential=True)
        check_writable(self.path + "0")

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path)


@frozen
class Check:
    """The znode exists and is as described; None: not looked at (A26)."""

    path: str
    version: int | None = None
    czxid: int | None = None
    num_children: int | None = None
    verb: ClassVar[str] = "check"

    def check(self) -> None:
        check_path(self.path)
        _check_optional("version", self.version, VERSION_MAX)
        _check_optional("czxid", self.czxid, ZXID_MAX)
        _check_optional("num_children", self.num_children, VERSION_MAX)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path)


@frozen
class CheckAbsent:
    """The znode does not exist."""

    path: str
    verb: ClassVar[str] = "check_absent"

    def check(self) -> None:
        check_path(self.path)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + len(self.path)


@frozen
class Multi:
    """All or nothing, one zxid; each operation sees what those before it did (A25, Q-10)."""

    ops: tuple[ZnodeOp, ...]
    verb: ClassVar[str] = "transaction"

    def check(self) -> None:
        if type(self.ops) is not tuple:
            raise BadArgumentsError("operations of a transaction must be a tuple")
        if len(self.ops) > MULTI_OPS_MAX:
            raise DataTooLargeError(f"transaction: {len(self.ops)} operations, at most {MULTI_OPS_MAX} are allowed")
        for op in self.ops:
            if type(op) not in ZNODE_OPS:
                raise BadArgumentsError(f"{type(op).__name__} cannot be part of a transaction")
            op.check()

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + sum(op.size() for op in self.ops)


@frozen
class OpenSession:
    """(S-1) The entry's session field is the new id.  node_id, storage_id, incarnation: the owner."""

    timeout_ms: int
    node_id: int
    storage_id: bytes
    incarnation: int
    verb: ClassVar[str] = "open session"

    def check(self) -> None:
        _check_range("timeout_ms", self.timeout_ms, 1, TIMEOUT_MS_MAX)
        _check_range("node_id", self.node_id, 1, NODE_ID_MAX)
        _check_storage_id(self.storage_id)
        _check_range("incarnation", self.incarnation, 0, INCARNATION_MAX)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + STORAGE_ID_BYTES


@frozen
class CloseSession:
    """(S-6) Its ephemerals go, then the session.  expired: the leader's decision; else the owner's own close."""

    session: int
    expired: bool
    verb: ClassVar[str] = "close session"

    def check(self) -> None:
        _check_range("session", self.session, 1, SESSION_MAX)
        _check_flag("expired", self.expired)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES


@frozen
class CloseIncarnations:
    """(S-8) Close all sessions of this storage id whose incarnation is below ``below``."""

    storage_id: bytes
    below: int
    verb: ClassVar[str] = "close incarnations"

    def check(self) -> None:
        _check_storage_id(self.storage_id)
        _check_range("below", self.below, 0, INCARNATION_MAX)

    def size(self) -> int:
        return OP_OVERHEAD_BYTES + STORAGE_ID_BYTES


@frozen
class Fail:
    """(Q-2) Uses its cseq and fails with ``code``: stands in for a request that the leader refused for a limit."""

    code: ErrorCode
    verb: ClassVar[str] = "request"

    def check(self) -> None:
        if self.code not in FAIL_CODES:
            raise BadArgumentsError(f"no request can be made to fail with {self.code!r}")

    def size(self) -> int:
        return OP_OVERHEAD_BYTES


ZnodeOp: TypeAlias = Create | Ensure | SetData | Delete | DeleteOwn | Check | CheckAbsent
Op: TypeAlias = ZnodeOp | Multi | OpenSession | CloseSession | CloseIncarnations | Fail

ZNODE_OPS = frozenset({Create, Ensure, SetData, Delete, DeleteOwn, Check, CheckAbsent})
FAIL_CODES = (ErrorCode.TOO_LARGE, ErrorCode.MALFORMED)


def check(op: Op, limits: OpLimits) -> None:
    """Raise BadArgumentsError or DataTooLargeError unless ``op`` has the right shape and keeps the limits."""
    op.check()
    for each in op.ops if isinstance(op, Multi) else (op,):
        if isinstance(each, Create | SetData) and len(each.data) > limits.data_bytes_max:
            raise DataTooLargeError(f"{each.verb} {each.path!r}: data is {len(each.data)} bytes, data_bytes_max is {limits.data_bytes_max}")
    if (size := op.size()) > limits.txn_bytes_max:
        raise DataTooLargeError(f"{op.verb}: {size} bytes, txn_bytes_max is {limits.txn_bytes_max}")


def _check_data(data: object) -> None:
    if type(data) is not bytes:
        raise BadArgumentsError(f"data must be bytes, not {type(data).__name__}")


def _check_flag(name: str, value: object) -> None:
    if type(value) is not bool:
        raise BadArgumentsError(f"{name} must be a bool, not {type(value).__name__}")


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise BadArgumentsError(f"{name} must be an int from {low} to {high}, not {value!r:.60}")


def _check_optional(name: str, value: object, high: int) -> None:
    if value is not None and (type(value) is not int or not 0 <= value <= high):
        raise BadArgumentsError(f"{name} must be None or an int from 0 to {high}, not {value!r:.60}")


def _check_storage_id(value: object) -> None:
    if type(value) is not bytes or len(value) != STORAGE_ID_BYTES:
        raise BadArgumentsError(f"storage_id must be {STORAGE_ID_BYTES} bytes")
