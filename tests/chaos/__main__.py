"""``make chaos ARGS="--seconds 120 --seed 7 --members 3"``: real processes, real files, TCP, and everything that can happen to them.

Exit status: 0 every invariant held; 1 one is violated, or is without a verdict; 2 usage; 130 interrupted, with the verdicts so far.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import trio

from .diary import merge_diaries
from .judge import faults_done
from .run import Chaos, Options, judge, passed
from .schedule import KINDS
from .verdict import table

MEMBERS = (3, 4, 5, 6, 7)
SECONDS_MAX = 24 * 3600.0
KEPT = Path("var/chaos")
INTERRUPTED = 130


def parse(arguments: Sequence[str]) -> Options:
    """Exits with 2, and says what is allowed."""
    lines = [f"  {kind.name:15} {kind.text}" for kind in KINDS.values()]
    parser = argparse.ArgumentParser(
        prog="make chaos", description="Faults against an ensemble of real processes.", epilog="\n".join(["faults:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--seconds", type=_seconds, default=60.0, help="of faults (60)")
    parser.add_argument("--seed", type=_seed, default=None, help="decides what is done and when; drawn and printed if not given")
    parser.add_argument("--members", type=int, choices=MEMBERS, default=3, help="how many processes (3)")
    parser.add_argument("--faults", type=_kinds, default=tuple(KINDS), metavar="NAME,NAME", help="these alone (all)")
    parser.add_argument("--directory", type=Path, default=None, help=f"for diaries, logs and data; must not exist ({KEPT}/...)")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    directory = given.directory or KEPT / f"seed-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    if directory.exists():
        parser.error(f"argument --directory: {directory} exists already; a run makes its own")
    return Options(directory.resolve(), given.seconds, seed, given.members, given.faults)


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


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    say(f"seed {options.seed}, {options.members} members, {options.seconds:g} s of faults; all is kept in {options.directory}")
    for step in options.steps():
        say(f"  planned  {step}")
    status = 0
    try:
        trio.run(Chaos(options, say).run)
    except* KeyboardInterrupt:
        say("interrupted; the verdicts so far:")
        status = INTERRUPTED
    failed = _conclude(options)
    return status or failed


def _conclude(options: Options) -> int:
    verdicts = judge(options, say)
    counts: Counter[str] = faults_done(merge_diaries([options.directory / "history" / "nemesis.jsonl"]))
    say(table(verdicts))
    say("faults: " + (", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"))
    good = passed(verdicts)
    say(f"{'PASSED' if good else 'FAILED'}: seed {options.seed}; histories, logs and data: {options.directory}")
    if not good:
        names = ",".join(options.kinds)
        again = f"--seconds {options.seconds:g} --seed {options.seed} --members {options.members}"
        say(f'the same schedule again: make chaos ARGS="{again}' + ("" if options.kinds == tuple(KINDS) else f" --faults {names}") + '"')
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
