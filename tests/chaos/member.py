"""One member of a chaos run: ``python -m tests.chaos.member SETTINGS``, a JSON object. As ``tests.process.member``, with a recorded client.

Links go over TCP; each other member is dialled through a proxy that only this one uses (``dial``), while ``peers``, which all members
must be told alike to found an ensemble, holds nothing but names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import trio

import zkembed
from tests.process.load import tell
from tests.process.member import Member, read_commands, run_member
from zkembed import Client, Config
from zkembed.local import LocalEndpoint
from zkembed.transport.tcp import TcpTransport

from .archive import ArchivingLog
from .diary import Diary
from .endpoint import RecordingEndpoint, numbers
from .load import Load, Pace

PULSE = 0.25


class ChaosMember(Member):
    """Also says, a few times a second, how it is: who leads, whether it has a vote, how far the work has come."""

    def __init__(self, zk: Client, load: Load, endpoint: RecordingEndpoint) -> None:
        super().__init__(zk, load)
        self._load = load
        self._endpoint = endpoint

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [*super().tasks(), self.tell_pulse]

    async def do_contend(self) -> None:
        """Stand in the queue for the lock from now on; never answered, but told as soon as it stands there."""
        self._endpoint.contenders.came = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._load.contend)
            await self._endpoint.contenders.came.wait()
            tell(event="contends")

    async def tell_pulse(self) -> None:
        while True:
            self.pulse()
            await trio.sleep(PULSE)

    def pulse(self) -> None:
        node = self.zk.node.statistics()
        tell(
            event="pulse",
            role=node.role.name,
            epoch=node.epoch,
            serving=node.serving,
            has_vote=node.has_vote,
            applied=node.applied_zxid,
            calls=self._endpoint.calls_ended,
        )


def make_config(settings: dict[str, Any]) -> Config:
    """listen: this member's own address.  dial: where it finds each other one.  archive: see ArchivingLog."""
    id, directory = settings["node_id"], Path(settings.pop("data_dir"))
    listen, dial = settings.pop("listen"), {int(other): address for other, address in settings.pop("dial").items()}
    log = ArchivingLog(directory, Path(settings.pop("archive")))
    peers = {other: f"member-{other}" for other in sorted([id, *dial])}
    return Config(peers=peers, transport=TcpTransport(listen, dial), log=log, **settings)


async def main(settings: dict[str, Any]) -> None:
    node, life = settings["node_id"], settings.pop("life")
    diary = Diary(Path(settings.pop("diary")), node, life)
    chance, resource, working = Random(f"{settings.pop('seed')}.{node}.{life}"), settings.pop("resource"), settings.pop("working")
    send, receive = trio.open_memory_channel[dict[str, Any]](100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_commands, send, nursery.cancel_scope)
        tell(event="starting")
        async with zkembed.Node(make_config(settings)) as zk:
            assert isinstance(zk._endpoint, LocalEndpoint)
            endpoint = RecordingEndpoint(zk._endpoint, diary, numbers(node, life))
            recorded = Client(endpoint, node=zk.node, replica=zk.replica)
            tell(event="in", session=zk.session.id, epoch=zk.node.epoch, role=zk.node.role.name)
            load = Load(recorded, endpoint, diary, chance, resource, Pace(), working=working)
            await ChaosMember(recorded, load, endpoint).run(receive)
        tell(event="left")
        nursery.cancel_scope.cancel(reason="left")


if __name__ == "__main__":
    sys.exit(run_member(main, json.loads(sys.argv[1])))
