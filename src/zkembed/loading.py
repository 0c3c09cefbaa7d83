"""Reading the state back: a snapshot and the records behind it, in slices that leave the loop to others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .log.base import Log
from .replica.config_text import config_text
from .tree.snapshot import Loader
from .tree.tree import Tree

READ_BYTES = 2**20
SLICE = 500

Aside = Callable[..., Awaitable[Any]]
"""Runs a blocking call beside the loop."""


async def load_state(log: Log, base: int, upto: int, aside: Aside) -> tuple[Tree, int]:
    """The state at the own snapshot ``base`` (0: the empty tree) with the records (base, upto] applied to it, and the chain there.

    Raises CorruptLogError or DecodeError when the disk does not give it.
    """
    tree, chain = (Tree(), 0) if base == 0 else await load_snapshot(log, base, aside)
    if upto > base:
        reader = await aside(log.read_records, base, upto)
        try:
            while records := await aside(reader.read, READ_BYTES):
                for start in range(0, len(records), SLICE):
                    for record in records[start : start + SLICE]:
                        tree.apply(record, config_text(record))
                    await trio.lowlevel.checkpoint()
                chain = records[-1].chain
        finally:
            reader.close()
    return tree, chain


async def load_snapshot(log: Log, base: int, aside: Aside) -> tuple[Tree, int]:
    """The state at an own snapshot and the chain there."""
    reader = await aside(log.read_snapshot, base)
    try:
        loader = Loader()
        while (chunk := await aside(reader.read)) is not None:
            loader.feed(chunk)
            await trio.lowlevel.checkpoint()
        return loader.finish(), reader.info.chain
    finally:
        reader.close()
