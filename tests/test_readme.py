"""The README's program runs as it stands, but for the port."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_twenty_lines_run_and_print_what_they_say() -> None:
    programs = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    [program] = [text for text in programs if "trio.run(main)" in text]
    program = program.replace("7101", str(free_port()))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert first == "b'hello' -> b'good morning'"
    assert second == "made /greeting/copy-0000000000"
    assert third.startswith("mine until I leave this block; fencing token ")
