"""What must be true of a load, whatever happened to those who carried it: told answers against the trees that are left."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from .ensemble import Ensemble

Tree = dict[str, list[Any]]
"""Path to data, czxid, mzxid, pzxid, ctime, mtime, version, cversion, owner, number of children."""

DATA, CZXID, VERSION = 0, 1, 6


async def judge(ensemble: Ensemble) -> dict[str, int]:
    """Stop the load, ask every member for its tree, and judge all answers ever told. All must be in. Returns counts, for the report."""
    for life in ensemble.running():
        await life.ask("stop_load")
    trees = await ensemble.dumps()
    faults = [*differences(trees), *judge_counters(ensemble, trees[0]), *judge_items(ensemble, trees[0]), *judge_turns(ensemble, trees[0])]
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:30]])
    kinds = ("counted", "made", "shared", "lost", "fenced", "expired")
    return {"znodes": len(trees[0]), **{kind: len(ensemble.events(kind)) for kind in kinds}}


def differences(trees: list[Tree]) -> list[str]:
    """Every replica holds the same znodes, with equal data and stat, to the last zxid and microsecond."""
    return [
        f"replica {number} has {path} as {tree.get(path)}, the first as {trees[0].get(path)}"
        for number, tree in enumerate(trees[1:], start=2)
        for path in sorted(tree.keys() | trees[0].keys())
        if tree.get(path) != trees[0].get(path)
    ]


def judge_counters(ensemble: Ensemble, tree: Tree) -> list[str]:
    """D1, S3: what was answered is there, and nothing was done twice: each set raised data and version by one."""
    faults = []
    answered: dict[str, int] = {}
    for said in ensemble.events("counted"):
        if said["version"] != said["value"]:
            faults.append(f"{said['path']}: set to {said['value']} answered with version {said['version']}")
        answered[said["path"]] = max(said["value"], answered.get(said["path"], 0))
    for path, value in answered.items():
        row = tree.get(path)
        if row is None:
            faults.append(f"{path} is lost; {value} was answered")
        elif row[DATA] != str(row[VERSION]) or not value <= row[VERSION] <= value + 1:
            faults.append(f"{path}: {value} was answered, found {row[DATA]} at version {row[VERSION]}")
    return faults


def judge_items(ensemble: Ensemble, tree: Tree) -> list[str]:
    """Each name was made once at most, and once, under the path that was answered, if it was answered."""
    found: dict[str, list[str]] = {}
    for path, row in tree.items():
        if path.startswith("/items/"):
            found.setdefault(row[DATA], []).append(path)
    faults = [f"{item} was made twice: {paths}" for item, paths in found.items() if len(paths) > 1]
    for said in ensemble.events("made"):
        if said["path"] not in found.get(said["item"], []):
            faults.append(f"{said['item']} was answered as {said['path']}, found {found.get(said['item'])}")
        elif tree[said["path"]][CZXID] != said["zxid"]:
            faults.append(f"{said['path']}: zxid {said['zxid']:#x} was answered, found {tree[said['path']][CZXID]:#x}")
    return faults


def judge_turns(ensemble: Ensemble, tree: Tree) -> list[str]:
    """L1: the shared counter was raised by one holder at a time, each time by one, and tokens rise with it."""
    told = ensemble.events("shared")
    twice = [value for value, count in Counter(said["value"] for said in told).items() if count > 1]
    faults = [f"shared value {value} was written twice" for value in twice]
    tokens = {int(path.rpartition("/")[2]): int(row[DATA]) for path, row in tree.items() if path.startswith("/receipts/")}
    if told and tree["/shared"][DATA] != str(max(tokens)):
        faults.append(f"/shared is {tree['/shared'][DATA]}, the last receipt {max(tokens)}")
    faults += [f"receipt {value} is missing" for value in range(1, max(tokens, default=0) + 1) if value not in tokens]
    faults += [
        f"shared {said['value']}: token {said['token']}, its receipt says {tokens.get(said['value'])}"
        for said in told
        if tokens.get(said["value"]) != said["token"]
    ]
    ordered = [tokens[value] for value in sorted(tokens)]
    faults += [f"token {later} follows {earlier}" for earlier, later in pairwise(ordered) if later <= earlier]
    return faults
