"""What /zookeeper/config shows of a configuration: ZooKeeper's lines, without ports that do not exist here."""

from __future__ import annotations

from ..record import Kind, Record
from ..zab.quorum import Configuration, MemberRole

_ROLES = {MemberRole.VOTER: "participant", MemberRole.OBSERVER: "observer"}


def config_text(record: Record) -> bytes | None:
    """``server.1=127.0.0.1:7101:participant`` for each member and ``version=<zxid in hex>``; None for other records than CONFIG."""
    if record.kind is not Kind.CONFIG:
        return None
    configuration = Configuration.decode(record.payload)
    lines = [f"server.{member.node_id}={member.address}:{_ROLES[member.role]}" for member in configuration.members]
    return "\n".join([*lines, f"version={configuration.version:x}"]).encode()
