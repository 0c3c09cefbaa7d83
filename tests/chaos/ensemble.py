"""An ensemble of chaos members: the processes of ``tests.process``, with a network in between that can fail, and a diary each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.process.ensemble import Ensemble, Life
from zkembed.testing.history import Crashed, Fault

from .diary import Diary
from .guardian import Guardian
from .network import Network, open_network
from .resource import Resource, open_resource

SETTINGS: dict[str, Any] = {"session_timeout": 3.2, "snapshot_every": 500}
"""The shortest session there may be with these timers, so that some expire; snapshots often: restarts load them, logs are purged."""


class ChaosEnsemble(Ensemble):
    """seed: of the members' work.  working: whether members that start do any.  wiped: directories that members have lost."""

    program = "tests.chaos.member"

    def __init__(self, nursery: trio.Nursery, directory: Path, n: int, seed: int, guardian: Guardian) -> None:
        super().__init__(nursery, directory, n, **SETTINGS)
        self.seed = seed
        self.working = True
        self.histories = directory / "history"
        self.histories.mkdir(parents=True)
        self.diary = Diary(self.histories / "nemesis.jsonl")
        self.journal = directory / "resource.jsonl"
        self.network: Network
        self.resource: Resource
        self.resource_address = ""
        self.wiped: list[Path] = []
        self._guardian = guardian
        self._ended_on_purpose: list[Life] = []
        self._noted: list[Life] = []

    # --- starting -----------------------------------------------------------------------------------------------------

    def settings_for(self, id: int, number: int) -> dict[str, Any]:
        return {
            "node_id": id,
            "life": number,
            "data_dir": str(self.data_dirs[id]),
            "archive": str(self.directory / f"member-{id}.archive"),
            "diary": str(self.histories / f"member-{id}.{number}.jsonl"),
            "listen": self.peers[id],
            "dial": self.network.addresses_for(id),
            "seed": self.seed,
            "resource": self.resource_address,
            "working": self.working,
        }

    async def start(self, id: int, **settings: Any) -> Life:
        life = await super().start(id, **settings)
        self._guardian.watch(life.process.pid)
        return life

    # --- ending -------------------------------------------------------------------------------------------------------

    def kill_at_once(self, lives: list[Life]) -> None:
        """kill -9, all in one go. Plain."""
        for life in lives:
            self.may_end(life)
            life.process.kill()

    def may_end(self, life: Life) -> None:
        """It is being asked to, or made to."""
        self._ended_on_purpose.append(life)

    async def bury(self, lives: list[Life], how: str = "killed") -> None:
        """Wait until those processes are gone, and note it, once."""
        for life in lives:
            await life.wait_exit()
            self.note_end(life, how)

    def note_end(self, life: Life, how: str) -> None:
        if life not in self._noted:
            self._noted.append(life)
            self.diary.write_of(life.member_id, life.number, Crashed, how)

    def note_ends(self) -> list[Life]:
        """Those that nobody has ended, noted and returned."""
        ended = [life for life in self.lives if not life.alive and life not in self._ended_on_purpose and life not in self._noted]
        for life in ended:
            self.note_end(life, "halted")
        return ended

    def wipe(self, id: int) -> None:
        """The process must be gone. Its directory is kept under another name, for those who ask later."""
        kept = self.directory / f"member-{id}.wiped-{len(self.wiped) + 1}"
        self.data_dirs[id].rename(kept)
        self.wiped.append(kept)

    def keep_logs(self) -> None:
        """What each life has logged, in a file."""
        for life in self.lives:
            file = self.directory / "logs" / f"member-{life.member_id}.{life.number}.log"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in life.log))

    # --- looking ------------------------------------------------------------------------------------------------------

    def pulse(self, id: int) -> dict[str, Any]:
        """How the present life of a member was when it last said so; empty before it has."""
        return self[id].said("pulse") or {}

    def calls_ended(self) -> int:
        """Of all lives, as they have said it last."""
        return sum(pulse["calls"] for life in self.lives if (pulse := life.said("pulse")))

    def leader_id(self) -> int | None:
        """As those who run have said it last: who leads in the highest epoch. Plain, and perhaps out of date."""
        leading = [(pulse["epoch"], id) for id in self.peers if self[id].alive and (pulse := self.pulse(id)).get("role") == "LEADING"]
        return max(leading, default=(0, None))[1]

    def note_fault(self, node: int, kind: str, detail: str) -> None:
        self.diary.record(Fault(time.monotonic(), node, 0, kind, detail))


@asynccontextmanager
async def open_chaos(directory: Path, n: int, seed: int) -> AsyncIterator[ChaosEnsemble]:
    """Nothing is started yet. At the end every process is killed, whatever has happened; and if this one is killed, a guardian does it."""
    async with Guardian.open() as guardian, trio.open_nursery() as nursery:
        ensemble = ChaosEnsemble(nursery, directory, n, seed, guardian)
        async with open_network(ensemble.peers) as ensemble.network, open_resource(ensemble.diary, ensemble.journal) as (resource, address):
            ensemble.resource, ensemble.resource_address = resource, address
            try:
                yield ensemble
            finally:
                with trio.CancelScope(shield=True):
                    for life in ensemble.lives:
                        life.process.kill()
                        await life.process.wait()
                    ensemble.keep_logs()
                ensemble.diary.close()
        nursery.cancel_scope.cancel(reason="the run is over")
