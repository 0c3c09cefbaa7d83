"""What the stories of this room share: logs written by hand, and small wishes to a simulated cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import evolve

from zkembed.codec import encode
from zkembed.durable import Epochs, SnapshotInfo
from zkembed.outbox import size_of
from zkembed.record import Kind, Record
from zkembed.testing.simulated.cluster import Cluster
from zkembed.testing.simulated.disk import Generation
from zkembed.testing.simulated.node import SimNode
from zkembed.zab.effects import Effect, Purpose, Send
from zkembed.zab.messages import Message
from zkembed.zab.quorum import Configuration
from zkembed.zxid import make


def z(text: str) -> int:
    """``"2.1"`` is counter 1 of epoch 2."""
    epoch, counter = text.split(".")
    return make(int(epoch), int(counter))


def short(zxid: int) -> str:
    return f"{zxid >> 32}.{zxid & 0xFFFFFFFF}"


def record_after(previous: Record | None, zxid: int, *, payload: bytes = b"", kind: Kind = Kind.REQUEST, hint: int = 0) -> Record:
    prev_zxid, prev_chain = (0, 0) if previous is None else (previous.zxid, previous.chain)
    return Record.make(zxid, prev_zxid, 0, kind, hint, payload or b"%d" % zxid, prev_chain)


def founded(cluster: Cluster) -> Configuration:
    """v1 as the disks of this cluster would have it."""
    founding = Configuration.founding(cluster.addresses)
    members = tuple(evolve(member, storage_id=cluster[member.node_id].disk.storage_id) for member in founding.members)
    return Configuration(z("1.1"), members)


def make_log(config: Configuration, text: str) -> list[Record]:
    """``"1.1 1.2 2.1"``: the first is CONFIG v1, the first of a later epoch EPOCH, the rest requests."""
    records: list[Record] = []
    for word in text.split():
        zxid = z(word)
        kind, payload = Kind.REQUEST, word.encode()
        if not records:
            kind, payload = Kind.CONFIG, config.encode()
        elif word.endswith(".1"):
            kind, payload = Kind.EPOCH, encode(1)
        records.append(record_after(records[-1] if records else None, zxid, payload=payload, kind=kind))
    return records


def give_logs(cluster: Cluster, logs: Mapping[int, str], epochs: Mapping[int, Epochs] | None = None) -> None:
    """Write logs onto the disks of a cluster that has not been started. Without ``epochs``: current = accepted = the last entry's."""
    config = founded(cluster)
    for node_id, text in logs.items():
        disk = cluster[node_id].disk
        disk.live = Generation(SnapshotInfo(), {}, make_log(config, text))
        epoch = disk.live.end >> 32
        disk.epochs = (epochs or {}).get(node_id, Epochs(epoch, 0, epoch))


def log_of(node: SimNode) -> str:
    return " ".join(short(record.zxid) for record in node.disk.live.records)


def sent(cluster: Cluster, kind: type, node_id: int | None = None) -> list[tuple[int, Any]]:
    """A list that fills with (sender, message) for each message of this type from now on."""
    found: list[tuple[int, Any]] = []

    def watch(node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, kind) and node_id in (None, node.id):
            found.append((node.id, effect.message))

    cluster.watchers.append(watch)
    return found


def on_send(cluster: Cluster, kind: type, action: Callable[[SimNode, Message], None]) -> None:
    """Run ``action`` right before each message of this type leaves."""

    def watch(node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, kind):
            action(node, effect.message)

    cluster.watchers.append(watch)


def followers(cluster: Cluster, leader: int) -> list[int]:
    return [node_id for node_id in cluster.nodes if node_id != leader]


def trickle(cluster: Cluster, source: int, target: int, bytes_per_second: float) -> None:
    """From now on what ``source`` sends to ``target`` on a ZAB link passes a line of this rate, in order."""
    send = cluster.network.send
    free_at = cluster.now

    def slow(node: SimNode, link: int, messages: list[Message]) -> None:
        nonlocal free_at
        connection = cluster.network.connection(node.id, link)
        if connection is None or node.id != source or target not in connection.links or connection.purpose is not Purpose.ZAB:
            send(node, link, messages)
            return
        for message in messages:
            free_at = max(cluster.now, free_at) + size_of(message) / bytes_per_second
            cluster.at(free_at - cluster.now, partial(send, node, link, [message]))

    cluster.network.send = slow  # type: ignore[method-assign]
