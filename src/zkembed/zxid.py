"""Transaction ids: one sortable integer for every entry of the replicated log.

A zxid is ``(epoch << 32) | counter``. Real entries have epoch >= 1 and counter >= 1; 0 means "empty history" and names
no entry. This file knows nothing of logs or protocol; it packs, unpacks and prints.

Source: docs/protocol.md section 0; ZooKeeper's ZxidUtils.
"""

from __future__ import annotations

EMPTY = 0
COUNTER_BITS = 32
COUNTER_MAX = 0xFFFF_FFFF
EPOCH_MAX = 2**31 - 1
ZXID_MAX = (EPOCH_MAX << COUNTER_BITS) | COUNTER_MAX


def make(epoch: int, counter: int) -> int:
    return (epoch << COUNTER_BITS) | counter


def epoch_of(zxid: int) -> int:
    return zxid >> COUNTER_BITS


def counter_of(zxid: int) -> int:
    return zxid & COUNTER_MAX


def follows(zxid: int, previous: int) -> bool:
    """Whether ``zxid`` may stand directly behind ``previous`` in a log (rule B-3).

    Either the next counter of the same epoch, or the first entry of any later epoch.
    """
    if zxid == previous + 1:
        return counter_of(previous) != COUNTER_MAX and previous != EMPTY
    return counter_of(zxid) == 1 and epoch_of(zxid) > epoch_of(previous)


def to_hex(zxid: int) -> str:
    """The form used in logs and messages, as ZooKeeper prints it: ``0x300000011``."""
    return f"{zxid:#x}"
