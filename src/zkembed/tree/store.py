"""The map from path to znode, with the index of children, and a way to hold it still while it goes on changing.

Freezing (rule P-8): ``freeze`` fixes the map between two steps and copies nothing. From then on writes go into an overlay, and
reads look there first; the base can be iterated in slices of any length. ``thaw`` ends that; the overlay is then merged
back in slices, and a write during the merge goes to the base and takes its path out of the overlay.

The store also keeps, for the digest, the old value of whatever changes first since ``take_dirty`` (B-15). It knows nothing
of sessions, versions or rules: whatever it is told, it does.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InternalError
from .path import ROOT, join, name_of, parent_of
from .znode import TreeNode


class Store:
    """Children are sets; whoever shows them sorts them."""

    __slots__ = ("_base", "_children", "_dirty", "_frozen", "_length", "_overlay")

    def __init__(self) -> None:
        self._base: dict[str, TreeNode] = {}
        # Invariant: None unless frozen or merging. A value of None: deleted.
        self._overlay: dict[str, TreeNode | None] | None = None
        self._frozen = False
        self._length = 0
        # Invariant: exactly the znodes that have children have an entry.
        self._children: dict[str, set[str]] = {}
        self._dirty: dict[str, TreeNode | None] = {}

    # --- reads ---

    def get(self, path: str) -> TreeNode | None:
        overlay = self._overlay
        if overlay is None or path not in overlay:
            return self._base.get(path)
        return overlay[path]

    def __len__(self) -> int:
        return self._length

    def children(self, path: str) -> tuple[str, ...]:
        """Names, sorted; empty if there is no such znode."""
        return tuple(sorted(self._children.get(path, ())))

    def items(self) -> Iterator[tuple[str, TreeNode]]:
        """All znodes as they are now, in no order that means anything. Nothing may change meanwhile."""
        overlay = self._overlay or {}
        for path, node in self._base.items():
            if path not in overlay:
                yield path, node
        for path, changed in overlay.items():
            if changed is not None:
                yield path, changed

    def subtree(self, path: str, count_max: int) -> list[str] | None:
        """``path`` and all below it, children before parents, siblings in order of name; None if there are more than ``count_max``."""
        found = []
        todo = [path]
        while todo:
            here = todo.pop()
            found.append(here)
            if len(found) > count_max:
                return None
            todo.extend(join(here, name) for name in self.children(here))
        # Parents first and names descending, read backwards: children first and names ascending.
        found.reverse()
        return found

    # --- writes ---

    def replace(self, path: str, node: TreeNode, before: TreeNode) -> None:
        """An existing znode has a new value."""
        if path not in self._dirty:
            self._dirty[path] = before
        if self._overlay is None:
            self._base[path] = node
        else:
            self._write_overlaid(path, node)

    def insert(self, path: str, node: TreeNode) -> None:
        """A znode that is not there yet; its parent is."""
        self._dirty.setdefault(path, None)
        self._length += 1
        if path != ROOT:
            self._children.setdefault(parent_of(path), set()).add(name_of(path))
        if self._overlay is None:
            self._base[path] = node
        else:
            self._write_overlaid(path, node)

    def remove(self, path: str, before: TreeNode) -> None:
        """A znode that is there and has no children."""
        self._dirty.setdefault(path, before)
        self._length -= 1
        parent = parent_of(path)
        names = self._children[parent]
        names.remove(name_of(path))
        if not names:
            del self._children[parent]
        if self._overlay is None:
            del self._base[path]
        else:
            self._write_overlaid(path, None)

    def remove_siblings(self, parent: str, nodes: dict[str, TreeNode]) -> None:
        """As ``remove`` of each; all of them are children of ``parent``."""
        dirty = self._dirty
        for path, before in nodes.items():
            dirty.setdefault(path, before)
        self._length -= len(nodes)
        names = self._children[parent]
        names.difference_update(map(name_of, nodes))
        if not names:
            del self._children[parent]
        for path in nodes:
            if self._overlay is None:
                del self._base[path]
            else:
                self._write_overlaid(path, None)

    def _write_overlaid(self, path: str, node: TreeNode | None) -> None:
        assert self._overlay is not None
        if self._frozen:
            self._overlay[path] = node
            return
        self._overlay.pop(path, None)
        self._write_base(path, node)

    def _write_base(self, path: str, node: TreeNode | None) -> None:
        if node is None:
            self._base.pop(path, None)
        else:
            self._base[path] = node

    # --- freezing ---

    @property
    def frozen(self) -> bool:
        return self._frozen

    def freeze(self) -> Iterator[tuple[str, TreeNode]]:
        """Hold the map still; the iterator gives it as it is now, until ``thaw``. One at a time, else InternalError.

        What an earlier freeze has left in the overlay is merged first, at once.
        """
        if self._frozen:
            raise InternalError("the tree is frozen already")
        while self.merge_step():
            pass
        self._overlay = {}
        self._frozen = True
        return iter(self._base.items())

    def thaw(self) -> None:
        """The frozen state is needed no more. ``merge_step`` then brings the overlay back. Idempotent."""
        self._frozen = False

    def merge_step(self, count: int = 2000) -> bool:
        """Merge up to ``count`` znodes of the overlay back; whether there are more. False while frozen."""
        overlay = self._overlay
        if overlay is None or self._frozen:
            return False
        for _ in range(min(count, len(overlay))):
            self._write_base(*overlay.popitem())
        if overlay:
            return True
        self._overlay = None
        return False

    # --- digest ---

    @property
    def dirty_count(self) -> int:
        return len(self._dirty)

    def take_dirty(self) -> dict[str, TreeNode | None]:
        """Paths written since the last call, with the value that each had then (None: there was none)."""
        dirty, self._dirty = self._dirty, {}
        return dirty

    # --- loading and checking ---

    def load(self, path: str, node: TreeNode) -> None:
        """``insert`` for a snapshot's znodes, in any order. Its parent may come later; ``check_children`` finds out."""
        if path in self._base:
            raise InternalError(f"{path!r} is there already")
        self._base[path] = node
        self._length += 1
        if path != ROOT:
            parent, _, name = path.rpartition("/")
            names = self._children.get(parent or ROOT)
            if names is None:
                self._children[parent or ROOT] = {name}
            else:
                names.add(name)

    def check_children(self) -> None:
        """Raise InternalError unless each znode's parent exists, may have children, and counts them rightly."""
        counted = 0
        for parent, names in self._children.items():
            node = self.get(parent)
            if node is None or node.num_children != len(names) or not names:
                raise InternalError(f"{parent!r} does not match its {len(names)} children")
            if node.ephemeral_owner:
                raise InternalError(f"ephemeral {parent!r} has children")
            counted += len(names)
        if counted + (self.get(ROOT) is not None) != self._length:
            raise InternalError(f"{counted} znodes have a parent, there are {self._length}")

    def check_invariants(self) -> None:
        self.check_children()
        if sum(1 for _ in self.items()) != self._length:
            raise InternalError(f"the store does not have the {self._length} znodes it counts")
        for path, node in self.items():
            if node.num_children != len(self._children.get(path, ())):
                raise InternalError(f"{path!r} counts {node.num_children} children")
            if path != ROOT and name_of(path) not in self._children.get(parent_of(path), ()):
                raise InternalError(f"{path!r} is not among its parent's children")
        if self._frozen and self._overlay is None:
            raise InternalError("frozen without an overlay")
