"""Recipes at the edge and under mixed faults (RE-9, RE-10, SE-21), told of every recipe that is built: Lock and Election."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
import trio
from trio.testing import MockClock

from zkembed import (
    BadArgumentsError,
    Client,
    Election,
    Held,
    LimitReachedError,
    Lock,
    LockLostError,
    NodeFailedError,
    SessionExpiredError,
    SessionState,
)
from zkembed.recipes.contender import read_queue
from zkembed.testing import Ensemble, open_ensemble
from zkembed.tree.znode import CREATED_CHILDREN_MAX, TreeNode
from zkembed.zab.effects import Role

from .helpers import LOCK, Holder, follower, hold, queue, quiet, settled

Recipe = Callable[[Client], Lock | Election]
RECIPES: dict[str, Recipe] = {"Lock": lambda zk: Lock(zk, LOCK), "Election": lambda zk: Election(zk, LOCK)}
of_each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


async def counted(ensemble: Ensemble, path: str, created_children: int) -> None:
    """The znode is there, on every member, as if so many children had been created below it. Takes no part in the log."""
    await ensemble.zk(1).ensure(path)
    await settled(ensemble, 1, 2, 3)
    for id in (1, 2, 3):
        tree = ensemble._members[id].driver.replica.tree
        node = tree.get(path)
        assert node is not None
        values = (node.data, node.czxid, node.mzxid, node.pzxid, node.ctime_us, node.mtime_us, node.version, node.aversion)
        tree._store.replace(path, TreeNode(*values, node.ephemeral_owner, created_children, node.num_children), node)


# --- RE-9 ------------------------------------------------------------------------------------------------------------


@of_each_recipe
async def test_RE_9_order_is_by_number_where_the_suffix_grows_longer(recipe: Recipe, autojump_clock: MockClock) -> None:
    """RE-9 (A8): contenders whose suffixes have ten and eleven digits follow each other as they came, though as text ``10000000000`` stands
    before ``9999999999``."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        await counted(ensemble, LOCK, 10**10 - 3)
        holders: list[Holder] = []
        for number in range(6):
            holders.append(hold(nursery, RECIPES["Election"](ensemble.zk(number % 3 + 1)), f"holder {number}"))
            await quiet()
        names = await read_queue(ensemble.zk(1), LOCK)
        assert [name.rpartition("-")[2] for name in names] == [str(10**10 + number) for number in (-3, -2, -1, 0, 1, 2)]
        for number, holder in enumerate(holders):
            assert holder.held is not None
            assert all(later.held is None for later in holders[number + 1 :])
            holder.let_go.set()
            await quiet()
        tokens = [holder.held.token for holder in holders if holder.held is not None]
        assert tokens == sorted(set(tokens))
        async with recipe(ensemble.zk(2)):
            pass
        assert await queue(ensemble.zk(1)) == ()


@of_each_recipe
async def test_RE_9_at_the_bound_whoever_comes_is_told_so(recipe: Recipe, autojump_clock: MockClock) -> None:
    """RE-9 (Z-3): no wrap, no silence: LimitReachedError on every node, with nothing left behind; who holds goes on, who waits gets its
    turn."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        await counted(ensemble, LOCK, CREATED_CHILDREN_MAX - 2)
        first = hold(nursery, recipe(ensemble.zk(1)))
        await quiet()
        second = hold(nursery, recipe(ensemble.zk(2)))
        await quiet()
        for id in (1, 2, 3):
            with pytest.raises(LimitReachedError, match=r"children"):
                async with RECIPES["Election"](ensemble.zk(id)):
                    raise AssertionError("nobody may come in")
        assert len(await queue(ensemble.zk(3))) == 2
        assert (first.ended, second.held) == (None, None)
        first.let_go.set()
        await quiet()
        assert second.held is not None
        second.let_go.set()
        await quiet()
        assert await queue(ensemble.zk(3)) == ()
        with pytest.raises(LimitReachedError):
            async with recipe(ensemble.zk(3)):
                raise AssertionError("nobody may come in")


# --- RE-10 -----------------------------------------------------------------------------------------------------------


class Register:
    """What the holders use: it refuses older tokens. alone: and demands that there is never a second one inside."""

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self.inside: dict[int, str] = {}
        self.tokens: list[int] = []

    async def use(self, who: str, held: Held, pause: float) -> None:
        assert not (self._alone and self.inside), f"{who} beside {self.inside}"
        if self.tokens and held.token < self.tokens[-1]:
            assert not self._alone, "tokens rise"
            return
        self.inside[held.token] = who
        self.tokens.append(held.token)
        try:
            await trio.sleep(pause)
            held.check()
        finally:
            del self.inside[held.token]


async def client(ensemble: Ensemble, id: int) -> Client:
    """Of a member that may be on its way up."""
    while True:
        with suppress(BadArgumentsError):
            return ensemble.zk(id)
        await trio.sleep(0.05)


async def contend(ensemble: Ensemble, id: int, recipe: Recipe, register: Register, rng: Random, end: float) -> None:
    """Acquire, work, let go, or give up waiting; whatever becomes of the node, until ``end``."""
    while trio.current_time() < end:
        patience = rng.choice([0.05, 1.0, 30.0])
        pause = rng.choice([0.0, 0.02, 0.5, 9.0])
        with suppress(LockLostError, SessionExpiredError, NodeFailedError, trio.ClosedResourceError):
            with trio.move_on_after(patience + pause):
                async with recipe(await client(ensemble, id)) as held:
                    await register.use(f"node {id}", held, pause)
        await trio.sleep(rng.uniform(0.0, 0.3))


FAULTS = ["isolate", "one way", "crash", "leader crash"]


async def trouble(ensemble: Ensemble, rng: Random, faults: list[str]) -> None:
    """One fault, and its end."""
    victim = rng.choice([1, 2, 3])
    kind = rng.choice(faults)
    if kind == "isolate":
        ensemble.partition({victim}, {1, 2, 3} - {victim})
    elif kind == "one way":
        ensemble.cut(victim, rng.choice([id for id in (1, 2, 3) if id != victim]), one_way=True)
    elif kind == "delete":
        names = ensemble.zk(victim).replica.children(LOCK)
        with trio.move_on_after(1.0):
            for name in names[:1]:
                await ensemble.zk(victim).delete(f"{LOCK}/{name}")
    else:
        victim = (ensemble.leader() or victim) if kind == "leader crash" else victim
        ensemble.crash(victim)
    await trio.sleep(rng.choice([0.3, 2.0, 8.0]))
    ensemble.heal()
    if kind.endswith("crash"):
        await ensemble.restart(victim)


@of_each_recipe
@pytest.mark.parametrize(("seed", "deletes"), [(1, False), (2, False), (5, False), (1, True), (2, True)])
async def test_RE_10_never_two_and_never_none(seed: int, deletes: bool, recipe: Recipe, autojump_clock: MockClock) -> None:
    """RE-10 (L1, L2, L3): six tasks on three nodes acquire, hold, give up and are cancelled, while members are cut off, crash and come
    back. There is never a second one inside, and tokens rise; at rest nobody's znode is left and whoever asks gets in. Where somebody
    deletes contenders, which no lease can foresee, the next may begin before the last one hears of it: tokens keep them apart."""
    rng = Random(seed)
    register = Register(alone=not deletes)
    async with open_ensemble(3, seed=seed, session_timeout=3.2) as ensemble:
        await ensemble.zk(1).ensure(LOCK)
        await settled(ensemble, 1, 2, 3)
        end = trio.current_time() + 40.0
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(contend, ensemble, number % 3 + 1, recipe, register, Random(f"{seed}.{number}"), end)
            while trio.current_time() < end:
                await trio.sleep(rng.uniform(0.2, 3.0))
                await trouble(ensemble, rng, FAULTS + ["delete"] * 4 * deletes)
        await trio.sleep(10.0)
        assert await queue(ensemble.zk(1)) == ()
        assert len(register.tokens) > 10
        for id in (1, 2, 3):
            with trio.fail_after(5.0):
                async with recipe(ensemble.zk(id)) as held:
                    assert held.token > max(register.tokens)


# --- SE-21 -----------------------------------------------------------------------------------------------------------


@of_each_recipe
@pytest.mark.parametrize("where", ["leader", "follower"])
async def test_SE_21_a_holder_whose_session_an_operator_expires_stops_before_the_next_begins(
    where: str, recipe: Recipe, autojump_clock: MockClock
) -> None:
    """SE-21 (S-5, S-7, L1): the holder is connected and well; its body is cancelled at SUSPENDED, and the next one let in behind that."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        leader = await ensemble.wait_leader()
        id = leader if where == "leader" else follower(ensemble)
        other = next(each for each in (1, 2, 3) if each != id)
        first = hold(nursery, recipe(ensemble.zk(id)))
        await quiet()
        second = hold(nursery, recipe(ensemble.zk(other)))
        await quiet()
        session = ensemble.zk(id).session
        replica = ensemble._members[leader].driver.replica
        assert replica.peer.role is Role.LEADING
        assert replica._leadership is not None
        assert replica._leadership.expiry.condemn(session.id)
        await session.wait_state(SessionState.SUSPENDED)
        await quiet()
        assert isinstance(first.ended, LockLostError)
        await session.wait_state(SessionState.EXPIRED)
        await quiet()
        assert second.held is not None
        assert second.began_at > first.ended_at
        second.let_go.set()
