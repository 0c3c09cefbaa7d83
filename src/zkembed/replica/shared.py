"""What the parts of one replica share: the core, the state that readers see, local sessions, the time, and the list of effects.

Data and two one-line helpers; no rules. Parts call each other only through the router (replica.py) or by what they
return, so this is also the list of what each of them may touch.
"""

from __future__ import annotations

from ..durable import Identity
from ..tree.ops import OpLimits
from ..tree.tree import Tree
from ..zab.effects import Report
from ..zab.peer import Peer
from .effects import Effect
from .pipeline import LocalSession


class Shared:
    """tree: what local readers see; it never goes back.  healthy: it may be served (B-15).  now, wall_us: of the present step."""

    def __init__(self, peer: Peer, tree: Tree, identity: Identity, limits: OpLimits) -> None:
        self.peer = peer
        self.tree = tree
        self.identity = identity
        self.limits = limits
        self.sessions: dict[int, LocalSession] = {}
        self.healthy = True
        self.now = 0.0
        self.wall_us = 0
        self.out: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        self.out.append(effect)

    def say(self, level: int, text: str) -> None:
        self.out.append(Report(level, text))
