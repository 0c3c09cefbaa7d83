"""DI-6 and SY-9 on the files themselves: what a crash leaves of epochs that are being replaced, and of a log that is being truncated.

The exhaustive search is that of DU-1 (``crashes.py``); these two say in so many words what a node then finds.
"""

from __future__ import annotations

import pytest

from zkembed.durable import Epochs
from zkembed.errors import StorageError
from zkembed.log.cell import TEMPORARY
from zkembed.log.simulated_disk import SimulatedDisk

from .crashes import Case, explore
from .helpers import small
from .matrix import moments_of
from .model import Found, Promise, State, find, run
from .stories import EPOCHS, MANY, RECORDS, prepare, story


def found_after(disk: SimulatedDisk, _: Case) -> Found:
    return find(small(disk))


STEPS = (EPOCHS, *(act.epochs for act in story("replace epochs").acts if isinstance(act, Promise)))
"""Before the first promise, behind it, behind the second."""


def test_DI_6_epoch_file_crash() -> None:
    """DI-6 (P-2, P-3, A6), ZK-1653, ZK-2307, ZK-2354, ZK-4269: two promises in a row; the power fails at each step, with any part
    of what was not synced. Every start succeeds, undamaged, with the pair before or behind the step under way, never a mixture, and no
    start of a later moment finds an older pair than one that had returned."""
    returned, found = 0, set()
    for moment, allowed in moments_of(story("replace epochs")):
        for _, start in explore(moment, found_after):
            assert not start.damage
            assert start.epochs.current <= start.epochs.accepted
            assert STEPS.index(start.epochs) >= returned
            found.add(start.epochs)
        returned += allowed.returned
    assert found == set(STEPS)


@pytest.mark.parametrize("left", [b"", b"\0" * 8192, b"half a value"], ids=["empty", "zeros", "torn"])
def test_DI_6_a_temporary_file_left_behind_is_no_promise(left: bytes) -> None:
    """DI-6 (P-2): neither read nor in the way of the next replacement."""
    place, _ = prepare(story("replace epochs"))
    file = place.disk.create("epochs" + TEMPORARY)
    file.write_at(0, left)
    file.sync()
    file.close()
    place.disk.kill()
    log = small(place.disk)
    assert find(log).epochs == EPOCHS
    log.set_epochs(Epochs(9, 2, 3))
    place.disk.crash()
    assert find(small(place.disk)).epochs == Epochs(9, 2, 3)


def test_DI_6_a_rename_that_fails_ends_the_node_and_not_its_next_start() -> None:
    """DI-6 (P-13): StorageError at each step of the replacement; what the next start finds is one of the two, and it goes on from there."""
    moments = [moment for moment, allowed in moments_of(story("replace epochs")) if not allowed.returned]
    for moment in moments:
        place, _ = prepare(story("replace epochs"))
        place.disk.fail_at[moment.disk.steps + 1] = StorageError
        with pytest.raises(StorageError):
            run(story("replace epochs").acts, place, State())
        place.disk.crash()
        log = small(place.disk)
        assert find(log).epochs in STEPS
        log.set_epochs(Epochs(20, 1, 9))
        log.close()
        assert find(small(place.disk)).epochs == Epochs(20, 1, 9)


@pytest.mark.parametrize("name", ["truncate within a batch", "truncate at the end of a segment", "truncate over four segments"])
def test_SY_9_truncate_crash(name: str) -> None:
    """SY-9 (P-6): the tail spans up to four segments; the power fails at each step of cutting it off. A start finds the old log or the
    new one, whole, and nothing between them; both are found; behind the truncation only the new one."""
    old = RECORDS[: sum(len(act.records) for act in MANY if hasattr(act, "records"))]
    ends = set()
    for moment, allowed in moments_of(story(name)):
        for _, start in explore(moment, found_after):
            assert not start.damage
            assert list(start.records) == old[: len(start.records)]
            ends.add(start.last_zxid)
            if allowed.returned:
                assert start.last_zxid < old[-1].zxid
    assert len(ends) == 2
    assert max(ends) == old[-1].zxid
