"""The life of a Node: what leaves its block, in which form, and how long that takes (trio.md's T5, T7, T9, T10 as claims)."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import zkembed
from zkembed.errors import InternalError
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.node import Node

from .members import Members, all_up


class Boom(Exception):
    """The application's own."""


async def run_block(node: Node, *, background: bool, body: str) -> None:
    async with node as zk:
        await zk.create("/a")
        if background:
            node._fail(InternalError("a background task died"))
        if body == "raises":
            raise Boom
        if body == "waits":
            await trio.sleep_forever()
        if body == "raises while cancelled":
            try:
                await trio.sleep_forever()
            finally:
                raise Boom


@pytest.mark.parametrize(
    ("background", "body"), list(itertools.product((False, True), ("returns", "raises", "waits", "raises while cancelled")))
)
async def test_what_leaves_the_block(background: bool, body: str, autojump_clock: trio.testing.MockClock) -> None:
    """T7: background ok or failed x the body returns, raises, waits, or raises while it is cancelled."""
    node = Node(Members().config())
    with trio.move_on_after(10) as outer:
        if body.startswith("raises") and (background or body == "raises"):
            with pytest.raises(Boom) as caught:
                await run_block(node, background=background, body=body)
            notes = getattr(caught.value, "__notes__", [])
            assert any("background task died" in note for note in notes) is background
            assert caught.traceback[-1].name == "run_block"
        elif background:
            with pytest.raises(zkembed.NodeFailedError, match="background task died") as failed:
                await run_block(node, background=background, body=body)
            assert isinstance(failed.value.__cause__, InternalError)
        elif body == "raises while cancelled":
            with pytest.raises(Boom):
                await run_block(node, background=background, body=body)
        else:
            await run_block(node, background=background, body=body)
    assert outer.cancelled_caught is (not background and body == "waits")


async def test_a_node_serves_one_block(autojump_clock: trio.testing.MockClock) -> None:
    node = Node(Members().config())
    async with node:
        pass
    with pytest.raises(trio.ClosedResourceError):
        async with node:
            pass


async def test_after_the_block_everything_says_that_it_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """T10."""
    async with Node(Members().config()) as zk:
        await zk.create("/a")
        stream = zk.watch("/a")
        await stream.__aenter__()
    with pytest.raises(trio.ClosedResourceError):
        await zk.get("/a")
    with pytest.raises(trio.ClosedResourceError):
        await zk.set("/a", b"")
    with pytest.raises(trio.ClosedResourceError):
        await zk.sync()
    with pytest.raises(trio.ClosedResourceError):
        zk.replica.get("/a")
    with pytest.raises(trio.ClosedResourceError):
        await zk.node.wait_role(zkembed.Role.LEADING)
    with pytest.raises(trio.ClosedResourceError):
        await stream.__anext__()
    assert zk.session.state is zkembed.SessionState.CLOSED


async def test_everybody_who_waits_is_told_when_the_node_fails(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody hangs: a write without a quorum, a barrier, a read behind that write, a one-shot watch, a stream."""
    members = Members(3)
    told: list[str] = []
    async with all_up(members) as running, trio.open_nursery() as nursery:
        member = running[1]
        zk = member.zk
        await zk.create("/a")
        watch = zkembed.Watch()
        await zk.get("/a", watch=watch)
        members.fabric.isolate(1)

        async def expect(name: str, call: Any, *args: Any) -> None:
            with pytest.raises(zkembed.NodeFailedError, match="killed"):
                await call(*args)
            told.append(name)

        async def read_stream() -> None:
            async with zk.watch("/a") as stream:
                await stream.__anext__()

        nursery.start_soon(expect, "stream", read_stream)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(expect, "watch", watch.wait)
        nursery.start_soon(expect, "write", zk.set, "/a", b"1")
        nursery.start_soon(expect, "sync", zk.sync)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(expect, "read", zk.get, "/a")
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        member.node.abort("killed")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(told) == ["read", "stream", "sync", "watch", "write"]
        assert isinstance(member.ended[0], zkembed.NodeFailedError)


async def test_entering_without_a_quorum_is_bounded_by_start_timeout_and_names_who_is_missing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    members = Members(3)
    with pytest.raises(zkembed.NodeStartError, match="1 of 3 voters reachable"):
        async with Node(members.config(1, start_timeout=7.0)):
            raise AssertionError("not alone")
    assert trio.current_time() < 12
    assert sum("not in touch with a quorum yet" in record.message for record in caplog.records) >= 2


async def test_a_start_that_is_cancelled_leaves_nothing_running(autojump_clock: trio.testing.MockClock) -> None:
    members = Members(3)
    with trio.move_on_after(3) as scope:
        async with Node(members.config(1)):
            raise AssertionError("not alone")
    assert scope.cancelled_caught
    async with all_up(members):  # The directory and the address are free again.
        pass


async def test_leaving_without_a_quorum_is_bounded_by_close_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """T5, also when the block is left by a cancellation: 2 s and no longer."""
    members = Members(3)
    async with all_up(members, close_timeout=2.0) as running:
        await running[1].zk.create("/a")
        members.fabric.partition({1}, {2}, {3})
        began = trio.current_time()
    assert trio.current_time() - began <= 2.5


async def test_leaving_closes_the_session_for_everybody_at_once(autojump_clock: trio.testing.MockClock) -> None:
    members = Members(3)
    async with all_up(members) as running:
        zk = running[1].zk
        leaver = next(id for id in (2, 3) if running[id].zk.node.role is not zkembed.Role.LEADING)
        await running[leaver].zk.create("/mine", ephemeral=True)
        await zk.sync()
        gone = zkembed.Watch()
        assert await zk.exists("/mine", watch=gone) is not None
        began = trio.current_time()
        running[leaver].node._body.cancel()
        event = await gone.wait()
        assert event.kind is zkembed.EventKind.DELETED
        assert trio.current_time() - began < 0.5


async def test_a_leader_that_leaves_hands_over_without_a_timer(autojump_clock: trio.testing.MockClock) -> None:
    """B-16: the others elect at once; no sync_limit or finalize_wait is spent."""
    members = Members(3)
    async with all_up(members) as running:
        leader = next(id for id in running if running[id].zk.node.role is zkembed.Role.LEADING)
        other = running[next(id for id in running if id != leader)].zk
        await other.create("/a")
        began = trio.current_time()
        running[leader].node._body.cancel()
        await other.node.wait_role(zkembed.Role.LOOKING)
        await other.set("/a", b"1")
        assert trio.current_time() - began < 0.2


async def test_several_nodes_of_different_ensembles_live_in_one_process(autojump_clock: trio.testing.MockClock) -> None:
    """I16: nothing is global."""
    one, other = Members(), Members()
    async with Node(one.config()) as a, Node(other.config(cluster="other")) as b:
        await a.create("/a", b"a")
        await b.create("/a", b"b")
        assert (await a.get("/a")).data == b"a"
        assert (await b.get("/a")).data == b"b"


async def test_a_restart_finds_everything_again(autojump_clock: trio.testing.MockClock) -> None:
    members = Members()
    async with Node(members.config()) as zk:
        made = await zk.create("/kept", b"x")
        await zk.create("/gone", ephemeral=True)
        await zk.node.snapshot()
        await zk.set("/kept", b"y")
    async with Node(members.config()) as zk:
        data, stat = await zk.get("/kept")
        assert (data, stat.version, stat.czxid) == (b"y", 1, made.stat.czxid)
        assert await zk.exists("/gone") is None


async def test_all_members_that_leave_together_do_not_wait_for_each_other(autojump_clock: trio.testing.MockClock) -> None:
    """The last ones can close no session and find no successor; they see that the others are gone, and go."""
    members = Members(3)
    async with all_up(members, close_timeout=20.0) as running:
        await running[1].zk.create("/a")
        began = trio.current_time()
    assert trio.current_time() - began < 1.0


async def test_a_port_that_is_taken_is_found_before_anything_is_written(tmp_path: Path) -> None:
    """The data directory is not even made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        directory = tmp_path / "data"
        with pytest.raises(zkembed.NodeStartError, match=address):
            async with Node(zkembed.Config(node_id=1, peers={1: address}, data_dir=directory)):
                raise AssertionError("it listens")
        assert not directory.exists()


@pytest.mark.parametrize("wrong", [lambda: 1e300, lambda: float("nan"), lambda: -1.0, lambda: None, lambda: 1 / 0], ids=str)
async def test_Q_2_a_wall_clock_gone_mad_makes_no_entry_that_cannot_be_read_back(
    wrong: Callable[[], Any], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good time stays; the log says so; a restart reads everything."""
    members = Members()
    clock: list[Callable[[], Any]] = [lambda: 1000.0]
    async with Node(members.config(wall_clock=lambda: clock[0]())) as zk:
        before = await zk.create("/before")
        clock[0] = wrong
        after = await zk.create("/after")
        assert after.stat.ctime == before.stat.ctime == 1000.0
    assert any("wall_clock gives" in record.message for record in caplog.records)
    async with Node(members.config(wall_clock=lambda: 500.0)) as zk:
        assert zk.replica.exists("/after") == after.stat
        assert (await zk.create("/later")).stat.ctime == 1000.0  # Never back (A30).


async def test_staleness_is_known_from_the_start(autojump_clock: trio.testing.MockClock) -> None:
    """Entering took a commit by a quorum, that of the session's creation."""
    async with all_up(Members(3)) as running:
        assert all(member.zk.replica.staleness() < 1 for member in running.values())


async def test_a_start_that_waits_for_votes_says_whose_are_missing_and_why(autojump_clock: trio.testing.MockClock) -> None:
    """P-12, I-3: two of three come back with empty disks; all are reachable, and yet nobody may lead."""
    members = Members(3)
    async with all_up(members) as running:
        await running[1].zk.create("/a")
    for id in (1, 2):
        members.disks[id] = SimulatedDisk()
    async with trio.open_nursery() as nursery:
        for id in (2, 3):

            async def try_alone(id: int = id) -> None:
                with trio.move_on_after(10):
                    async with Node(members.config(id)):
                        raise AssertionError("nobody can lead")

            nursery.start_soon(try_alone)
        with pytest.raises(zkembed.NodeStartError, match=r"3 of 3 voters reachable; without a vote: 1 \(its disk is new.*, 2 .*operator"):
            async with Node(members.config(1, start_timeout=6.0)):
                raise AssertionError("nobody can lead")


async def test_a_start_with_another_list_of_peers_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """I-4: the initial members must have the same list."""
    members, others = Members(2), Members(2)
    others.fabric, others.peers = members.fabric, {1: "memory:1", 2: "memory:two"}
    async with trio.open_nursery() as nursery:

        async def other() -> None:
            with trio.move_on_after(10):
                async with Node(others.config(2)):
                    raise AssertionError("nothing can be founded")

        nursery.start_soon(other)
        with pytest.raises(zkembed.NodeStartError, match=r"2 \(it was started with another list of peers\)"):
            async with Node(members.config(1, start_timeout=6.0)):
                raise AssertionError("nothing can be founded")


async def test_a_stream_gives_nothing_behind_its_block(autojump_clock: trio.testing.MockClock) -> None:
    async with Node(Members().config()) as zk:
        async with zk.watch("/", recursive=True) as events:
            await zk.create("/a")
        with pytest.raises(trio.ClosedResourceError):
            await events.__anext__()


async def test_waits_for_nothing_in_particular_are_mistakes(autojump_clock: trio.testing.MockClock) -> None:
    async with Node(Members().config()) as zk:
        for wait in (zk.node.wait_role, zk.session.wait_state):
            with pytest.raises(zkembed.BadArgumentsError):
                await wait()
            with pytest.raises(zkembed.BadArgumentsError):
                await wait("LEADING")  # type: ignore[arg-type]
