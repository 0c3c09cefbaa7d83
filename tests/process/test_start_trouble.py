"""A member that cannot start says why, in one error, and harms nobody; one that was stopped in any way starts again cleanly."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
import trio

from .ensemble import free_ports, open_ensemble
from .judge import judge
from .member import FAILED, INTERRUPTED

LEAVE_BOUND = 8.0
"""close_timeout is 2 s; the rest is for a slow machine."""


MOMENTS = ("just started", "alone, waiting for a quorum", "leading, under load", "following, under load", "without a quorum")


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with open_ensemble(tmp_path, 1) as ensemble:
        address = ensemble.peers[1]
        with socket.socket() as other:
            host, port = address.split(":")
            other.bind((host, int(port)))
            other.listen()
            life = await ensemble.start(1)
            assert await life.wait_exit() == FAILED
        failed = await life.wait_said("failed")
        assert failed["error"] == "NodeStartError"
        assert address in failed["text"]
        await ensemble.start_all()  # The port is free again, and the directory as good as new.


async def test_a_directory_that_another_process_uses_is_named(tmp_path: Path) -> None:
    """P-10: an exclusive lock; it goes with its process, however that ends."""
    async with open_ensemble(tmp_path, 1) as ensemble:
        await ensemble.start_all()
        first = ensemble[1]
        second = await ensemble.start(1, peers={1: f"127.0.0.1:{free_ports(1)[0]}"})  # The port is not what it shall fail for.
        assert await second.wait_exit() == FAILED
        failed = await second.wait_said("failed")
        assert failed["error"] == "StorageError"
        assert str(ensemble.data_dirs[1]) in failed["text"]
        await first.ask("create", path="/still-works")
        await first.kill()
        await ensemble.start_all()
        assert await ensemble[1].ask("exists", path="/still-works")


async def test_a_member_of_another_ensemble_is_refused_and_told_so(tmp_path: Path) -> None:
    """N-7, F6: no state changes, on either side."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all([1, 2, 3])
        await ensemble[1].ask("create", path="/a", data="ours")
        await ensemble[3].leave()
        stranger = await ensemble.start(3, cluster="another", data_dir=str(tmp_path / "stranger"), start_timeout=2.0)
        assert await stranger.wait_exit() == FAILED
        failed = await stranger.wait_said("failed")
        assert failed["error"] == "NodeStartError"
        assert "of 3 voters reachable" in failed["text"]
        await ensemble[1].wait_logged("refused node 3")
        assert await ensemble[2].ask("create", path="/b") == "/b"
        await ensemble.start_all([3])
        await ensemble[3].ask("sync")
        assert await ensemble[3].ask("get", path="/a") == "ours"


async def test_a_directory_of_another_ensemble_is_refused(tmp_path: Path) -> None:
    """F6: the cluster's name is in the files too."""
    async with open_ensemble(tmp_path, 1) as ensemble:
        await ensemble.start_all()
        await ensemble[1].leave()
        life = await ensemble.start(1, cluster="another")
        assert await life.wait_exit() == FAILED
        failed = await life.wait_said("failed")
        assert failed["error"] == "StorageError"
        assert "another" in failed["text"]
        assert "zkembed" in failed["text"]
        await ensemble.start_all()


async def test_while_there_is_no_quorum_entering_says_who_is_missing(tmp_path: Path) -> None:
    """F17: it is no error, unless ``start_timeout`` makes it one; and it ends when the others come."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        alone = await ensemble.start(1)
        line = await alone.wait_logged("not in touch with a quorum yet")
        assert "1 of 3 voters reachable: 2 refused, 3 refused" in line
        assert alone.said("in") is None
        await ensemble.start_all([2, 3])
        await alone.wait_said("in")


async def test_without_a_quorum_writes_wait_and_plain_reads_go_on(tmp_path: Path) -> None:
    """B17, B18: delay is no error. A waiting write can be cancelled, and is then not done; others happen when the quorum is back."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all()
        survivor = ensemble[1]
        await survivor.ask("create", path="/a", data="1")
        await ensemble[2].kill()
        await ensemble[3].kill()
        await survivor.wait_said("role", role="LOOKING")
        patient = await survivor.send("set", path="/a", data="2")
        impatient = await survivor.send("create", path="/never")
        assert await survivor.ask("replica_get", path="/a") == "1"
        await survivor.wait_said("session", state="SUSPENDED")
        assert (await survivor.ask("statistics"))["staleness"] > 1
        assert not survivor.replied(patient)
        await survivor.ask("cancel", which=impatient)
        with pytest.raises(Exception, match="Cancelled"):
            await survivor.reply(impatient)
        await ensemble.start(2)
        assert await survivor.reply(patient) == 1
        assert await survivor.ask("get", path="/a") == "2"
        assert not await survivor.ask("exists", path="/never")
        assert survivor.said("session", state="EXPIRED") is None, "nobody could have expired it"


@pytest.mark.parametrize("moment", MOMENTS)
async def test_ctrl_c_ends_a_member_in_bounded_time_and_the_next_start_is_clean(tmp_path: Path, moment: str) -> None:
    """I17, T9: KeyboardInterrupt takes the way of any other exception; the session is closed, leadership handed over."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        if moment == "just started":
            interrupted = await ensemble.start(1)
            await interrupted.wait_said("starting")
        elif moment.startswith("alone"):
            interrupted = await ensemble.start(1)
            await interrupted.wait_logged("not in touch with a quorum yet")
        else:
            await ensemble.start_all(writers=2)
            leader = await ensemble.leader()
            interrupted = leader if moment.startswith("leading") else (await ensemble.followers())[0]
            await interrupted.wait_said("made")
            if moment.startswith("without"):
                for life in ensemble.running():
                    if life is not interrupted:
                        await life.kill()
                await interrupted.wait_said("role", role="LOOKING")
        interrupted.signal(signal.SIGINT)
        assert await interrupted.wait_exit(LEAVE_BOUND) == INTERRUPTED
        assert "Traceback" not in interrupted.story()
        gone = ensemble.peers.keys() - {life.member_id for life in ensemble.running()}
        await ensemble.start_all(gone)
        assert "wrote the last batch again" not in ensemble[interrupted.member_id].story(), interrupted.story()
        await judge(ensemble)


async def test_an_unhandled_sigterm_is_a_crash_and_the_next_start_is_clean(tmp_path: Path) -> None:
    """The library takes no signals."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all(writers=2)
        leader = await ensemble.leader()
        await leader.wait_said("made")
        leader.signal(signal.SIGTERM)
        assert await leader.wait_exit() == -signal.SIGTERM
        await ensemble.start_all([leader.member_id])
        await judge(ensemble)


async def test_a_member_that_leaves_closes_its_session_and_hands_leadership_over(tmp_path: Path) -> None:
    """B-16, S-6: its ephemerals are gone at once, and nobody waits for a timeout to elect."""
    async with open_ensemble(tmp_path, 3) as ensemble:
        await ensemble.start_all()
        leader = await ensemble.leader()
        others = await ensemble.followers()
        await leader.ask("create", path="/mine", ephemeral=True)
        with trio.fail_after(LEAVE_BOUND):
            await leader.leave()
        assert await others[0].ask("create", path="/after") == "/after"
        assert not await others[0].ask("exists", path="/mine")
        assert [line for line in leader.log if "handed over" in line]
