"""What a session asks for next: operations drawn from a few znodes, so that sessions get in each other's way.

Every value written is another one, as far as its length lets, so a history says whose write a reader has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ...tree.ops import Check, CheckAbsent, Create, Delete, DeleteOwn, Ensure, Multi, Op, SetData, ZnodeOp
from ...tree.path import join
from ...tree.tree import Tree
from .options import WorkloadOptions

MALFORMED: tuple[Op, ...] = (
    Create("no/slash"),
    SetData("/a//b", b""),
    Delete("/"),
    Create("/zookeeper/mine"),
    SetData("/k0", b"", -1),
    Ensure("/a/../b"),
    Delete("/k0/"),
    Multi((Check("/k0"), Delete("/.."))),
)
"""Each is refused at the call."""


class Menu:
    """tree: what a session's node has applied, for versions that are probably right."""

    def __init__(self, rng: Random, options: WorkloadOptions) -> None:
        self._rng = rng
        self._options = options
        self._count = 0
        self._paths = tuple(self._all_paths())
        self.locks = tuple(f"/locks/l{number}" for number in range(options.locks))
        self.elections = tuple(f"/elections/e{number}" for number in range(options.locks))
        self._znode_ops: tuple[Callable[[Tree], ZnodeOp], ...] = (
            self.create,
            self.create,
            self.set,
            self.set,
            self.delete,
            self._ensure,
            self._check,
            self._check,
            self._check_absent,
        )

    def _all_paths(self) -> list[str]:
        tops = [f"/k{number}" for number in range(self._options.keys)]
        return [*tops, *tops, *(f"{top}/{name}" for top in tops for name in ("a", "b"))]

    def path(self) -> str:
        return self._rng.choice(self._paths)

    def found(self, tree: Tree) -> str:
        """Mostly one that exists, as far as this replica knows; now and then a child of it, whatever its name."""
        rng = self._rng
        path = self.path()
        for _ in range(3):
            if tree.get(path) is None and rng.random() < 0.7:
                path = self.path()
        if rng.random() < 0.1 and (names := tree.children(path)):
            return join(path, rng.choice(names))
        return path

    def value(self, bytes_max: int | None = None) -> bytes:
        """Unlike any other, unless it is too short for that."""
        self._count += 1
        rng = self._rng
        shape = rng.random()
        if shape < 0.05:
            return b""
        value = b"v%d." % self._count
        if shape < 0.6:
            return value
        most = self._options.value_bytes_max if bytes_max is None else bytes_max
        return value.ljust(rng.randint(0, most), b"x")

    def too_large(self) -> Op:
        """Over the limits of the nodes; by its data, or only as a whole."""
        limits = self._options.limits
        if self._rng.random() < 0.5:
            return SetData(self.path(), self.value(0).ljust(limits.data_bytes_max + self._rng.randint(1, 200), b"y"))
        data = b"z" * limits.data_bytes_max
        return Multi(tuple(SetData(self.path(), data) for _ in range(limits.txn_bytes_max // max(1, limits.data_bytes_max) + 1)))

    def malformed(self) -> Op:
        return self._rng.choice(MALFORMED)

    # --- writes -------------------------------------------------------------------------------------------------------

    def create(self, tree: Tree) -> Create:
        """All flags. What is there already is mostly left alone, and gets a sequential child."""
        rng = self._rng
        path = self.path()
        ephemeral, parents = rng.random() < 0.25, rng.random() < 0.5
        if rng.random() < (0.15 if tree.get(path) is None else 0.7):
            return Create(path + rng.choice(("/s-", "/")), self.value(), ephemeral, True, parents)
        return Create(path, self.value(), ephemeral, False, parents)

    def create_own(self, stem: int) -> Create:
        """To be taken back by ``delete_own`` of the same number; unique in the run."""
        return Create(f"/own/{stem}-", self.value(), True, True, True)

    def delete_own(self, stem: int) -> DeleteOwn:
        return DeleteOwn(f"/own/{stem}-")

    def set(self, tree: Tree) -> SetData:
        path = self.found(tree)
        return SetData(path, self.value(), self._version(tree, path))

    def delete(self, tree: Tree) -> Delete:
        path = self.found(tree)
        return Delete(path, self._version(tree, path), self._rng.random() < 0.4)

    def _ensure(self, tree: Tree) -> Ensure:
        return self.ensure()

    def ensure(self) -> Ensure:
        return Ensure(self.path() + self._rng.choice(("", "/a/c")))

    def transaction(self, tree: Tree) -> Multi:
        rng = self._rng
        return Multi(tuple(rng.choice(self._znode_ops)(tree) for _ in range(rng.randint(1, 4))))

    def evict(self, path: str, owner: str) -> Multi:
        """Delete a waiting contender's znode if whoever was before it still is, so that it can't be the owner's."""
        return Multi((Check(owner), Delete(path)))

    def _check(self, tree: Tree) -> Check:
        path = self.found(tree)
        node = tree.get(path)
        rng = self._rng
        if node is None or rng.random() < 0.2:
            return Check(path, rng.choice((None, 7)), rng.choice((None, None, 3)), None)
        row = node.stat()
        return Check(path, row.version, rng.choice((None, row.czxid)), rng.choice((None, row.num_children)))

    def _check_absent(self, tree: Tree) -> CheckAbsent:
        return CheckAbsent(self.path())

    def _version(self, tree: Tree, path: str) -> int | None:
        """Mostly any; else the one found here, or a wrong one."""
        drawn = self._rng.random()
        if drawn < 0.6:
            return None
        node = tree.get(path)
        return self._rng.randrange(4) if drawn > 0.9 or node is None else node.stat().version
