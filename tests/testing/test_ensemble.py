"""open_ensemble: real nodes in memory; each fault does what it says, and the block ends as its body does."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

import zkembed
from zkembed import BadArgumentsError, ConfigError, Lock, NodeFailedError, Role, SessionState
from zkembed.errors import InternalError
from zkembed.testing import CrashedError, Ensemble, open_ensemble


async def can_write(ensemble: Ensemble, id: int, seconds: float = 2.0) -> bool:
    """Whether a write through this member is answered in time."""
    with trio.move_on_after(seconds) as patience:
        await ensemble.zk(id).create("/probe-", sequential=True)
    return not patience.cancelled_caught


def others(ensemble: Ensemble, id: int) -> set[int]:
    return {1, 2, 3} - {id}


# --- members ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5])
async def test_what_one_member_writes_all_can_read(n: int, autojump_clock: MockClock) -> None:
    async with open_ensemble(n) as ensemble:
        for id in range(1, n + 1):
            await ensemble.zk(id).create(f"/from-{id}", str(id).encode())
        for id in range(1, n + 1):
            await ensemble.zk(id).sync()
            assert set(await ensemble.zk(id).children("/")) == {"zookeeper", *(f"from-{each}" for each in range(1, n + 1))}
            assert ensemble.zk(id).node.id == id


async def test_an_hour_of_virtual_time_is_short_and_the_wall_clock_goes_with_it(autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble:
        zk, began = ensemble.zk(1), time.monotonic()
        before = (await zk.create("/a")).stat.ctime
        await trio.sleep(3600)
        after = (await zk.create("/b")).stat.ctime
        assert after - before == pytest.approx(3600, abs=1)
        assert time.monotonic() - began < 60


async def test_without_a_mock_clock_it_runs_in_real_time() -> None:
    began = time.time()
    async with open_ensemble(3) as ensemble:
        stat = (await ensemble.zk(1).create("/a")).stat
        assert began <= stat.ctime <= time.time()


async def test_the_same_seed_draws_the_same_and_another_one_does_not(autojump_clock: MockClock) -> None:
    async def session_ids(seed: int) -> list[int]:
        async with open_ensemble(3, seed=seed) as ensemble:
            return [ensemble.zk(id).session.id for id in (1, 2, 3)]

    first = await session_ids(7)
    assert await session_ids(7) == first
    assert not set(await session_ids(8)) & set(first)


async def test_settings_reach_every_member(autojump_clock: MockClock) -> None:
    async with open_ensemble(2, session_timeout=4, data_bytes_max=10) as ensemble:
        for id in (1, 2):
            assert ensemble.zk(id).session.timeout == 4
            with pytest.raises(zkembed.DataTooLargeError):
                await ensemble.zk(id).create("/a", b"x" * 11)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "text"),
    [
        ((0,), {}, BadArgumentsError, "n=0"),
        (("3",), {}, BadArgumentsError, "n='3'"),
        ((3,), {"run": {3, 4}}, BadArgumentsError, "members are 1 to 3, not 4"),
        ((3,), {"peers": {}, "data_dir": "x"}, BadArgumentsError, "peers, data_dir: the ensemble's own"),
        ((3,), {"tick": -1}, ConfigError, "tick=-1: expected a positive number"),
        ((3,), {"tack": 1}, TypeError, "tack"),
    ],
)
async def test_wrong_arguments_are_told_once_and_not_in_a_group(
    arguments: tuple[Any, ...], settings: dict[str, Any], error: type[Exception], text: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(error, match=text):
        async with open_ensemble(*arguments, **settings):
            raise AssertionError("entered")


async def test_a_member_that_does_not_exist_is_refused_everywhere(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        calls = (
            lambda: ensemble.zk(4),
            lambda: ensemble.config(4),
            lambda: ensemble.crash(4),
            lambda: ensemble.cut(1, 4),
            lambda: ensemble.partition({1}, {4}),
            lambda: ensemble.pause(4),
            lambda: ensemble.resume(0),
        )
        for call in calls:
            with pytest.raises(BadArgumentsError, match="there is no member"):
                call()
        with pytest.raises(BadArgumentsError, match="there is no member"):
            await ensemble.restart(4)


async def test_two_ensembles_know_nothing_of_each_other(autojump_clock: MockClock) -> None:
    """I16: nothing is global."""
    async with open_ensemble(3) as one, open_ensemble(3) as other:
        await one.zk(1).create("/a")
        one.crash(2)
        assert await other.zk(1).exists("/a") is None
        assert await can_write(other, 2)


# --- faults ----------------------------------------------------------------------------------------------------------


async def test_a_partition_stops_the_minority_and_heal_brings_it_back(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        ensemble.partition({leader}, others(ensemble, leader))
        await trio.sleep(5)
        assert ensemble.leader() in others(ensemble, leader)
        assert not await can_write(ensemble, leader)
        assert all([await can_write(ensemble, id) for id in others(ensemble, leader)])
        assert ensemble.zk(leader).session.state is SessionState.SUSPENDED
        ensemble.heal()
        await trio.sleep(5)
        assert await can_write(ensemble, leader)


async def test_a_cut_one_way_lets_the_other_way_through(autojump_clock: MockClock) -> None:
    """The leader hears its follower, which hears nothing: the follower gives it up, and nobody else does."""
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        deaf = min(others(ensemble, leader))
        ensemble.cut(leader, deaf, one_way=True)
        await ensemble.zk(deaf).node.wait_role(Role.LOOKING)
        assert ensemble.leader() == leader
        assert await can_write(ensemble, leader)
        ensemble.heal()
        assert await ensemble.zk(deaf).node.wait_role(Role.FOLLOWING, Role.LEADING)


async def test_a_crashed_member_answers_nothing_and_comes_back_with_its_disk(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        await ensemble.zk(1).create("/kept", b"1")
        before = ensemble.zk(2)
        ensemble.crash(2)
        for call in (before.get("/kept"), before.create("/x"), before.sync()):
            with pytest.raises(NodeFailedError, match="member 2 was crashed by the test"):
                await call
        with pytest.raises(NodeFailedError):
            before.replica.get("/kept")
        assert await can_write(ensemble, 1)
        await ensemble.restart(2)
        assert ensemble.zk(2) is not before
        await ensemble.zk(2).sync()
        assert (await ensemble.zk(2).get("/kept")).data == b"1"
        assert ensemble.zk(2).node.statistics().has_vote


async def test_calls_under_way_end_when_their_member_crashes(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        ended: list[BaseException] = []
        zk = ensemble.zk(2)

        async def call(what: Any) -> None:
            try:
                await what
            except Exception as error:
                ended.append(error)

        ensemble.partition({2}, {1, 3})
        watch = zkembed.Watch()
        await zk.exists("/a", watch=watch)
        for what in (zk.create("/a"), zk.sync(), watch.wait(), zk.node.wait_role(Role.OBSERVING)):
            nursery.start_soon(call, what)
        await trio.sleep(0.1)
        ensemble.crash(2)
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert [type(error) for error in ended] == [NodeFailedError] * 4


async def test_a_crash_loses_what_was_not_synced(autojump_clock: MockClock) -> None:
    """Also what the dying node still writes: the next life reads another disk."""
    async with open_ensemble(3) as ensemble:
        member = ensemble._members[2]
        before = member._disk
        file = before.create("scratch")
        before.sync_directory()
        file.write_at(0, b"synced")
        file.sync()
        file.write_at(0, b"cached")
        ensemble.crash(2)
        file.write_at(0, b"dying.")
        file.sync()
        assert member._disk.read("scratch") == b"synced"


async def test_all_crash_at_once_and_nothing_answered_is_lost(autojump_clock: MockClock) -> None:
    """A crash loses what was not synced, which was never answered; the sessions of the last life end, and their locks with them."""
    async with open_ensemble(3) as ensemble:
        answered = [(await ensemble.zk(id).create("/e-", sequential=True)).path for id in (1, 2, 3) * 5]
        async with trio.open_nursery() as nursery:
            for id in (1, 2, 3):
                ensemble.crash(id)
                nursery.start_soon(ensemble.restart, id)
        await ensemble.zk(1).sync()
        assert {f"/{name}" for name in await ensemble.zk(1).children("/")} >= set(answered)
        async with Lock(ensemble.zk(1), "/lock"):
            pass


async def test_a_running_member_restarts_in_good_order(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        before = ensemble.zk(3)
        await before.create("/mine", ephemeral=True)
        await ensemble.restart(3)
        await ensemble.zk(1).sync()
        assert await ensemble.zk(1).exists("/mine") is None
        with pytest.raises(trio.ClosedResourceError):
            await before.get("/")
        assert await can_write(ensemble, 3)


async def test_a_member_that_crashes_while_it_starts(autojump_clock: MockClock) -> None:
    """Its restart raises; one that was cancelled is left stopped; the next one works."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        ended: list[BaseException] = []

        async def restart() -> None:
            try:
                await ensemble.restart(2)
            except zkembed.NodeStartError as error:
                ended.append(error)

        for id in (1, 2, 3):
            ensemble.crash(id)
        nursery.start_soon(restart)
        await trio.sleep(1)
        with pytest.raises(BadArgumentsError, match="member 2 has no client yet"):
            ensemble.zk(2)
        ensemble.crash(2)
        await trio.sleep(1)
        assert "crashed by the test" in str(ended[0])
        with trio.move_on_after(1) as patience:
            await ensemble.restart(2)
        assert patience.cancelled_caught
        nursery.start_soon(ensemble.restart, 3)
        await ensemble.restart(2)
        assert await can_write(ensemble, 2)


async def test_a_wiped_member_serves_without_a_vote_and_gets_it_back(autojump_clock: MockClock) -> None:
    """I-3: an empty disk never votes; the leader readmits it by an entry of its own, and then it does as well as any other."""
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        wiped, other = sorted(others(ensemble, leader))
        await ensemble.zk(leader).create("/a", b"1")
        ensemble.crash(wiped)
        before = (await ensemble.zk(other).get("/zookeeper/config")).data
        async with ensemble.zk(other).watch("/zookeeper/config") as changes:
            await ensemble.restart(wiped, wipe=True)
            assert (await ensemble.zk(wiped).get("/a")).data == b"1"
            assert await can_write(ensemble, wiped)
            with trio.fail_after(10):
                await anext(changes)
        after = (await ensemble.zk(wiped).get("/zookeeper/config")).data
        assert before.rsplit(b"version=")[0] == after.rsplit(b"version=")[0], "the same members"
        assert before != after, "of a later version"
        assert ensemble.zk(wiped).node.statistics().has_vote
        assert ensemble.zk(wiped).node.statistics().vote_reason == ""
        ensemble.crash(other)
        assert await can_write(ensemble, wiped)
        ensemble.crash(leader)
        await ensemble.restart(other)
        assert (await ensemble.zk(wiped).get("/a")).data == b"1"
        assert await can_write(ensemble, wiped, seconds=10.0)


async def test_a_paused_leader_is_replaced_and_finds_that_time_has_passed(autojump_clock: MockClock) -> None:
    """B-12: it steps down before it answers anything; its session was SUSPENDED by then."""
    async with open_ensemble(3) as ensemble:
        paused = await ensemble.wait_leader()
        session = ensemble.zk(paused).session
        ensemble.pause(paused)
        ensemble.pause(paused)
        assert not await can_write(ensemble, paused, 5)
        assert session.state is SessionState.SUSPENDED
        assert all([await can_write(ensemble, id) for id in others(ensemble, paused)])
        ensemble.resume(paused)
        ensemble.resume(paused)
        await trio.sleep(5)
        assert ensemble.leader() in others(ensemble, paused)
        assert await can_write(ensemble, paused)


async def test_a_paused_member_answers_no_new_connection(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        leader = await ensemble.wait_leader()
        paused, again = sorted(others(ensemble, leader))
        ensemble.pause(paused)
        await ensemble.restart(again)
        await trio.sleep(3)
        assert {peer.link.remote.node_id for peer in ensemble._members[again].driver.links.values()} == {leader}
        ensemble.resume(paused)
        await trio.sleep(3)
        assert {peer.link.remote.node_id for peer in ensemble._members[again].driver.links.values()} == {leader, paused}


async def test_a_paused_member_can_crash_and_start_again(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        ensemble.pause(2)
        await trio.sleep(1)
        ensemble.crash(2)
        with pytest.raises(BadArgumentsError, match="member 2 is not running here"):
            ensemble.resume(2)
        await ensemble.restart(2)
        assert await can_write(ensemble, 2)


async def test_the_leader_is_known_while_there_is_one(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble:
        first = ensemble.leader()
        assert first == await ensemble.wait_leader()
        assert first is not None
        assert ensemble.zk(first).node.role is Role.LEADING
        ensemble.crash(first)
        assert ensemble.leader() is None
        second = await ensemble.wait_leader()
        assert second != first
        ensemble.crash(second)
        await trio.sleep(5)
        assert ensemble.leader() is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ensemble.restart, first)
            third = await ensemble.wait_leader()
        assert third not in (None, second)


# --- the end of the block --------------------------------------------------------------------------------------------


class Boom(Exception):
    """The test's own."""


async def test_the_bodys_exception_leaves_unchanged(autojump_clock: MockClock) -> None:
    boom = Boom()

    async def body() -> None:
        async with open_ensemble(3) as ensemble:
            ensemble.crash(1)
            ensemble.pause(2)
            raise boom

    with pytest.raises(Boom) as caught:
        await body()
    assert caught.value is boom
    assert not hasattr(boom, "__notes__")


async def test_a_cancellation_of_the_body_takes_no_time(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with open_ensemble(3) as ensemble:
            await ensemble.zk(1).create("/a")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 5


@pytest.mark.parametrize("raises", [False, True])
async def test_a_member_that_fails_by_itself_is_reported(raises: bool, autojump_clock: MockClock) -> None:
    """A defect of the library must not pass for a test that went well."""
    boom = Boom()

    async def body() -> None:
        async with open_ensemble(3) as ensemble:
            node = ensemble._members[2]._node
            assert node is not None
            node._fail(InternalError("an invariant does not hold"))
            await trio.sleep(1)
            if raises:
                raise boom

    with pytest.raises(Boom if raises else NodeFailedError) as caught:
        await body()
    if raises:
        assert any("an invariant does not hold" in note for note in boom.__notes__)
    else:
        assert isinstance(caught.value.__cause__, InternalError)


# --- an application's own code ---------------------------------------------------------------------------------------


async def count_visits(config: zkembed.Config, visits: int) -> int:
    """An application as it would run anywhere: it knows its Config and nothing of ensembles."""
    async with zkembed.Node(config) as zk:
        for _ in range(visits):
            async with zkembed.Lock(zk, "/visits-lock") as held:
                await zk.ensure("/visits")
                data, stat = await zk.get("/visits")
                async with zk.transaction() as t:
                    t.guard(held)
                    t.set("/visits", str(int(data or b"0") + 1).encode(), version=stat.version)
        return int((await zk.get("/visits")).data)


async def test_an_applications_unchanged_code_runs_as_a_member(autojump_clock: MockClock) -> None:
    async with open_ensemble(3, run={1, 2}) as ensemble:
        assert await count_visits(ensemble.config(3), 2) == 2
        assert await count_visits(ensemble.config(3), 3) == 5
        await ensemble.zk(1).sync()
        assert (await ensemble.zk(1).get("/visits")).data == b"5"


async def test_two_applications_run_at_once_and_the_ensemble_has_no_quorum_of_its_own(autojump_clock: MockClock) -> None:
    """The ensemble was founded by all; a member that is alone in running waits for the others like any node."""
    async with open_ensemble(3, run={3}) as ensemble:
        assert not await can_write(ensemble, 3)
        counts: list[int] = []

        async def run(id: int) -> None:
            counts.append(await count_visits(ensemble.config(id), 5))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, 1)
                nursery.start_soon(run, 2)
        assert max(counts) == 10


async def test_an_application_that_crashes_is_told_and_starts_again_from_its_disk(autojump_clock: MockClock) -> None:
    async with open_ensemble(3, run={1, 2}) as ensemble:

        async def application() -> None:
            async with zkembed.Node(ensemble.config(3)) as zk:
                await zk.create("/mine", ephemeral=True)
                ensemble.crash(3)
                await trio.sleep_forever()

        with pytest.raises(NodeFailedError, match="member 3 was crashed by the test") as failed:
            await application()
        assert isinstance(failed.value.__cause__, CrashedError)
        await trio.sleep(ensemble.zk(1).session.timeout + 1)
        assert await ensemble.zk(1).exists("/mine") is None
        async with zkembed.Node(ensemble.config(3)) as zk:
            assert zk.node.statistics().has_vote
            await zk.create("/mine", ephemeral=True)


async def test_faults_reach_the_applications_member(autojump_clock: MockClock) -> None:
    async with open_ensemble(3, run={1, 2}) as ensemble, zkembed.Node(ensemble.config(3)) as zk:
        ensemble.partition({3}, {1, 2})
        await zk.session.wait_state(SessionState.SUSPENDED)
        ensemble.heal()
        assert await zk.session.wait_state(SessionState.CONNECTED, SessionState.EXPIRED)


async def test_who_runs_a_member_is_not_mixed_up(autojump_clock: MockClock) -> None:
    async with open_ensemble(3, run={1, 2}) as ensemble:
        with pytest.raises(BadArgumentsError, match="member 1 is run by the ensemble"):
            ensemble.config(1)
        with pytest.raises(BadArgumentsError, match="member 3 has no client here"):
            ensemble.zk(3)
        with pytest.raises(BadArgumentsError, match="member 3 is not running here"):
            ensemble.pause(3)
        with pytest.raises(BadArgumentsError, match="member 3 is run by the application"):
            await ensemble.restart(3)
