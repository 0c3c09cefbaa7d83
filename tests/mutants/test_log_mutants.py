"""The log broken on purpose, one rule of the disk at a time, beside the test that has to go red; nearly always the crash matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.durability import test_scenarios_durability as members
from tests.log import test_damage as damage
from tests.log import test_failing_disk as failing
from tests.log import test_snapshots as snapshots
from tests.log.matrix import Matrix
from tests.log.stories import story
from zkembed.errors import ZkError
from zkembed.testing.simulated import engine_disk

from . import breakages as core_broken
from . import log_breakages as broken

Breakage = Callable[[pytest.MonkeyPatch], None]

# What a test that goes red ends with; anything else is a mistake in the breakage itself.
RED = (AssertionError, ZkError, pytest.fail.Exception)

MATRIX: list[tuple[Breakage, str]] = [
    (broken.append_returns_before_the_fsync, "append"),
    (broken.directory_is_not_synced_for_a_new_segment, "append the first batch of a segment"),
    (broken.directory_is_not_synced_for_a_small_file, "replace epochs"),
    (broken.small_file_is_renamed_before_its_fsync, "replace epochs"),
    (broken.epochs_in_two_files, "replace epochs"),
    (broken.truncate_in_place, "truncate within a batch"),
    (broken.truncate_in_place, "truncate over four segments"),
    (broken.files_go_before_the_manifest, "truncate over four segments"),
    (broken.files_go_before_the_manifest, "purge what the manifest lists"),
    (broken.purge_keeps_one_snapshot, "purge"),
    (broken.files_go_before_the_manifest, "install"),
    (broken.switch_before_the_entries_are_durable, "install and go on"),
    (broken.switch_before_the_snapshot_is_durable, "install a snapshot alone"),
    (broken.abandoned_install_is_taken_for_the_log, "install, left unfinished"),
    (broken.generations_are_used_again, "install behind a seal, aborted"),
    (broken.snapshot_is_named_before_it_is_durable, "own snapshot"),
    (broken.torn_tail_is_damage, "append a batch of many blocks"),
    (broken.records_of_a_torn_batch_are_saved, "append"),
    (broken.damaged_mark_in_memory_only, "repair of a damaged log"),
    (broken.mark_goes_with_the_install, "repair of a damaged log"),
    (broken.damage_empties_the_directory, "start on a damaged log"),
    (broken.last_batch_is_not_written_again, "append"),
    (broken.seal_at_the_end_is_listed, "seal"),
    (broken.seal_at_the_end_is_listed, "orderly close"),
    (broken.manifest_is_not_written_at_a_start, "append"),
    (broken.incarnation_in_memory_only, "restart"),
    (broken.lost_promises_keep_the_identity, "start on lost promises"),
    (broken.identity_goes_first, "start behind a boot without fsync"),
    (broken.boot_without_fsync_is_believed, "start behind a boot without fsync"),
]


def read_back() -> None:
    with pytest.MonkeyPatch.context() as patch:
        snapshots.test_SN_1_a_snapshot_is_read_back_before_it_counts(patch)


def torn_everywhere() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_disk, "STEPS_OF_A_BATCH", 2)
        members.test_DU_3_a_batch_torn_everywhere_at_once(30)


def damaged_then_interrupted() -> None:
    for operations in range(6):
        members.test_DU_14_damaged_then_interrupted(operations, "leader")


OTHERS: list[tuple[Breakage, Callable[[], object]]] = [
    (broken.one_copy, lambda: damage.test_DU_5_the_small_files("epochs", "one copy")),
    (broken.torn_tail_in_the_middle_is_cut, damage.test_DU_4_one_bit_anywhere_in_the_log),
    (broken.snapshot_is_not_read_back, read_back),
    (broken.epochs_are_not_written_again, lambda: failing.test_a_failed_step_ends_all_writing(story("replace epochs"))),
    (broken.append_returns_before_the_fsync, lambda: [members.test_DU_2_lights_out(order) for order in members.ORDERS]),
    (broken.torn_tail_is_damage, torn_everywhere),
    (broken.torn_tail_in_the_middle_is_cut, lambda: members.test_DU_4_a_bit_in_the_log_with_the_other_copy_down(0)),
    (broken.torn_tail_in_the_middle_is_cut, lambda: members.test_DU_4_a_bit_in_the_log_with_the_other_copy_up(4)),
    (broken.lost_promises_keep_the_identity, lambda: members.test_DU_5_a_bit_in_a_small_file("epochs", 2, "up")),
    (broken.damaged_mark_in_memory_only, damaged_then_interrupted),
    (broken.mark_goes_with_the_install, damaged_then_interrupted),
    (core_broken.damaged_node_counts, lambda: members.test_DU_4_a_bit_in_the_log_with_the_other_copy_down(0)),
    (broken.error_is_survived, lambda: failing.test_a_failed_step_ends_all_writing(story("append"))),
]


def noticed(story_name: str) -> Callable[[], object]:
    return lambda: Matrix(story(story_name)).run()


CASES = [*((breakage, noticed(name)) for breakage, name in MATRIX), *OTHERS]


@pytest.mark.parametrize(("breakage", "test"), CASES, ids=[f"{number}-{breakage.__name__}" for number, (breakage, _) in enumerate(CASES)])
def test_a_breakage_of_the_log_is_noticed(breakage: Breakage, test: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that each breaks stands in its docstring."""
    breakage(monkeypatch)
    with pytest.raises(RED):
        test()


def test_every_breakage_of_the_log_is_tried() -> None:
    defined = {
        name
        for name, value in vars(broken).items()
        if getattr(value, "__module__", "") == broken.__name__ and value.__doc__ and name.islower() and not name.startswith("_")
    }
    assert {breakage.__name__ for breakage, _ in CASES if breakage.__module__ == broken.__name__} == defined
