"""The state digest (B-15) and determinism (D21, V7)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zkembed import zxid as zxids
from zkembed.record import Kind
from zkembed.tree import digest as digests
from zkembed.tree.ops import CloseSession, Create, Delete, Multi, SetData
from zkembed.tree.tree import Tree
from zkembed.tree.znode import TreeNode

from .helpers import OTHER, SESSION, Scene, opened, replay


def lived_through(digest_every: int = 4) -> Scene:
    """A bit of everything."""
    scene = opened(digest_every=digest_every)
    scene.open(OTHER, node_id=2)
    for name in "zyxwv":
        scene.do(Create(f"/{name}/deep", name.encode(), parents=True))
        scene.do(Create(f"/{name}/e-", sequential=True, ephemeral=True), OTHER)
    scene.send(SESSION, 6, 3, SetData("/z", b"1"))
    scene.send(SESSION, 7, 3, Multi((Delete("/y", recursive=True), SetData("/x/deep", b"2"))))
    scene.send(SESSION, 8, 3, Delete("/no"))
    scene.next_epoch()
    scene.append(Kind.EPOCH, b"")
    scene.append(Kind.CONFIG, b"", b"config")
    scene.lead(CloseSession(OTHER, expired=True))
    return scene


def test_boundaries_are_every_so_many_entries_and_the_first_of_an_epoch() -> None:
    """B-15."""
    scene = Scene(digest_every=4)
    seen = []
    for epoch in (1, 2):
        for _ in range(9):
            scene.lead(CloseSession(1, expired=True))
            seen.append(scene.tree.boundary[0])
        assert seen[-9:] == [zxids.make(epoch, counter) for counter in (1, 1, 1, 4, 4, 4, 4, 8, 8)]
        scene.next_epoch()


def test_a_boundarys_digest_is_that_of_the_state_there() -> None:
    """B-15: not of what came after."""
    scene = opened(digest_every=4)
    for number in range(10):
        scene.create(f"/{number}")
        zxid, digest = scene.tree.boundary
        upto = [record for record in scene.records if record.zxid <= zxid]
        assert digest == replay(upto, digest_every=1).recompute_digest()


@pytest.mark.parametrize("digest_every", [1, 3, 1024])
def test_the_running_digest_is_the_recomputed_one(digest_every: int) -> None:
    """B-15."""
    scene = lived_through(digest_every)
    assert scene.tree.digest_now() == scene.tree.recompute_digest()
    assert scene.tree.digest_now() == replay(scene.records).digest_now()


def test_a_hot_znode_costs_two_hashes_a_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-15: between boundaries only the first old value is kept."""
    scene = Scene(digest_every=1000, checked=False)
    scene.open()
    scene.create("/hot")
    scene.tree.digest_now()
    hashed: list[str] = []

    def counted(path: str, node: TreeNode) -> int:
        hashed.append(path)
        return digests.hash_node(path, node)

    monkeypatch.setattr("zkembed.tree.tree.hash_node", counted)
    for number in range(100):
        scene.do(SetData("/hot", b"%d" % number))
    assert hashed == []
    scene.tree.digest_now()
    assert hashed == ["/hot", "/hot"]


def test_every_part_of_the_state_is_in_the_digest() -> None:
    """D23: a value, a stat, a child counter, a session, a kept result; each alone makes a difference."""

    def broken(tree: Tree, what: str) -> int:
        node = tree.get("/z")
        assert node is not None
        session = tree.sessions[SESSION]
        match what:
            case "result":
                session.results[-1] = None
            case "results":
                session.results.popleft()
            case "data":
                node.data = b"other"
            case _ if what in type(node).__slots__:
                setattr(node, what, getattr(node, what) + 1)
            case _:
                setattr(session, what, b"another-storage." if what == "storage_id" else getattr(session, what) + 1)
        return tree.recompute_digest()

    records = lived_through().records
    whole = replay(records).recompute_digest()
    parts = [*TreeNode.__slots__, "timeout_ms", "node_id", "storage_id", "incarnation", "last_cseq", "result", "results"]
    seen = [broken(replay(records), part) for part in parts]
    assert whole not in seen
    assert len(set(seen)) == len(seen)


def test_where_a_value_is_makes_a_difference() -> None:
    """D23: the same two values at each other's paths are another state."""
    one, two = opened(), opened()
    for scene, names in ((one, "ab"), (two, "ba")):
        scene.do(Multi(tuple(Create(f"/{name}", data) for name, data in zip(names, (b"x", b"y"), strict=True))))
        scene.do(SetData("/", b""))  # its result replaces the kept one, which names the paths
    assert one.tree.digest_now() != two.tree.digest_now()


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_hash_seed_of_the_interpreter_does_not_matter(seed: str) -> None:
    """V7: boundaries, digests and snapshots, byte for byte."""
    from .story import tell

    told = subprocess.run(
        [sys.executable, "-m", "tests.tree.story"],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )
    assert told.stdout.strip() == tell()
