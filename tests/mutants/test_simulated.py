"""The checkers bite: each mutant of ``simulated.py`` is caught at the seed and by the checker that docs/mutants.md names for it."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import cast

import pytest

from tests.zab import test_mutants as core
from zkembed.durable import Epochs
from zkembed.record import Kind, Record
from zkembed.testing.checkers import IDS, Violation
from zkembed.testing.simulated.disk import Generation
from zkembed.testing.simulated.judge import Judge
from zkembed.testing.simulated.node import SimNode
from zkembed.testing.simulator import simulate
from zkembed.zab.effects import Append
from zkembed.zab.quorum import Configuration, Member
from zkembed.zxid import EMPTY, make

from . import breakages, contender_breakages, log_breakages, protocol_breakages, service_breakages
from .simulated import ASSERTION, MUTANTS, SEEDS_MAX, STORIES_ONLY, Mutant, Wishes
from .table import Row, describe, read_table

TABLE = read_table()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_where_the_table_says(mutant: Mutant) -> None:
    """The rule that it breaks stands in its docstring. After a change of the code under test seeds move: ``make mutants``."""
    row = TABLE[mutant.name]
    id, text = mutant.verdict(row.seed)
    assert id == row.caught_by, f"seed {row.seed}: {text or 'nothing was noticed'}"


def _sound_runs() -> list[tuple[int, Wishes]]:
    runs = {(TABLE[mutant.name].seed, describe(mutant)): mutant.wishes for mutant in MUTANTS if mutant.name in TABLE}
    return [(seed, wishes) for (seed, _), wishes in runs.items()]


@pytest.mark.parametrize(("seed", "wishes"), _sound_runs())
def test_the_sound_code_holds_at_the_same_seed(seed: int, wishes: Wishes) -> None:
    """A verdict against a mutant counts only if the code as it is gets none."""
    verdict = simulate(seed, **wishes)
    assert verdict.ok, f"{verdict.violation}: {verdict.text}\n{verdict.story}"


def test_the_table_is_of_these_mutants() -> None:
    """Each has its row, in this order, with what it breaks and wishes for; none needs more seeds than are allowed."""
    assert list(TABLE) == [mutant.name for mutant in MUTANTS]
    for mutant in MUTANTS:
        row = TABLE[mutant.name]
        assert row == Row(mutant.name, mutant.breaks, row.caught_by, row.needed, describe(mutant))
        assert 1 <= row.needed <= SEEDS_MAX
        assert row.caught_by in (*IDS, ASSERTION)
        assert not mutant.by or row.caught_by == mutant.by


def test_each_breakage_is_tried_here_or_known_to_be_for_stories() -> None:
    """None is forgotten, and none is in both lists."""
    modules = (core, breakages, log_breakages, protocol_breakages, service_breakages, contender_breakages)
    defined = [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and list(inspect.signature(value).parameters) == ["patch"]
    ]
    tried = [mutant.breakage for mutant in MUTANTS]
    assert len({*tried, *STORIES_ONLY}) == len(tried) + len(STORIES_ONLY)
    assert {*defined} == {*tried, *STORIES_ONLY}


def test_each_checker_has_caught_a_mutant() -> None:
    """A checker that no mutant trips is no evidence. For A4 see below."""
    assert set(IDS) - {row.caught_by for row in TABLE.values()} == {"A4"}


def test_a4_an_entry_of_a_lower_epoch_is_committed_late() -> None:
    """A4, of five nodes:

    1. In epoch 1 nodes 1 and 3 hold entry X.  2. Nodes 3, 4 and 5 go to epoch 2 without it, against D-5, and commit.
    3. Node 2, which has heard of none of this, logs X as well: with it a majority has held X in epoch 1.
    """
    voters = {number: bytes([number]) * 16 for number in range(1, 6)}
    founding = Configuration(make(1, 1), tuple(Member(number, f"node-{number}", storage_id=voters[number]) for number in voters))
    first = Record.make(make(1, 1), EMPTY, 1, Kind.CONFIG, EMPTY, founding.encode(), 0)
    lost = Record.make(make(1, 2), first.zxid, 2, Kind.REQUEST, EMPTY, b"X", first.chain)
    later = Record.make(make(2, 1), first.zxid, 3, Kind.EPOCH, EMPTY, b"", first.chain)
    judge = Judge()
    judge.proposed.update({record.zxid: record for record in (first, lost, later)})

    def holds(number: int, epoch: int, *records: Record) -> None:
        disk = SimpleNamespace(storage_id=voters[number], epochs=Epochs(epoch, 1, epoch), live=Generation(records=list(records)))
        judge.disk_changed(cast(SimNode, SimpleNamespace(id=number, disk=disk)), Append(1, records), None)

    for number in voters:
        holds(number, 1, first)
    holds(1, 1, first, lost)
    holds(3, 1, first, lost)
    for number in (3, 4, 5):
        holds(number, 2, first, later)
    assert judge.end == later.zxid
    with pytest.raises(Violation, match="A4"):
        holds(2, 1, first, lost)
