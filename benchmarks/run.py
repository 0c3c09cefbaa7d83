"""``make bench``: the figures that zkembed is held to, one JSON line each, on stdout.

Three real processes on loopback with their data on disk, default settings, 100-byte values. Figures of two runs, or of two machines, can't
be compared; ratios within one run can. So each line carries the disk and the network of the same minutes. Progress goes
to stderr. Not a test: a missed target is printed (``"met": false``), and only ``--strict`` makes it the exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from figures import GROUPS, Figure, Group, Options

NAMES = tuple(name for group in GROUPS for name in group.names)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Measure zkembed; one JSON line a figure.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"only these: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each measurement is repeated (default: 5)")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("var/bench"),
        metavar="DIR",
        help="where the data goes; a real disk, not tmpfs (default: var/bench)",
    )
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a target is missed")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.figures if name not in NAMES]:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


async def measure(group: Group, wanted: Collection[str], directory: Path, rounds: int) -> list[Figure]:
    """The wanted figures of a group, in an ensemble of its own."""
    say(f"measuring {', '.join(name for name in group.names if name in wanted)}")
    with empty_directory(directory) as place:
        figures = await group.measure(Options(place, rounds))
    return [figure for figure in figures if figure.name in wanted]


async def main(options: argparse.Namespace) -> int:
    wanted = set(options.figures or NAMES)
    missed = []
    for group in GROUPS:
        if wanted.isdisjoint(group.names):
            continue
        # Of the minute before: what else this machine was doing. A busy one delays a raw fdatasync more than anything here.
        load = round(os.getloadavg()[0], 2)
        for figure in await measure(group, wanted, options.dir, options.rounds):
            print(json.dumps(figure.line() | {"load_before": load}), flush=True)
            if figure.met is False:
                missed.append(figure.name)
    if missed:
        say(f"missed: {', '.join(missed)}")
    return 1 if missed and options.strict else 0


@contextmanager
def empty_directory(parent: Path) -> Iterator[Path]:
    """A new one below ``parent``, gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="ensemble-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(trio.run(main, parse(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
