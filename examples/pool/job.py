"""The work itself, which knows nothing of replication: which files there are, and what is computed of each."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from typing import NamedTuple

LEFT_OUT = ("site-packages", "dist-packages", "__pycache__")


class Answer(NamedTuple):
    """What is wanted of one file."""

    sha256: str
    lines: int


def default_root() -> Path:
    """The standard library of the Python that runs this."""
    return Path(sysconfig.get_path("stdlib"))


def list_files(root: Path, limit: int | None) -> list[str]:
    """Paths of the ``.py`` files below ``root``, relative to it, sorted: all workers find the same. limit: only the first ones."""
    found = (path.relative_to(root) for path in root.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in found if not set(path.parts) & set(LEFT_OUT))[:limit]


def compute(file: Path) -> Answer:
    """Blocks: for a thread, or for the plain computation at the end."""
    data = file.read_bytes()
    return Answer(hashlib.sha256(data).hexdigest(), data.count(b"\n") + (not data.endswith(b"\n") and data != b""))
