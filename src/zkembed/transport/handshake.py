"""HELLO: what two ends say to each other before anything else, and who is let in (rules N-2, N-3, N-5, N-7, I-6).

Pure: bytes and values only. The dialling end sends a HELLO; the answer is a HELLO or a refusal. Each is one frame, a CBOR array::

    HELLO    [magic, lowest version, highest version, cluster, node id, storage id, incarnation, purpose]
    refusal  [magic, lowest version, highest version, code]

The first three fields stay as they are in every version of the protocol, so that two versions which share nothing can still tell each
other so; what stands behind them is read only when the ranges overlap, and is then exact. A HELLO proves nothing: without
authentication a node id is only a name, which is why links stay on the loopback interface.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .. import codec
from ..durable import STORAGE_ID_BYTES
from ..errors import BadArgumentsError, DecodeError
from .base import PROTOCOL_VERSIONS, Hello, LinkError, Refusal

MAGIC = "zkembed"
PURPOSES = ("election", "zab")
NODE_ID_MAX = 255
CLUSTER_CHARS_MAX = 255
COUNTER_MAX = 2**63 - 1
STORAGES_MAX = 4096

REFUSALS = {
    Refusal.WRONG_CLUSTER: "the two ends belong to different clusters",
    Refusal.OWN_NODE_ID: "both ends claim one node id",
    Refusal.UNKNOWN_NODE: "the node id is not a member's",
    Refusal.STALE_INCARNATION: "a later start of this storage was seen before: a process thought dead, or a copied data directory",
    Refusal.NO_COMMON_VERSION: "the two ends share no protocol version",
    Refusal.NOT_THE_DIALLED_NODE: "another node answers at this address",
    Refusal.BUSY: "too many connections are waiting for their handshake",
}


def encode_hello(hello: Hello) -> bytes:
    """Raises BadArgumentsError if a field is out of its range: the other end would refuse it."""
    fields = [hello.cluster, hello.node_id, hello.storage_id, hello.incarnation, hello.purpose]
    fault = _fault_in_versions(*hello.versions) or _fault_in(fields)
    if fault:
        raise BadArgumentsError(f"HELLO: {fault}")
    return codec.encode([MAGIC, *hello.versions, *fields])


def encode_refusal(refusal: Refusal) -> bytes:
    return codec.encode([MAGIC, *PROTOCOL_VERSIONS, int(refusal)])


def read_hello(data: bytes) -> Hello | Refusal:
    """What a dialling end opened with; NO_COMMON_VERSION if that is as far as it can be understood. Raises DecodeError."""
    fields = _read_opening(data)
    return Refusal.NO_COMMON_VERSION if fields is None else _hello_of(fields)


def read_answer(data: bytes) -> Hello:
    """The HELLO of the end that was dialled. Raises LinkError(refused=True) if it is a refusal, DecodeError if it is neither."""
    fields = _read_opening(data)
    if fields is None:
        raise refused_by(Refusal.NO_COMMON_VERSION, "this end refused the other", by_us=True)
    if len(fields) == 4:
        raise _read_refusal(fields[3])
    return _hello_of(fields)


def refused_by(refusal: Refusal, who: str, *, by_us: bool = False) -> LinkError:
    return LinkError(f"{who}: {REFUSALS[refusal]}", refused=True, refusal=refusal, by_us=by_us)


def _read_opening(data: bytes) -> list[Any] | None:
    """All fields, or None if the version ranges do not overlap."""
    match codec.decode(data):
        case [str(magic), low, high, *_] as fields if magic == MAGIC:
            fault = _fault_in_versions(low, high)
            if fault:
                raise DecodeError(f"HELLO: {fault}")
            overlap = low <= PROTOCOL_VERSIONS[1] and PROTOCOL_VERSIONS[0] <= high
            return list(fields) if overlap else None
    raise DecodeError("not a HELLO: the magic word is missing")


def _hello_of(fields: list[Any]) -> Hello:
    _, low, high, *rest = fields
    fault = _fault_in(rest) or ("" if rest[4] else "the purpose is missing")
    if fault:
        raise DecodeError(f"HELLO: {fault}")
    cluster, node_id, storage_id, incarnation, purpose = rest
    return Hello(cluster, node_id, storage_id, incarnation, purpose, (low, high))


def _read_refusal(code: Any) -> LinkError:
    if not _is_integer(code, 0, COUNTER_MAX):
        raise DecodeError("a refusal without a code")
    try:
        return refused_by(Refusal(code), "the other end refused")
    except ValueError:
        # A later version may know more reasons than this one; a no it is all the same.
        return LinkError(f"the other end refused with the unknown code {code}", refused=True)


def _fault_in_versions(low: Any, high: Any) -> str:
    if _is_integer(low, 0, COUNTER_MAX) and _is_integer(high, 0, COUNTER_MAX) and low <= high:
        return ""
    return "the version range is not two rising integers"


def _fault_in(fields: list[Any]) -> str:
    """What is wrong with the five fields behind the versions; "" if nothing. Claims are not echoed: they may be long and odd."""
    if len(fields) != 5:
        return f"{len(fields)} fields behind the versions, expected 5"
    cluster, node_id, storage_id, incarnation, purpose = fields
    if not isinstance(cluster, str) or not 0 < len(cluster) <= CLUSTER_CHARS_MAX:
        return f"the cluster is not a text of 1 to {CLUSTER_CHARS_MAX} characters"
    if not _is_integer(node_id, 1, NODE_ID_MAX):
        return f"the node id is not an integer from 1 to {NODE_ID_MAX}"
    if not isinstance(storage_id, bytes) or len(storage_id) != STORAGE_ID_BYTES:
        return f"the storage id is not {STORAGE_ID_BYTES} bytes"
    if not _is_integer(incarnation, 0, COUNTER_MAX):
        return "the incarnation is not an integer of 63 bits"
    return "" if isinstance(purpose, str) and purpose in ("", *PURPOSES) else "the purpose is unknown"


def _is_integer(value: Any, low: int, high: int) -> bool:
    # A bool is an int to Python, and not to N-3.
    return type(value) is int and low <= value <= high


class Admission:
    """Who is let in. One for a transport's lifetime: it remembers the highest incarnation of each storage id (rule I-6).

    It remembers ``storages_max`` of them; beyond that the one heard of longest ago is forgotten. Members number a handful, so
    only a flood of invented storage ids gets there.
    """

    def __init__(self, storages_max: int = STORAGES_MAX) -> None:
        self._storages_max = storages_max
        self._incarnations: OrderedDict[bytes, int] = OrderedDict()

    def judge(self, remote: Hello, own: Hello, known: Callable[[int], bool]) -> Refusal | None:
        """Whether ``remote`` may connect. Only who may changes what is remembered (rule N-7)."""
        if remote.cluster != own.cluster:
            return Refusal.WRONG_CLUSTER
        if remote.node_id == own.node_id:
            return Refusal.OWN_NODE_ID
        if not known(remote.node_id):
            return Refusal.UNKNOWN_NODE
        return self._judge_incarnation(remote)

    def judge_answer(self, remote: Hello, own: Hello, dialled: int) -> Refusal | None:
        """Whether who answered is who was dialled."""
        if remote.cluster != own.cluster:
            return Refusal.WRONG_CLUSTER
        if remote.node_id != dialled:
            return Refusal.NOT_THE_DIALLED_NODE
        return self._judge_incarnation(remote)

    def _judge_incarnation(self, remote: Hello) -> Refusal | None:
        if remote.incarnation < self._incarnations.get(remote.storage_id, 0):
            return Refusal.STALE_INCARNATION
        self._incarnations[remote.storage_id] = remote.incarnation
        self._incarnations.move_to_end(remote.storage_id)
        if len(self._incarnations) > self._storages_max:
            self._incarnations.popitem(last=False)
        return None
