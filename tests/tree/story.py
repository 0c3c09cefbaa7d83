"""Run as a program: prints the digests of one fixed story, to be compared between interpreters."""

from __future__ import annotations

from tests.tree.test_digest import lived_through
from zkembed.tree.events import EventKind


def tell() -> str:
    scene = lived_through()
    sessions = [(id, scene.tree.ephemerals(id)) for id in scene.tree.sessions]
    chunks = list(scene.tree.freeze().chunks())
    return repr((scene.tree.boundary, scene.tree.digest_now(), sessions, chunks, EventKind.GAP, scene.records[-1].chain))


if __name__ == "__main__":
    print(tell())
