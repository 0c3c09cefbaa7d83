"""DU-1: the power fails between any two steps of any operation, and any part of what was not synced is lost."""

from __future__ import annotations

from copy import deepcopy

import pytest

from zkembed.durable import Epochs
from zkembed.log.epochs import load_epochs
from zkembed.log.simulated_disk import PowerCutError, SimulatedDisk

from .helpers import NODE_ID, behind, everything, history, open_log, small, write_snapshot
from .stories import EPOCHS, RECORDS, STORIES, Outcome, Story, die_at, look_at, outcomes_of, prepare, steps_of, subsets

ids = [story.name for story in STORIES]


@pytest.mark.parametrize("story", STORIES, ids=ids)
def test_a_crash_leaves_whole_old_or_whole_new(story: Story) -> None:
    """D1, D2, A6, P-2 to P-10: at every step, whatever survives; never DAMAGED; and the log goes on from there."""
    stages = outcomes_of(story)
    assert all(not outcome.damage for outcome in stages)
    disk, _ = prepare(story)
    old = look_at_cold(disk)
    for step in range(1, steps_of(story) + 2):
        crashed, _ = die_at(story, step)
        for choice, keep in enumerate(subsets(crashed, f"{story.name} {step}")):
            survivor = deepcopy(crashed)
            survivor.crash(keep)
            outcome = look_at(survivor)
            assert outcome in stages, f"step {step}, subset {choice}"
            if step == 1:
                assert outcome == old, "what was durable before is there"
            goes_on(survivor, outcome)


@pytest.mark.parametrize("story", STORIES, ids=ids)
def test_what_returned_is_durable(story: Story) -> None:
    """P-5, P-2: when the operation has returned, everything that was not synced may go."""
    disk, log = prepare(story)
    story.act(log, disk)
    warm = deepcopy(disk)
    warm.kill()
    disk.crash()
    assert look_at(disk) == look_at(warm)


@pytest.mark.parametrize("story", [story for story in STORIES if story.name != "first start"], ids=lambda story: story.name)
def test_a_crash_within_the_start_behind_a_crash(story: Story) -> None:
    """P-10: die in the middle of the operation, then at every step of the start that follows; the next start finds the same."""
    steps = steps_of(story)
    for step in range(2, steps + 2, max(4, steps // 3)):
        crashed, _ = die_at(story, step)
        crashed.crash(lambda effect: effect.index % 2 == 0)
        expected = look_at(crashed)
        for again, survivor in enumerate(die_at_each_step_of_open(crashed)):
            for keep in subsets(survivor, f"{story.name} {step} {again}"):
                last = deepcopy(survivor)
                last.crash(keep)
                assert look_at(last) == expected, f"step {step}, then {again}"


def test_the_incarnation_never_comes_twice() -> None:
    """I-6: a start that returned has raised it durably, whatever crash follows."""
    disk, _ = prepare(STORIES[1])
    seen: list[int] = []
    for _ in range(4):
        disk.crash()
        log = small(disk)
        found = open_log(log)
        seen.append(found.identity.incarnation)
        assert found.identity.node_id == NODE_ID
    assert seen == sorted(set(seen))


def test_the_mark_is_durable_before_anything_else() -> None:
    """P-12: die at each step of a start that finds damage; every later start is DAMAGED too, and
    keeps the promises and the files."""
    disk, log = prepare(STORIES[1])
    log.close()
    log = small(disk)
    open_log(log)
    write_snapshot(log, RECORDS[9])
    log.close()
    whole = deepcopy(disk)
    segment = [name for name in disk.names() if name.startswith("log-")][-1]
    disk.damage(segment, 200, b"\xff\xff\xff")
    files = [name for name in disk.names() if name.startswith(("log-", "snapshot-"))]
    before = contents(disk)
    for step, survivor in enumerate(die_at_each_step_of_open(disk)):
        for keep in subsets(survivor, step):
            last = deepcopy(survivor)
            last.crash(keep)
            assert set(files) <= set(last.names())
            if contents(last) != before:
                assert load_epochs(last).damaged, "something was written before the mark"
                # Repair removes the evidence; the mark is what is left of it.
                last.replace(segment, whole.read(segment))
            outcome = look_at(last)
            assert outcome.damage
            assert outcome.epochs == Epochs(EPOCHS.accepted, EPOCHS.accepted_leader, EPOCHS.current, damaged=True)
            assert (outcome.last_zxid, outcome.records) == (0, ())


def contents(disk: SimulatedDisk) -> dict[str, bytes]:
    """All files but the one with the mark."""
    return {name: disk.read(name) for name in disk.names() if not name.startswith("epochs")}


def test_lost_promises_are_never_those_of_the_old_identity() -> None:
    """I-3, A7: no valid copy of epochs; die at each step of the start; no start ever comes back with the old storage id."""
    disk, log = prepare(STORIES[1])
    log.close()
    old = open_log(small(deepcopy(disk))).identity.storage_id
    disk.replace("epochs", b"\0" * 8192)
    for step, survivor in enumerate(die_at_each_step_of_open(disk)):
        for keep in subsets(survivor, step):
            last = deepcopy(survivor)
            last.crash(keep)
            found = open_log(small(last))
            assert found.identity.storage_id != old
            assert found.damage
            assert found.epochs.damaged


def test_a_new_segment_counts_only_with_its_directory_entry() -> None:
    """DU-9, P-5: files whose directory entry was not synced vanish; no append that returned was in one of them."""
    disk = SimulatedDisk()
    log = small(disk)
    open_log(log)
    for count, record in enumerate(history(40), 1):
        log.append([record])
        lost = deepcopy(disk)
        lost.crash(lambda effect: effect.kind not in ("create", "rename"))
        assert len(look_at(lost).records) == count


def look_at_cold(disk: SimulatedDisk) -> Outcome:
    """What is there if the power fails now and nothing that is not synced survives."""
    cold = deepcopy(disk)
    cold.crash()
    return look_at(cold)


def goes_on(disk: SimulatedDisk, outcome: Outcome) -> None:
    """Start, append, lose the power with all that is not synced, start: what was appended is there behind what was found."""
    log = small(disk)
    assert open_log(log).last_zxid == outcome.last_zxid
    last = outcome.records[-1] if outcome.records else None
    more = behind(last, 2, epoch=20) if last else history(2, epoch=20, prev_zxid=outcome.snapshot.zxid, prev_chain=outcome.snapshot.chain)
    log.append(more)
    disk.crash()
    log = small(disk)
    assert everything(log, open_log(log)) == [*outcome.records, *more]


def die_at_each_step_of_open(disk: SimulatedDisk) -> list[SimulatedDisk]:
    """The disk when the power fails before each step of a start, and right behind it."""
    found: list[SimulatedDisk] = []
    done = False
    while not done:
        victim = deepcopy(disk)
        victim.die_at = victim.steps + len(found) + 1
        try:
            open_log(small(victim))
            done = True
        except PowerCutError:
            pass
        found.append(victim)
    return found
