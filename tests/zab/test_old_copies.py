"""A data directory that comes back as it was before, as from a backup, has forgotten what it has promised since: rule I-6.

Who has seen a later start of that storage turns it away and says so. The node then becomes another storage, which joins like an empty
one, and nobody has to remember anything from there on.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, frozen

from tests.zab.helpers import sent
from tests.zab.test_readmission import BOUND, back, founded_cluster
from zkembed.durable import Epochs
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.disk import Generation
from zkembed.testing.simulated.node import App
from zkembed.zab.effects import CloseLink, Effect, RenewStorage, Role
from zkembed.zab.messages import Outdated
from zkembed.zab.settings import Settings

RENEWAL_SECONDS = 0.002


class RenewingApp(App):
    """Renews its storage as the driver does: a moment later it is durable, and then the core is told."""

    def handle(self, effect: Effect) -> None:
        if not isinstance(effect, RenewStorage):
            super().handle(effect)
            return
        node, life = self.node, self.node.life

        def renewed() -> None:
            if node.life != life:
                return
            node.disk.storage_id = node.cluster.rng.randbytes(16)
            node.disk.incarnation = 1
            identity = evolve(self.peer._core.identity, storage_id=node.disk.storage_id, incarnation=1)
            node.cluster.call(node.id, lambda peer: peer.storage_renewed(identity))

        node.cluster.at(RENEWAL_SECONDS, renewed)


@frozen
class Backup:
    storage_id: bytes
    incarnation: int
    epochs: Epochs
    live: Generation


def back_up(cluster: Cluster, node_id: int) -> Backup:
    disk = cluster[node_id].disk
    return Backup(disk.storage_id, disk.incarnation, disk.epochs, disk.live.copy())


def restore(cluster: Cluster, node_id: int, backup: Backup) -> None:
    """The node must be down."""
    disk = cluster[node_id].disk
    disk.storage_id, disk.incarnation, disk.epochs, disk.live = backup.storage_id, backup.incarnation, backup.epochs, backup.live.copy()
    cluster.judge._epochs.pop(backup.storage_id, None)  # What was promised is forgotten; that is what this is about.


def renewing(n: int = 3, **options: Any) -> tuple[Cluster, int, list[int]]:
    return founded_cluster(n, factory=RenewingApp, **options)


def restored(seed: int) -> tuple[Cluster, int, int, int, Backup]:
    """A and C have a write that B has not; A is dead; C comes back as it was three starts before it. B was there all the time."""
    cluster, a, (b, c) = renewing(seed=seed)
    backup = back_up(cluster, c)
    for _ in range(3):
        cluster.restart(c)
        cluster.wait_serving()
    cluster.wait_equal()
    cluster.partition([a, c], [b])
    cluster.write(b"acked by A and C")
    cluster.wait_equal(a, c)
    cluster.crash(a, c)
    restore(cluster, c, backup)
    cluster.heal_all()
    cluster.start(c)
    return cluster, a, b, c, backup


@pytest.mark.parametrize("seed", range(5))
def test_i_6_a_restored_backup_neither_votes_nor_loses_a_write(seed: int) -> None:
    """I-6, I-3: C has forgotten the write, and B has never had it. They must not elect; with A the write is there, and C gets its
    vote back."""
    cluster, a, b, c, backup = restored(seed)
    cluster.run(BOUND)
    assert cluster.leader() is None
    assert cluster[c].disk.storage_id != backup.storage_id
    assert "its disk is new" in cluster[c].peer.vote_reason
    assert any("old copy" in report.text for report in cluster[c].reports)
    cluster.start(a)
    back(cluster, c)
    assert {tuple(state) for state in cluster.states().values()} == {(b"one", b"acked by A and C")}
    cluster.crash(a)
    cluster.wait_leader(b, c, limit=BOUND)
    cluster.write(b"acked by B and C")


def test_i_6_it_stays_so_when_nobody_remembers_any_more() -> None:
    """I-6: it has become another storage on its disk: a restart of all, with all they remembered, gives it no vote."""
    cluster, a, b, c, _ = restored(0)
    cluster.run_until(lambda: "its disk is new" in cluster[c].peer.vote_reason, BOUND)
    cluster.restart(b, c)
    cluster.run(BOUND)
    assert cluster.leader() is None
    cluster.start(a)
    back(cluster, c)
    assert {tuple(state) for state in cluster.states().values()} == {(b"one", b"acked by A and C")}


def test_i_6_a_crash_before_the_new_identity_is_durable_changes_nothing() -> None:
    """I-6: from the refusal on it has no vote; when it dies before its storage is renewed, the next start is refused as well."""
    cluster, a, _, c, backup = restored(0)
    cluster.run_until(lambda: cluster[c].peer._core.membership.outdated)
    assert not cluster[c].peer.has_vote
    cluster.crash(c)
    assert cluster[c].disk.storage_id == backup.storage_id
    cluster.start(c)
    assert cluster[c].disk.incarnation == backup.incarnation + 2
    cluster.run(BOUND)
    assert cluster.leader() is None
    assert cluster[c].disk.storage_id != backup.storage_id
    cluster.start(a)
    cluster.wait_serving(limit=BOUND)
    cluster.wait_equal(limit=BOUND)
    assert {tuple(state) for state in cluster.states().values()} == {(b"one", b"acked by A and C")}


def test_i_6_who_refuses_says_why_before_it_closes() -> None:
    """I-6, N-7: OUTDATED with the storage and the start that is known, then the end of the link."""
    cluster, _, b, _, backup = restored(0)
    told = sent(cluster, Outdated, b)
    cluster.run_until(lambda: bool(told))
    assert told[0][1] == Outdated(backup.storage_id, backup.incarnation + 3)


@pytest.mark.parametrize("role", [Role.LEADING, Role.FOLLOWING], ids=lambda role: role.value)
def test_i_6_one_that_already_leads_or_follows_leaves(role: Role) -> None:
    """I-6: nobody who remembers was there when it was elected or joined. When somebody learns of a later start, from the state, its links
    end, and so does its role; it comes back as another storage, and is readmitted."""
    cluster, leader, others = renewing()
    node_id = leader if role is Role.LEADING else others[0]
    other = others[1]
    storage = cluster[node_id].disk.storage_id
    closed: list[str] = []
    cluster.watchers.append(
        lambda node, effect: closed.append(effect.reason) if node.id == other and isinstance(effect, CloseLink) else None
    )
    cluster.call(other, lambda peer: peer.remember(node_id, storage, 7))
    assert any("is older than 7" in reason for reason in closed)
    cluster.run_until(lambda: cluster[node_id].disk.storage_id != storage, 1.0)
    back(cluster, node_id)
    assert cluster[node_id].disk.storage_id != storage
    cluster.crash(other)
    cluster.wait_leader(limit=BOUND)
    cluster.write(b"with its vote")


def test_i_6_it_finds_out_itself_when_the_state_names_a_later_start_of_its_storage() -> None:
    """I-6, S-1: the state it was synced to says that a session belongs to a later start of its own storage."""
    cluster, leader, (b, _) = renewing()
    storage = cluster[b].disk.storage_id
    cluster.call(b, lambda peer: peer.remember(b, storage, 1))
    cluster.call(b, lambda peer: peer.remember(b, bytes(16), 9))
    assert cluster[b].peer.has_vote, "its own start, and another storage"
    cluster.call(b, lambda peer: peer.remember(b, storage, 2))
    assert not cluster[b].peer.has_vote
    back(cluster, b)
    assert cluster[b].disk.storage_id != storage
    assert cluster.leader() == leader


def test_i_6_a_refused_connection_is_enough() -> None:
    """I-6: where the transport itself remembers, it refuses the handshake; the node is told that alone."""
    cluster, _, (b, _) = renewing()
    storage = cluster[b].disk.storage_id
    cluster.call(b, lambda peer: peer.outdated())
    assert not cluster[b].peer.has_vote
    back(cluster, b)
    assert cluster[b].disk.storage_id != storage


def test_i_6_a_word_about_another_storage_is_nothing() -> None:
    """I-6: OUTDATED about a storage that this node no longer is, or about no later start than its own, changes nothing."""
    cluster, _, (b, c) = renewing()
    storage = cluster[b].disk.storage_id
    links = [link.id for link in cluster[b].peer._core.links if link.node_id == c]
    cluster.step(
        cluster[b],
        lambda machine: machine.receive(links[0], Outdated(bytes(16), 99)),
        lambda machine: machine.receive(links[0], Outdated(storage, cluster[b].disk.incarnation)),
    )
    cluster.run(1.0)
    assert cluster[b].disk.storage_id == storage
    assert cluster[b].peer.has_vote


def test_d_8_an_old_promise_does_not_keep_it_out() -> None:
    """D-8, D-1, I-3: the copy has promised an epoch above the leader's, in another try to lead. Without a vote it can't be counted, and
    without a higher epoch it can't join: one is opened, as for a voter."""
    cluster, leader, (b, _) = renewing(settings=Settings(reepoch_interval=5.0))
    cluster.crash(b)
    cluster.wipe(b)
    cluster[b].disk.epochs = Epochs(7, 2, 0)
    cluster.judge._epochs[cluster[b].disk.storage_id] = Epochs(7, 2, 0)
    cluster.start(b)
    back(cluster, b)
    assert cluster[leader].peer.epochs.accepted > 7
