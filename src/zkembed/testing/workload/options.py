"""What one run's sessions do, and how often: drawn anew for every seed, so that each run leaves some things out and overdoes others.

A run that does a little of everything never fills a window, and never has a queue of twenty for one lock (swarm testing).
"""

from __future__ import annotations

from random import Random

from attrs import frozen

from ...errors import BadArgumentsError
from ...tree.ops import OpLimits

READS = ("get", "exists", "children")
WRITES = ("create", "set", "delete", "ensure", "transaction", "delete own")
DOUBTS = ("cancel", "unwatch", "malformed", "too large", "over limit", "evict")
KINDS = (*READS, *WRITES, "sync", "stream", "close", "lock", "election", *DOUBTS)
"""Each one thing that a session may do next.

stream: a persistent watch.  malformed, too large: refused at the call.  over limit: goes out, and the leader refuses it.
evict: delete the znode of a waiting contender.  cancel: the caller of one of this session's calls gives up.
"""

_USUAL = {
    "get": 8.0,
    "exists": 5.0,
    "children": 5.0,
    "create": 12.0,
    "set": 12.0,
    "delete": 6.0,
    "ensure": 2.0,
    "transaction": 5.0,
    "delete own": 1.5,
    "sync": 4.0,
    "stream": 2.0,
    "close": 0.7,
    "lock": 3.0,
    "election": 1.5,
    "cancel": 3.0,
    "unwatch": 1.0,
    "malformed": 0.5,
    "too large": 0.5,
    "over limit": 0.7,
    "evict": 0.7,
}
TIMEOUTS = (3.2, 4.0, 6.0, 12.0)


@frozen
class WorkloadOptions:
    """All a seed decides of a workload, beside its own draws.

    weights: how often a session does what, by kind; a kind that is missing never.
    operations: calls until the workload stops by itself, about.  sessions: open at a time, over all nodes.
    timeouts: of sessions, seconds.  think: mean seconds between two turns of a session.  rush: turns that follow at once
    upon the one before, so that calls are under way for a while without a pause.  burst: calls made in one turn at most.
    outstanding: calls of a session that wait at most; a session with more makes a pause.
    keys: znodes that plain operations are about.  locks: paths that contenders queue at.
    watch_share: reads that set a watch.  sync_share: reads that have a sync before them.  patience: mean seconds until a caller
    or contender gives up, 0 for never.  hold: mean seconds for which a lock is held.  value_bytes_max: of data.
    streams: persistent watches on a node at most.  limits: those of the nodes.
    """

    weights: tuple[tuple[str, float], ...] = tuple(_USUAL.items())
    operations: int = 300
    sessions: int = 6
    timeouts: tuple[float, ...] = TIMEOUTS
    think: float = 0.1
    rush: float = 0.3
    burst: int = 3
    outstanding: int = 20
    keys: int = 6
    locks: int = 2
    watch_share: float = 0.3
    sync_share: float = 0.1
    patience: float = 2.0
    hold: float = 0.3
    value_bytes_max: int = 200
    streams: int = 2
    limits: OpLimits = OpLimits(1000, 4000)

    def __attrs_post_init__(self) -> None:
        for kind, weight in self.weights:
            if kind not in KINDS or weight < 0:
                raise BadArgumentsError(f"weights: {kind!r}: {weight!r}; expected a weight of at least 0 for one of {', '.join(KINDS)}")
        if not any(weight for _, weight in self.weights):
            raise BadArgumentsError("weights: all are 0, so there is nothing to do")
        for name in ("operations", "sessions", "burst", "outstanding", "keys", "locks"):
            if getattr(self, name) < 1:
                raise BadArgumentsError(f"{name}={getattr(self, name)!r}: expected at least 1")
        if not 0 <= self.rush < 1:
            raise BadArgumentsError(f"rush={self.rush!r}: expected a share below 1")


def draw_options(
    rng: Random,
    *,
    operations: int = 300,
    duration: float = 15.0,
    timeouts: tuple[float, ...] = TIMEOUTS,
    limits: OpLimits | None = None,
) -> WorkloadOptions:
    """Options for one seed. About one kind in five is left out, one in five is done five times as often.

    duration: seconds for which it is at work if nothing ever waits, on the average.  timeouts: the shortest first; it is there in every
    run, and alone in many, for only a session that notices a fault has a story to tell.
    """
    limits = limits or WorkloadOptions().limits
    sessions, burst = rng.choice((2, 4, 6, 9)), rng.choice((1, 2, 4, 12))
    think = duration * rng.choice((0.3, 1.0, 1.0, 1.7)) * sessions * (1 + burst) / 2 / operations
    weights = {kind: weight * rng.choice((0.0, 1.0, 1.0, 1.0, 5.0)) for kind, weight in _USUAL.items()}
    if not any(weights[kind] for kind in WRITES):
        weights["create"] = _USUAL["create"]
    # Without these nothing ever ends, or nothing is contended for: a third of the runs has none, a third has plenty.
    locks = rng.choice((0.0, 1.0, 3.0))
    weights["lock"] *= locks
    weights["election"] *= locks
    return WorkloadOptions(
        weights=tuple(weights.items()),
        operations=operations,
        sessions=sessions,
        timeouts=timeouts[: rng.choice((1, 1, 2, len(timeouts)))],
        think=think,
        rush=rng.choice((0.0, 0.5, 0.9)),
        burst=burst,
        outstanding=rng.choice((1, 5, 20, 60)),
        keys=rng.choice((1, 3, 6, 12)),
        locks=rng.choice((1, 1, 2)),
        watch_share=rng.choice((0.0, 0.2, 0.8)),
        sync_share=rng.choice((0.0, 0.05, 0.4)),
        patience=rng.choice((0.0, 0.02, 0.5, 4.0)),
        hold=rng.choice((0.02, 0.5, 3.0, 10.0)),
        value_bytes_max=min(rng.choice((20, 200, 3000)), limits.data_bytes_max),
        streams=rng.choice((0, 2, 4)),
        limits=limits,
    )
