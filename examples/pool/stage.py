"""The stage: starts the workers as processes, kills the leader half way, starts it again, and collects what they say.

It takes no part in the work and opens no node. What it knows it has read from the workers' standard output, one JSON
object a line. A worker whose standard input ends leaves by itself, so no process outlives this one, however it ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

STANDSTILL_MAX = 60.0
LOG_LINES_SHOWN = 12
RESTART_AT = 0.75


class StageError(Exception):
    """The demonstration cannot go on; the message says why."""


@define
class Actor:
    """One worker as the stage sees it: its process, the last it said of itself, and what it has in the end. life: 2 after the kill."""

    id: int
    process: trio.Process | None = None
    life: int = 1
    status: dict[str, Any] = field(factory=dict)
    has: dict[str, dict[str, Any]] = field(factory=dict)
    complete: bool = False


@frozen
class Kill:
    """A leader that was killed: who, of which epoch, when, and how many results there were."""

    id: int
    epoch: int
    at: float
    done: int


@define
class Play:
    """What has happened so far; the screen shows it, the verdict judges it. Times are trio's clock."""

    actors: dict[int, Actor]
    jobs: int = 0
    done: int = 0
    leader: int | None = None
    epoch: int = 0
    foreman: int | None = None
    started: float = field(factory=trio.current_time)
    answered: list[dict[str, Any]] = field(factory=list)
    taken_over: int = 0
    kill: Kill | None = None
    leader_after: float | None = None
    result_after: float | None = None
    foreman_after: float | None = None
    again_after: float | None = None


class Stage:
    """Runs the play. ``note`` is told, in words, of everything worth a line."""

    def __init__(self, command: list[str], workers: int, data: Path, *, kill: bool, note: Callable[[str], None]) -> None:
        self.play = Play({id: Actor(id) for id in range(1, workers + 1)})
        self._peers = free_addresses(workers)
        self._command = command
        self._data = data
        self._kill = kill
        self._note = note
        self._moved = trio.current_time()
        self._heard = trio.Event()

    async def run(self) -> None:
        """Until every worker has told all its results. Raises StageError. Cancelled: the processes are ended, within bounded time."""
        async with trio.open_nursery() as nursery:
            for actor in self.play.actors.values():
                await self._start(nursery, actor)
            if self._kill:
                nursery.start_soon(self._kill_and_restart, nursery)
            await self._until(self._told)
            self._note("every worker has told its results; they are asked to leave (SIGTERM)")
            nursery.cancel_scope.cancel(reason="the play is over")

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _start(self, nursery: trio.Nursery, actor: Actor) -> None:
        peers = ",".join(f"{id}={address}" for id, address in self._peers.items())
        command = [*self._command, "--worker", str(actor.id), "--peers", peers, "--data", str(self._data / f"worker-{actor.id}")]
        with self._log_file(actor).open("ab") as log:
            # A session of its own: Ctrl-C at the terminal is for the stage, which then ends its workers one way for all.
            # Cancelled, trio sends SIGTERM, and SIGKILL to those still there five seconds later.
            run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, check=False)
            actor.process = await nursery.start(partial(run, start_new_session=True))
        nursery.start_soon(self._listen, actor, actor.life, actor.process)

    def _log_file(self, actor: Actor) -> Path:
        return self._data / f"worker-{actor.id}.log"

    async def _listen(self, actor: Actor, life: int, process: trio.Process) -> None:
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._hear(actor, json.loads(line), current=life == actor.life)
        code = await process.wait()
        if life == actor.life:
            raise StageError(f"worker {actor.id} has ended (status {code}); the end of its log:\n{self._end_of_log(actor)}")

    def _end_of_log(self, actor: Actor) -> str:
        lines = self._log_file(actor).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:]) or "    (empty)"

    # --- what they say ------------------------------------------------------------------------------------------------

    def _hear(self, actor: Actor, said: dict[str, Any], *, current: bool) -> None:
        """current: said by the present process of this worker, not by the killed one, whose last words may come late."""
        play = self.play
        match said.pop("event"):
            case "status" if current:
                actor.status = said
                play.jobs = max(play.jobs, said["jobs"])
                self._progress(said["done"])
            case "result":
                play.answered.append({**said, "by": str(actor.id)})
                self._progress(len(play.answered))
                if self._is_later(said["zxid"] >> 32):
                    self._first("result_after", "has the first answered write")
            case "leads" if current:
                play.leader, play.epoch = actor.id, said["epoch"]
                self._note(f"worker {actor.id} leads the ensemble, epoch {play.epoch}")
                if self._is_later(play.epoch):
                    self._first("leader_after", "has a leader again")
            case "foreman" if current:
                self._note(f"worker {actor.id} is the foreman, token {said['token']:#x}")
                if play.kill is not None and play.foreman is None:
                    self._first("foreman_after", "has a foreman again")
                play.foreman = actor.id
            case "taken over":
                play.taken_over += said["jobs"]
                self._note(f"worker {said['by']} takes over {said['jobs']} jobs of a worker who is gone")
            case "has" if current:
                actor.has[said["job"]] = said
            case "has all" if current:
                self._has_all(actor, said)
        self._heard.set()
        self._heard = trio.Event()

    def _progress(self, done: int) -> None:
        if done > self.play.done:
            self.play.done = done
            self._moved = trio.current_time()

    def _has_all(self, actor: Actor, said: dict[str, Any]) -> None:
        if said["results"] != len(actor.has):
            raise StageError(f"worker {actor.id} says it told {said['results']} results, {len(actor.has)} were heard")
        actor.complete = True
        self.play.jobs = max(self.play.jobs, said["results"])  # With few files all may be over before a status has told it.
        self._progress(said["results"])
        self._note(f"worker {actor.id} has all {said['results']} results at zxid {said['zxid']:#x}")

    def _is_later(self, epoch: int) -> bool:
        """Than the kill: what belongs to a later epoch than the killed leader's can't have been under way before."""
        return self.play.kill is not None and epoch > self.play.kill.epoch

    def _first(self, what: str, words: str) -> None:
        """Note how long after the kill it came, if it is the first of its kind."""
        assert self.play.kill is not None
        if getattr(self.play, what) is None:
            passed = trio.current_time() - self.play.kill.at
            setattr(self.play, what, passed)
            self._note(f"{passed:.2f} s after the kill the pool {words}")

    # --- the play -----------------------------------------------------------------------------------------------------

    async def _kill_and_restart(self, nursery: trio.Nursery) -> None:
        play = self.play
        await self._until(lambda: play.jobs > 0 and 2 * play.done >= play.jobs and play.leader is not None and play.foreman is not None)
        assert play.leader is not None
        victim = play.actors[play.leader]
        assert victim.process is not None
        play.kill = Kill(victim.id, play.epoch, trio.current_time(), play.done)
        victim.process.kill()
        self._note(f"worker {victim.id}, the leader, is killed with -9 at {play.done} of {play.jobs} results")
        victim.life, victim.status, victim.has, victim.complete = 2, {}, {}, False
        play.leader = None
        if play.foreman == victim.id:
            play.foreman = None
        await victim.process.wait()
        if len(play.actors) - 1 > len(play.actors) // 2:
            await self._until(lambda: play.foreman is not None and play.done >= RESTART_AT * play.jobs)
        else:
            self._note("the others are no majority: nothing is written until it is back")
        self._note(f"worker {victim.id} is started again, with the disk it left")
        await self._start(nursery, victim)
        play.again_after = trio.current_time() - play.kill.at

    def _told(self) -> bool:
        killed = self.play.kill is not None or not self._kill
        return killed and all(actor.complete for actor in self.play.actors.values())

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that the workers' words bring about. Raises StageError if they make no progress at all."""
        while not reached():
            with trio.move_on_at(self._moved + STANDSTILL_MAX):
                await self._heard.wait()
            if trio.current_time() > self._moved + STANDSTILL_MAX:
                states = "; ".join(f"worker {actor.id}: {actor.status or 'silent'}" for actor in self.play.actors.values())
                raise StageError(f"nothing has gone on for {STANDSTILL_MAX:g} s. {states}")


def free_addresses(count: int) -> dict[int, str]:
    """Loopback addresses that were free a moment ago, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return {id: f"127.0.0.1:{sock.getsockname()[1]}" for id, sock in enumerate(sockets, start=1)}


def script(*options: str) -> list[str]:
    """The command line that runs this same program again."""
    return [sys.executable, sys.argv[0], *options]
