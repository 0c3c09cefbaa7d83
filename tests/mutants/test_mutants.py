"""Broken on purpose, the code must be caught: each breakage beside the stories that have to go red. Seeded soaks stand in for those that
only chance brings about (``tests/zab/test_mutants.py`` has the ones that the soak of the core catches).

A breakage that nobody catches shows a missing test.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.replica import test_rules as replica_rules
from tests.replica import test_scenarios_requests as requests
from tests.replica import test_scenarios_sessions as sessions
from tests.zab import test_old_copies as old_copies
from tests.zab import test_readmission as readmission
from tests.zab import test_rules as zab_rules
from tests.zab import test_scenarios_broadcast as broadcast
from tests.zab import test_scenarios_discovery as discovery
from tests.zab import test_scenarios_election as election
from tests.zab import test_scenarios_sync as synchronization
from zkembed.errors import ZkError

from . import breakages as broken

Story = Callable[[], object]

# What a story that goes red ends with; anything else is a mistake in the breakage itself.
RED = (AssertionError, ZkError, pytest.fail.Exception)

CASES: list[tuple[Callable[[pytest.MonkeyPatch], None], Story]] = [
    (broken.wiped_node_votes, lambda: discovery.test_di_7_amnesia(0)),
    (broken.empty_histories_elect, election.test_two_wiped_nodes_of_three_found_nothing),
    (broken.damaged_node_counts, lambda: election.test_el_9_damaged_node_has_no_vote(0)),
    (broken.followers_word_is_enough, lambda: [election.test_el_2_dead_leader_advertised(seed) for seed in range(5)]),
    (broken.promise_to_two, lambda: discovery.test_di_2_same_epoch_two_candidates(0)),
    (broken.no_memory_of_promises, zab_rules.test_d_1_an_accepted_epoch_is_remembered_also_from_a_follower_info_that_came_too_early),
    (broken.stall_rule_off, lambda: broadcast.test_br_6_blocked_loop(3.0)),
    (broken.own_disk_is_not_watched, broadcast.test_br_2_slow_own_disk),
    (broken.quorum_is_not_watched, broadcast.test_b_9_no_quorum_heard),
    (broken.old_incarnations_return, broadcast.test_i_6_a_newer_incarnation_takes_the_place_of_the_older),
    (broken.restored_backups_vote, lambda: old_copies.test_i_6_a_restored_backup_neither_votes_nor_loses_a_write(0)),
    (broken.readmitted_before_synced, readmission.test_c_5_not_before_it_has_caught_up),
    (broken.readmitted_beside_the_owner, readmission.test_i_6_nothing_is_proposed_while_the_owner_of_the_old_storage_is_heard),
    (broken.configurations_overlap, readmission.test_c_2_one_uncommitted_configuration_at_a_time),
    (broken.the_new_quorum_alone_decides, readmission.test_c_4_until_it_commits_a_majority_of_the_new_voters_is_not_enough),
    (
        broken.the_commit_of_a_change_is_in_memory_only,
        lambda: readmission.test_c_3_the_commit_is_on_the_disks_when_the_node_is_readmitted(0),
    ),
    (
        broken.commits_are_not_learnt_from_others,
        readmission.test_c_9_a_commit_that_others_know_of_ends_the_joint_rule_of_a_node_that_does_not,
    ),
    (broken.what_it_said_when_it_came_counts, readmission.test_i_2_from_the_commit_on_its_voice_counts),
    (broken.a_voter_of_one_configuration_stands, readmission.test_e_5_a_node_that_only_an_uncommitted_configuration_names_does_not_stand),
    (broken.stream_is_not_waited_for, zab_rules.test_y_11_a_slow_stream_is_waited_for_while_the_leader_is_heard),
    (broken.committed_history_may_be_cut, synchronization.test_sy_8_a_cut_below_applied_halts),
    (broken.sync_without_a_round, broadcast.test_r_2_a_deposed_leader_answers_nothing),
    (broken.sync_without_a_round, requests.test_R_2_a_deposed_leader_answers_no_barrier),
    (broken.barrier_without_orphans, replica_rules.test_r_3_a_barrier_waits_for_an_orphan_that_is_not_committed_yet),
    (broken.touches_echoed_at_once, replica_rules.test_s_4_a_leader_that_does_not_know_it_is_deposed_confirms_no_touch),
    (broken.early_rounds_count, replica_rules.test_s_4_rounds_answered_before_establishment_confirm_nothing),
    (
        broken.touches_of_a_syncing_learner_are_lost,
        replica_rules.test_s_4_a_touch_that_is_confirmed_has_moved_the_deadline_also_while_its_owner_syncs,
    ),
    (broken.deadlines_are_inherited, sessions.test_SE_2_a_new_leader_gives_every_session_a_full_timeout_those_created_last_too),
    (broken.creation_keeps_its_id, lambda: sessions.test_SE_14_a_session_that_expired_while_its_creation_was_unresolved(True)),
    (broken.deduplication_off, replica_rules.test_q_5_a_request_sent_again_while_its_first_copy_waits_runs_once),
    (
        broken.failures_are_not_counted,
        lambda: requests.test_SE_8_a_pipeline_whose_middle_fails_ends_alike_with_and_without_a_leader_change(False),
    ),
    (broken.results_dropped_early, sessions.test_Q_7_a_replica_that_jumps_by_snapshot_finds_its_results_there),
    (broken.old_bases_settle, sessions.test_SE_20_a_snapshot_older_than_a_session_does_not_end_it),
    (broken.resent_out_of_order, requests.test_writes_of_one_session_keep_their_order_over_ten_leader_changes),
    (broken.nothing_is_resent, replica_rules.test_b_10_a_request_at_a_leader_that_abdicates_is_neither_done_nor_failed),
    (
        broken.rejection_is_final,
        lambda: requests.test_BR_7_an_entry_over_the_limit_is_refused_by_the_leader_and_the_stream_goes_on(1, False),
    ),
    (
        broken.close_leaves_ephemerals,
        sessions.test_a_session_whose_owner_is_gone_expires_after_its_timeout_with_all_its_ephemerals_in_one_entry,
    ),
    (broken.one_shot_fires_twice, sessions.test_WA_4_one_event_and_before_the_new_state_can_be_read),
    (broken.event_after_the_state, sessions.test_WA_4_one_event_and_before_the_new_state_can_be_read),
    (broken.reads_overtake_writes, requests.test_BR_10_reads_between_writes_see_exactly_what_was_written_before_them),
    (broken.state_goes_back, replica_rules.test_r_5_reads_never_go_back_while_the_state_comes_anew_from_below),
    (broken.differences_are_kept_quiet, replica_rules.test_b_15_a_difference_found_late_is_told_to_the_leader_too),
    (
        broken.lease_counts_from_the_answer,
        replica_rules.test_s_7_the_lease_counts_from_when_the_touch_was_sent_and_not_from_its_confirmation,
    ),
    (
        broken.closing_sessions_are_confirmed,
        replica_rules.test_s_4_s_5_a_session_whose_close_is_proposed_and_not_committed_is_not_connected_again,
    ),
    (broken.barrier_counts_the_round_under_way, zab_rules.test_r_2_a_round_sent_before_the_request_confirms_nothing),
    (
        broken.snapshot_switched_before_its_entries,
        lambda: [synchronization.test_sy_19_snap_below_last(step, told) for step in range(9) for told in (False, True)],
    ),
    (broken.recency_is_not_tested, zab_rules.test_d_5_a_more_recent_history_is_not_counted_and_the_leader_goes_on_with_others),
]


@pytest.mark.parametrize(("breakage", "story"), CASES, ids=[f"{number}-{breakage.__name__}" for number, (breakage, _) in enumerate(CASES)])
def test_a_breakage_is_noticed(breakage: Callable[[pytest.MonkeyPatch], None], story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that each breaks stands in its docstring."""
    breakage(monkeypatch)
    with pytest.raises(RED):
        story()


def test_every_breakage_is_tried() -> None:
    defined = {name for name, value in vars(broken).items() if getattr(value, "__module__", "") == broken.__name__ and value.__doc__}
    assert {breakage.__name__ for breakage, _ in CASES} == defined - {"handle_at_learner", "handle_at_leader"}
