"""``python -m zkembed.testing.simulate``: many seeds, or one again, with progress, coverage, and a story for what failed.

Exit status: 0 all seeds held; 1 one failed; 2 the command was wrong; 130 it was interrupted, and the verdicts so far were printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import IO, Any

from attrs import define, field

from ..errors import BadArgumentsError
from .checkers import IDS
from .simulator import Verdict, simulate
from .swarm import FAULTS, PLANNED_MAX, check_faults, draw

REPORT_S = 2.0
AGAIN_EVERY = 100
INTERRUPTED = 130
LEGEND = """\
how to read it: each line is t (simulated seconds), node.life, what happened, and its fields. Invoke and Return are calls of clients and
their ends, Committed an entry that became safe, Fault something done to the world. zxid = epoch << 32 | counter."""


@define
class Tally:
    """What a command has seen. disturbed: runs with a commit after a fault; only they count as coverage."""

    runs: int = 0
    disturbed: int = 0
    operations: int = 0
    simulated_s: float = 0.0
    judged: Counter[str] = field(factory=Counter)
    happened: Counter[str] = field(factory=Counter)
    marks: Counter[str] = field(factory=Counter)
    failed: list[Verdict] = field(factory=list)

    def missing(self) -> list[str]:
        """Invariants that had nothing to judge."""
        return [id for id in IDS if not self.judged[id]]

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.operations += verdict.operations
        self.simulated_s += verdict.simulated_s
        if verdict.disturbed:
            self.disturbed += 1
            self.judged.update(verdict.judged)
            self.happened.update(verdict.happened)
            self.marks.update(verdict.marks)
        if not verdict.ok:
            self.failed.append(verdict)


# --- the command -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m zkembed.testing.simulate", description="Simulate ensembles under faults, each from a seed."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=_positive, default=200, metavar="N", help="how many (default 200)")
    which.add_argument("--seed", type=_seed, metavar="SEED", help="replay this one, and tell its story if it fails")
    parser.add_argument("--first", type=_seed, default=0, metavar="SEED", help="the first of --seeds (default 0)")
    parser.add_argument(
        "--of", metavar="NAME", help="derive the seeds from a name, such as a commit's id, instead of counting from --first"
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="voters: 1, 2, 3, 5 or 7 (default 3)")
    parser.add_argument("--operations", type=_positive, default=300, metavar="N", help="calls of clients in a run, about (default 300)")
    parser.add_argument("--faults", type=_faults, metavar="KIND,...", help=f"kinds that may happen: {', '.join(FAULTS)} (default all)")
    parser.add_argument("--beyond", action="store_true", help="a majority may lose its disks: nobody may lie, more is not asked")
    parser.add_argument("--skip", type=_numbers, default=(), metavar="N,...", help="faults of the plan that are left out")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--shrink", action="store_true", help="leave out faults of a failing seed while it fails in the same way")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    parser.add_argument("--fingerprint", action="store_true", help="print the fingerprint of the one --seed and nothing else")
    return parser


def main(arguments: Sequence[str] | None = None, out: IO[str] = sys.stdout) -> int:
    args = _checked(parser(), arguments)
    wishes = {"nodes": args.nodes, "operations": args.operations, "faults": args.faults, "beyond": args.beyond, "skipped": args.skip}
    tally = Tally()
    try:
        draw(args.seed or 0, **wishes)
    except BadArgumentsError as error:
        parser().error(str(error))
    try:
        return _one(args, wishes, tally, out) if args.seed is not None else _all(args, wishes, tally, out)
    except KeyboardInterrupt:
        _summary(tally, 0.0, out)
        print(f"interrupted after {tally.runs} runs", file=out)
        return INTERRUPTED


def _checked(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """What argparse does not see: options that do not go together, and empty ones."""
    args = parser.parse_args(arguments)
    if args.of is not None and not args.of:
        parser.error("--of: '' given, expected a name")
    if args.fingerprint and args.seed is None:
        parser.error("--fingerprint goes with --seed")
    if any(index >= PLANNED_MAX for index in args.skip):
        parser.error(f"--skip: a plan has {PLANNED_MAX} faults at most, counted from 0")
    return args


def _all(args: argparse.Namespace, wishes: dict[str, Any], tally: Tally, out: IO[str]) -> int:
    began = time.monotonic()
    seeds = derived(args.of, args.seeds) if args.of is not None else range(args.first, args.first + args.seeds)
    if args.of is not None:
        print(f"{args.seeds} seeds of {args.of}: {', '.join(map(str, seeds[:3]))}, ...", file=out)
    interrupted = _many(seeds, args, wishes, tally, out)
    _summary(tally, time.monotonic() - began, out)
    for verdict in tally.failed:
        _tell(verdict, args, wishes, out)
    if interrupted:
        print(f"interrupted after {tally.runs} of {len(seeds)} seeds", file=out)
        return INTERRUPTED
    # With few runs, or few kinds of faults, some invariant has nothing to judge; with many it must have.
    many = args.faults is None and not args.beyond and tally.runs >= AGAIN_EVERY
    if many and (tally.missing() or not tally.disturbed) and not tally.failed:
        print(f"NO VERDICT: nothing to judge for {' '.join(tally.missing())}", file=out)
        return 1
    return 1 if tally.failed else 0


def derived(name: str, count: int) -> list[int]:
    """``count`` seeds that belong to a name: the same ones whenever it is asked for."""
    return [int.from_bytes(blake2b(f"{name} {index}".encode(), digest_size=6).digest(), "big") for index in range(count)]


def _one(args: argparse.Namespace, wishes: dict[str, Any], tally: Tally, out: IO[str]) -> int:
    verdict = simulate(args.seed, **wishes)
    if args.fingerprint:
        print(verdict.fingerprint, file=out)
        return 0 if verdict.ok else 1
    tally.add(verdict)
    _summary(tally, 0.0, out)
    if not verdict.ok:
        _tell(verdict, args, wishes, out)
        return 1
    print(f"seed {args.seed} holds; its history is {verdict.fingerprint}", file=out)
    return 0


def _many(seeds: Sequence[int], args: argparse.Namespace, wishes: dict[str, Any], tally: Tally, out: IO[str]) -> bool:
    """Run them; whether it was interrupted."""
    began = said = time.monotonic()
    shows = out.isatty()
    try:
        with closing(_verdicts(seeds, wishes, args.jobs)) as verdicts:
            for verdict in verdicts:
                tally.add(verdict)
                now = time.monotonic()
                if now - said >= (0.2 if shows else REPORT_S) or tally.runs == len(seeds):
                    said = now
                    line = f"{tally.runs}/{len(seeds)} seeds, {tally.runs / (now - began):.1f} a second, {len(tally.failed)} failed"
                    print(f"\r{line}   " if shows else line, end="" if shows else "\n", file=out, flush=True)
                if not verdict.ok and not args.keep_going:
                    break
                if tally.runs % AGAIN_EVERY == 1:
                    _again(verdict, wishes, tally)
    except KeyboardInterrupt:
        return True
    finally:
        if shows:
            print(file=out)
    return False


def _verdicts(seeds: Sequence[int], wishes: dict[str, Any], jobs: int) -> Generator[Verdict]:
    work = [(seed, wishes) for seed in seeds]
    if jobs == 1:
        yield from map(_work, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _ignore_interrupts) as pool:
        yield from pool.imap(_work, work, chunksize=4)


def _work(job: tuple[int, dict[str, Any]]) -> Verdict:
    return simulate(job[0], **job[1])


def _ignore_interrupts() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _again(verdict: Verdict, wishes: dict[str, Any], tally: Tally) -> None:
    """V7: the same seed in another process, under another hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": _hash_seed(verdict.seed)}
    command = [sys.executable, "-m", "zkembed.testing.simulate", "--fingerprint", *_flags(verdict.seed, wishes)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()
    tally.judged["V7"] += 1
    if found != verdict.fingerprint:
        text = f"history {verdict.fingerprint} here, {found or 'none'} under another hash seed"
        tally.failed.append(verdict.failing("V7", text))


def _hash_seed(seed: int) -> str:
    return str(seed % 4_000_000 + 1)


# --- for people ------------------------------------------------------------------------------------------------------


def _flags(seed: int, wishes: dict[str, Any], skipped: Iterable[int] | None = None) -> list[str]:
    flags = ["--seed", str(seed), "--nodes", str(wishes["nodes"]), "--operations", str(wishes["operations"])]
    faults = wishes["faults"]
    if faults is not None:
        flags += ["--faults", ",".join(faults)]
    if wishes["beyond"]:
        flags.append("--beyond")
    left_out = wishes["skipped"] if skipped is None else skipped
    if left_out:
        flags += ["--skip", ",".join(map(str, sorted(left_out)))]
    return flags


def _summary(tally: Tally, took: float, out: IO[str]) -> None:
    rate = f", {tally.runs / took * 60:.0f} seeds a minute" if took else ""
    print(
        f"{tally.runs} runs{rate}; {tally.operations} calls; {tally.simulated_s / 3600:.1f} simulated hours; "
        f"{tally.disturbed} runs saw a commit after a fault; {len(tally.failed)} failed",
        file=out,
    )
    print("judged:    " + _counts({id: tally.judged[id] for id in IDS}), file=out)
    if tally.missing():
        print("nothing to judge in these runs: " + " ".join(tally.missing()), file=out)
    print("faults:    " + _counts(tally.happened), file=out)
    print("marks:     " + _counts(dict(sorted(tally.marks.items()))), file=out, flush=True)


def _counts(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _tell(verdict: Verdict, args: argparse.Namespace, wishes: dict[str, Any], out: IO[str]) -> None:
    skipped: frozenset[int] = frozenset(args.skip)
    if args.shrink:
        verdict, skipped = shrink(verdict, wishes)
    print(f"\nseed {verdict.seed} FAILED: {verdict.violation}: {verdict.text}\n\n{LEGEND}\n\n{verdict.story}", file=out)
    print(f"\nfaults: {_counts(verdict.happened)}", file=out)
    again = shlex.join(["python", "-m", "zkembed.testing.simulate", *_flags(verdict.seed, wishes, skipped)])
    if verdict.violation == "V7":
        print(
            f"again, twice: PYTHONHASHSEED=0 {again} --fingerprint; PYTHONHASHSEED={_hash_seed(verdict.seed)} {again} --fingerprint",
            file=out,
        )
    else:
        print(f"again: {again}", file=out, flush=True)


def shrink(verdict: Verdict, wishes: dict[str, Any]) -> tuple[Verdict, frozenset[int]]:
    """Leave out one fault after the other while the run breaks the same invariant; the last verdict, and what was left out."""
    skipped = frozenset(wishes["skipped"])
    for index in range(verdict.planned):
        if index in skipped:
            continue
        tried = simulate(verdict.seed, **{**wishes, "skipped": skipped | {index}})
        if tried.violation == verdict.violation:
            verdict, skipped = tried, skipped | {index}
    return verdict, skipped


# --- arguments -------------------------------------------------------------------------------------------------------


def _positive(text: str) -> int:
    value = _seed(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 given, expected a number from 1 on")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number from 0 on")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_seed(each) for each in text.split(",") if each)


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected some of {', '.join(FAULTS)}")
    try:
        return check_faults(names)
    except BadArgumentsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
