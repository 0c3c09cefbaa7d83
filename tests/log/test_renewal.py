"""A directory becomes another storage (rule I-6): at once or not at all, with everything it held."""

from __future__ import annotations

from zkembed.durable import Epochs, Identity
from zkembed.log.base import Recovered
from zkembed.log.memory import MemoryLog
from zkembed.log.simulated_disk import SimulatedDisk

from .crashes import Case, explore, record
from .helpers import CLUSTER, NODE_ID, behind, everything, history, open_log, small

RECORDS = history(20)
EPOCHS = Epochs(5, 2, 4)


def directory() -> tuple[MemoryLog, SimulatedDisk, Identity]:
    """An open log with records, epochs, and in its second start."""
    disk = SimulatedDisk()
    first = small(disk)
    open_log(first)
    first.append(RECORDS)
    first.set_epochs(EPOCHS)
    first.close()
    log = small(disk)
    return log, disk, open_log(log).identity


def test_i_6_a_renewed_directory_has_another_storage_id_and_all_it_had() -> None:
    """I-6, I-1: a fresh storage id, in its first start; log, epochs and the open log itself go on."""
    log, disk, old = directory()
    new = log.renew_storage()
    assert (new.cluster, new.node_id, new.incarnation) == (CLUSTER, NODE_ID, 1)
    assert new.storage_id != old.storage_id
    more = behind(RECORDS[-1], 5)
    log.append(more)
    log.close()
    again = small(disk)
    found = open_log(again)
    assert (found.identity.storage_id, found.identity.incarnation) == (new.storage_id, 2)
    assert found.epochs == EPOCHS
    assert everything(again, found) == [*RECORDS, *more]
    assert again.renew_storage().storage_id not in (old.storage_id, new.storage_id)
    again.close()


def test_i_6_a_crash_at_any_step_leaves_the_old_identity_or_the_new() -> None:
    """I-6, P-2: whatever of what was not synced survives; never a directory without an identity, or DAMAGED, and always the whole log."""
    log, disk, old = directory()
    renewed: list[Identity] = []
    moments = record(disk, lambda: renewed.append(log.renew_storage()), lambda: tuple(renewed))
    found_ids: set[bytes] = set()

    def start(crashed: SimulatedDisk, case: Case) -> Recovered:
        again = small(crashed)
        found = open_log(again)
        assert everything(again, found) == RECORDS, str(case)
        return found

    for moment in moments:
        for case, found in explore(moment, start):
            expected = {(old.storage_id, old.incarnation + 1), (renewed[0].storage_id, 2)}
            if moment is moments[-1]:
                expected = {(renewed[0].storage_id, 2)}
            assert (found.identity.storage_id, found.identity.incarnation) in expected, str(case)
            assert (found.epochs, found.damage) == (EPOCHS, ""), str(case)
            found_ids.add(found.identity.storage_id)
    assert found_ids == {old.storage_id, renewed[0].storage_id}
