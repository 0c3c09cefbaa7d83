"""Random histories for hypothesis: few paths and sessions, so that requests meet."""

from __future__ import annotations

from hypothesis import strategies as st

from zkembed.tree.ops import (
    Check,
    CheckAbsent,
    CloseIncarnations,
    CloseSession,
    Create,
    Delete,
    DeleteOwn,
    Ensure,
    Fail,
    Multi,
    Op,
    SetData,
    ZnodeOp,
)
from zkembed.tree.results import ErrorCode

from .helpers import STORAGE, Scene

SESSIONS = (0x11, 0x22, 0x33)

_names = st.sampled_from(["a", "b", "c"])
paths = st.lists(_names, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
_data = st.binary(max_size=3)
_versions = st.none() | st.integers(0, 2)


def _create(path: str, data: bytes, ephemeral: bool, sequential: bool, parents: bool) -> Create:
    return Create(path, data, ephemeral, sequential, parents)


znode_ops: st.SearchStrategy[ZnodeOp] = st.one_of(
    st.builds(_create, paths, _data, st.booleans(), st.booleans(), st.booleans()),
    st.builds(_create, paths, _data, st.just(False), st.just(False), st.just(True)),
    st.builds(SetData, paths, _data, _versions),
    st.builds(Delete, paths, _versions, st.booleans()),
    st.builds(Check, paths, _versions, st.none(), st.none() | st.integers(0, 2)),
    st.builds(CheckAbsent, paths),
    st.builds(DeleteOwn, paths),
    st.builds(Ensure, paths),
)
requests: st.SearchStrategy[Op] = st.one_of(
    znode_ops,
    znode_ops,
    st.builds(Multi, st.lists(znode_ops, min_size=1, max_size=4).map(tuple)),
    st.just(Fail(ErrorCode.TOO_LARGE)),
)

# A step: which session; how far its cseq is from the next one; how many results it leaves unacknowledged; what it asks.
Step = tuple[int, int, int, Op | str]
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(SESSIONS),
    st.sampled_from([0, 0, 0, 0, 0, 0, -2, -1, 1]),
    st.integers(0, 3),
    st.one_of(requests, requests, requests, st.sampled_from(["open", "expire", "close", "incarnations", "epoch", "garbage"])),
)
histories = st.lists(steps, max_size=40)


def play(scene: Scene, step: Step) -> object:
    """Turn a step into the entry that fits the present state, and apply it."""
    session, skew, kept, what = step
    entry = scene.tree.sessions.get(session)
    if what == "open" or (entry is None and not isinstance(what, str)):
        return scene.open(session, incarnation=1 + session % 3)
    if what == "expire":
        return scene.lead(CloseSession(session, expired=True))
    if what == "incarnations":
        return scene.lead(CloseIncarnations(STORAGE, below=2))
    if what == "epoch":
        scene.next_epoch()
        return scene.lead(CloseSession(0x99, expired=True))
    if what == "garbage" or entry is None:
        return scene.send(0, 0, 0, Fail(ErrorCode.TOO_LARGE))
    cseq = max(1, entry.last_cseq + 1 + skew)
    op: Op = CloseSession(session, expired=False) if isinstance(what, str) else what
    return scene.send(session, cseq, max(1, cseq - kept), op)
