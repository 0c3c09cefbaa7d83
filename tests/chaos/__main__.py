"""``make chaos ARGS="--seconds 120 --seed 7 --members 3"``: real processes, real files, TCP, and everything that can happen to them.

Exit status: 0 every invariant held; 1 one is violated, or is without a verdict; 2 usage; 130 interrupted, with the verdicts so far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from .judge import count_faults, judge_directory
from .run import Chaos, Options, passed
from .usage import command, parse
from .verdict import table

INTERRUPTED = 130


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    asked = parse(arguments)
    return conclude(asked) if isinstance(asked, Path) else run(asked)


def run(options: Options) -> int:
    say(f"seed {options.seed}, {options.members} members, {options.seconds:g} s of faults; all is kept in {options.directory}")
    for step in options.steps():
        say(f"  planned  {step}")
    interrupted = False
    try:
        trio.run(Chaos(options, say).run)
    except* KeyboardInterrupt:
        interrupted = True
        say("interrupted; the verdicts so far:")
    failed = conclude(options.directory)
    if failed or interrupted:
        say(f"the same schedule again: {command(options)}")
    return INTERRUPTED if interrupted else failed


def conclude(directory: Path) -> int:
    say(f"judging {directory}")
    verdicts = judge_directory(directory)
    say(table(verdicts))
    counts = count_faults(directory)
    say("faults: " + (", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"))
    good = passed(verdicts)
    say(f"{'PASSED' if good else 'FAILED'}; histories, logs and data: {directory}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
