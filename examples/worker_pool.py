"""A pool of worker processes that share their work through replicas of their own, and lose nothing when one is killed.

    python examples/worker_pool.py                    # three workers over the standard library; the leader is killed half way
    python examples/worker_pool.py --workers 5 --input ~/src --plain

Every worker process embeds a zkembed node, its data on disk: there is no server. An elected foreman turns files into job
znodes and assigns them to the workers that are present; each computes SHA-256 and number of lines of its files and writes
the results, once. Half way the leader is killed with -9, and later started again. At the end every result on every replica
is compared with a plain computation in this process. Exit status: 0 if all are equal, 1 if anything differs.

``pool/worker.py`` is the application, and worth reading; ``pool/stage.py`` starts, kills and watches its processes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import trio
from pool.job import default_root, list_files
from pool.screen import Screen, open_screen
from pool.stage import Play, Stage, StageError, script
from pool.verdict import judge
from pool.worker import run_worker

import zkembed

# The shortest that the default sync_limit allows: after this long the jobs of a dead worker go to others.
SESSION_TIMEOUT = 3.2
WORKERS_MAX = 9


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="worker processes, 1 to 9 (default 3)")
    parser.add_argument(
        "--input", type=Path, default=default_root(), metavar="DIR", help="tree of .py files (default: the standard library)"
    )
    parser.add_argument("--limit", type=int, metavar="FILES", help="only the first FILES files")
    parser.add_argument("--no-kill", action="store_true", help="let everybody live")
    parser.add_argument("--plain", action="store_true", help="plain lines on a terminal too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="put the workers' data and logs there, and keep them")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peers", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not 1 <= arguments.workers <= WORKERS_MAX:
        parser.error(f"--workers {arguments.workers}: expected 1 to {WORKERS_MAX}")
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit {arguments.limit}: expected at least 1")
    if not arguments.input.is_dir():
        parser.error(f"--input {arguments.input}: not a directory")
    if arguments.keep is not None and arguments.keep.exists() and any(arguments.keep.iterdir()):
        parser.error(f"--keep {arguments.keep}: expected a new or an empty directory")
    return arguments


async def show(arguments: argparse.Namespace, data: Path) -> int:
    """The demonstration; its exit status."""
    screen = open_screen(plain=arguments.plain)
    files = len(list_files(arguments.input, arguments.limit))
    if not files:
        screen.note(f"there are no .py files below {arguments.input}")
        return 1
    screen.note(f"{arguments.workers} worker processes, {files} files below {arguments.input}; data and logs in {data}")
    options = ["--input", str(arguments.input)]
    if arguments.limit is not None:
        options += ["--limit", str(arguments.limit)]
    stage = Stage(script(*options), arguments.workers, data, kill=not arguments.no_kill, note=screen.note)
    try:
        await run_shown(stage, screen)
    except ExceptionGroup as group:
        failures, others = group.split(StageError)
        if failures is None or others is not None:
            raise
        print("\n".join(f"FAILED     {error}" for error in leaves(failures)), file=sys.stderr)
        return 1
    return await say_verdict(stage.play, arguments)


async def run_shown(stage: Stage, screen: Screen) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(screen.run, lambda: stage.play)
        await stage.run()
        nursery.cancel_scope.cancel(reason="nothing more to show")


async def say_verdict(play: Play, arguments: argparse.Namespace) -> int:
    took = trio.current_time() - play.started
    verdict = await trio.to_thread.run_sync(judge, play, arguments.input, arguments.limit)
    print("\n".join(verdict.lines))
    if verdict.faults:
        print("\n".join(verdict.faults[:20]), file=sys.stderr)
        print(f"DIFFERENT  {len(verdict.faults)} faults")
        return 1
    print(f"EQUAL      to a plain computation in one process: none missing, none twice, none lost ({took:.1f} s)")
    return 0


def leaves(group: ExceptionGroup[StageError]) -> Iterator[StageError]:
    """The errors themselves, whatever nurseries they came through."""
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def parse_peers(text: str) -> dict[int, str]:
    """``1=host:port,2=host:port``."""
    return {int(id): address for id, _, address in (peer.partition("=") for peer in text.split(","))}


def main() -> int:
    arguments = parse_arguments()
    if arguments.worker is not None:
        config = zkembed.Config(
            node_id=arguments.worker,
            peers=parse_peers(arguments.peers),
            data_dir=arguments.data,
            cluster="worker-pool",
            session_timeout=SESSION_TIMEOUT,
        )
        trio.run(run_worker, config, arguments.input, arguments.limit)
        return 0
    with ExitStack() as stack:
        if arguments.keep is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkembed-pool-")))
        else:
            data = arguments.keep
            data.mkdir(parents=True, exist_ok=True)
        return trio.run(show, arguments, data)


if __name__ == "__main__":
    status = 130
    try:
        status = main()
    except* KeyboardInterrupt:
        print("interrupted; the workers have been ended", file=sys.stderr)
    sys.exit(status)
