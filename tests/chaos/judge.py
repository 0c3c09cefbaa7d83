"""What a run's directory says of the ensemble that ran there: diaries, data directories and the resource's journal against the invariants.

Everything is read from files, after all processes are gone: a directory that was kept can be judged again, by a better judge too.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from zkembed.record import Record
from zkembed.testing.checkers import Checker, Violation, client_checkers
from zkembed.testing.history import Crashed, Event, Fault, Quiet, Return, WatchFired
from zkembed.testing.reference import Reference
from zkembed.zxid import to_hex

from .archive import DisagreementError, DiskLog, IncompleteError, committed, compare, put_together, read_archive, read_directory
from .diary import merge_diaries
from .registers import judge_registers
from .resource import judge_journal, read_journal
from .verdict import Verdict

TEXTS = {
    "A2": "all disks hold C, entry for entry",
    "D1": "answered writes stay, with their answers",
    "D3": "kill -9 damages no disk",
    "D5": "the trees at the end are the reference's",
    "S1": "writes in the order of their answers",
    "S2": "a session's requests in their own order",
    "S3": "no request is executed twice",
    "S4": "every call ends, once",
    "S5": "own writes are seen",
    "S6": "what a session sees never gets older",
    "S7": "a sync shows all that was answered before",
    "S8": "nothing uncommitted is shown",
    "E1": "ephemerals have owners",
    "E2": "ephemerals go once, all with their session",
    "E3": "no life after a session's close",
    "W1": "no event is lost",
    "W2": "no event is invented or comes twice",
    "W3": "events before the state they announce",
    "L1": "one holder, by tokens",
    "L2": "no contender is left behind",
    "L3": "nobody waits for a lock that is free",
    "V1": "a leader, and everybody back in",
    "V3": "equal replicas, all calls ended",
}

NOT_HERE = {"D5", "W3", "E4", "E5"}
"""Judged otherwise, or by what only a simulated world sees."""


Found: TypeAlias = tuple[int, str] | tuple[int, str, str]
"""Of a Verdict: judged, fault, and missing."""


@frozen
class Evidence:
    """events: without C.  sequence: C.  gap: why C is not known; "" if it is.  disagreement: of two disks, likewise."""

    events: tuple[Event, ...]
    logs: tuple[DiskLog, ...]
    sequence: tuple[Record, ...]
    gap: str
    disagreement: str
    directory: Path


def read_evidence(directory: Path) -> Evidence:
    events = tuple(merge_diaries(sorted((directory / "history").glob("*.jsonl"))))
    ids = sorted(int(path.name.removeprefix("member-")) for path in directory.glob("member-*") if path.is_dir() and "." not in path.name)
    with tempfile.TemporaryDirectory() as scratch:
        logs = tuple(read_directory(id, directory / f"member-{id}", Path(scratch)) for id in ids)
    archives = [read_archive(path) for path in sorted(directory.glob("*.archive"))]
    sequence: Sequence[Record] = ()
    gap = disagreement = ""
    try:
        sequence = put_together(logs, archives, newest_seen(events))
    except IncompleteError as error:
        gap = str(error)
    except DisagreementError as error:
        disagreement = str(error)
    return Evidence(events, logs, tuple(sequence), gap, disagreement, directory)


def newest_seen(events: Iterable[Event]) -> int:
    """The newest entry that anybody was shown: C reaches that far at least."""
    newest = 0
    for event in events:
        if isinstance(event, Return):
            newest = max(newest, event.zxid, event.applied)
        elif isinstance(event, WatchFired):
            newest = max(newest, event.zxid)
        elif isinstance(event, Quiet):
            newest = max(newest, *(zxid for _, zxid in event.applied))
    return newest


def judge_directory(directory: Path) -> list[Verdict]:
    evidence = read_evidence(directory)
    return sorted([*_outside(evidence), *_by_checkers(evidence)], key=lambda verdict: list(TEXTS).index(verdict.id))


# --- from outside ----------------------------------------------------------------------------------------------------


def _outside(evidence: Evidence) -> Iterator[Verdict]:
    """Without the reference's help, but for the trees."""
    judges: tuple[tuple[str, str, Callable[[Evidence], Found]], ...] = (
        ("A2", TEXTS["A2"], _disks),
        ("D3", TEXTS["D3"], _damage),
        ("S1", "registers are linearizable, zxids unseen", _registers),
        ("W3", TEXTS["W3"], _events_first),
        ("L1", "the resource: each holder built on the last", _resource),
        ("V1", TEXTS["V1"], _liveness("V1")),
        ("V3", TEXTS["V3"], _liveness("V3")),
    )
    for id, text, look in judges:
        yield Verdict(id, text, *look(evidence))


def _disks(evidence: Evidence) -> Found:
    faults = [evidence.disagreement] if evidence.disagreement else []
    if evidence.sequence and _rests(evidence):
        faults += compare(evidence.logs, list(evidence.sequence))
    return sum(len(log.records) for log in evidence.logs), "\n".join(faults)


def _damage(evidence: Evidence) -> Found:
    return len(evidence.logs), "\n".join(f"member {log.node}: {log.damage}" for log in evidence.logs if log.damage)


def _registers(evidence: Evidence) -> Found:
    found = judge_registers(evidence.events)
    return len(found.placed), str(found) if found.outcome == "violation" else "", str(found) if found.outcome == "unknown" else ""


def _events_first(evidence: Evidence) -> Found:
    """W3, of each process by itself: no event of an entry is told behind an answer that shows it."""
    shown: dict[tuple[int, int], int] = {}
    faults, judged = [], 0
    for event in evidence.events:
        if isinstance(event, Return):
            place = event.node, event.life
            shown[place] = max(event.applied, shown.get(place, 0))
        elif isinstance(event, WatchFired) and event.kind not in ("OVERFLOW", "GAP"):
            judged += 1
            if event.zxid <= shown.get((event.node, event.life), 0):
                newer = to_hex(shown[event.node, event.life])
                faults.append(f"watch {event.watch} on node {event.node} was told of {to_hex(event.zxid)} behind an answer from {newer}")
    return judged, "\n".join(faults[:10])


def _resource(evidence: Evidence) -> Found:
    accepted = read_journal(evidence.directory / "resource.jsonl")
    return len(accepted), "\n".join(judge_journal(accepted))


def _rests(evidence: Evidence) -> bool:
    return any(isinstance(event, Quiet) for event in evidence.events)


def _liveness(id: str) -> Callable[[Evidence], Found]:
    """Faults that are no fault of the nemesis's are noted under the invariant's own name."""

    def look(evidence: Evidence) -> Found:
        faults = [event.detail for event in evidence.events if isinstance(event, Fault) and event.kind == id]
        if id == "V1":
            faults += [
                f"member {event.node} ended by itself in life {event.life}: see its log"
                for event in evidence.events
                if isinstance(event, Crashed) and event.how == "halted"
            ]
        return int(_rests(evidence) or bool(faults)), "\n".join(faults)

    return look


# --- by the checkers -------------------------------------------------------------------------------------------------


def _by_checkers(evidence: Evidence) -> list[Verdict]:
    """All read the whole history together; one that finds a violation stops there, the others go on. Without C none can say anything."""
    reference = Reference(digests=False)
    checkers = client_checkers(reference, live=False)
    ids = sorted({id for checker in checkers for id in checker.ids} - NOT_HERE)
    if unknown := evidence.gap or evidence.disagreement:
        return [Verdict(id, TEXTS[id], missing=unknown) for id in ("D5", *ids)]
    violations = _read(checkers, [*committed(evidence.sequence), *evidence.events], calm=_rests(evidence))
    return [_compare_trees(evidence, reference), *(_combine(id, checkers, violations) for id in ids)]


def _combine(id: str, checkers: Sequence[Checker], violations: Mapping[Checker, Violation]) -> Verdict:
    """What all who judge this invariant have found. One that stopped at another one has no verdict on it."""
    judging = [checker for checker in checkers if id in checker.ids]
    found = [violations[checker] for checker in judging if checker in violations]
    faults = [violation.text for violation in found if violation.id == id]
    stopped = [f"its checker stopped at {violation}" for violation in found if violation.id != id]
    judged = sum(checker.judged[id] for checker in judging)
    return Verdict(id, TEXTS[id], judged, "\n".join(faults), "" if faults else "\n".join(stopped))


def _read(checkers: Sequence[Checker], history: Iterable[Event], *, calm: bool) -> dict[Checker, Violation]:
    violations: dict[Checker, Violation] = {}
    for event in history:
        for checker in checkers:
            if checker not in violations:
                try:
                    checker.see(event)
                except Violation as violation:
                    violations[checker] = violation
    for checker in checkers:
        if checker not in violations:
            try:
                checker.finish(calm=calm)
            except Violation as violation:
                violations[checker] = violation
    return violations


def _compare_trees(evidence: Evidence, reference: Reference) -> Verdict:
    quiet = next((event for event in evidence.events if isinstance(event, Quiet)), None)
    if quiet is None:
        return Verdict("D5", TEXTS["D5"], missing="the run did not come to rest")
    faults: list[str] = []
    judged = 0
    for node, zxid in quiet.applied:
        expected = {path: [data.decode("utf-8", "replace"), *_shown(stat)] for path, data, stat in reference.state_at(zxid)}
        found = _read_dump(evidence.directory / f"dump-{node}.jsonl")
        judged += len(found)
        faults += [
            f"member {node} at {to_hex(zxid)}: {path} is {found.get(path)}, the reference has {expected.get(path)}"
            for path in sorted(found.keys() | expected.keys())
            if found.get(path) != expected.get(path)
        ]
    return Verdict("D5", TEXTS["D5"], judged, "\n".join(faults[:20]))


def _shown(stat: tuple[int, ...]) -> list[int]:
    """What a dump has of a stat, in its order."""
    czxid, mzxid, pzxid, ctime, mtime, version, cversion, _, owner, _, children = stat
    return [czxid, mzxid, pzxid, ctime, mtime, version, cversion, owner, children]


def _read_dump(file: Path) -> dict[str, list[Any]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        path: [*rest[:4], *(round(seconds * 1_000_000) for seconds in rest[4:6]), *rest[6:8], rest[8] or 0, rest[9]] for path, *rest in rows
    }


def count_faults(directory: Path) -> Counter[str]:
    """What was done in that run, by the names under which it was noted."""
    over = {"heal", "resume", *TEXTS}
    events = merge_diaries([directory / "history" / "nemesis.jsonl"])
    return Counter(event.kind for event in events if isinstance(event, Fault) and event.kind not in over)
