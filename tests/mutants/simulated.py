"""Breakages that the simulator is put to: each has to trip a named checker within SEEDS_MAX seeds.

``python -m tests.mutants.simulated NAME`` tells the story of one. The table of all is docs/mutants.md, see ``table.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import field, frozen

from tests.zab import test_mutants as core
from zkembed.testing.simulator import Verdict, simulate

from . import breakages as replica
from . import contender_breakages as locks
from . import log_breakages as log
from . import protocol_breakages as protocol
from . import service_breakages as service

SEEDS_MAX = 200
"""Within so many seeds, from 0 on, every mutant of the list is caught."""

Breakage = Callable[[pytest.MonkeyPatch], None]
Wishes = Mapping[str, Any]

ASSERTION = "section 18"
"""The node's own checks, which stop it; also where an InternalError reaches the simulation itself."""

_OWN_CHECKS = frozenset({ASSERTION, "InternalError"})

LOCKS: Wishes = {"workload": {"weights": (("lock", 6.0), ("election", 3.0), ("create", 2.0), ("get", 2.0)), "locks": 1}}
HOLDERS: Wishes = {"workload": {"weights": (("lock", 6.0), ("create", 2.0)), "locks": 1, "hold": 8.0, "timeouts": (3.2,)}}
LEAVERS: Wishes = {"workload": {"weights": (("lock", 0.2), ("create", 4.0)), "locks": 2, "patience": 0.02}}
SYNCS: Wishes = {"workload": {"weights": (("sync", 4.0), ("set", 2.0), ("create", 2.0), ("get", 1.0)), "sessions": 9}}
WATCHES: Wishes = {"workload": {"watch_share": 0.8}}
DISKS: Wishes = {"faults": ("power", "kill", "lights-out"), "planned": 16}
LEADERS: Wishes = {"faults": ("kill", "pause", "cut", "partition", "one-way"), "planned": 16}
CUTS: Wishes = {"faults": ("cut", "partition", "one-way"), "planned": 16}
WIPES: Wishes = {"faults": ("wipe", "power", "kill", "partition"), "planned": 16}
FLIPS: Wishes = {"faults": ("bit-flip", "power", "kill"), "planned": 16}
SNAPS: Wishes = {"faults": ("resync", "snapshot", "kill", "wipe"), "planned": 16}
STOPS: Wishes = {"faults": ("pause", "clock-halt", "cut", "partition"), "planned": 10}


@frozen
class Mutant:
    """by: the id that has to notice; "": whichever does first.  wishes: what the simulator is asked for beside the seed.

    again: the run is repeated under other hash seeds, and compared.
    """

    breakage: Breakage
    wishes: Wishes = field(factory=dict)
    by: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        return self.breakage.__name__

    @property
    def breaks(self) -> str:
        return (self.breakage.__doc__ or "").strip().splitlines()[0]

    def run(self, seed: int) -> Verdict:
        """The broken code, once."""
        with pytest.MonkeyPatch.context() as patch:
            self.breakage(patch)
            return simulate(seed, **self.wishes)

    def verdict(self, seed: int) -> tuple[str, str]:
        """Id of what was noticed, "" if nothing was, and how it was told."""
        if self.again:
            fingerprints = {self._elsewhere(seed, hash_seed) for hash_seed in ("1", "2")}
            return ("V7", f"{len(fingerprints)} histories of one seed") if len(fingerprints) > 1 else ("", "")
        verdict = self.run(seed)
        return ASSERTION if verdict.violation in _OWN_CHECKS else verdict.violation, verdict.text

    def _elsewhere(self, seed: int, hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.mutants.simulated", "--fingerprint", self.name, str(seed)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    def seeds_needed(self, limit: int = SEEDS_MAX) -> tuple[int, str]:
        """How many seeds it took, from 0 on, and the id; (0, "") if none of them noticed."""
        for seed in range(limit):
            id, _ = self.verdict(seed)
            if id and (not self.by or id == self.by):
                return seed + 1, id
        return 0, ""


MUTANTS: tuple[Mutant, ...] = (
    # What is agreed upon.
    Mutant(protocol.entries_are_stamped_again, by="A1"),
    Mutant(protocol.epoch_entries_are_not_delivered, by="A2"),
    Mutant(protocol.epochs_begin_at_two, LEADERS, by="A3"),
    Mutant(protocol.longest_log_does_not_win, LEADERS),
    Mutant(protocol.elected_is_established, LEADERS, by="A5"),
    Mutant(protocol.promises_end_with_the_attempt, LEADERS, by="A6"),
    Mutant(protocol.promises_one_too_many, by="A7"),
    Mutant(protocol.proposals_count_as_commits, by="A10"),
    Mutant(protocol.leader_counts_everybody, by="A10"),
    Mutant(protocol.cut_to_the_own_commit_point, DISKS, by="A11"),
    Mutant(protocol.every_voter_must_agree, by="V1"),
    Mutant(protocol.leaders_have_a_term, by="V2"),
    Mutant(protocol.all_followers_must_have_it, by="V4"),
    Mutant(protocol.leader_speaks_in_hash_order, by="V7", again=True),
    Mutant(protocol.frames_are_believed, {"faults": ("garbage",), "planned": 10}, by="V6"),
    # What a session sees.
    Mutant(service.versions_are_not_compared, by="S1"),
    Mutant(service.withdrawn_although_handed_over, {"workload": {"patience": 0.02}}, by="S4"),
    Mutant(service.jumped_over_is_done, SNAPS, by="D1"),
    Mutant(service.answered_when_handed_over, by="S8"),
    Mutant(service.open_before_it_is_committed, by="S8"),
    Mutant(service.lost_when_the_lease_ends, LEADERS, by="E3"),
    Mutant(service.owners_in_31_bits, by="E1"),
    Mutant(service.close_takes_a_strangers_ephemeral, by="E2"),
    Mutant(service.touches_do_not_count, by="E4"),
    Mutant(service.deletes_leave_no_trace, by="D5"),
    Mutant(service.snapshots_lack_results, {"faults": ("snapshot", "resync", "kill"), "planned": 16}, by="D4"),
    Mutant(service.applier_stops),
    Mutant(service.window_is_not_kept, by="V5"),
    Mutant(service.leaders_window_is_not_kept, by="V5"),
    Mutant(service.jumps_are_not_told, {**SNAPS, **WATCHES}, by="W1"),
    Mutant(service.deletions_are_told_to_data_watches_only, WATCHES, by="W1"),
    # Locks.
    Mutant(locks.second_place_will_do, LOCKS, by="L1"),
    Mutant(locks.suspended_holders_go_on, {**CUTS, **HOLDERS}, by="L1"),
    Mutant(locks.znodes_are_left_behind, LEAVERS, by="L2"),
    Mutant(locks.deletion_is_not_noticed, LOCKS, by="L3"),
    # The core.
    *(Mutant(breakage) for breakage in core.MUTANTS if breakage is not core.no_settling and breakage is not core.no_recency_test),
    Mutant(core.no_recency_test, by="V1"),
    Mutant(core.no_settling),
    Mutant(replica.wiped_node_votes, WIPES),
    Mutant(replica.empty_histories_elect, WIPES),
    Mutant(replica.quorum_is_not_watched, LEADERS),
    Mutant(protocol.changes_are_proposed_again, {"faults": ("wipe", "disk-slow"), "planned": 12}, by="A12"),
    Mutant(replica.configurations_overlap, {"nodes": 5, "faults": ("wipe", "disk-slow"), "planned": 30}),
    Mutant(replica.the_new_quorum_alone_decides, WIPES),
    Mutant(replica.a_voter_of_one_configuration_stands, WIPES),
    Mutant(replica.snapshot_switched_before_its_entries, SNAPS),
    # Rounds, barriers, leases.
    Mutant(protocol.deposed_leader_answers_syncs, {"faults": ("partition",), "planned": 16, **SYNCS}, by="S7"),
    Mutant(protocol.deposed_leader_confirms_touches, {"nodes": 5, **CUTS, "workload": {"timeouts": (3.2,)}}, by="E5"),
    Mutant(replica.barrier_without_orphans, {"workload": {"sync_share": 0.4, "patience": 0.02}}),
    Mutant(replica.closing_sessions_are_confirmed, {"faults": ("cut", "one-way", "disk-slow"), "planned": 16}),
    Mutant(service.leases_outlive_deadlines, LEADERS, by="E5"),
    Mutant(replica.deadlines_are_inherited, by="E4"),
    # Requests and state.
    Mutant(replica.deduplication_off, {"faults": ("break", "resync", "disk-slow"), "planned": 30}, by="S3"),
    Mutant(replica.failures_are_not_counted),
    Mutant(replica.results_dropped_early),
    Mutant(replica.old_bases_settle, SNAPS),
    Mutant(replica.resent_out_of_order, LEADERS, by="S2"),
    Mutant(replica.nothing_is_resent, LEADERS, by="V3"),
    Mutant(replica.rejection_is_final, by="V3"),
    Mutant(replica.close_leaves_ephemerals, by="E2"),
    Mutant(replica.one_shot_fires_twice, WATCHES, by="W2"),
    Mutant(replica.event_after_the_state, WATCHES, by="W3"),
    Mutant(replica.reads_overtake_writes, by="S5"),
    Mutant(service.names_are_remembered, by="S6"),
    Mutant(replica.state_goes_back, SNAPS),
    # The disk.
    Mutant(log.append_returns_before_the_fsync, DISKS, by="D2"),
    Mutant(log.directory_is_not_synced_for_a_new_segment, DISKS),
    Mutant(log.directory_is_not_synced_for_a_small_file, DISKS),
    Mutant(log.switch_before_the_entries_are_durable, SNAPS),
    Mutant(log.abandoned_install_is_taken_for_the_log, SNAPS),
    Mutant(log.torn_tail_in_the_middle_is_cut, FLIPS, by="D3"),
    Mutant(log.records_of_a_torn_batch_are_saved, DISKS),
    Mutant(log.manifest_is_not_written_at_a_start, DISKS),
    Mutant(log.incarnation_in_memory_only, DISKS),
)


STORIES_ONLY: tuple[Breakage, ...] = (
    replica.followers_word_is_enough,
    replica.damaged_node_counts,
    replica.promise_to_two,
    replica.no_memory_of_promises,
    replica.recency_is_not_tested,
    replica.stall_rule_off,
    replica.own_disk_is_not_watched,
    replica.old_incarnations_return,
    replica.restored_backups_vote,
    replica.readmitted_before_synced,
    replica.readmitted_beside_the_owner,
    replica.the_commit_of_a_change_is_in_memory_only,
    replica.commits_are_not_learnt_from_others,
    replica.what_it_said_when_it_came_counts,
    replica.committed_history_may_be_cut,
    replica.stream_is_not_waited_for,
    replica.sync_without_a_round,
    replica.barrier_counts_the_round_under_way,
    replica.touches_echoed_at_once,
    replica.early_rounds_count,
    replica.touches_of_a_syncing_learner_are_lost,
    replica.lease_counts_from_the_answer,
    replica.creation_keeps_its_id,
    replica.differences_are_kept_quiet,
    log.one_copy,
    log.small_file_is_renamed_before_its_fsync,
    log.epochs_in_two_files,
    log.truncate_in_place,
    log.files_go_before_the_manifest,
    log.switch_before_the_snapshot_is_durable,
    log.snapshot_is_named_before_it_is_durable,
    log.snapshot_is_not_read_back,
    log.purge_keeps_one_snapshot,
    log.damaged_mark_in_memory_only,
    log.mark_goes_with_the_install,
    log.boot_without_fsync_is_believed,
    log.damage_empties_the_directory,
    log.last_batch_is_not_written_again,
    log.epochs_are_not_written_again,
    log.lost_promises_keep_the_identity,
    log.identity_goes_first,
    log.seal_at_the_end_is_listed,
    log.torn_tail_is_damage,
    log.error_is_survived,
    log.generations_are_used_again,
)
"""Breakages that stories catch, and that seeds have not shown to be caught here; docs/mutants.md names them."""


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def main(arguments: list[str]) -> int:
    """A story, or with ``--fingerprint NAME SEED`` that of the broken run alone."""
    if arguments[:1] == ["--fingerprint"]:
        print(named(arguments[1]).run(int(arguments[2])).fingerprint)
        return 0
    mutant = named(arguments[0])
    needed, _ = mutant.seeds_needed()
    verdict = mutant.run(max(needed - 1, 0))
    print(f"{mutant.name} ({mutant.breaks}), seed {verdict.seed}: {verdict.violation}: {verdict.text}\n\n{verdict.story}")
    return 0 if needed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
