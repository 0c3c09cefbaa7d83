"""Which message is allowed where, and who handles it: role x phase x message, as data (rule N-3).

A message that is not in the table ends its link. KEEP_ALIVE is allowed on every link in every phase and handled by being heard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .handler import Handler, HandlerPhase
from .leader import Leader
from .learner import Learner, LearnerPhase
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    Entries,
    Goodbye,
    LeaderInfo,
    NewLeader,
    Ping,
    Pong,
    Proposal,
    Reject,
    Request,
    SnapChunk,
    Sync,
    SyncOk,
    SyncReject,
    SyncRequest,
    UpToDate,
)

LearnerHandling = Mapping[type, Callable[[Learner, Any], None]]
LeaderHandling = Mapping[type, Callable[[Leader, Handler, Any], None]]

_GOODBYE: LearnerHandling = {Goodbye: Learner.on_goodbye}

FROM_LEADER: Mapping[LearnerPhase, LearnerHandling] = {
    LearnerPhase.DIALLING: {},
    LearnerPhase.DISCOVERY: {LeaderInfo: Learner.on_leader_info, **_GOODBYE},
    LearnerPhase.PROMISING: _GOODBYE,
    LearnerPhase.SYNC: {
        Sync: Learner.on_sync,
        SnapChunk: Learner.on_snap_chunk,
        Entries: Learner.on_entries,
        NewLeader: Learner.on_new_leader,
        Proposal: Learner.on_proposal,
        Ping: Learner.on_ping,
        **_GOODBYE,
    },
    LearnerPhase.ACKING: {Proposal: Learner.on_proposal, Ping: Learner.on_ping, **_GOODBYE},
    LearnerPhase.ACKED: {Proposal: Learner.on_proposal, Ping: Learner.on_ping, UpToDate: Learner.on_up_to_date, **_GOODBYE},
    LearnerPhase.SERVING: {
        Proposal: Learner.on_proposal,
        Commit: Learner.on_commit,
        Ping: Learner.on_ping,
        Reject: Learner.on_reject,
        SyncOk: Learner.on_sync_ok,
        **_GOODBYE,
    },
}

FROM_LEARNER: Mapping[HandlerPhase, LeaderHandling] = {
    HandlerPhase.CONNECTED: {},
    HandlerPhase.INFORMED: {AckEpoch: Leader.on_ack_epoch},
    HandlerPhase.PROMISED: {},
    HandlerPhase.SYNCING: {SyncReject: Leader.on_sync_reject, AckNewLeader: Leader.on_ack_new_leader, Pong: Leader.on_pong},
    HandlerPhase.ACKED: {Ack: Leader.on_ack, Pong: Leader.on_pong},
    HandlerPhase.SERVING: {
        Ack: Leader.on_ack,
        Pong: Leader.on_pong,
        Request: Leader.on_request,
        SyncRequest: Leader.on_sync_request,
    },
}
