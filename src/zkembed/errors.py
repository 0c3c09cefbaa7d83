"""Every error of zkembed, sorted by whose fault it is.

* the caller's mistake: ``BadArgumentsError`` and its like, ``NoNodeError`` and the other answers of the tree;
* the world: sessions, disks, a node that could not start; the docstring says whether an outcome is known;
* ours: ``InternalError``. It ends the node and never the host process.

A message says what was tried, what was found and what was expected; zxids are printed in hex.
A peer's misbehaviour is no error of the application: it ends that peer's link and is only logged (rule N-4); the two
classes for it, ``DecodeError`` and ``ProtocolError``, never leave the node.
"""

from __future__ import annotations

from collections.abc import Sequence


class ZkError(Exception):
    """Base of every error that zkembed raises on purpose."""


# --- the caller's mistakes -------------------------------------------------------------------------------------------


class BadArgumentsError(ZkError, ValueError):
    """A path, version, flag or limit is not allowed. Raised at the call, before anything is queued."""


class ConfigError(BadArgumentsError):
    """One or more settings are wrong; the message names each field, its value and what is allowed."""


class NoNodeError(ZkError):
    """The znode (or, on create, its parent) does not exist."""


class NodeExistsError(ZkError):
    """The znode exists already."""


class BadVersionError(ZkError):
    """The znode's version (or czxid, or number of children) is not the expected one."""


class NotEmptyError(ZkError):
    """The znode has children and the delete was not recursive."""


class NoChildrenForEphemeralsError(ZkError):
    """Ephemeral znodes can have no children."""


class DataTooLargeError(BadArgumentsError):
    """Data, or a whole transaction, is larger than ``Config.data_bytes_max`` / ``txn_bytes_max`` allows."""


class LimitReachedError(ZkError):
    """A number that must not wrap has reached its bound, or a recursive delete is larger than allowed (rule Z-3)."""


class TransactionError(ZkError):
    """A transaction was rejected as a whole. ``index``: which operation failed, from 0; ``error``: why."""

    def __init__(self, index: int, error: ZkError) -> None:
        super().__init__(f"operation {index} of the transaction failed: {error}")
        self.index = index
        self.error = error


class LockBusyError(ZkError):
    """The lock is taken and ``wait=False`` was asked for."""


# --- the world -------------------------------------------------------------------------------------------------------


class SessionExpiredError(ZkError):
    """The session has ended. ``unknown``: descriptions of the calls whose outcome is not known."""

    def __init__(self, message: str, unknown: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.unknown = tuple(unknown)


class LockLostError(ZkError):
    """Ownership was, or may have been, lost while the body ran."""


class NodeStartError(ZkError):
    """The node could not join its ensemble in time, or could not listen; the message says what was missing."""


class NodeFailedError(ZkError):
    """The node has stopped because a part of it failed; ``__cause__`` says which."""


class StorageError(ZkError):
    """Reading or writing the data directory failed. ``path`` and ``offset`` say where, where that is known."""

    def __init__(self, message: str, path: str | None = None, offset: int | None = None) -> None:
        where = "" if path is None else f" ({path}" + ("" if offset is None else f", offset {offset}") + ")"
        super().__init__(message + where)
        self.path = path
        self.offset = offset


class CorruptLogError(StorageError):
    """What was once durable does not read back (rule P-11)."""


# --- ours ------------------------------------------------------------------------------------------------------------


class InternalError(ZkError):
    """A defect in zkembed: an invariant does not hold. The node stops and keeps its data."""


# --- a peer's (never leave the node) ---------------------------------------------------------------------------------


class DecodeError(ZkError):
    """Bytes that are not what the format allows (rules N-2, N-3)."""


class ProtocolError(ZkError):
    """A peer said something that its role and phase do not allow; its link is closed (rule N-3)."""
