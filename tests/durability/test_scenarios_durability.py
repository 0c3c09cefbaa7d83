"""DU-2 to DU-14: whole members lose power, find damage, run out of space, hang. The log's own half of these stories, every byte and every
subset of it, is in ``tests/log``.
"""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from zkembed.errors import StorageError
from zkembed.testing.checkers import Violation
from zkembed.testing.simulated import engine_disk
from zkembed.testing.simulated.engine_disk import EngineDisk
from zkembed.zab.effects import Append, SetEpochs

from .world import BOUND, World, flip, segments, used

EVERYBODY = (1, 2, 3)
ORDERS = list(permutations(EVERYBODY))


def answered(world: World, count: int) -> None:
    """Until so many writes are answered."""
    world.run_until(lambda: len(world.answered) >= count, BOUND)


def down(world: World, node_id: int) -> None:
    """Until it has stopped by itself."""
    world.run_until(lambda: not world[node_id].up, BOUND)


def queued(world: World, *node_ids: int) -> None:
    """Until an append waits for each of these disks."""
    world.run_until(lambda: all(type(effect) is Append for node_id in node_ids for effect in list(world.disk(node_id).queue)[:1] or [None]))


def under_way(world: World, *node_ids: int) -> None:
    """What is queued is no longer held back: it is what these disks are doing when the next thing happens to them."""
    for node_id in node_ids:
        world.disk(node_id).hold = False


# --- DU-2, DU-3: the power fails everywhere --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
def test_DU_2_lights_out(order: tuple[int, ...]) -> None:
    """D1: under load all members die at once at a random step, three times, and come back in this order, one of them late; every answered
    write is there. Some starts are cut off by the next loss of power."""
    for seed in range(2):
        world = World(seed=seed, dies=0.3)
        chance = Random(seed)
        world.roles()
        world.load()
        for _ in range(3):
            before = len(world.answered)
            answered(world, before + chance.randint(5, 60))
            world.run(chance.uniform(0.0, 0.01))
            world.crash(*EVERYBODY, silent=True)
            for node_id in order:
                world.run(chance.choice([0.0, 0.0, 0.5]))
                world.start(node_id)
            world.settle()
        assert world.starts.count("D2") >= 12
        assert not world.damaged()


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of power hits the append itself: before its write, or before its fsync."""
    monkeypatch.setattr(engine_disk, "STEPS_OF_A_BATCH", 2)


@pytest.mark.usefixtures("torn")
@pytest.mark.parametrize("records", [1, 2, 30, 200])
def test_DU_3_a_batch_torn_everywhere_at_once(records: int) -> None:
    """P-11: a batch is under way to every disk when the power fails, and any part of it is kept on each: it is cut, or was whole; everybody
    votes, nobody is DAMAGED."""
    kept: set[int] = set()
    cut = 0
    for seed in range(8):
        world = World(seed=seed, segment_bytes=1 << 20)
        world.roles()
        world.put(7)
        for disk in map(world.disk, EVERYBODY):
            disk.hold = True
        world.offer(records, size=100)
        queued(world, *EVERYBODY)
        under_way(world, *EVERYBODY)
        world.crash(*EVERYBODY)
        for node_id in EVERYBODY:
            world.start(node_id)
            assert not world.disk(node_id).epochs.damaged
            assert world[node_id].peer.has_vote
            kept.add(len(world.disk(node_id).live.records))
            cut += any(note.startswith("cut a torn batch") for note in notes(world, node_id))
        world.settle()
    assert len(kept) > 1, "on some disks the batch was whole, on some it was not there"
    assert cut, "and on some it was torn"


def notes(world: World, node_id: int) -> tuple[str, ...]:
    """What its last start has said."""
    recovered = world.disk(node_id).recovered
    assert recovered is not None
    return recovered.notes


@pytest.mark.usefixtures("torn")
@pytest.mark.parametrize("node", ["leader", "follower"])
def test_DU_3_a_batch_torn_on_one(node: str) -> None:
    """P-11: the others complete it."""
    for seed in range(8):
        world = World(seed=seed)
        leader, follower, _ = world.roles()
        victim = leader if node == "leader" else follower
        world.put(7)
        world.disk(victim).hold = True
        world.offer(60, size=100)
        queued(world, victim)
        world.run(0.1)
        under_way(world, victim)
        world.crash(victim)
        world.run(0.5)
        world.start(victim)
        assert world[victim].peer.has_vote
        world.settle()


# --- DU-4, DU-5: bits change -----------------------------------------------------------------------------------------


def prepared(seed: int = 3) -> tuple[World, int, int, int]:
    """Some batches in several segments on all disks; the leader, a victim that is down in good order, and the third."""
    world = World(seed=seed, segment_bytes=700)
    leader, victim, third = world.roles()
    world.put(12, size=200)
    world.wait_equal()
    world.run(1.0)  # Everything is sealed.
    world.crash(victim)
    return world, leader, victim, third


def each_block(world: World, victim: int) -> list[tuple[str, int]]:
    """One byte in each block of each segment of the victim."""
    disk = world.disk(victim)
    places = []
    for name in segments(disk):
        end = used(disk, name)
        places += [(name, min(start + 40, end - 1)) for start in range(0, end, 512)]
    return places


PLACES = range(9)


@pytest.mark.parametrize("place", PLACES)
def test_DU_4_a_bit_in_the_log_with_the_other_copy_up(place: int) -> None:
    """D3, P-12: the victim finds it, has no vote, is made whole by a leader that was elected without it, and votes again."""
    world, leader, victim, third = prepared()
    places = each_block(world, victim)
    assert len(places) == len(PLACES), "one case for each block"
    world.put(3)
    flip(world.disk(victim), *places[place])
    world.start(victim)
    assert world.damaged() == [victim]
    assert not world[victim].peer.has_vote
    world.settle()
    assert world[victim].peer.has_vote
    assert world.starts[-1] == "D3"
    world.crash(leader)
    world.settle(victim, third)


@pytest.mark.parametrize("place", PLACES)
def test_DU_4_a_bit_in_the_log_with_the_other_copy_down(place: int) -> None:
    """D1, D3: the victim's log would be shorter, so with the third member down there is no quorum, and nothing is served; when the
    copy is back so is every answered write."""
    world, leader, victim, third = prepared()
    world.crash(leader, third)
    flip(world.disk(victim), *each_block(world, victim)[place])
    for node_id in (victim, leader):
        world.start(node_id)
    world.run(8.0)
    assert world.leader() is None
    assert not world[victim].peer.has_vote
    world.start(third)
    world.settle()
    assert world[victim].peer.has_vote


@pytest.mark.parametrize("other", ["up", "down"])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("name", ["epochs", "identity", "manifest"])
def test_DU_5_a_bit_in_a_small_file(name: str, copies: int, other: str) -> None:
    """P-2: one good copy is enough. P-11, P-12: without any the log is not believed; I-3: without epochs or identity it is another storage,
    whose vote a committed change has to give back."""
    world, leader, victim, third = prepared()
    disk = world.disk(victim)
    old = disk.storage_id
    if other == "down":
        world.crash(leader, third)
    half = len(disk.device.read(name)) // 2
    for copy in range(copies):
        flip(disk, name, 20 + copy * half)
    world.start(victim)
    if other == "down":
        world.start(leader)
    if copies == 1:
        assert not world.damaged()
        assert disk.storage_id == old
        world.settle()
        return
    assert world.damaged() == [victim]
    assert not world[victim].peer.has_vote
    assert (disk.storage_id == old) == (name == "manifest")
    if other == "down":
        world.run(8.0)
        assert world.leader() is None
        world.start(third)
    world.settle()
    world.run_until(lambda: world[victim].peer.has_vote, BOUND)


@pytest.mark.parametrize("snapshots", [1, 2, 3])
def test_DU_5_SN_2_bits_in_the_snapshots(snapshots: int) -> None:
    """SN-2: the older one and the log behind it; with none left DAMAGED, and a resync: never an empty tree, never a vote for one."""
    world = World(seed=5, segment_bytes=700)
    leader, victim, third = world.roles()
    for _ in range(3):
        world.put(8, size=200)
        world.wait_equal()
        world.snapshot(victim)
        world.run(0.1)
    disk = world.disk(victim)
    world.crash(victim)
    files = sorted(name for name in disk.device.names() if name.startswith("snapshot-"))
    assert len(files) == 2, "the log was purged behind two snapshots"
    for name in files[-snapshots:]:
        flip(disk, name, 60)
    world.crash(leader, third)
    world.start(victim)
    if snapshots == 1:
        assert not disk.epochs.damaged
        assert world.member(victim).state == world.answered[: len(world.member(victim).state)] != []
        assert world[victim].peer.has_vote
    else:
        assert disk.epochs.damaged
        assert not world[victim].peer.has_vote
        world.start(leader)
        world.run(8.0)
        assert world.leader() is None
    for node_id in EVERYBODY:
        if not world[node_id].up:
            world.start(node_id)
    world.settle()


# --- DU-7, DU-8: disks that fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["leader", "follower"])
def test_DU_7_a_full_disk(whose: str) -> None:
    """P-13: whatever write it is that does not fit any more: the member stops at once, the others go on, and with room again it is
    back with all that it had."""
    for room in range(0, 1500, 125):
        world = World(seed=room, segment_bytes=700)
        leader, follower, third = world.roles()
        victim, others = (leader, (follower, third)) if whose == "leader" else (follower, (leader, third))
        world.put(3)
        world.load()
        world.disk(victim).fill(room)
        down(world, victim)
        before = len(world.answered)
        answered(world, before + 20)
        assert world.leader() in others
        with pytest.raises(StorageError):
            world.start(victim)
        world.disk(victim).empty_out()
        world.start(victim)
        world.settle()


def test_DU_8_an_error_and_a_member_that_stops() -> None:
    """P-13: a follower's append fails at each of its steps while the quorum commits it: the member stops, says nothing of the entry, and
    comes back with its log as it was, or with the entry."""
    for step in range(1, 8):
        world = World(seed=step, segment_bytes=700)
        leader, follower, _ = world.roles()
        world.put(5, size=200)
        world.disk(follower).fail_soon(step)
        world.load()
        down(world, follower)
        assert world.leader() == leader
        world.start(follower)
        world.settle()


def test_DU_8_the_mutant_that_stays_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """[ZK-4882] A member whose failed append is taken for done acknowledges it, and goes on. Its next start shows it."""

    def survive(self: EngineDisk, batch: object) -> None:
        try:
            perform(self, batch)  # type: ignore[arg-type]
        except StorageError:
            self._possible.clear()

    perform = EngineDisk.perform
    monkeypatch.setattr(EngineDisk, "perform", survive)
    with pytest.raises(Violation, match="D2"):
        test_DU_8_an_error_and_a_member_that_goes_on()


def test_DU_8_an_error_and_a_member_that_goes_on() -> None:
    """Whatever it does about the error, what it acknowledged has to be there when it starts again."""
    world = World(seed=1, segment_bytes=700)
    _, follower, _ = world.roles()
    world.put(5, size=200)
    world.disk(follower).fail_soon(2)
    world.put(5, size=200)
    world.run(0.5)
    if world[follower].up:
        world.crash(follower)
    world.start(follower)
    world.settle()


# --- DU-12: disks that hang ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["slow", "stuck"])
@pytest.mark.parametrize("count", [1, 2])
def test_DU_12_gray_disks(trouble: str, count: int) -> None:
    """V4: an operation takes 5 s, or nothing moves for 60 s, on one or two disks, the leader's first: with one bad disk writes go on; with
    two they go on afterwards; nobody is taken for DAMAGED."""
    world = World(seed=count)
    leader, follower, third = world.roles()
    bad = (leader, follower)[:count]
    world.load(every=0.2)
    world.run(0.5)
    for disk in map(world.disk, bad):
        if trouble == "slow":
            disk.delay = 5.0
        else:
            disk.hold = True
    before = len(world.answered)
    if count == 1:
        answered(world, before + 30)
        assert trouble == "slow" or world.leader() in (follower, third)
    world.run(60.0)
    for node_id in bad:
        world.disk(node_id).delay = 0.0005
        world.release_disk(node_id)
    for node_id in EVERYBODY:
        if world[node_id].halted is not None:
            world.restart(node_id)
    world.settle()
    assert not world.damaged()


def clears_the_mark(effect: object) -> bool:
    return type(effect) is SetEpochs and not effect.epochs.damaged


# --- DU-14: damage, and then trouble ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["leader", "third"])
@pytest.mark.parametrize("operations", range(6))
def test_DU_14_damaged_then_interrupted(operations: int, dies: str) -> None:
    """P-12: the damaged member's resync breaks after each of its operations on disk, or within the next one; it restarts, and another
    dies. It does not vote before it is whole, so until then nothing is answered that could be lost."""
    for seed in range(4):
        world = World(seed=seed, segment_bytes=700)
        leader, victim, third = world.roles()
        world.put(12, size=200)
        world.wait_equal()
        world.run(1.0)
        world.crash(victim)
        disk = world.disk(victim)
        flip(disk, segments(disk)[0], 100)
        disk.hold = True
        world.start(victim)
        for _ in range(operations):
            world.one_operation(victim)
        other = leader if dies == "leader" else third
        # What has become durable; in every other run also what is queued, of which the crash may let through some.
        clears = [clears_the_mark(effect) for effect in disk.done_ops]
        if seed % 2:
            clears += map(clears_the_mark, disk.queue)
            under_way(world, victim)
        world.crash(victim, other)
        world.start(victim)
        whole = not disk.epochs.damaged
        assert world[victim].peer.has_vote == whole
        assert not whole or any(clears), "the mark goes with Y-6's step 4, and by nothing else"
        world.run(8.0)
        # A leader that was established before may still make it whole in time, if that is not who died.
        assert not whole or not disk.epochs.damaged
        assert (world.leader() is None) == disk.epochs.damaged
        if dies == "leader":
            assert disk.epochs.damaged == (not whole)
        world.start(other)
        world.settle()
        assert world[victim].peer.has_vote
