"""Random faults on whole replicas with sessions, writes and barriers; judged after every step, and at the end by what the log says.

E5: when a leader proposes the expiry of a session, its owner does not believe in it any more. Q-5, Q-8, D34: each answered write is in the
state once, in the order of its session; none that was withdrawn is. R-3: a barrier sees every write answered before it was asked for.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from zkembed.endpoint import SessionState
from zkembed.replica.pipeline import Barrier, Call, LocalSession
from zkembed.tree.ops import CloseSession
from zkembed.tree.results import Failure, public
from zkembed.zab.effects import Append
from zkembed.zab.settings import Settings

from .world import World, create

BOUND = 4 * Settings().notify_max + Settings().init_limit + 1.0
SEEDS = 12


class Chaos:
    """answered: greatest zxid of a write that any caller has been told of.  asked: barriers with what was answered before them."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.sessions: list[tuple[int, int, LocalSession]] = []
        self.calls: list[tuple[int, Call]] = []
        self.withdrawn: list[Call] = []
        self.answered = 0
        self.asked: list[tuple[Barrier, int]] = []
        self.owners: dict[int, tuple[int, LocalSession]] = {}
        world.watchers.append(self.watch)

    def watch(self, node: Any, effect: Any) -> None:
        """E5, at the moment of the proposal."""
        for record in effect.records if isinstance(effect, Append) else ():
            op = getattr(record.decoded, "op", None)
            if isinstance(op, CloseSession) and op.expired and op.session in self.owners and node.peer.role.value == "leading":
                owner, session = self.owners[op.session]
                running = self.world[owner].up and self.world.now >= self.world[owner].blocked_until
                lease = session.confirmed + session.timeout * 0.8
                believes = running and session.id == op.session and session.state is SessionState.CONNECTED and self.world.now < lease
                assert not believes, f"E5: session {op.session:#x} of node {owner} is CONNECTED and its close is proposed"

    def running(self) -> list[int]:
        return [node.id for node in self.world if node.up and self.world.now >= node.blocked_until and node.halted is None]

    def live(self) -> list[tuple[int, LocalSession]]:
        running = self.running()
        return [
            (node, session)
            for node, life, session in self.sessions
            if node in running and self.world[node].life == life and not session.gone
        ]

    def open(self) -> None:
        if running := self.running():
            node = self.rng.choice(running)
            session = self.world.open(node, timeout=self.rng.choice([3.2, 6.0]), wait=False)
            self.sessions.append((node, self.world[node].life, session))

    def write(self) -> None:
        if live := self.live():
            node, session = self.rng.choice(live)
            if not session.closing:
                count = self.rng.randrange(1, 4)
                ops = [create(self.rng.choice(["/q/n-", "/missing/n-"]), sequential=True) for _ in range(count)]
                self.calls += [(node, call) for call in self.world.submit(node, session, *ops)]

    def withdraw(self) -> None:
        if waiting := [call for call in self.waited_for() if not call.settled]:
            call = self.rng.choice(waiting)
            node = next(node for node, other in self.calls if other is call)
            if self.world.act(node, lambda replica: replica.withdraw(call)):
                self.withdrawn.append(call)

    def sync(self) -> None:
        if live := self.live():
            node, session = self.rng.choice(live)
            barrier = self.world.act(node, lambda replica: replica.sync(session))
            self.asked.append((barrier, self.answered))

    def close(self) -> None:
        if live := self.live():
            node, session = self.rng.choice(live)
            if session.created and not session.closing:
                self.world.submit(node, session, CloseSession(session.id, False))

    def waited_for(self) -> list[Call]:
        """Calls whose session lives and whose caller waits."""
        live = self.live()
        return [call for node, call in self.calls if call not in self.withdrawn and (node, call.session) in live]

    def note(self) -> None:
        """What callers know by now."""
        for _, call in self.calls:
            if call.settled and call.error is None:
                self.answered = max(self.answered, call.zxid)
        for _, _, session in self.sessions:
            self.owners[session.id] = next((node, s) for node, _, s in self.sessions if s is session)

    def crash(self) -> None:
        if len(self.running()) == len(self.world.nodes):
            self.world.crash(self.rng.choice(self.running()), silent=self.rng.random() < 0.3)

    def restart(self) -> None:
        for node in self.world:
            if not node.up:
                self.world.start(node.id)
                return

    def pair(self) -> tuple[int, int]:
        one, other = self.rng.sample(sorted(self.world.nodes), 2)
        return one, other

    def cut(self) -> None:
        self.world.cut(*self.pair(), both=self.rng.random() < 0.5)

    def heal(self) -> None:
        self.world.heal(*self.pair())

    def reset(self) -> None:
        self.world.drop_links(*self.pair())

    def pause(self) -> None:
        if running := self.running():
            self.world.pause(self.rng.choice(running), self.rng.choice([0.3, 1.0, 2.0, 5.0]))

    def slow_disk(self) -> None:
        self.world[self.rng.choice(sorted(self.world.nodes))].disk.delay = self.rng.choice([0.0005, 0.005, 0.3])

    def snapshot(self) -> None:
        """Of a sound state that is not about to be replaced: here the purge keeps no older one (P-9)."""
        for node in self.running():
            replica = self.world.replica(node)
            sound = replica.healthy and replica._applier.settled and replica.peer.history.pending_load is None
            if sound and self.rng.random() < 0.5 and replica.tree.applied > replica._applier._snapshot_at:
                self.world.call(node, lambda _, node=node: self.world.app(node).take_snapshot(purge=self.rng.random() < 0.7))

    def resync(self) -> None:
        running = [node for node in self.running() if self.world.replica(node).peer.role.value == "following"]
        if running:
            self.world.act(self.rng.choice(running), lambda replica: replica.peer.resync())

    def run(self, steps: int) -> None:
        actions = [self.write] * 8 + [self.sync] * 2 + [self.open, self.withdraw, self.close, self.crash, self.restart, self.restart]
        actions += [self.cut, self.heal, self.heal, self.heal, self.reset, self.pause, self.slow_disk, self.snapshot]
        if self.rng.random() < 0.3:
            actions += [self.resync, self.snapshot]
        for _ in range(steps):
            self.rng.choice(actions)()
            self.note()
            for _ in range(self.rng.choice([1, 1, 3, 8])):
                self.world.run(self.rng.choice([0.001, 0.01, 0.1, 0.5]))
                self.note()

    def calm(self) -> None:
        self.world.heal_all()
        for node in self.world:
            node.disk.delay = 0.0005
            if not node.up:
                self.world.start(node.id)

    def judge(self) -> None:
        """All is quiet and equal: every answer is true."""
        world = self.world
        names = set(world.tree(1).children("/q"))
        paths: dict[str, Call] = {}
        for _, call in self.calls:
            if call.settled and call.error is None and not isinstance(call.outcome, Failure):
                path = public(call.outcome, call.zxid).path  # type: ignore[attr-defined]
                assert path not in paths, f"{path} was answered twice"
                paths[path] = call
                assert path.removeprefix("/q/") in names, f"{path} was answered and is not there"
        assert len(names) <= len(paths) + sum(call.error is not None or not call.settled for _, call in self.calls)
        for _, _, session in self.sessions:
            mine = [(call.cseq, call.zxid) for _, call in self.calls if call.session is session and call.settled and call.error is None]
            assert [zxid for _, zxid in sorted(mine)] == sorted(zxid for _, zxid in mine), "a session's writes out of order"
        assert not any(call.settled and call.error is None for call in self.withdrawn)
        for barrier, before in self.asked:
            if barrier.settled and barrier.error is None:
                assert barrier.result >= before, "a barrier that misses an answered write"  # type: ignore[operator]


def soak(n: int, seed: int) -> World:
    """One run; raises if anything is wrong, naming the seed."""
    rng = Random(f"replica {n}/{seed}")
    world = World(n, seed=seed, settings=Settings(diff_bytes_max=rng.choice([200, 2**20]), outstanding_max=rng.choice([3, 20_000])))
    chaos = Chaos(world, rng)
    try:
        world.wait_serving()
        first = world.open(1, timeout=60.0)
        world.write(1, first, create("/q"))
        for _ in range(3):
            chaos.open()
        chaos.run(40)
        chaos.calm()
        world.wait_leader(limit=BOUND)
        world.wait_serving(limit=BOUND)
        world.run_until(lambda: all(call.settled for call in chaos.waited_for()), BOUND)
        world.agree()
        assert not [node for node in world if node.halted], "no node may halt"
        chaos.judge()
    except BaseException as error:
        error.add_note(f"soak of {n} replicas, seed {seed}\n" + world.story())
        raise
    return world


@pytest.mark.parametrize("n", [3, 5])
def test_random_faults_on_sessions_and_requests(n: int) -> None:
    """E5, Q-5, Q-8, R-3, then agreement."""
    for seed in range(SEEDS if n == 3 else SEEDS // 4):
        soak(n, seed)
