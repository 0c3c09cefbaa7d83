"""DU-1: the power fails between any two steps of any operation on disk, and any part of what was not synced is lost.

Exhaustive: every subset of the unsynced effects at every moment of every story in ``stories.py``; ``crashes.py`` says how a few thousand
starts can stand for all of them. At each moment the process is also killed, with nothing lost. Each start is judged by the model in
``model.py``; it goes on, appends, and loses the power again. And in the starts themselves the power fails at each step too, with every
subset again: in the first of each kind (which steps it takes, what it finds) behind a loss of power, or behind a kill between two acts.
With ZKEMBED_EXHAUSTIVE=1 in the environment it does in all of them; that takes minutes.
"""

from __future__ import annotations

import os
from itertools import product

import pytest

from zkembed.durable import Epochs
from zkembed.log.epochs import load_epochs
from zkembed.log.simulated_disk import PowerCutError, SimulatedDisk

from .crashes import Case, explore
from .helpers import history, open_log, small
from .matrix import Matrix, moments_of
from .model import Found, State, find, run
from .stories import EPOCHS, STORIES, Story, names, prepare, story


@pytest.mark.parametrize("story", STORIES, ids=names(STORIES))
def test_DU_1_a_crash_leaves_whole_old_or_whole_new(story: Story) -> None:
    """D1, D2, P-2 to P-12, A6, I-3, I-5, I-6: what had returned is there; of what had not, all or nothing; power loss alone never makes
    a node DAMAGED; and the log goes on from there."""
    report = Matrix(story, everywhere="ZKEMBED_EXHAUSTIVE" in os.environ).run()
    assert report.cases >= report.moments
    assert report.starts_died_in > 0


def test_DU_1_dying_is_what_the_moments_show() -> None:
    """The disk right before a step is the disk of a process that the power failed at that step: nothing is written on the way out."""
    for name in ("append", "install, aborted", "truncate within a batch", "own snapshot"):
        moments = [moment for moment, allowed in moments_of(story(name)) if not allowed.returned]
        for moment in moments:
            place, _ = prepare(story(name))
            place.disk.die_at = moment.disk.steps + 1
            with pytest.raises(PowerCutError):
                run(story(name).acts, place, State())
            assert place.disk.unsynced() == moment.disk.unsynced()
            assert place.disk.digest() == moment.disk.digest()


@pytest.mark.parametrize(
    "name", ["append and roll", "append a batch of many blocks", "truncate all away", "own snapshots, one aborted", "purge"]
)
def test_DU_1_the_search_finds_what_trying_all_subsets_finds(name: str) -> None:
    """Where the subsets are few enough all of them are tried, one by one: no outcome that the search has not met."""
    chosen = story(name)

    def start(disk: SimulatedDisk, _: Case) -> Found:
        return find(chosen.then(disk))

    tried = 0
    for moment, _ in moments_of(chosen):
        count = len(moment.disk.unsynced())
        if count > 8:
            continue
        met = {found.content() for _, found in explore(moment, start)}
        for kept in product((False, True), repeat=count):
            disk, _ = Case(moment, dict(enumerate(kept))).crashed()
            assert start(disk, Case(moment, {})).content() in met
            tried += 1
    assert tried > 10


def test_DU_1_the_mark_is_durable_before_anything_else_is_written() -> None:
    """P-12: repair removes the evidence, so behind each crash within a start that finds damage either nothing but the mark's file has
    changed, or the mark is there, and stays when the evidence goes."""
    chosen = story("start on a damaged log")
    place, _ = prepare(chosen)
    before = contents(place.disk)
    written = 0
    for moment, _ in moments_of(chosen):
        for case, found in explore(moment, lambda disk, _: find(small(disk))):
            disk, _ = case.crashed()
            assert found.damage
            if contents(disk) != before:
                assert load_epochs(disk).damaged, f"{case}: something was written before the mark"
                written += 1
    assert written


def contents(disk: SimulatedDisk) -> dict[str, bytes]:
    """All files but the one with the mark, and half-written ones."""
    return {name: disk.read(name) for name in disk.names() if not name.startswith("epochs") and not name.endswith(".new")}


def test_DU_1_a_damaged_log_keeps_its_files_until_it_is_replaced() -> None:
    """P-12: at each moment of two starts and a new promise."""
    chosen = story("start on a damaged log")
    place, _ = prepare(chosen)
    files = {name for name in place.disk.names() if name.startswith("log-")}
    for moment, _ in moments_of(chosen):
        for case, found in explore(moment, lambda disk, _: find(small(disk))):
            assert files <= set(case.crashed()[0].names())
            assert found.epochs in (
                Epochs(EPOCHS.accepted, EPOCHS.accepted_leader, EPOCHS.current, damaged=True),
                Epochs(5, 1, 2, damaged=True),
            )


def test_the_incarnation_never_comes_twice() -> None:
    """I-6: a start that returned has raised it durably, whatever crash follows."""
    disk = SimulatedDisk()
    seen: list[int] = []
    for _ in range(4):
        disk.crash()
        seen.append(open_log(small(disk)).identity.incarnation)
    assert seen == sorted(set(seen))


def test_DU_9_a_new_segment_counts_only_with_its_directory_entry() -> None:
    """P-5: files whose directory entry was not synced vanish, new segments and renamed ones; no append that returned was in one of them."""
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    for count, record in enumerate(history(40), 1):
        log.append([record])
        lost = disk.fork()
        lost.crash(lambda effect: effect.kind not in ("create", "rename"))
        assert len(find(small(lost)).records) == count
