"""The example as a user runs it: processes, kill -9 of the leader, and its own verdict."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from .ensemble import PROJECT

EXAMPLE = PROJECT / "examples" / "worker_pool.py"
BOUND = 90.0
INTERRUPTED = 130

RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WITHOUT_RICH = """
import sys
sys.modules["rich"] = None  # It can't be imported then.
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small tree of files, some of them odd: empty, without a last newline, with a name that is not ASCII."""
    root = tmp_path / "sources"
    for number in range(120):
        folder = root / f"package{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"module{number}.py").write_bytes(b"x = 1\n" * number)
    (root / "no_newline.py").write_bytes(b"a = 1\nb = 2")
    (root / "größe.py").write_bytes("# äöü\n".encode())
    (root / "site-packages").mkdir()
    (root / "site-packages" / "left_out.py").write_bytes(b"left_out = True\n")
    return root


def command(*options: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLE), *options]


async def play(*options: str) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(BOUND):
        return await trio.run_process(command(*options), capture_stdout=True, capture_stderr=True, check=False)


async def test_the_pool_survives_the_kill_of_its_leader(sources: Path, tmp_path: Path) -> None:
    """The leader dies half way, comes back, and every replica has every result, once, as a plain computation has it."""
    keep = tmp_path / "kept"
    done = await play("--input", str(sources), "--keep", str(keep), "--plain")
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert "the leader, is killed with -9 at" in text
    assert "is started again, with the disk it left" in text
    assert "files      122, with 7143 lines" in text
    assert "results    122 on the replica of worker 1, 122 on the replica of worker 2, 122 on the replica of worker 3" in text
    assert "leader     none for 0." in text
    assert "EQUAL" in text
    assert "none missing, none twice, none lost" in text
    assert sorted(path.name for path in keep.iterdir() if path.is_dir()) == ["worker-1", "worker-2", "worker-3"]
    assert "Traceback" not in "".join(path.read_text() for path in keep.glob("*.log"))


@pytest.mark.parametrize("rich", [True, False])
async def test_a_terminal_gets_a_live_picture_where_rich_is_installed(sources: Path, rich: bool) -> None:
    """And plain lines where it is not."""
    terminal, inside = pty.openpty()
    code = RUN if rich else WITHOUT_RICH + RUN
    options = [sys.executable, "-c", code, str(EXAMPLE), "--input", str(sources), "--limit", "40", "--no-kill"]
    with trio.fail_after(BOUND):
        process = await trio.lowlevel.open_process(
            options, stdout=inside, stderr=inside, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        )
        os.close(inside)
        text = await read_terminal(terminal)
        assert await process.wait() == 0, text
    assert ("applied zxid" in text) == rich
    assert ("━" in text) == rich
    assert not rich or "40 of 40 results" in text
    assert "results    40 on the replica of worker 1" in text
    assert "EQUAL" in text


async def read_terminal(terminal: int) -> str:
    """Until nobody has it open any more."""
    data = b""
    async with trio.lowlevel.FdStream(terminal) as stream:
        try:
            async for part in stream:
                data += part
        except trio.BrokenResourceError:
            pass  # Linux says EIO where others say end of file.
    return data.decode(errors="replace")


async def test_one_worker_alone_is_a_pool_too(sources: Path) -> None:
    """An ensemble of one: while it is dead nothing goes on, and then everything does."""
    done = await play("--input", str(sources), "--workers", "1", "--limit", "40", "--plain")
    assert done.returncode == 0, done.stderr.decode()
    assert "EQUAL" in done.stdout.decode()


async def test_a_wrong_result_fails_the_demonstration(sources: Path) -> None:
    """Its verdict is worth something: a file that changes behind the workers' backs is found, and named, with exit status 1."""
    changed = sources / "package0" / "module0.py"
    with trio.fail_after(BOUND):
        process = await trio.lowlevel.open_process(
            command("--input", str(sources), "--no-kill", "--plain"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        text, errors = b"", b""
        async for data in process.stdout:
            text += data
            if b"has all" in text:
                changed.write_bytes(b"changed = True\n")
        async for data in process.stderr:
            errors += data
        assert await process.wait() == 1
    assert b"DIFFERENT" in text
    assert b"package0/module0.py" in errors


async def test_no_files_is_said_and_fails(tmp_path: Path) -> None:
    done = await play("--input", str(tmp_path), "--plain")
    assert done.returncode == 1
    assert "there are no .py files below" in done.stdout.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_the_workers_do_not_outlive_the_stage(sources: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends it in bounded time; and even where it can't tidy up, the workers notice that it is gone."""
    process = await trio.lowlevel.open_process(
        command("--input", str(sources), "--no-kill", "--plain", "--keep", str(tmp_path / "kept")), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    text = b""
    with trio.fail_after(BOUND):
        while b"leads the ensemble" not in text:
            text += await process.stdout.receive_some()
        with ExitStack() as stack:
            workers = [os.pidfd_open(pid) for pid in children_of(process.pid)]
            for worker in workers:
                stack.callback(os.close, worker)
            assert len(workers) == 3
            process.send_signal(number)
            assert await process.wait() == (INTERRUPTED if number is signal.SIGINT else -number)
            for worker in workers:
                await trio.lowlevel.wait_readable(worker)  # It has ended.


def children_of(pid: int) -> list[int]:
    """Linux: from /proc."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
