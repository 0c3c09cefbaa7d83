"""The command line of ``make chaos``: what may be asked for, and what is said to whom asks for something else."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from .run import Options
from .schedule import KINDS

MEMBERS = (3, 4, 5, 6, 7)
SECONDS_MAX = 24 * 3600.0
KEPT = Path("var/chaos")


def parse(arguments: Sequence[str]) -> Options | Path:
    """What to run, or the directory of an earlier run to judge. Exits with 2 and says what is allowed, if it is neither."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.judge is not None:
        if not (given.judge / "history").is_dir():
            parser.error(f"argument --judge: {given.judge} is not what a run leaves behind")
        return Path(given.judge)
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    directory = given.directory or KEPT / f"seed-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    if directory.exists():
        parser.error(f"argument --directory: {directory} exists already; a run makes its own")
    return Options(directory.resolve(), given.seconds, seed, given.members, given.faults)


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {kind.name:15} {kind.text}" for kind in KINDS.values()]
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description="Faults against an ensemble of real processes, and a judge of what it did.",
        epilog="\n".join(["faults:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--seconds", type=_seconds, default=60.0, help="of faults (60)")
    parser.add_argument("--seed", type=_seed, default=None, help="decides what is done and when; drawn and printed if not given")
    parser.add_argument("--members", type=int, choices=MEMBERS, default=3, help="how many processes (3)")
    parser.add_argument("--faults", type=_kinds, default=tuple(KINDS), metavar="NAME,NAME", help="these alone (all)")
    parser.add_argument("--directory", type=Path, default=None, help=f"for histories, logs and data; must not exist ({KEPT}/...)")
    parser.add_argument("--judge", type=Path, default=None, metavar="DIRECTORY", help="run nothing: judge what an earlier run has left")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds, more than 0 and at most {SECONDS_MAX:g}")
    return seconds


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def _kinds(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(map(repr, unknown))}; there are {', '.join(KINDS)}")
    return names


def command(options: Options) -> str:
    """How to ask for the same schedule again."""
    asked = f"--seconds {options.seconds:g} --seed {options.seed} --members {options.members}"
    if options.kinds != tuple(KINDS):
        asked += f" --faults {','.join(options.kinds)}"
    return f'make chaos ARGS="{asked}"'
