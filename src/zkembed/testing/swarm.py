"""What a seed decides before a run begins: the shape of the ensemble, its knobs, and which faults are tried (swarm testing).

Each run leaves some kinds of faults out: one fault hides what another would have shown, and long undisturbed stretches reach states that
constant noise prevents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import field, frozen

from ..errors import BadArgumentsError
from ..tree.ops import OpLimits
from ..zab.settings import Settings
from .simulated.engine_disk import DiskOptions
from .simulated.production import ReplicaOptions

FAULTS: dict[str, str] = {
    "kill": "a process is killed; what it had written stays in the page cache",
    "power": "a machine loses power: any subset of what was not synced is lost, writes are torn, directory entries too",
    "lights-out": "all machines lose power at once",
    "leave": "a node leaves in good order and comes back",
    "pause": "a process stops for a while, or its event loop is blocked",
    "wipe": "a machine comes back with an empty disk",
    "old-copy": "a machine comes back with an old copy of its directory, as from a backup",
    "bit-flip": "one bit of one file changes, or a block is zeroed or another block's, while its process is down",
    "disk-error": "one write, sync or rename fails",
    "disk-full": "a disk has no room left for a while",
    "disk-slow": "a disk takes up to a second for everything",
    "disk-stuck": "a disk hangs",
    "cut": "nothing passes between two nodes, both ways; links stay up, silent",
    "one-way": "nothing passes from one node to another; the way back is open",
    "isolate": "one node is cut off for longer than some sessions last",
    "partition": "the ensemble falls into two parts",
    "ring": "each node reaches its neighbours only, so that majorities overlap",
    "break": "the links between two nodes break",
    "slow-link": "one direction between two nodes takes up to half a second",
    "clogged-link": "one direction between two nodes takes a frame at a time, up to a tenth of a second each",
    "garbage": "a frame arrives as bytes that are no message",
    "clock-rate": "a machine's clock runs up to five per cent fast or slow",
    "clock-halt": "a machine sleeps: its process and its clock stand still",
    "wall-clock": "a machine's time of day jumps by years",
    "snapshot": "a node writes a snapshot now",
    "resync": "a follower asks for a snapshot of the leader",
}

PLANNED_MAX = 16
HARMFUL = ("wipe", "bit-flip")
"""Those with which a majority loses its disks, in runs beyond the budget."""


@frozen
class Options:
    """One run. seed decides all that is not given here.

    nodes: voters.  operations: of clients, about.  faults: kinds that may happen, in the order of FAULTS.  planned: how many of them.
    duration: seconds of simulated time in which they happen.  wire: messages go through the codec.
    beyond: a majority may lose its disks; then nothing more is promised than that nobody lies (docs/invariants.md).
    skipped: places in the plan of faults that do not happen, for shrinking.  workload: fields of WorkloadOptions that are not drawn.
    """

    seed: int
    nodes: int
    operations: int
    faults: tuple[str, ...]
    planned: int
    duration: float
    settings: Settings
    disk: DiskOptions
    replica: ReplicaOptions
    wire: bool
    delay: tuple[float, float]
    together: float
    beyond: bool = False
    skipped: frozenset[int] = field(factory=frozenset, repr=lambda skipped: repr(sorted(skipped)))
    workload: Mapping[str, Any] = field(factory=dict)


def check_faults(names: Sequence[str]) -> tuple[str, ...]:
    """In the order of FAULTS. Raises BadArgumentsError that names what is allowed."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise BadArgumentsError(f"unknown fault {unknown[0]!r}; there are: {', '.join(FAULTS)}")
    return tuple(name for name in FAULTS if name in names)


def draw(
    seed: int,
    *,
    nodes: int = 3,
    operations: int = 300,
    faults: Sequence[str] | None = None,
    beyond: bool = False,
    skipped: Sequence[int] = (),
    planned: int | None = None,
    workload: Mapping[str, Any] | None = None,
) -> Options:
    """The options of one seed. faults: the kinds to choose from.  planned: so many faults, of all these kinds; else the seed chooses.

    workload: fields of WorkloadOptions, instead of what the seed draws. Raises BadArgumentsError.
    """
    if type(seed) is not int or seed < 0:
        raise BadArgumentsError(f"seed is {seed!r}, expected a number from 0 on")
    if nodes not in (1, 2, 3, 5, 7):
        raise BadArgumentsError(f"nodes is {nodes!r}, expected 1, 2, 3, 5 or 7")
    if type(operations) is not int or operations < 1:
        raise BadArgumentsError(f"operations is {operations!r}, expected a number from 1 on")
    allowed = check_faults(tuple(FAULTS) if faults is None else faults)
    rng = Random(f"zkembed options {seed}")
    share = rng.choice([0.15, 0.3, 0.6, 1.0])
    drawn = tuple(name for name in allowed if rng.random() < share)
    if beyond:  # An old copy that a majority cannot recognise is beyond everything; the others make for more than a minority.
        drawn = tuple(name for name in allowed if name in {*drawn, *HARMFUL} and name != "old-copy")
    short = rng.random() < 0.25
    count = rng.choice([3, 6, 10, PLANNED_MAX]) if drawn else 0
    if planned is not None:
        drawn, count = allowed, planned
    return Options(
        seed=seed,
        nodes=nodes,
        operations=operations,
        faults=drawn,
        planned=count,
        duration=rng.choice([6.0, 12.0, 18.0]),
        settings=Settings(
            diff_bytes_max=rng.choice([0, 2000, 1 << 20]),
            cache_bytes_max=rng.choice([2000, 1 << 20]),
            outstanding_max=rng.choice([2, 10, 20_000]),
            proposal_bytes_max=rng.choice([500, 1 << 20]),
            reepoch_interval=rng.choice([2.0, 60.0]),
        ),
        disk=DiskOptions(
            segment_bytes=rng.choice([1 << 11, 1 << 14, 1 << 20]),
            small_batches=rng.choice([0.0, 0.3, 1.0]),
            dies_while_opening=rng.choice([0.0, 0.2]),
        ),
        replica=ReplicaOptions(
            limits=OpLimits(4000, 16_000),
            snapshot_every=rng.choice([25, 80, 10_000]),
            window=3 if short else 1000,
            apply_slice=2 if short else 2000,
        ),
        wire=rng.random() < 0.25,
        delay=rng.choice([(0.0002, 0.001), (0.0002, 0.02), (0.001, 0.15)]),
        together=rng.choice([0.0, 0.8, 1.0]),
        beyond=beyond,
        skipped=frozenset(skipped),
        workload=workload or {},
    )
