"""A few faults for a worked world, drawn from its seed: enough that sessions expire, holders doubt and calls end unknown."""

from __future__ import annotations

from random import Random

from zkembed.testing.history import Fault

from .worlds import WorkedWorld


class Trouble:
    """At most one node is down, cut off or paused at a time; pauses: whether nodes may be paused."""

    def __init__(self, world: WorkedWorld, seed: int, *, pauses: bool) -> None:
        self._world = world
        self._rng = Random(f"trouble {seed}")
        self._pauses = pauses
        self._over = False
        self._later()

    def end(self) -> None:
        """No more of it; what is under way heals by itself."""
        self._over = True

    def _later(self) -> None:
        self._world.at(self._rng.uniform(0.2, 3.0), self._next)

    def _next(self) -> None:
        if self._over:
            return
        kinds = [self._kill, self._kill, self._cut_off, self._cut_off, self._break_links]
        self._rng.choice([*kinds, self._pause, self._pause] if self._pauses else kinds)()

    def _victim(self) -> int:
        return self._rng.choice(sorted(self._world.nodes))

    def _heal(self, after: float, heal: object) -> None:
        self._world.at(after, heal)  # type: ignore[arg-type]
        self._world.at(after, self._later)

    def _kill(self) -> None:
        node = self._victim()
        self._world.kill(node)
        self._heal(self._rng.choice((0.5, 4.0)), lambda: self._world.start(node))

    def _cut_off(self) -> None:
        """Long enough, now and then, that its sessions expire."""
        node = self._victim()
        self._world.partition({node}, set(self._world.nodes) - {node})
        self._heal(self._rng.choice((0.5, 4.0, 9.0)), self._world.heal_all)

    def _break_links(self) -> None:
        one, other = self._rng.sample(sorted(self._world.nodes), 2)
        self._world.drop_links(one, other)
        self._heal(0.1, lambda: None)

    def _pause(self) -> None:
        node, seconds = self._victim(), self._rng.choice((0.3, 3.0, 8.0))
        world = self._world
        world.history.record(Fault(world.now, node, world[node].life, "pause", f"{seconds} s"))
        world.pause(node, seconds)
        self._heal(seconds, lambda: None)
