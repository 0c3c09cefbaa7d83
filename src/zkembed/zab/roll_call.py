"""Who is missing, for people: the line that a node logs while it waits for a quorum (rules I-3, I-4, P-12).

Looks, decides nothing.
"""

from __future__ import annotations

from .core import Core
from .election import Election
from .mesh import Mesh


def roll_call(core: Core, mesh: Mesh, election: Election) -> str:
    """``1 of 3 voters reachable: 2 refused, 3 no answer``; and who is reachable but has no vote, and what to do about it."""
    active = core.membership.active
    heard = mesh.heard(core.now)
    voters = active.voter_ids
    silent = [node_id for node_id in voters if node_id not in heard and node_id != core.node_id]
    reasons = [f"{node_id} {remote.trouble}" for node_id in silent if (remote := mesh.get(node_id)) is not None]
    text = f"{len(voters) - len(silent)} of {len(voters)} voters reachable" + (f": {', '.join(reasons)}" if reasons else "")
    voteless = _voteless(core, mesh, election)
    if not voteless:
        return text
    text += "; without a vote: " + ", ".join(f"{node_id} ({reason})" for node_id, reason in voteless)
    names = {node_id for node_id, _ in voteless}
    left = {node_id: storage for configuration in active.configurations for node_id, storage in configuration.voters.items()}
    if active.founding or active.has_quorum({node_id: storage for node_id, storage in left.items() if node_id not in names}):
        return text
    return text + "; the others are no quorum: an operator has to bring back their disks, or copies of them"


def _voteless(core: Core, mesh: Mesh, election: Election) -> list[tuple[int, str]]:
    """Members that are there and can't help to elect, with the reason, in order of id."""
    membership = core.membership
    found = [] if membership.has_vote else [(core.node_id, membership.vote_reason)]
    for remote in mesh:
        notify = remote.newest
        if notify is None or remote.node_id not in membership.active.voter_ids or election.counts(remote, notify):
            continue
        other_list = membership.active.founding and notify.config_version == 0 and notify.has_vote
        found.append((remote.node_id, "it was started with another list of peers" if other_list else "its disk is damaged or new"))
    return sorted(found)
