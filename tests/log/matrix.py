"""DU-1 for one story: die at every moment of it, keep every subset of what was not synced, start, judge, and go on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from attrs import Factory, define, frozen

from zkembed.durable import Identity
from zkembed.log.base import Log
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record

from .crashes import Case, Moment, explore, record
from .helpers import behind, history, open_log
from .model import Found, State, difference, find
from .stories import Story, forgetful, lazy, prepare


@frozen
class Allowed:
    """What may be found at a moment.  act: within which it is, or behind which, if it has returned.  states: any of them.
    starts: the identities of the starts that had returned."""

    act: str
    states: tuple[State, ...]
    starts: tuple[Identity, ...]
    returned: bool = False

    def difference(self, found: Found) -> str:
        """In what the log that was found is none of these; "" if it is one."""
        seen = [difference(found, state) or self._of_identity(found.identity, state) for state in self.states]
        return "" if "" in seen else "; or ".join(seen)

    def _of_identity(self, identity: Identity, state: State) -> str:
        """I-1, I-3, I-5, I-6."""
        if state.anew:
            known = identity.storage_id in [start.storage_id for start in self.starts]
            return "an identity came back whose promises are forgotten" if known else ""
        if not self.starts:
            return ""
        if identity.storage_id != self.starts[-1].storage_id:
            return "another storage id"
        return "" if identity.incarnation > self.starts[-1].incarnation else "an incarnation came twice"


def moments_of(story: Story) -> Iterator[tuple[Moment, Allowed]]:
    """All moments of the operation, each with what may be found there. Behind each act there is one more: it has returned, so only
    the state behind it will do."""
    place, state = prepare(story)
    for act in story.acts:
        name = type(act).__name__
        within, after = act.within(state), act.then(state)

        def mark(name: str = name, within: tuple[State, ...] = within) -> Allowed:
            return Allowed(name, within, tuple(place.starts))

        moments = record(place.disk, partial(act.do, place), mark)
        for moment in moments[:-1]:
            assert isinstance(moment.mark, Allowed)
            yield moment, moment.mark
        yield moments[-1], Allowed(name, (after,), tuple(place.starts), returned=True)
        state = after


@define
class Report:
    """How much was tried."""

    moments: int = 0
    subsets: int = 0
    cases: int = 0
    images: int = 0
    starts_died_in: int = 0
    second_cases: int = 0


@define
class Matrix:
    """Runs it.  everywhere: die also in every start behind a crash, not only in one of each kind, and in those behind every kill, not only
    behind kills between two acts."""

    story: Story
    everywhere: bool = False
    report: Report = Factory(Report)
    _gone_on: set[bytes] = Factory(set)
    _kinds: set[object] = Factory(set)
    _died_in: set[object] = Factory(set)

    def run(self) -> Report:
        for moment, allowed in moments_of(self.story):
            self.report.moments += 1
            self.report.subsets += 1 << len(moment.disk.unsynced())
            self._kill(moment, allowed)
            self._power_cut(moment, allowed)
        self.report.images = len(self._gone_on)
        return self.report

    # --- the first crash ---

    def _power_cut(self, moment: Moment, allowed: Allowed) -> None:
        for case, found in explore(moment, self._start):
            self.report.cases += 1
            self._judge(found, allowed, case)
            self._again(case.crashed()[0], found, allowed, case)

    def _start(self, disk: SimulatedDisk, case: Case) -> Found:
        """Start, read all, go on; what was found."""
        log = self._next_log(disk)
        found = find(log)
        if (image := disk.digest()) not in self._gone_on:
            self._gone_on.add(image)
            self._go_on(disk, log, found, case)
        return found

    def _judge(self, found: Found, allowed: Allowed, case: object) -> None:
        difference = allowed.difference(found)
        assert not difference, f"{self.story.name}, {'behind' if allowed.returned else 'in'} {allowed.act}: {case}: {difference}"

    def _kill(self, moment: Moment, allowed: Allowed) -> None:
        """Only the process dies, so nothing is lost; but what the next start reports must survive a power cut right behind it (P-10)."""
        if self.story.make is lazy:
            return  # Without fsync a death of the process is no danger, and no promise is made for the other.
        told = f"killed before step {moment.step}"
        killed = moment.disk.fork()
        killed.kill()
        disk = killed.fork()
        log = self._next_log(disk)
        found = find(log)
        self._judge(found, allowed, told)
        self._go_on(disk, log, found, told)
        if self.everywhere or allowed.returned:
            self._again(killed, found, allowed, told)

    # --- and then ---

    def _next_log(self, disk: SimulatedDisk) -> Log:
        disk.fsync = True
        return self.story.then(disk)

    @property
    def _remembers(self) -> bool:
        return self.story.then is not forgetful

    def _go_on(self, disk: SimulatedDisk, log: Log, found: Found, told: object) -> None:
        """The log takes more, and what it took survives the next power cut, behind what was found (D1)."""
        if found.damage or not self._remembers:
            return
        more = _more(found)
        log.append(more)
        disk.crash()
        now = find(self._next_log(disk))
        told = f"{self.story.name}: {told}; then it was appended to: {now.damage}"
        assert now.records == (*found.records, *more), told
        assert (now.damage, now.snapshots, now.epochs) == ("", found.snapshots, found.epochs)

    def _again(self, disk: SimulatedDisk, found: Found, allowed: Allowed, told: object) -> None:
        """The power fails in the start on this disk too, at each of its steps: the next start finds what the matrix allows, and the same
        as this one, if this one has returned or nothing but its own was unsynced. Once for each kind of start: the steps that it takes
        beside deleting leftovers, what it finds, and which files and names were unsynced before it."""
        unsynced = disk.unsynced()
        moments = self._moments_of_start(disk)
        steps = tuple(line for line in moments[-1].disk.journal or () if not line.startswith("unlink"))
        kind = (steps, found.content(), frozenset((effect.kind, effect.name) for effect in unsynced))
        if kind in self._kinds and not self.everywhere:
            return
        self._kinds.add(kind)
        for moment in moments:
            exact = not unsynced or (moment is moments[-1] and self._remembers)
            # Starts of different kinds are soon the same: what was unsynced before them is settled by their first sync.
            place = (moment.disk.digest(), found.content(), exact, id(allowed.states))
            if place in self._died_in and not self.everywhere:
                continue
            self._died_in.add(place)
            self.report.starts_died_in += 1
            for again, second in explore(moment, lambda disk, _: find(self._next_log(disk))):
                self.report.second_cases += 1
                self._judge(second, allowed, f"{told}; then in the start {again}")
                assert not exact or second.content() == found.content(), f"{told}; then in the start {again}: reported, and lost"

    def _moments_of_start(self, disk: SimulatedDisk) -> list[Moment]:
        disk = disk.fork()
        journal = disk.journal = []
        moments = record(disk, lambda: open_log(self._next_log(disk)))
        moments[-1].disk.journal = journal
        return moments


def _more(found: Found) -> list[Record]:
    if found.records and found.records[-1].zxid == found.last_zxid:
        return behind(found.records[-1], 2, epoch=20)
    return history(2, epoch=20, prev_zxid=found.snapshot.zxid, prev_chain=found.snapshot.chain)
