"""The verdict: every result of every worker against a plain computation in one process, without an ensemble."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from attrs import frozen

from .job import Answer, compute, list_files
from .stage import Actor, Play


@frozen
class Verdict:
    """faults: one sentence each, empty if all is equal.  lines: what is said at the end."""

    faults: list[str]
    lines: list[str]


def judge(play: Play, root: Path, limit: int | None) -> Verdict:
    """Compute everything once more, plainly, and compare. Blocks: for a thread."""
    expected = {file: compute(root / file) for file in list_files(root, limit)}
    faults = [fault for actor in play.actors.values() for fault in _faults_of(actor, expected)]
    faults += _faults_of_answers(play)
    return Verdict(faults, [*_counts(play, expected), *_times(play)])


def _faults_of(actor: Actor, expected: dict[str, Answer]) -> list[str]:
    found = Counter(result["file"] for result in actor.has.values())
    got = {result["file"]: Answer(result["sha256"], result["lines"]) for result in actor.has.values()}
    faults = [f"{file} is missing" for file in sorted(expected.keys() - got.keys())]
    faults += [f"{file} is not in the input" for file in sorted(got.keys() - expected.keys())]
    faults += [f"{file} is there {count} times" for file, count in sorted(found.items()) if count > 1]
    faults += [f"{file}: {got[file]}, expected {answer}" for file, answer in expected.items() if got.get(file, answer) != answer]
    return [f"worker {actor.id}: {fault}" for fault in faults]


def _faults_of_answers(play: Play) -> list[str]:
    """A result whose write was answered is in every replica as it was answered, and was answered once."""
    faults = [f"job {job} was answered {count} times" for job, count in Counter(said["job"] for said in play.answered).items() if count > 1]
    for actor in play.actors.values():
        for said in play.answered:
            result = actor.has.get(said["job"], {})
            if any(result.get(name) != said[name] for name in ("file", "sha256", "lines", "by")):
                faults.append(f"worker {actor.id}: job {said['job']} was answered as {said}, found {result or 'nothing'}")
    return faults


def _counts(play: Play, expected: dict[str, Answer]) -> list[str]:
    actors = play.actors.values()
    by = Counter(result["by"] for result in next(iter(actors)).has.values())
    total = sum(answer.lines for answer in expected.values())
    return [
        f"files      {len(expected)}, with {total} lines",
        f"results    {', '.join(f'{len(actor.has)} on the replica of worker {actor.id}' for actor in actors)}",
        f"done by    {', '.join(f'worker {id}: {count}' for id, count in sorted(by.items())) or 'nobody'}",
        f"answered   {len(play.answered)} writes of results, each of them looked up on every replica",
    ]


def _times(play: Play) -> list[str]:
    if play.kill is None:
        return ["killed     nobody"]
    return [
        f"killed     worker {play.kill.id} with -9, leader of epoch {play.kill.epoch}, at {play.kill.done} results; "
        f"started again {play.again_after or 0:.2f} s later",
        f"leader     none for {_seconds(play.leader_after)}; next answered result {_seconds(play.result_after)} after the kill",
        f"foreman    none for {_seconds(play.foreman_after)} (a session has to expire); jobs taken over from the dead: {play.taken_over}",
    ]


def _seconds(passed: float | None) -> str:
    return "(none was needed)" if passed is None else f"{passed:.2f} s"
