"""One worker: an ordinary trio application that embeds a replica, and shares its work with the others through znodes.

A job is one znode, and it moves. It is in exactly one of these places at any time, because every move is a transaction:

    /pool/todo/JOB          nobody has it yet
    /pool/at/WORKER/JOB     that worker has it; the znode's czxid is the worker's token for it
    /pool/results/JOB       done

Every worker does what lies in its own /pool/at. One of them is also the foreman: elected, it makes the jobs and hands them
out to those present in /pool/members, where each worker keeps an ephemeral znode. What the foreman writes is guarded by the
token of its term, what a worker writes by the token of the job: whoever comes late changes nothing.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVarTuple

import trio

import zkembed
from zkembed import Client, Config, Election, EventStream, Held, Role

from .job import Answer, compute, list_files
from .voice import Say, Voice

Ts = TypeVarTuple("Ts")

TODO = "/pool/todo"
AT = "/pool/at"
RESULTS = "/pool/results"
MEMBERS = "/pool/members"
FOREMAN = "/pool/foreman"
PLAN = "/pool/plan"
FINISHED = "/pool/finished"

JOBS_MADE_AT_ONCE = 200
JOBS_PER_WORKER = 24
JOBS_IN_HAND = 4
STATUS_INTERVAL = 0.1


async def run_worker(config: Config, root: Path, limit: int | None) -> None:
    """Be worker ``config.node_id`` until SIGTERM, or until the one who started it is gone."""
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_sigterm, nursery.cancel_scope)
        nursery.start_soon(cancel_on_eof, nursery.cancel_scope)
        voice = Voice()
        nursery.start_soon(voice.run)
        async with zkembed.Node(config) as zk:
            await Worker(zk, root, limit, voice.say).run()


async def cancel_on_sigterm(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """The library takes no signals. As a cancellation SIGTERM closes the session and hands leadership over; unhandled it is a crash."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
        scope.cancel(reason="SIGTERM")


async def cancel_on_eof(scope: trio.CancelScope) -> None:
    """Standard input is a pipe held by the stage: its end means that the stage is gone, and nobody wants this process any more."""
    # Not sys.stdin: a thread abandoned in there would hold its lock while the interpreter ends.
    while await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True):
        pass
    scope.cancel(reason="the stage is gone")


class Worker:
    """What one process does, as tasks over one Client. ``say`` tells the stage of it."""

    def __init__(self, zk: Client, root: Path, limit: int | None, say: Say) -> None:
        self.zk = zk
        self.name = str(zk.node.id)
        self.root = root
        self.limit = limit
        self.say = say

    async def run(self) -> None:
        """Until cancelled."""
        for path in (TODO, RESULTS, MEMBERS, f"{AT}/{self.name}", PLAN):
            await insist(self.zk.ensure, path)
        async with trio.open_nursery() as nursery:
            for task in (self.say_status, self.say_role, self.be_present, self.work, self.stand_for_foreman, self.say_results):
                nursery.start_soon(task)

    # --- a worker among others ----------------------------------------------------------------------------------------

    async def be_present(self) -> None:
        """Keep /pool/members/NAME, which goes when this worker's session does; in a new session make it anew."""
        path = f"{MEMBERS}/{self.name}"
        while True:
            session = self.zk.session
            gone = zkembed.Watch()
            with suppress(zkembed.NodeExistsError, zkembed.SessionExpiredError):
                if await self.zk.exists(path, watch=gone):
                    await gone.wait()  # It belongs to this worker's former life, or to its former session.
                else:
                    gone.remove()
                    await self.zk.create(path, str(os.getpid()).encode(), ephemeral=True)
                    await session.wait_state(zkembed.SessionState.EXPIRED)

    async def work(self) -> None:
        """Do the jobs in this worker's place, a few at a time."""
        place = f"{AT}/{self.name}"
        taken: set[str] = set()
        in_hand = trio.CapacityLimiter(JOBS_IN_HAND)
        async with self.zk.watch(place, recursive=True) as changes, trio.open_nursery() as nursery:
            while True:
                for job in self.zk.replica.children(place):
                    if job not in taken:
                        taken.add(job)
                        nursery.start_soon(self.do, f"{place}/{job}", job, taken, in_hand)
                await next_changes(changes)

    async def do(self, path: str, job: str, taken: set[str], in_hand: trio.CapacityLimiter) -> None:
        async with in_hand:
            while self.zk.replica.exists(path) is not None:
                with suppress(zkembed.SessionExpiredError):
                    # Written or not? The old session can't write any more, so what is there now decides.
                    await self.compute_and_write(path, job)
            taken.discard(job)

    async def compute_and_write(self, path: str, job: str) -> None:
        """The result is written if this job is still this worker's, in the same step in which it stops being so."""
        data, stat = self.zk.replica.get(path)
        file = os.fsdecode(data)
        answer = await trio.to_thread.run_sync(compute, self.root / file)
        try:
            async with self.zk.transaction() as t:
                t.check(path, czxid=stat.czxid)  # The token: not a later assignment of the same job to the same worker.
                t.delete(path)
                made = t.create(f"{RESULTS}/{job}", encode(file, answer, self.name))
        except zkembed.TransactionError:
            return  # This worker was away, and the foreman gave the job to another one.
        self.say("result", job=job, file=file, sha256=answer.sha256, lines=answer.lines, zxid=made.result().stat.czxid)

    # --- the foreman --------------------------------------------------------------------------------------------------

    async def stand_for_foreman(self) -> None:
        """Stand for election once the ensemble's leader is in this process: a preference only, it saves each write a hop."""
        await self.zk.node.wait_role(Role.LEADING)
        await Election(self.zk, FOREMAN, name=self.name).run(self.lead)

    async def lead(self, term: Held) -> None:
        """Runs while elected; cancelled the instant that is in doubt. Whatever the one before had begun, this one finishes."""
        self.say("foreman", token=term.token)
        jobs = await self.make_jobs(term)
        async with self.zk.watch("/pool", recursive=True) as changes:
            while self.results() < jobs:
                if not await self.hand_out(term):
                    await next_changes(changes)
        if self.zk.replica.exists(FINISHED) is None:
            async with self.guarded(term) as t:
                t.create(FINISHED)

    @asynccontextmanager
    async def guarded(self, term: Held) -> AsyncIterator[zkembed.Transaction]:
        """A transaction that counts only as long as the term does: the fence against a foreman who has been asleep."""
        try:
            async with self.zk.transaction() as t:
                t.guard(term)
                yield t
        except zkembed.TransactionError as error:
            if error.index == 0:
                await trio.sleep_forever()  # Somebody else's term has begun, and the cancellation of this one is on its way.
            raise

    async def make_jobs(self, term: Held) -> int:
        """/pool/plan says how many are made, of how many, and changes together with them: the next foreman goes on exactly there."""
        made, total = self.plan()
        if made == total > 0:
            return total
        files = await trio.to_thread.run_sync(list_files, self.root, self.limit)
        jobs = [(f"{TODO}/{number:06d}", os.fsencode(file)) for number, file in enumerate(files)]
        while made < len(jobs):
            batch = jobs[made : made + JOBS_MADE_AT_ONCE]
            made += len(batch)
            async with self.guarded(term) as t:
                t.set(PLAN, f"{made} {len(jobs)}".encode())
                for path, file in batch:
                    t.create(path, file)
        return len(jobs)

    async def hand_out(self, term: Held) -> bool:
        """Give jobs that nobody has, or that a worker had who is gone, to those with room. False: there was nothing to do."""
        moves = self.moves()
        for member, jobs in moves.items():
            try:
                async with self.guarded(term) as t:
                    t.check(f"{MEMBERS}/{member}")
                    for path, file in jobs:
                        t.delete(path)
                        t.create(f"{AT}/{member}/{path.rpartition('/')[2]}", file)
            except zkembed.TransactionError:
                continue  # That member has left, or finished one of the jobs after all. The next look will tell.
            if taken_over := sum(not path.startswith(TODO) for path, _ in jobs):
                self.say("taken over", jobs=taken_over, by=member)
        return bool(moves)

    def moves(self) -> dict[str, list[tuple[str, bytes]]]:
        """For each member with room the jobs to move there: path and file. Plain reads without an await: one consistent view."""
        view = self.zk.replica
        members = view.children(MEMBERS)
        free = [f"{AT}/{gone}/{job}" for gone in view.children(AT) if gone not in members for job in view.children(f"{AT}/{gone}")]
        free += [f"{TODO}/{job}" for job in view.children(TODO)]
        moves = {}
        for member in members:
            room = JOBS_PER_WORKER - len(view.children(f"{AT}/{member}"))
            # Not one at a time while there are many: a transaction with twelve costs little more.
            if free and room >= min(JOBS_PER_WORKER // 2, len(free)):
                moves[member] = [(path, view.get(path).data) for path in free[:room]]
                free = free[room:]
        return moves

    # --- what the stage is told ---------------------------------------------------------------------------------------

    def results(self) -> int:
        """How many are done, as applied here."""
        stat = self.zk.replica.exists(RESULTS)
        return stat.num_children if stat is not None else 0

    def plan(self) -> tuple[int, int]:
        """Jobs made, and jobs to be made; 0 as long as nobody has counted them."""
        made, total = (self.zk.replica.get(PLAN).data or b"0 0").split()
        return int(made), int(total)

    async def say_status(self) -> None:
        while True:
            node, (_, jobs) = self.zk.node.statistics(), self.plan()
            self.say("status", role=node.role.name, epoch=node.epoch, zxid=node.applied_zxid, done=self.results(), jobs=jobs)
            await trio.sleep(STATUS_INTERVAL)

    async def say_role(self) -> None:
        while True:
            await self.zk.node.wait_role(Role.LEADING)
            self.say("leads", epoch=self.zk.node.epoch)
            await self.zk.node.wait_role(Role.LOOKING, Role.FOLLOWING)

    async def say_results(self) -> None:
        """When all is done: every result, as this process's own replica has it."""
        while not await self.zk.exists(FINISHED, watch=(finished := zkembed.Watch())):
            with suppress(zkembed.SessionExpiredError):
                await finished.wait()
        await insist(self.zk.sync)
        view = self.zk.replica
        jobs = view.children(RESULTS)
        for job in jobs:
            self.say("has", job=job, **json.loads(view.get(f"{RESULTS}/{job}").data))
        self.say("has all", results=len(jobs), zxid=view.zxid)


async def insist(call: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
    """For what may be done twice: when the session ended before the answer came, once more, with the next session."""
    while True:
        with suppress(zkembed.SessionExpiredError):
            await call(*args)
            return


def encode(file: str, answer: Answer, worker: str) -> bytes:
    return json.dumps({"file": file, "sha256": answer.sha256, "lines": answer.lines, "by": worker}).encode()


async def next_changes(changes: EventStream) -> None:
    """Wait for a change, and take those that have come together with it: the tree is looked at once for all of them."""
    await anext(changes)
    for _ in range(changes.statistics().queued):
        await anext(changes)
