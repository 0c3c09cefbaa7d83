"""What may happen to a running member: a full disk, a loop that is held, garbage at its port, damage to its files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import trio

from .ensemble import Ensemble, open_ensemble
from .judge import judge
from .member import FAILED

BLOCK = 64 * 1024
GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\xff\xff\xff\xff" + b"x" * 1000,  # a frame of 4 GiB
    b"\x00\x00\x00\x00" * 50,
    b"\x00\x00\x00\x40" + b"\x81" * 0x40,  # nested deeper than anything we say
    b"\x00\x00\x00\x10half",
)


async def test_a_write_error_stops_that_member_alone_and_loses_nothing(tmp_path: Path) -> None:
    """P-13: StorageError, whether it leads or follows; the others go on; started with room again it is as the others are."""
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        await ensemble.start_all(writers=2)
        for victim in (await ensemble.leader(), (await ensemble.followers())[0]):
            others = [life for life in ensemble.running() if life is not victim]
            await victim.send("limit_file_size", size=0)
            assert await victim.wait_exit() == FAILED
            failed = victim.said("failed")
            assert failed is not None
            assert failed["error"] == "NodeFailedError"
            assert "StorageError" in failed["causes"]
            await others[0].wait_more(20)
            await ensemble.start_all([victim.member_id], writers=2)
        await judge(ensemble)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 16 MiB; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_stops_that_member_alone_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """E14, P-13: as any write error, though the system noticed it half way through a batch. It starts again when there is room."""
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        ensemble.data_dirs[3] = small_disk / "member"
        await ensemble.start_all()
        victim = ensemble[3]
        answered: list[str] = []
        while victim.alive and len(answered) < 1000:
            answered.append(await ensemble[1].ask("create", path="/block-", data="x" * BLOCK, sequential=True))
        assert await victim.wait_exit() == FAILED
        failed = victim.said("failed")
        assert failed is not None
        assert "StorageError" in failed["causes"]
        await trio.run_process(["mount", "-o", "remount,size=256m", str(small_disk)])
        await ensemble.start_all([3])
        _, tree = await ensemble.dump(3)
        assert [path for path in answered if path not in tree] == []


async def test_a_leader_that_holds_its_loop_is_replaced_and_answers_nothing_late(tmp_path: Path) -> None:
    """B-12: for five seconds it looks like a crash. Then it steps down before anything else, its session is suspended, and nothing of
    what either of them answered is lost or doubled, by the writers or under the lock."""
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        await ensemble.start_all(writers=2)
        held = await ensemble.leader()
        epoch = held.events[-1].get("epoch", 0) or (await held.ask("statistics"))["epoch"]
        hold = await held.send("hold_loop", seconds=5.0)
        successor = await ensemble.leader(after_epoch=epoch)
        assert successor is not held
        await successor.wait_more(20)
        assert not held.replied(hold), "another leads while it is held"
        seen = len(held.events)
        await held.reply(hold)
        await held.wait_logged("the event loop stood still for")
        await held.wait(lambda: any(said.get("state") == "SUSPENDED" for said in held.events[seen:]), "its suspension")
        await held.wait_said("role", role="FOLLOWING")
        await judge(ensemble)


async def test_garbage_at_the_port_disturbs_nobody(tmp_path: Path) -> None:
    """N-4, N-8, V6: each such connection is closed; leader, epoch and load go on."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all(writers=2)
        leader = await ensemble.leader()
        before = await leader.ask("statistics")
        chance = Random("garbage")
        for id in ensemble.peers:
            host, port = ensemble.peers[id].split(":")
            for garbage in (*GARBAGE, chance.randbytes(5000)):
                stream = await trio.open_tcp_stream(host, int(port))
                async with stream:
                    with trio.fail_after(20):
                        await send_and_wait_for_the_end(stream, garbage)
        after = await leader.ask("statistics")
        assert (after["role"], after["epoch"]) == ("LEADING", before["epoch"])
        await judge(ensemble)


async def send_and_wait_for_the_end(stream: trio.SocketStream, data: bytes) -> None:
    """The other side must end it, be it by a reset."""
    try:
        await stream.send_all(data)
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass


async def test_a_torn_tail_is_cut_and_reported(tmp_path: Path) -> None:
    """P-11: what lies behind the last good batch was never acknowledged; the member votes on."""
    async with open_ensemble(tmp_path, 1) as ensemble:
        await ensemble.start_all(writers=2)
        await ensemble[1].wait(lambda: len(ensemble.events("made")) > 20, "twenty items")
        await ensemble[1].kill()
        tear(newest_segment(ensemble, 1))
        await ensemble.start_all()
        assert await ensemble[1].wait_logged("torn")
        await judge(ensemble)


async def test_damage_in_the_log_is_named_and_heals_from_the_others(tmp_path: Path) -> None:
    """P-11, P-12: not a shorter log that still votes: it says so, has no vote, takes a snapshot from the leader, and is normal again."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all(writers=2)
        await ensemble[1].wait(lambda: len(ensemble.events("made")) > 50, "fifty items")
        await judge(ensemble)
        victim = (await ensemble.followers())[0]
        await victim.leave()
        segment = newest_segment(ensemble, victim.member_id)
        flip(segment, written_bytes(segment) // 2)
        again = await ensemble.start(victim.member_id)
        line = await again.wait_logged("this disk is damaged")
        assert segment.name in line
        await again.wait_said("in")
        statistics = await again.ask("statistics")
        assert statistics["has_vote"], statistics["vote_reason"]
        await judge(ensemble)


def newest_segment(ensemble: Ensemble, id: int) -> Path:
    return max(ensemble.data_dirs[id].glob("log-*"))


def written_bytes(segment: Path) -> int:
    """Without the zeros that were reserved behind the last batch."""
    return len(segment.read_bytes().rstrip(b"\0"))


def tear(segment: Path) -> None:
    """As if a batch had reached the disk in part."""
    data = segment.read_bytes()
    end = len(data.rstrip(b"\0"))
    segment.write_bytes(data[:end] + data[16:400] + data[end + 384 :])


def flip(segment: Path, offset: int) -> None:
    data = bytearray(segment.read_bytes())
    data[offset] ^= 0x40
    segment.write_bytes(data)
