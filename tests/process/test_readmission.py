"""Real processes whose data directory is emptied, or put back as it was: they get their vote back, and use it (I-3, I-6)."""

from __future__ import annotations

import shutil
from pathlib import Path

from .ensemble import Ensemble, Life, open_ensemble


async def readmitted(ensemble: Ensemble, leader: Life, id: int) -> None:
    """The member is in, and the leader has given it its vote."""
    await ensemble[id].wait_said("in")
    await leader.wait_logged(f"node {id} is readmitted")
    await ensemble[id].ask("sync")
    said = await ensemble[id].ask("statistics")
    assert (said["has_vote"], said["vote_reason"]) == (True, "")


async def test_i_3_an_emptied_directory_votes_again_and_another_member_may_go(tmp_path: Path) -> None:
    """I-3: kill -9, the directory is gone; with the vote that it gets back the two that are left go on, whoever of the others is killed."""
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        await ensemble.start_all()
        leader = await ensemble.leader()
        victim, other = await ensemble.followers()
        await leader.ask("create", path="/a", data="before")
        await victim.kill()
        shutil.rmtree(ensemble.data_dirs[victim.member_id])
        await ensemble.start(victim.member_id)
        await readmitted(ensemble, leader, victim.member_id)
        back = ensemble[victim.member_id]
        assert f"server.{victim.member_id}=" in await back.ask("get", path="/zookeeper/config")
        await other.kill()
        await back.ask("set", path="/a", data="with the leader")
        await ensemble.start_all([other.member_id])
        epoch = (await leader.ask("statistics"))["epoch"]
        await leader.kill()
        await ensemble.leader(after_epoch=epoch)
        await back.ask("set", path="/a", data="without the leader")
        await ensemble[other.member_id].ask("sync")
        assert await ensemble[other.member_id].ask("get", path="/a") == "without the leader"


async def test_i_6_a_directory_restored_from_a_backup_becomes_another_storage(tmp_path: Path) -> None:
    """I-6: copied while it was down, put back after three more starts, which the others have seen."""
    async with open_ensemble(tmp_path, 3, session_timeout=3.2) as ensemble:
        await ensemble.start_all()
        leader = await ensemble.leader()
        victim, other = await ensemble.followers()
        id, directory = victim.member_id, ensemble.data_dirs[victim.member_id]
        await victim.kill()
        shutil.copytree(directory, tmp_path / "backup")
        for _ in range(3):
            await ensemble.start_all([id])
            await ensemble[id].kill()
        await leader.ask("create", path="/since", data="the backup")
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "backup", directory)
        await ensemble.start(id)
        await ensemble[id].wait_logged("is an old copy")
        await readmitted(ensemble, leader, id)
        assert await ensemble[id].ask("get", path="/since") == "the backup"
        await other.kill()
        assert await ensemble[id].ask("create", path="/with-its-vote") == "/with-its-vote"
