"""A member that lost its disk gets its vote back: rules I-3 and C-1 to C-9, in stories and in chaos.

``back`` waits for what all of them want in the end: the node votes, everybody goes by one configuration, and nothing is under way.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.zab.helpers import followers, on_send, sent
from zkembed.record import Kind
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import Append, Effect, Purpose, Role, Send
from zkembed.zab.history import decode_configurations, read_config
from zkembed.zab.messages import Ack, Commit, LeaderInfo, Notify, Ping, Proposal
from zkembed.zab.settings import Settings

SETTINGS = Settings()
BOUND = 4 * SETTINGS.notify_max + SETTINGS.init_limit


def founded_cluster(n: int = 3, **options: Any) -> tuple[Cluster, int, list[int]]:
    """Serving, with one write: the cluster, its leader, the others."""
    cluster = Cluster(n, **options)
    leader = cluster.wait_leader()
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.wait_equal()
    return cluster, leader, followers(cluster, leader)


def wipe(cluster: Cluster, *node_ids: int) -> None:
    """They come back on empty disks, as soon as what they had said has arrived."""
    for node_id in node_ids:
        if cluster[node_id].up:
            cluster.crash(node_id)
    cluster.run(0.01)
    for node_id in node_ids:
        cluster.wipe(node_id)
    for node_id in node_ids:
        cluster.start(node_id)


def votes(cluster: Cluster, node_id: int) -> bool:
    """Every node that is up goes by a configuration that names the storage of ``node_id``, and by no other."""
    storage = cluster[node_id].disk.storage_id
    actives = [node.peer._core.membership.active.configurations for node in cluster if node.up]
    return all(len(active) == 1 and active[0].voters.get(node_id) == storage for active in actives)


def back(cluster: Cluster, *node_ids: int, limit: float = BOUND) -> None:
    cluster.run_until(lambda: all(votes(cluster, node_id) and cluster[node_id].peer.vote_reason == "" for node_id in node_ids), limit)
    cluster.wait_serving(limit=limit)
    cluster.wait_equal(limit=limit)


def configs(cluster: Cluster, node_id: int) -> list[int]:
    """zxids of the CONFIG entries on a disk."""
    return [record.zxid for record in cluster[node_id].disk.live.records if record.kind is Kind.CONFIG]


# --- the way back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 5])
def test_i_3_a_wiped_member_is_readmitted_by_the_leaders_own_entry(n: int, seed: int) -> None:
    """I-3, C-1: it syncs without a vote; one CONFIG entry later it has one, and a majority that needs it goes on without the others."""
    cluster, leader, others = founded_cluster(n, seed=seed)
    wiped = others[0]
    before = cluster[wiped].disk.storage_id
    wipe(cluster, wiped)
    cluster.run_until(lambda: cluster[wiped].peer.phase == "sync")
    assert "its disk is new" in cluster[wiped].peer.vote_reason
    back(cluster, wiped)
    [first, second] = [read_config(r) for r in cluster[leader].disk.live.records if r.kind is Kind.CONFIG]
    assert first.voters[wiped] == before
    assert second.voters == {**first.voters, wiped: cluster[wiped].disk.storage_id}
    assert second.version == configs(cluster, wiped)[-1]
    assert cluster[leader].peer.configuration == second
    dead = [leader, *others[1:]][: n // 2]
    cluster.crash(*dead)
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"with its vote")
    cluster.start(dead[0])
    cluster.wait_equal(limit=BOUND)


@pytest.mark.parametrize("seed", range(5))
def test_c_3_the_commit_is_on_the_disks_when_the_node_is_readmitted(seed: int) -> None:
    """C-3, I-3: an idle ensemble loses its power behind the readmission, and one of the old voters does not come back. The two others are
    a majority of the new configuration, and both know from their disks that it is committed: the mark behind the CONFIG says so."""
    cluster, leader, (wiped, _) = founded_cluster(seed=seed)
    wipe(cluster, wiped)
    back(cluster, wiped)
    cluster.run(1.0)
    cluster.crash(*cluster.nodes)
    for node_id in cluster.nodes:
        if node_id != leader:
            cluster.start(node_id)
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"without the old leader")


def test_i_3_several_one_after_the_other_and_each_again() -> None:
    """I-3: every disk of the ensemble is replaced, one at a time, twice over; the written stays."""
    cluster, _, _ = founded_cluster()
    for round_ in range(2):
        for node_id in cluster.nodes:
            wipe(cluster, node_id)
            back(cluster, node_id)
            cluster.write(b"%d/%d" % (round_, node_id))
    cluster.wait_equal(limit=BOUND)
    assert {tuple(state) for state in cluster.states().values()} == {
        (b"one", *(b"%d/%d" % (round_, node_id) for round_ in range(2) for node_id in cluster.nodes))
    }


@pytest.mark.parametrize("seed", range(5))
def test_i_3_two_of_five_at_once(seed: int) -> None:
    """I-3, C-2: two disks are lost together; one CONFIG after the other, and then three others may go."""
    cluster, leader, others = founded_cluster(5, seed=seed)
    one, two = others[:2]
    wipe(cluster, one, two)
    back(cluster, one, two)
    assert len(configs(cluster, leader)) == 3
    cluster.crash(*others[2:])
    cluster.write(b"by the leader and the two")
    cluster.crash(leader)
    cluster.start(others[2])
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"by the two and another")


def test_i_3_wiped_while_its_readmission_is_under_way() -> None:
    """I-3, C-2: the CONFIG with its second disk is on its way when that is lost as well. It is committed all the same, by the others, and
    the third disk is readmitted by the next one."""
    cluster, leader, (wiped, _) = founded_cluster()
    for node_id in followers(cluster, wiped):
        cluster[node_id].disk.hold = lambda op: isinstance(op, Append) and any(record.kind is Kind.CONFIG for record in op.records)
    wipe(cluster, wiped)
    cluster.run_until(lambda: len(configs(cluster, wiped)) == 2)
    assert "is being readmitted" in cluster[wiped].peer.vote_reason
    wipe(cluster, wiped)
    for node_id in followers(cluster, wiped):
        cluster.release_disk(node_id)
    back(cluster, wiped)
    assert len(configs(cluster, leader)) == 3


def test_i_3_a_wiped_majority_and_a_lonely_voter_are_told_so() -> None:
    """I-3, I-4: without a quorum of the old configuration there is no way back: no leader, and the node says who is missing and why."""
    cluster, leader, (one, two) = founded_cluster()
    cluster.crash(leader)
    wipe(cluster, one, two)
    cluster.start(leader)
    cluster.run(BOUND)
    assert cluster.leader() is None
    assert "an operator has to bring back their disks" in cluster[leader].peer.missing()
    assert "its disk is new" in cluster[one].peer.missing()
    alone = Cluster(1)
    alone.wait_leader()
    alone.crash(1)
    alone.wipe(1)
    alone[1].bootstrap = False
    alone.start(1)
    alone.run(BOUND)
    assert alone.leader() is None
    assert "bootstrap is off" in alone[1].peer.vote_reason


def test_i_3_p_12_one_that_forgot_its_promises_is_damaged_and_another_storage() -> None:
    """I-3, P-12: no good copy of its epochs: a new storage id, and a log that is not trusted. It gets a whole one, and then its vote."""
    cluster, leader, (b, _) = founded_cluster()
    cluster.crash(b)
    cluster.run(0.01)
    cluster.wipe(b)
    cluster.damage(b)
    cluster.start(b)
    assert "damaged" in cluster[b].peer.vote_reason
    back(cluster, b)
    assert len(configs(cluster, leader)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_i_3_the_leader_itself_loses_its_disk(seed: int) -> None:
    """I-3: whoever leads next readmits it."""
    cluster, leader, _ = founded_cluster(seed=seed)
    wipe(cluster, leader)
    back(cluster, leader)
    cluster.write(b"x")


# --- when it is proposed ---------------------------------------------------------------------------------------------


def proposals_of_configs(cluster: Cluster) -> list[int]:
    """A list that fills with the zxid of each CONFIG that a leader proposes from now on."""
    found: list[int] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Append) and node.up and node.peer.role is Role.LEADING:
            found.extend(record.zxid for record in effect.records if record.kind is Kind.CONFIG)

    cluster.watchers.append(watch)
    return found


def test_c_2_one_uncommitted_configuration_at_a_time() -> None:
    """C-2: two wiped of five, and the first CONFIG does not commit: the second waits for it."""
    cluster, leader, others = founded_cluster(5)
    found = proposals_of_configs(cluster)
    for node_id in others[2:]:
        cluster[node_id].disk.hold = lambda op: isinstance(op, Append) and any(record.kind is Kind.CONFIG for record in op.records)
    wipe(cluster, *others[:2])
    cluster.run(3.0)
    assert len(found) == 1
    assert all(cluster[node_id].peer.history.committed < found[0] for node_id in (leader, *others[2:]))
    for node_id in others[2:]:
        cluster.release_disk(node_id)
    back(cluster, *others[:2])
    assert len(found) == 2


def test_c_4_until_it_commits_a_majority_of_the_new_voters_is_not_enough() -> None:
    """C-3, C-4, B-5: of five, two were wiped and one is readmitted; the CONFIG with the second is on its way. The leader, the first and the
    second have it: three of the new voters, two of the old. Neither it nor what follows is committed before a third old one has it."""
    cluster, leader, (first, second, *rest) = founded_cluster(5)
    wipe(cluster, first)
    back(cluster, first)
    wipe(cluster, second)
    cluster.run_until(lambda: cluster[second].peer.serving)
    for node_id in rest:
        cluster[node_id].disk.hold = lambda op: isinstance(op, Append)
    cluster.run_until(lambda: len(configs(cluster, leader)) == 3)
    config = configs(cluster, leader)[-1]
    zxid = cluster.propose(leader, b"behind it")
    cluster.run(1.0)
    assert min(cluster[node_id].disk.live.end for node_id in (leader, first, second)) == zxid
    assert cluster[leader].peer.history.committed < config
    cluster.release_disk(rest[0])
    cluster.run_until(lambda: cluster[leader].peer.history.committed >= zxid)
    cluster.release_disk(rest[1])
    back(cluster, second)


def test_c_5_not_before_it_has_caught_up() -> None:
    """C-5: while its disk trails the leader's log by more than ``join_lag_bytes_max`` nothing is proposed."""
    cluster, leader, (wiped, _) = founded_cluster(settings=Settings(join_lag_bytes_max=2000))
    found = proposals_of_configs(cluster)
    behind: list[bool] = []

    def hold(node: SimNode, effect: Effect) -> None:
        if node.id == leader and isinstance(effect, Send) and type(effect.message).__name__ == "UpToDate" and not behind:
            behind.append(True)
            cluster[wiped].disk.hold = lambda op: isinstance(op, Append)
            cluster.at(0.0, lambda: cluster.propose(leader, *[b"x" * 500] * 10))

    cluster.watchers.append(hold)
    wipe(cluster, wiped)
    cluster.run(3.0)
    assert behind
    assert found == []
    assert any("has not caught up" in report.text for report in cluster[leader].reports)
    cluster.release_disk(wiped)
    back(cluster, wiped)
    assert len(found) == 1


def test_c_5_not_without_a_quorum_of_the_new_voters_that_has_caught_up() -> None:
    """C-5: of five two are away and one, whose vote is still good, hangs behind: nothing is proposed that could only wait."""
    cluster, leader, others = founded_cluster(5, settings=Settings(join_lag_bytes_max=2000))
    found = proposals_of_configs(cluster)
    wiped, slow, ok, away = others
    cluster.crash(away)
    for node_id in (slow, ok):
        cluster[node_id].disk.hold = lambda op: isinstance(op, Append)
    cluster.propose(leader, *[b"x" * 500] * 10)
    wipe(cluster, wiped)
    cluster.run_until(lambda: cluster[wiped].peer.serving)
    cluster.run(1.0)
    assert found == []
    assert any("no quorum of the voters has caught up" in report.text for report in cluster[leader].reports)
    for node_id in (slow, ok):
        cluster.release_disk(node_id)
    back(cluster, wiped)


def test_i_6_nothing_is_proposed_while_the_owner_of_the_old_storage_is_heard() -> None:
    """I-6: two processes under one node id. The one that the configuration names is there, if only on its election link: the other one
    serves and gets no vote. When the first has gone silent, it does."""
    cluster, leader, (wiped, _) = founded_cluster()
    found = proposals_of_configs(cluster)
    old = cluster[wiped].disk.storage_id
    wipe(cluster, wiped)
    cluster.run_until(lambda: cluster[wiped].peer.serving)
    links = cluster[leader].peer._core.links
    stranger = next(each for each in links if each.node_id == wiped and each.purpose is Purpose.ELECTION and not each.outbound)
    stranger.storage_id = old
    cluster.run(3.0)
    assert found == []
    assert any("another process is heard under its id" in report.text for report in cluster[leader].reports)
    stranger.storage_id = cluster[wiped].disk.storage_id
    back(cluster, wiped)
    assert len(found) == 1


# --- the leader dies in between --------------------------------------------------------------------------------------

STEPS = ["proposed", "durable at the leader", "durable at one more", "durable at the wiped one", "committed", "told", "marked"]


def die_at(cluster: Cluster, leader: int, wiped: int, step: str) -> None:
    """The leader dies when the readmission of ``wiped`` has come as far as ``step``."""
    config: list[int] = []

    def die() -> None:
        if cluster[leader].up:
            cluster.crash(leader)

    def watch(node: SimNode, effect: Effect) -> None:
        if node.id == leader and isinstance(effect, Append) and any(record.kind is Kind.CONFIG for record in effect.records):
            config.append(effect.records[-1].zxid)
            if step == "proposed":
                die()
            elif step == "durable at the leader":
                cluster.at(0.0006, die)  # Its disk takes 0.0005 s; an answer takes longer.
        if not config or not cluster[leader].up:
            return
        if node.id == leader and isinstance(effect, Send):
            message = effect.message
            if step == "told" and isinstance(message, Commit | Ping | Proposal) and message.commit >= config[0]:
                cluster.at(0.01, die)
        if step == "committed" and node.id == leader and node.peer.history.committed >= config[0]:
            die()
        if step == "marked" and node.id == leader and isinstance(effect, Append) and effect.records[0].zxid > config[0]:
            cluster.at(0.0006, die)
        if isinstance(effect, Send) and isinstance(effect.message, Ack) and effect.message.zxid >= config[0]:
            if step == "durable at one more" and node.id not in (leader, wiped):
                die()
            if step == "durable at the wiped one" and node.id == wiped:
                die()

    cluster.watchers.append(watch)


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(3))
def test_c_8_the_leader_dies_at_each_step_of_a_readmission(n: int, step: str, seed: int) -> None:
    """C-6, C-8: every set of survivors that is a quorum goes on, completing the CONFIG or cutting it away, with one history: three of five
    at once; of three the other and the new disk as soon as they were told that the CONFIG is committed, and not before (C-3). Then the
    leader returns, and all is as it should be."""
    cluster, leader, others = founded_cluster(n, seed=seed)
    wiped = others[seed % len(others)]
    die_at(cluster, leader, wiped, step)
    wipe(cluster, wiped)
    cluster.run_until(lambda: not cluster[leader].up)
    cluster.watchers.clear()
    goes_on = n == 5 or step in ("told", "marked")
    if goes_on:
        cluster.wait_leader(limit=BOUND)
        cluster.write(b"without it")
    else:
        cluster.run(5.0)
        assert cluster.leader() is None
    cluster.start(leader)
    back(cluster, wiped)
    cluster.write(b"two")
    cluster.crash(others[0] if others[0] != wiped else others[1])
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"three")
    wanted = [b"one", *([b"without it"] if goes_on else []), b"two", b"three"]
    cluster.run_until(lambda: all(state == wanted for state in cluster.states().values()), BOUND)


def test_c_6_a_configuration_that_was_cut_away_restores_the_one_before() -> None:
    """C-6: CONFIG is on the dead leader's disk alone. The others elect, go on, and readmit by an entry of their own; the old one is cut,
    and with it what it said."""
    cluster, leader, others = founded_cluster(5)
    wiped = others[0]
    die_at(cluster, leader, wiped, "durable at the leader")

    def keep_it_here(node: SimNode, message: object) -> None:
        if isinstance(message, Proposal) and any(record.kind is Kind.CONFIG for record in message.records):
            for other in others:
                cluster.cut(leader, other)

    on_send(cluster, Proposal, keep_it_here)
    wipe(cluster, wiped)
    cluster.run_until(lambda: not cluster[leader].up)
    cluster.watchers.clear()
    lost = configs(cluster, leader)[-1]
    assert all(lost not in configs(cluster, node_id) for node_id in others)
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"without it")
    cluster.heal_all()
    cluster.start(leader)
    assert len(cluster[leader].peer._core.membership.active.configurations) == 2
    back(cluster, wiped)
    assert lost not in configs(cluster, leader)
    assert configs(cluster, leader) == configs(cluster, wiped)


def test_e_5_a_node_that_only_an_uncommitted_configuration_names_does_not_stand() -> None:
    """E-5, C-3: CONFIG is on B and the new C alone, then the power fails. C, with the highest id, is no voter to A: were it to stand, B
    would vote for it, A for itself, for ever. So B stands, and A votes for it."""
    cluster = Cluster(3)
    cluster.wait_serving()
    cluster.write(b"one")
    cluster.crash(3)
    cluster.run(0.01)
    cluster.wipe(3)
    assert cluster.wait_leader(2) == 2

    def keep_it_from_a(node: SimNode, message: object) -> None:
        if isinstance(message, Proposal) and any(record.kind is Kind.CONFIG for record in message.records):
            cluster.cut(2, 1, both=False)

    on_send(cluster, Proposal, keep_it_from_a)
    cluster.start(3)
    cluster.run_until(lambda: len(configs(cluster, 3)) == 2)
    cluster.crash(*cluster.nodes)
    assert [len(configs(cluster, node_id)) for node_id in (1, 2, 3)] == [1, 2, 2]
    cluster.watchers.clear()
    cluster.heal_all()
    cluster.restart(*cluster.nodes)
    assert cluster.wait_leader(limit=BOUND) == 2
    back(cluster, 3)
    cluster.write(b"two")


# --- what others know ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_c_9_a_looking_node_adopts_the_committed_configuration_it_is_shown(seed: int) -> None:
    """C-9, D-9: C was away during the readmission of B and comes back when A is dead: it hears from B of a configuration in which B
    votes, counts it, and both go on."""
    cluster, a, (b, c, d, e) = founded_cluster(5, seed=seed)
    cluster.crash(c)
    wipe(cluster, b)
    cluster.run_until(lambda: all(cluster[i].peer._core.membership.active.names_voter(b, cluster[b].disk.storage_id) for i in (a, b, d, e)))
    cluster.write(b"behind it")
    cluster.wait_equal(a, b, d, e)
    cluster.crash(a, d)
    cluster.start(c)
    cluster.wait_leader(b, e, limit=BOUND)
    cluster.write(b"b, c and e")
    cluster.wait_equal(limit=BOUND)


def test_c_9_a_commit_that_others_know_of_ends_the_joint_rule_of_a_node_that_does_not() -> None:
    """C-9, C-3: B has the CONFIG on its disk and does not know that it is committed; A, whom the old configuration would need, is dead. The
    readmitted C knows, and shows it: B and C go on, whichever of them has more."""
    cluster, a, (b, c) = founded_cluster()
    wipe(cluster, c)
    cluster.run_until(lambda: len(configs(cluster, b)) == 2 and len(configs(cluster, c)) == 2)
    config = configs(cluster, b)[-1]
    cluster.run_until(lambda: cluster[a].peer.history.committed >= config)
    cluster.run_until(lambda: min(cluster[node_id].disk.live.end for node_id in (b, c)) > config)
    cluster.crash(a, b, c)
    for node_id, keep in ((b, config), (c, config + 1)):
        live = cluster[node_id].disk.live
        live.records = [record for record in live.records if record.zxid <= keep]
    cluster.start(b)
    assert len(cluster[b].peer._core.membership.active.configurations) == 2
    cluster.start(c)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"without a")


def test_c_9_what_was_shown_to_a_follower_is_learnt_when_it_looks() -> None:
    """C-9, E-3: B follows A, has the CONFIG, and is not told of its commit; C is, and shows it. When A has died B knows in the step in
    which it begins to look, and need not wait for C to say it again."""
    cluster, a, (b, c) = founded_cluster()
    wipe(cluster, c)
    cluster.run_until(lambda: len(configs(cluster, b)) == 2)
    config = configs(cluster, b)[-1]
    cluster.cut(a, b, both=False)
    cluster.run_until(lambda: cluster[c].peer.history.committed >= config)
    cluster.run(0.1)
    cluster.crash(a)
    active = [len(cluster[b].peer._core.membership.active.configurations)]
    cluster.cut(c, b, both=False)
    cluster.run_until(lambda: cluster[b].peer.role is Role.LOOKING)
    active.append(len(cluster[b].peer._core.membership.active.configurations))
    assert active == [2, 1]
    cluster.heal_all()
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"without a")


def test_i_1_an_old_disk_that_is_found_again_is_a_stranger() -> None:
    """I-1, I-3: C was readmitted with another disk; then its first one is put back. It is no old copy, but nobody names it any more: it
    joins, and is readmitted in its turn. Before that it does not help B to elect: what A and C have written since stays."""
    cluster, a, (b, c) = founded_cluster()
    cluster.crash(c)
    cluster.run(0.01)
    found = cluster[c].disk.storage_id, cluster[c].disk.incarnation, cluster[c].disk.epochs, cluster[c].disk.live.copy()
    cluster.wipe(c)
    cluster.start(c)
    back(cluster, c)
    cluster.partition([a, c], [b])
    cluster.write(b"by A and the new C")
    cluster.crash(a, c)
    disk = cluster[c].disk
    disk.storage_id, disk.incarnation, disk.epochs, disk.live = found
    cluster.heal_all()
    cluster.start(c)
    cluster.run(BOUND)
    assert cluster.leader() is None
    cluster.start(a)
    back(cluster, c)
    assert disk.storage_id == found[0]
    assert {tuple(state) for state in cluster.states().values()} == {(b"one", b"by A and the new C")}


def test_c_1_restart_from_snapshot_and_log_knows_both_configurations() -> None:
    """C-1, C-3, P-8: the snapshot carries v1, the log behind it a CONFIG not known committed: both rule after the start. A snapshot behind
    it carries the new one alone."""
    cluster, leader, (wiped, other) = founded_cluster()
    for node in cluster:
        if node.app is not None:
            node.app.take_snapshot()
    wipe(cluster, wiped)
    cluster.run_until(lambda: bool(configs(cluster, other)))
    config = configs(cluster, other)[-1]
    cluster.crash(other)
    live = cluster[other].disk.live
    live.records = [record for record in live.records if record.zxid <= config]
    cluster.start(other)
    assert [each.version for each in cluster[other].peer._core.membership.active.configurations] == [
        configs_in_snapshot(cluster, other),
        config,
    ]
    back(cluster, wiped)
    app = cluster[leader].app
    assert app is not None
    app.take_snapshot()
    assert configs_in_snapshot(cluster, leader) == config
    cluster.restart(leader)
    assert [each.version for each in cluster[leader].peer._core.membership.active.configurations] == [config]


def configs_in_snapshot(cluster: Cluster, node_id: int) -> int:
    [config] = decode_configurations(cluster[node_id].disk.newest_snapshot()[0].meta)
    return config.version


def test_i_2_from_the_commit_on_its_voice_counts() -> None:
    """I-2, I-3: its acks commit, its PONGs keep a leader in office, its notifications elect; before, none of them did."""
    cluster, leader, (wiped, other) = founded_cluster()
    wipe(cluster, wiped)
    notes = sent(cluster, Notify, wiped)
    cluster.run_until(lambda: cluster[wiped].peer.phase == "sync")
    assert not notes[-1][1].has_vote
    back(cluster, wiped)
    cluster.crash(other)
    cluster.write(b"acked by it")
    cluster.run(10.0)
    assert (cluster.leader(), cluster[leader].peer.epoch) == (leader, 1)
    assert notes[-1][1].has_vote


# --- chaos -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_i_3_disks_are_replaced_in_the_middle_of_everything(seed: int) -> None:
    """I-3, C-2 to C-9: crashes, cuts and writes, and now and then a disk is replaced while all others are whole: the judge looks after
    every step, and in the end everybody votes and agrees."""
    rng = Random(f"readmission/{seed}")
    n = rng.choice([3, 3, 5])
    cluster = Cluster(n, seed=seed, settings=Settings(diff_bytes_max=rng.choice([300, 2**20])))
    cluster.wait_serving()
    written = 0
    for _ in range(60):
        roll = rng.random()
        node = rng.choice(list(cluster))
        if roll < 0.35:
            leader = cluster.leader()
            if leader is not None and cluster[leader].peer.can_propose:
                written += 1
                cluster.propose(leader, b"%d" % written)
        elif roll < 0.45 and all(each.up and votes(cluster, each.id) for each in cluster):
            wipe(cluster, node.id)
        elif roll < 0.55 and node.up:
            cluster.crash(node.id, silent=rng.random() < 0.3)
        elif roll < 0.75:
            for each in cluster:
                if not each.up:
                    cluster.start(each.id)
        elif roll < 0.85:
            one, other = rng.sample(sorted(cluster.nodes), 2)
            cluster.cut(one, other, both=rng.random() < 0.6)
        elif roll < 0.97:
            cluster.heal_all()
        elif node.app is not None and node.app.applied and node.peer.history.pending_load is None:
            node.app.take_snapshot(purge=rng.random() < 0.7)
        cluster.run(rng.choice([0.001, 0.003, 0.02, 0.1, 0.5, 1.5]))
    cluster.heal_all()
    for node in cluster:
        assert node.halted is None, node.halted
        if not node.up:
            cluster.start(node.id)
    back(cluster, *cluster.nodes, limit=2 * BOUND)
    cluster.write(b"end")
    cluster.wait_equal(limit=BOUND)


def test_y_1_what_a_commit_lets_the_leader_propose_leaves_before_a_learner_is_cut_off_behind_it() -> None:
    """Y-1: the CONFIG's commit and the last step of a sync arrive together; the entry behind the CONFIG is sent to that learner once."""
    cluster, leader, others = founded_cluster(5)
    wiped, slow, late, ok = others
    cluster.crash(late)
    cluster.write(b"two")
    for node in (slow, ok):
        cluster[node].disk.hold = lambda op: isinstance(op, Append) and any(record.kind is Kind.CONFIG for record in op.records)
    wipe(cluster, wiped)
    cluster.run_until(lambda: len(configs(cluster, leader)) == 2 and len(configs(cluster, wiped)) == 2)
    held: list[float] = []

    def hold_the_loop(node: SimNode, effect: Effect) -> None:
        if node.id == leader and isinstance(effect, Send) and isinstance(effect.message, LeaderInfo) and not held:
            held.append(cluster.now)
            cluster.at(1e-5, lambda: (cluster.pause(leader, 0.2), cluster.release_disk(slow), cluster.release_disk(ok)))

    cluster.watchers.append(hold_the_loop)
    cluster.start(late)
    cluster.run_until(lambda: bool(held), 10.0)
    cluster.run(2.0)
    assert not [report.text for report in cluster[late].reports if "it follows" in report.text]
    cluster.wait_serving()
