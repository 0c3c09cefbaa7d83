"""The resource that a lock protects: outside the ensemble, reached at once, and it refuses a token lower than one it has seen."""

from __future__ import annotations

from ..history import GuardedWrite
from .client import Client


class Fence:
    """One register for each lock. It does not fail and does not forget, so its order is that of real time."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def write(self, client: Client, path: str, token: int) -> bool:
        """Whether it was accepted."""
        accepted = token >= self._highest.get(path, 0)
        if accepted:
            self._highest[path] = token
        journal = client.journal
        journal.record(GuardedWrite(journal.now, client.host.id, client.life, client.number, path, token, accepted))
        return accepted
