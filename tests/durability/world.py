"""Three members with the production protocol and the production log, on simulated disks: what the scenarios of durability play in.

The state of a member is the list of payloads it has applied. A write is *answered* once the member that led has applied it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import cast

from zkembed.codec import encode
from zkembed.durable import SnapshotInfo
from zkembed.log.segments import parse_segment_name
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.engine_disk import DiskOptions, EngineDisk
from zkembed.testing.simulated.node import App

BOUND = 40.0
"""Seconds within which a healthy quorum has a leader and is equal (V1, V3), with room to spare."""


class Member(App):
    """Takes its snapshots through the log's own writer."""

    @property
    def disk(self) -> EngineDisk:
        return cast(EngineDisk, self.node.disk)

    def take_snapshot(self, *, purge: bool = True) -> int:
        """At the applied point, in chunks; its zxid. ``purge`` is the log's own business (P-9)."""
        chain = self.peer.history.chain(self.applied)
        assert chain is not None
        info = SnapshotInfo(self.applied, chain, self.peer.snapshot_meta())
        writer = self.disk.begin_snapshot(info)
        data = encode(self.state)
        for start in range(0, len(data), 512):
            writer.write(data[start : start + 512])
        records_from = self.disk.finish_snapshot(writer, info)
        assert records_from is not None
        self.peer.snapshot_stored(info, records_from)
        return self.applied


class World(Cluster):
    """n members. ``write`` and ``load`` note what was answered; ``settle`` demands it back."""

    def __init__(self, n: int = 3, *, seed: int = 0, segment_bytes: int = 2000, dies: float = 0.0) -> None:
        """dies: how often a start is cut off by another loss of power."""
        self.starts: list[str] = []
        options = DiskOptions(segment_bytes=segment_bytes, dies_while_opening=dies)

        def disk(rng: Random, node_id: int) -> EngineDisk:
            return EngineDisk(rng, node_id, options, self.starts.append)

        super().__init__(n, seed=seed, factory=Member, disks=disk)
        self.answered: list[bytes] = []
        self._written = 0

    # --- members

    def disk(self, node_id: int) -> EngineDisk:
        return cast(EngineDisk, self.nodes[node_id].disk)

    def member(self, node_id: int) -> Member:
        return cast(Member, self.app(node_id))

    def roles(self) -> tuple[int, int, int]:
        """The leader, and two followers."""
        leader = self.wait_leader()
        follower, third = (node_id for node_id in self.nodes if node_id != leader)
        return leader, follower, third

    def damaged(self) -> list[int]:
        return [node_id for node_id in self.nodes if self.disk(node_id).epochs.damaged]

    def snapshot(self, node_id: int) -> int:
        return int(self.call(node_id, lambda _: self.member(node_id).take_snapshot()))

    def one_operation(self, node_id: int, limit: float = 2.0) -> None:
        """Of a disk that is held: the next operation, and no other; nothing if none comes within ``limit``."""
        disk = self.disk(node_id)
        self.run_until(lambda: bool(disk.queue), limit, must=False)
        if disk.queue:
            first = disk.queue[0]
            disk.hold = lambda effect: effect is not first
            self.step_disk(node_id)
            disk.hold = True

    # --- writes

    def put(self, count: int = 1, *, size: int = 20) -> None:
        """Writes, one after the other, each answered before the next."""
        for _ in range(count):
            self.offer(1, size=size)
            last = self._payload(self._written, size)
            self.run_until(lambda last=last: last in self.answered, BOUND)  # type: ignore[misc]

    def offer(self, count: int, *, size: int = 20) -> None:
        """Writes at whoever leads, in one step, which nobody waits for."""
        leader = self.leader() or self.wait_leader(limit=BOUND)
        payloads = [self._payload(self._written + 1 + i, size) for i in range(count)]
        self._written += count
        self.propose(leader, *payloads)

    def load(self, *, every: float = 0.003) -> None:
        """From now on somebody writes, as long as there is a leader."""

        def write() -> None:
            leader = self.leader()
            if leader is not None and self.nodes[leader].peer.can_propose:
                self.offer(1)
            self.at(every, write)

        self.at(every, write)

    @staticmethod
    def _payload(number: int, size: int) -> bytes:
        return (b"%d " % number).ljust(size, b".")

    def run_until(self, condition: Callable[[], bool], limit: float = 30.0, *, must: bool = True) -> float:
        """Notes after each step what the leader has applied: that is when it answers."""

        def noted() -> bool:
            self._note_answers()
            return bool(condition())

        return super().run_until(noted, limit, must=must)

    def _note_answers(self) -> None:
        leader = self.leader()
        if leader is None:
            return
        state = self.member(leader).state
        if len(state) > len(self.answered):
            assert state[: len(self.answered)] == self.answered, "D1: an answered write is gone"
            self.answered += state[len(self.answered) :]

    # --- the end of a story

    def settle(self, *node_ids: int) -> None:
        """D1, V3: these members (all that run) come to one state, which has every answered write, in order; none of them is DAMAGED."""
        ids = node_ids or tuple(node.id for node in self if node.up)
        self.wait_serving(*ids, limit=BOUND)
        self.wait_equal(*ids, limit=BOUND)
        for node_id in ids:
            state = self.member(node_id).state
            assert state[: len(self.answered)] == self.answered, f"D1: node {node_id} lost an answered write"
        assert not set(self.damaged()) & set(ids)
        self.put()


def segments(disk: EngineDisk) -> list[str]:
    """The names of the files of its log."""
    return [name for name in disk.device.names() if parse_segment_name(name)]


def used(disk: EngineDisk, name: str) -> int:
    """Where the zeros begin that were only reserved."""
    return len(disk.device.read(name).rstrip(b"\0"))


def flip(disk: EngineDisk, name: str, offset: int, *, bit: int = 3) -> None:
    """One bit of a file, while its member is down."""
    disk.device.damage(name, offset, bytes((disk.device.read(name)[offset] ^ 1 << bit,)))
    disk.tampered = True
