"""Real processes under everything at once, for a short while; ``make chaos`` does the same for as long as one likes.

No story here says how long anything may take: each waits for what must come, and judges what was written down meanwhile.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from .ensemble import ChaosEnsemble, open_chaos
from .guardian import PROJECT
from .judge import judge_directory
from .nemesis import Nemesis
from .rest import come_to_rest
from .run import Chaos, Options, passed
from .schedule import KINDS, Step
from .verdict import Verdict, table

SEED = int(os.environ.get("ZKEMBED_CHAOS_SEED", "3"))
SECONDS = 12.0
ROUNDS = 3
CALLS_A_ROUND = 500
PATIENCE = 60.0


def check(directory: Path, *, seen: tuple[str, ...]) -> None:
    """Every invariant holds, and there was something to judge about these."""
    verdicts = judge_directory(directory)
    print(table(verdicts))
    assert passed(verdicts), f"histories, logs and data: {directory}\n{table(verdicts)}"
    assert {verdict.id for verdict in verdicts if verdict.good} >= set(seen)


@pytest.mark.timeout(240)
async def test_a_short_run_of_everything_at_once_breaks_no_invariant(tmp_path: Path) -> None:
    """Invariants A2, D1, D3, D5, S1 to S8, E1, E3, W1, W2, L1, V1 and V3, as far as processes show them."""
    print(f"seed {SEED}: ZKEMBED_CHAOS_SEED={SEED}, or make chaos ARGS='--seed {SEED} --seconds {SECONDS:g}'")
    options = Options(tmp_path / "run", SECONDS, SEED)
    await Chaos(options, print).run()
    check(options.directory, seen=("A2", "D1", "D3", "D5", "S1", "S2", "S5", "S6", "S7", "S8", "L1", "V1", "V3"))


async def wait_calls(ensemble: ChaosEnsemble, count: int) -> None:
    """So many calls more."""
    goal = ensemble.calls_ended() + count
    await ensemble.wait(lambda: ensemble.calls_ended() >= goal, f"{count} calls")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of an ensemble that was killed as a whole, again and again."""
    directory = tmp_path_factory.mktemp("killed") / "run"

    async def rage() -> None:
        async with open_chaos(directory, 3, SEED) as ensemble:
            for _ in range(ROUNDS):
                await ensemble.start_all()
                await wait_calls(ensemble, CALLS_A_ROUND)
                lives = ensemble.running()
                ensemble.kill_at_once(lives)
                await ensemble.bury(lives)
            await ensemble.start_all()
            await come_to_rest(ensemble)
            lives = ensemble.running()
            ensemble.kill_at_once(lives)
            await ensemble.bury(lives)

    trio.run(rage)
    return directory


@pytest.mark.timeout(240)
def test_after_all_processes_were_killed_at_once_every_answered_write_is_there(killed: Path) -> None:
    """Invariant D1: nobody is left to tell the others, so what comes back comes from the disks. Several rounds of it."""
    check(killed, seen=("A2", "D1", "D5", "S1", "S2", "S8", "L1"))


@pytest.mark.timeout(240)
async def test_a_member_is_wiped_only_when_the_one_before_it_has_its_vote_back(tmp_path: Path) -> None:
    """Rule I-3, invariant D1: two of three lose their disks one after the other, and what both had acknowledged is there."""

    def wipe(number: int, victim: int) -> Step:
        others = [id for id in (1, 2, 3) if id != victim]
        return Step(number, 0.0, KINDS["wipe"], 0.0, 0.0, (victim, *others), way=False)

    async with open_chaos(tmp_path / "run", 3, SEED) as ensemble:
        said: list[str] = []
        nemesis = Nemesis(ensemble, said.append)
        await ensemble.start_all()
        await wait_calls(ensemble, CALLS_A_ROUND)
        await nemesis.run([wipe(1, 1), wipe(2, 2)])
        assert (nemesis.done["wipe"], nemesis.skipped["wipe"]) == (1, 1)
        await ensemble.wait(lambda: ensemble.pulse(1).get("has_vote"), "the first one's vote", PATIENCE)
        await nemesis.run([wipe(3, 2)])
        assert nemesis.done["wipe"] == 2
        await nemesis.heal()
        await come_to_rest(ensemble)
        lives = ensemble.running()
        ensemble.kill_at_once(lives)
        await ensemble.bury(lives)
    check(tmp_path / "run", seen=("A2", "D1", "D5", "S1", "S8"))


# --- the judge of such runs ------------------------------------------------------------------------------------------


def judge_altered(killed: Path, tmp_path: Path, file: str, alter: str) -> list[Verdict]:
    """What is not good any more in a copy in which something was altered. alter: "answer", "journal", "disks" or "dump"."""
    directory = tmp_path / "altered"
    shutil.copytree(killed, directory)
    path = sorted(directory.glob(file))[0]
    _ALTER[alter](path)
    return [verdict for verdict in judge_directory(directory) if verdict.fault or verdict.missing]


def violated(verdicts: list[Verdict]) -> list[str]:
    return [verdict.id for verdict in verdicts if verdict.fault]


def _forge_answer(path: Path) -> None:
    """The last answered set is said to have made another version."""
    lines = path.read_text().splitlines()
    for number, line in reversed(list(enumerate(lines))):
        row = json.loads(line)
        if row[0] == "Return" and row[6] == "ok" and row[9] and isinstance(row[7], list) and len(row[7]) == 11:
            row[7][5] += 1
            lines[number] = json.dumps(row)
            break
    path.write_text("".join(f"{line}\n" for line in lines))


def _forge_journal(path: Path) -> None:
    """One accepted write is missing."""
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in [*lines[:2], *lines[3:]]))


def _lose_disks(path: Path) -> None:
    for directory in path.parent.glob("member-?"):
        shutil.rmtree(directory)


def _forge_dump(path: Path) -> None:
    lines = path.read_text().splitlines()
    row = json.loads(lines[-1])
    row[1] = "never written"
    path.write_text("".join(f"{line}\n" for line in [*lines[:-1], json.dumps(row)]))


_ALTER = {"answer": _forge_answer, "journal": _forge_journal, "disks": _lose_disks, "dump": _forge_dump}


def test_an_answer_that_does_not_fit_what_was_committed_is_found(killed: Path, tmp_path: Path) -> None:
    found = judge_altered(killed, tmp_path, "history/member-*.4.jsonl", "answer")
    assert "D1" in violated(found)


def test_a_hole_in_what_the_resource_accepted_is_found(killed: Path, tmp_path: Path) -> None:
    assert violated(judge_altered(killed, tmp_path, "resource.jsonl", "journal")) == ["L1"]


def test_a_tree_that_is_not_what_c_leads_to_is_found(killed: Path, tmp_path: Path) -> None:
    assert violated(judge_altered(killed, tmp_path, "dump-2.jsonl", "dump")) == ["D5"]


def test_without_c_there_is_no_verdict_and_no_pass(killed: Path, tmp_path: Path) -> None:
    """A run that can't be judged has failed."""
    found = judge_altered(killed, tmp_path, "resource.jsonl", "disks")
    assert violated(found) == []
    assert {verdict.id for verdict in found} >= {"D1", "D5", "S1", "S8"}
    assert not passed(found)


# --- the end of a run, whatever ends it ------------------------------------------------------------------------------


def processes_of(directory: Path) -> list[int]:
    """Members that work in this directory, as the system sees them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"tests.chaos.member" in command and str(directory).encode() in command:
            found.append(int(entry.name))
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """``make chaos``, as soon as its members are in."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("needs /proc to see which processes are left")
    directory = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--seconds",
        "600",
        "--seed",
        "5",
        "--faults",
        "pause,kill",
        "--directory",
        str(directory),
    ]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        try:
            assert run.stdout is not None
            for line in run.stdout:
                if "members are in" in line:
                    break
            assert len(processes_of(directory)) == 3
            yield run, directory
        finally:
            run.kill()


def test_interrupted_a_run_tells_the_verdicts_so_far_and_stops_everything(running: tuple[subprocess.Popen[str], Path]) -> None:
    run, directory = running
    run.send_signal(signal.SIGINT)
    told, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "interrupted; the verdicts so far" in told
    assert "D1   answered writes stay" in told
    assert "seed 5" in told
    assert str(directory) in told
    assert processes_of(directory) == []


def test_a_run_that_is_killed_leaves_no_process_behind_not_even_a_stopped_one(running: tuple[subprocess.Popen[str], Path]) -> None:
    run, directory = running
    members = [os.pidfd_open(pid) for pid in processes_of(directory)]
    os.kill(processes_of(directory)[0], signal.SIGSTOP)
    run.kill()
    for member in members:  # Readable as soon as the process is gone.
        ended, _, _ = select.select([member], [], [], PATIENCE)
        assert ended
        os.close(member)
