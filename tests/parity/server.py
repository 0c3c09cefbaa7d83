"""A real Apache ZooKeeper as a child process: the outside judge.

Debian's ``zookeeper`` package on a free loopback port, in a directory of its own, standalone, with extended types and all
four-letter words on. It is stopped, and its directory removed, when the block is left.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

JAR = Path("/usr/share/java/zookeeper.jar")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# A JVM that starts quickly and stays small. Its jar names its dependencies itself.
JAVA_OPTIONS = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dzookeeper.extendedTypesEnabled=true")
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
# Somebody else may take the port between our asking for a free one and ZooKeeper's binding it.
START_ATTEMPTS = 3


class ZooKeeperMissingError(Exception):
    """There is no ZooKeeper, or no Java, on this machine."""


class ZooKeeperServer:
    """``with ZooKeeperServer() as server``: ``server.address`` answers inside the block. Blocks the calling thread.

    Enter raises ZooKeeperMissingError, or RuntimeError with the end of the server's output if it did not come up.
    """

    def __init__(self) -> None:
        self.address = ""
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        java = shutil.which("java")
        if java is None or not JAR.exists():
            raise ZooKeeperMissingError(f"no {'java' if java is None else JAR} here (apt install zookeeper default-jre-headless)")
        self._directory = Path(tempfile.mkdtemp(prefix="zkembed-parity-"))
        try:
            started = any(self._start(java, self._directory) for _ in range(START_ATTEMPTS))
        except BaseException:
            self._clean()
            raise
        if not started:
            output = self._output()
            self._clean()
            raise RuntimeError(f"ZooKeeper did not start:\n{output[-4000:]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clean()

    def ask(self, word: str) -> str:
        """The answer to a four-letter word. OSError while nobody listens."""
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(word.encode())
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()

    @property
    def version(self) -> str:
        """As in "3.8.0"."""
        return self.ask("srvr").partition("version: ")[2].partition("-")[0]

    def _start(self, java: str, directory: Path) -> bool:
        """Whether it came up; False if it ended by itself."""
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        config = directory / "zoo.cfg"
        config.write_text(
            f"dataDir={directory / 'data'}\nclientPortAddress=127.0.0.1\nclientPort={port}\nmaxClientCnxns=0\n"
            # Coarse sessions by default; fine enough here for one that is to expire while a test waits.
            "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\n"
            "admin.enableServer=false\n4lw.commands.whitelist=*\n"
        )
        with (directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [java, *JAVA_OPTIONS, "-cp", str(JAR), MAIN, str(config)],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None:
            if self._answers():
                return True
            if time.monotonic() > deadline:
                raise RuntimeError(f"ZooKeeper does not answer after {START_TIMEOUT:g} s:\n{self._output()[-4000:]}")
            time.sleep(0.05)
        return False

    def _answers(self) -> bool:
        try:
            return "Mode: standalone" in self.ask("srvr")
        except OSError:
            return False

    def _output(self) -> str:
        return (self._directory / "output").read_text(errors="replace") if self._directory is not None else ""

    def _clean(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
