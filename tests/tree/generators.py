"""Random histories for hypothesis: few paths and sessions, so that requests meet."""

from __future__ import annotations

from random import Random

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
from zkembed.tree.path import RESERVED, ROOT, SEQUENCE_DIGITS
from zkembed.tree.results import ErrorCode
from zkembed.tree.tree import Tree

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


# --- long histories, where znodes grow old ----------------------------------------------------------------------------


def draw_op(rng: Random, tree: Tree) -> ZnodeOp:
    """One that mostly meets something: a path that exists, its version, the zxid that made it."""
    known = [path for path, _ in tree.items() if path != ROOT and not path.startswith(RESERVED)] or ["/a"]
    path = rng.choice(known)
    node = tree.get(path)
    below = "/" + rng.choice("abc") if path.count("/") < 4 else ""
    version = None if node is None or rng.random() < 0.4 else node.version - (rng.random() < 0.1)
    data = rng.randbytes(rng.randrange(3))
    match rng.randrange(10):
        case 0 | 1:
            return Create(path + below, data, rng.random() < 0.3, rng.random() < 0.4, rng.random() < 0.3)
        case 2:
            return Create("/" + rng.choice("abcd"), data)
        case 3 | 4 | 5:
            return SetData(path, data, None if version == -1 else version)
        case 6:
            return Delete(path, None if version == -1 else version, rng.random() < 0.3)
        case 7:
            stem = path[:-SEQUENCE_DIGITS] if path[-SEQUENCE_DIGITS:].isdigit() and len(path) > SEQUENCE_DIGITS + 1 else path
            kinds: list[ZnodeOp] = [Ensure(path + below), CheckAbsent(path + below), DeleteOwn(stem)]
            return rng.choice(kinds)
        case _:
            czxid = None if node is None else rng.choice([None, None, node.czxid, node.czxid, node.mzxid])
            return Check(path, None if version == -1 else version, czxid, rng.choice([None, 0, 1]))


def draw_step(rng: Random, tree: Tree) -> Step:
    """Like ``steps``, but most of them happen."""
    what: Op | str = draw_op(rng, tree)
    if rng.random() < 0.15:
        what = Multi(tuple(draw_op(rng, tree) for _ in range(rng.randrange(5))))
    elif rng.random() < 0.05:
        others: list[Op | str] = ["open", "expire", "close", "incarnations", "epoch", "garbage", Fail(ErrorCode.TOO_LARGE)]
        what = rng.choice(others)
    return rng.choice(SESSIONS), rng.choice([0] * 12 + [-2, -1, 1]), rng.randrange(4), what
