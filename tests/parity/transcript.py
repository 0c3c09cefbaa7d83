"""What a story brought to light, made comparable: zxids become ranks, session ids become names, times only whether they moved.

Two systems give zxids as they like; that one is older than another, or the same, is what both must agree on. So each is
replaced by its place among all that the story showed (0 is ZooKeeper's "never"). One line a step, to be read by people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import frozen

from .story import Step, Story


@frozen
class RawStat:
    """As a server gave it. owner: a session id, 0 for none.  ctime, mtime: in whatever unit."""

    czxid: int
    mzxid: int
    pzxid: int
    version: int
    cversion: int
    aversion: int
    owner: int
    data_length: int
    num_children: int
    ctime: float
    mtime: float


@frozen
class Done:
    """It succeeded and there is nothing to tell."""


@frozen
class Failed:
    """error: a class name without "Error".  index: of the operation of a transaction, where it says which."""

    error: str
    index: int | None = None


@frozen
class Absent:
    """``exists`` found nothing."""


@frozen
class Made:
    path: str
    stat: RawStat


@frozen
class Named:
    """What a transaction made: ZooKeeper tells the path only."""

    path: str


@frozen
class Value:
    data: bytes
    stat: RawStat


@frozen
class Names:
    names: tuple[str, ...]


@frozen
class Several:
    answers: tuple[Answer, ...]


Answer: TypeAlias = Done | Failed | Absent | Made | Named | Value | Names | Several | RawStat


@frozen
class Event:
    kind: str
    path: str


@frozen
class Heard:
    """The answer of one step, and the events its session was told before it had that answer, in order of arrival."""

    answer: Answer
    events: tuple[Event, ...] = ()


def render(story: Story, heard: Iterable[Heard], sessions: Mapping[int, str], root: str) -> list[Line]:
    """The transcript. sessions: session id to name.  root: what stands for ``~``."""
    listened = tuple(heard)
    stats = [stat for each in listened for stat in _stats(each.answer)]
    zxids = sorted({zxid for stat in stats for zxid in (stat.czxid, stat.mzxid, stat.pzxid)} - {0})
    # Of each zxid, the time of the entry: that of the first creation or change it was seen with.
    times: dict[int, float] = {}
    for stat in stats:
        times.setdefault(stat.czxid, stat.ctime)
        times.setdefault(stat.mzxid, stat.mtime)
    printer = _Printer({0: 0} | {zxid: rank for rank, zxid in enumerate(zxids, 1)}, times, sessions, root)
    lines = []
    for step, each in zip(story.steps, listened, strict=True):
        events = [f"{event.kind} {printer.path(event.path)}" for event in each.events]
        lines.append(Line(step, printer.answer(each.answer), tuple(events if story.ordered else sorted(events))))
    return lines


@frozen
class Line:
    step: Step
    answer: str
    events: tuple[str, ...]

    def __str__(self) -> str:
        told = f"   told: {', '.join(self.events)}" if self.events else ""
        return f"{self.step.session}: {self.step.op}\n      -> {self.answer}{told}"


class _Printer:
    def __init__(self, ranks: Mapping[int, int], times: Mapping[int, float], sessions: Mapping[int, str], root: str) -> None:
        self._ranks = ranks
        self._times = times
        self._sessions = sessions
        self._root = root

    def path(self, path: str) -> str:
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            return "~" + path[len(self._root) :]
        return path

    def stat(self, stat: RawStat) -> str:
        rank = self._ranks
        owner = self._sessions.get(stat.owner, hex(stat.owner)) if stat.owner else "nobody"
        # ctime is the time of czxid, mtime that of mzxid, always and for everybody.
        astray = [
            name for name, time, zxid in (("ctime", stat.ctime, stat.czxid), ("mtime", stat.mtime, stat.mzxid)) if time != self._times[zxid]
        ]
        return (
            f"[czxid {rank[stat.czxid]} mzxid {rank[stat.mzxid]} pzxid {rank[stat.pzxid]} version {stat.version} cversion {stat.cversion} "
            f"aversion {stat.aversion} owner {owner} length {stat.data_length} children {stat.num_children}"
            f"{''.join(f' {name} moved' for name in astray)}]"
        )

    def answer(self, answer: Answer) -> str:
        match answer:
            case Done():
                return "done"
            case Absent():
                return "absent"
            case Failed(error, None):
                return error
            case Failed(error, index):
                return f"{error} at {index}"
            case Made(path, stat):
                return f"{self.path(path)} {self.stat(stat)}"
            case Named(path):
                return self.path(path)
            case Value(data, stat):
                return f"{data!r} {self.stat(stat)}"
            case Names(names):
                return f"names {', '.join(names)}" if names else "no names"
            case Several(answers):
                return "; ".join(map(self.answer, answers)) or "nothing"
            case RawStat():
                return self.stat(answer)


def _stats(answer: Answer) -> Iterator[RawStat]:
    match answer:
        case RawStat():
            yield answer
        case Made(_, stat) | Value(_, stat):
            yield stat
        case Several(answers):
            for each in answers:
                yield from _stats(each)
