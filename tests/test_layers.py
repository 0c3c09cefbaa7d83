"""The house keeps its shape: which room may import which, and which rooms stay pure.

``ROOMS`` is the table of ARCHITECTURE.md as data; a test compares the two, so neither can drift alone. Imports are read with
``ast`` from the source: wherever they stand, in a function or under TYPE_CHECKING, they count. A room's imports stand in
the rows above it, so the table itself allows no cycle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from attrs import frozen

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "zkembed"


@frozen
class Room:
    """files: modules (``a.py``) and packages (``a/``) at the top of the package.  may_import: room names, or single modules of a
    room as ``room.module``.  pure: no clock, chance, file, socket, thread or trio, here or in anything it imports."""

    name: str
    floor: int
    files: tuple[str, ...]
    may_import: tuple[str, ...]
    pure: bool = False


ROOMS = (
    Room("words", 0, ("zxid.py", "errors.py", "codec.py", "record.py", "durable.py"), (), pure=True),
    Room("zab", 1, ("zab/",), ("words",), pure=True),
    Room("tree", 1, ("tree/",), ("words",), pure=True),
    Room("log", 1, ("log/",), ("words",)),
    Room("transport", 1, ("transport/",), ("words",)),
    Room("endpoint", 2, ("endpoint.py",), ("words", "tree", "zab.effects", "log.base"), pure=True),
    Room("replica", 2, ("replica/",), ("words", "zab", "tree", "endpoint"), pure=True),
    Room("config", 2, ("config.py",), ("words", "zab.settings", "zab.quorum", "log.base", "transport.base", "transport.address")),
    Room("client", 3, ("client.py", "session.py", "transaction.py", "watching.py"), ("words", "tree", "endpoint")),
    Room("recipes", 4, ("recipes/",), ("words", "tree", "endpoint", "client")),
    Room(
        "node",
        4,
        ("node.py", "local.py", "driver.py", "outbox.py", "loading.py", "bell.py", "clock.py", "log_worker.py"),
        ("words", "zab", "tree", "log", "transport", "endpoint", "replica", "config", "client"),
    ),
    Room("abc", 4, ("abc.py",), ("words", "log.base", "transport.base")),
    Room(
        "face",
        5,
        ("__init__.py",),
        ("words", "tree", "zab.effects", "endpoint", "config", "client", "recipes", "node", "abc"),
    ),
    Room(
        "testing",
        6,
        ("testing/",),
        ("words", "zab", "tree", "log", "transport", "endpoint", "replica", "config", "client", "recipes", "node", "abc", "face"),
    ),
)

# What a pure room may use from outside the package. A list of what is known to be harmless, not of what is known to harm:
# a module that nobody has thought about is refused until somebody has.
PURE_MODULES = (
    frozenset({"__future__", "abc", "attrs", "cbor2", "collections", "dataclasses", "enum", "types", "typing"})  # words
    | frozenset({"array", "bisect", "contextlib", "copy", "functools", "heapq", "itertools", "math", "operator"})  # tools
    | frozenset({"hashlib", "ipaddress", "json", "re", "string", "struct", "zlib"})  # bytes and text
)
# Two more with a harmless part. ``logging`` for its level numbers alone: a pure room reports, others write the line.
PURE_NAMES = {
    "io": frozenset({"BytesIO", "StringIO"}),
    "logging": frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}),
}
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "breakpoint", "__import__", "id"})


# --- reading the source ----------------------------------------------------------------------------------------------


@frozen
class Import:
    """One imported module, as ``a.b`` below the package (``""``: the package itself) or, from outside, its full name."""

    target: str
    inside: bool
    line: int
    names: tuple[str, ...] = ()


@frozen
class Module:
    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """What a single leading dot means in this file."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def read_modules(root: Path) -> dict[str, Module]:
    """Every module below ``root`` (the package's folder), by its name below the package; ``""`` is the package itself."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return modules


def imports_of(module: Module, modules: Mapping[str, Module]) -> Iterator[Import]:
    """Every import statement in the file, wherever it stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _plain(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(module, node, modules)


def _plain(name: str, line: int) -> Import:
    inside = name == PACKAGE or name.startswith(PACKAGE + ".")
    return Import(name[len(PACKAGE) + 1 :] if inside else name, inside, line)


def _from(module: Module, node: ast.ImportFrom, modules: Mapping[str, Module]) -> Iterator[Import]:
    """``from a import b``: module a.b where there is such a module, else name b of module a."""
    names = tuple(alias.name for alias in node.names)
    if node.level:
        parts = module.package.split(".") if module.package else []
        base = ".".join([*parts[: len(parts) - (node.level - 1)], *(node.module.split(".") if node.module else [])])
    else:
        plain = _plain(node.module or "", node.lineno)
        if not plain.inside:
            yield Import(plain.target, False, node.lineno, names)
            return
        base = plain.target
    for name in names:
        below = f"{base}.{name}" if base else name
        yield Import(below if below in modules else base, True, node.lineno, (name,))


# --- judging it ------------------------------------------------------------------------------------------------------


def room_of(module: str, rooms: Iterable[Room] = ROOMS) -> Room | None:
    """The room whose row names the module's file or folder."""
    top = module.partition(".")[0]
    files = (f"{top}.py", f"{top}/") if top else ("__init__.py",)
    return next((room for room in rooms if any(name in room.files for name in files)), None)


def allowed(importer: Room, target: str) -> bool:
    """Whether ``importer``'s row covers module ``target``: its own room, a room it names, or a single module it names."""
    room = room_of(target)
    if room is None:
        return False
    grants = importer.may_import
    return room == importer or room.name in grants or any(target == grant or target.startswith(grant + ".") for grant in grants)


def layer_faults(root: Path) -> list[str]:
    """One line for each import that the table does not allow, and for each module that has no row."""
    modules = read_modules(root)
    faults = []
    for module in modules.values():
        where = module.path.relative_to(root)
        room = room_of(module.name)
        if room is None:
            faults.append(f"{where}: belongs to no room; give it a row in ARCHITECTURE.md and in tests/test_layers.py")
            continue
        faults += [
            f"{where}:{found.line}: {room.name} may not import {PACKAGE}{'.' + found.target if found.target else ''}"
            for found in imports_of(module, modules)
            if found.inside and not allowed(room, found.target)
        ]
    return faults


def purity_faults(root: Path) -> list[str]:
    """One line for each impure import or call in a pure room, or in a module that a pure room imports, directly or not."""
    modules = read_modules(root)
    reached = {name for name in modules if (room := room_of(name)) is not None and room.pure}
    waiting = sorted(reached)
    while waiting:
        for found in imports_of(modules[waiting.pop()], modules):
            # Importing a.b runs a/__init__.py as well.
            steps = [found.target, found.target.rpartition(".")[0]] if found.inside else []
            for step in steps:
                if step and step in modules and step not in reached:
                    reached.add(step)
                    waiting.append(step)
    return [fault for name in sorted(reached) for fault in _impurities(modules[name], modules, root)]


def _impurities(module: Module, modules: Mapping[str, Module], root: Path) -> Iterator[str]:
    where = module.path.relative_to(root)
    for found in imports_of(module, modules):
        top = found.target.partition(".")[0]
        if found.inside or top in PURE_MODULES:
            continue
        if top not in PURE_NAMES:
            yield f"{where}:{found.line}: {found.target} is not pure"
        elif found.names and not PURE_NAMES[top].issuperset(found.names):
            yield f"{where}:{found.line}: only {', '.join(sorted(PURE_NAMES[top]))} of {top} are pure"
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield f"{where}:{node.lineno}: {name}() is not pure"
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner in PURE_NAMES and attr not in PURE_NAMES[owner]:
                yield f"{where}:{node.lineno}: {owner}.{attr} is not pure"


# --- the project -----------------------------------------------------------------------------------------------------

SOURCE = PROJECT / "src" / PACKAGE


def test_every_import_is_in_the_table() -> None:
    assert layer_faults(SOURCE) == []


def test_pure_rooms_are_pure() -> None:
    """Rule X-1: the core reads no clock, no random source and no file by itself."""
    assert purity_faults(SOURCE) == []


def test_the_table_only_points_down() -> None:
    """Each room's imports stand in rows above it, on the same floor or a lower one, and never sideways on floor 1."""
    above: list[Room] = []
    for room in ROOMS:
        for grant in room.may_import:
            target = next((other for other in above if other.name == grant.partition(".")[0]), None)
            assert target is not None, f"{room.name} imports {grant}, which stands in no row above it"
            assert target.floor <= room.floor, f"{room.name} imports {grant} from a higher floor"
            assert not (target.floor == room.floor == 1), f"{room.name} imports {grant} sideways"
        above.append(room)


def test_nothing_imports_the_testing_room() -> None:
    assert [room.name for room in ROOMS if any(grant.startswith("testing") for grant in room.may_import)] == []


@pytest.mark.parametrize("file", [file for room in ROOMS for file in room.files])
def test_every_file_of_the_table_exists(file: str) -> None:
    assert (SOURCE / file).exists(), f"the table names {file}, which is not there"


def test_architecture_shows_the_same_table() -> None:
    assert drawn_rooms((PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")) == ROOMS


def drawn_rooms(text: str) -> tuple[Room, ...]:
    """The table of ARCHITECTURE.md: ``| floor | room | files | may import | pure | what is inside |``."""
    rooms = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 6 and cells[0].isdigit():
            floor, name, files, grants, pure, _ = cells
            rooms.append(Room(name.strip("*"), int(floor), _quoted(files), _quoted(grants), pure == "yes"))
    return tuple(rooms)


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("`")[1::2])


# --- the test's own test: a small house with one fault each ----------------------------------------------------------

SMALL_HOUSE = {
    "__init__.py": "from .errors import ZkError as ZkError\n",
    "errors.py": "class ZkError(Exception): ...\n",
    "zab/__init__.py": "",
    "zab/effects.py": "import logging\nfrom attrs import frozen\nfrom ..errors import ZkError\nLEVEL = logging.INFO\n",
    "tree/__init__.py": "",
    "tree/tree.py": "from zkembed.errors import ZkError\n",
    "log/__init__.py": "",
    "log/base.py": "from ..errors import ZkError\n",
    "log/file.py": "import os\n",
    "endpoint.py": "from .log.base import ZkError\n",
    "testing/__init__.py": "from .. import errors\nfrom ..zab import effects\n",
}


def build(root: Path, **changes: str) -> Path:
    for name, text in {**SMALL_HOUSE, **changes}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_sound_house_has_no_faults(tmp_path: Path) -> None:
    build(tmp_path)
    assert layer_faults(tmp_path) + purity_faults(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("zab/peer.py", "from ..tree.tree import Tree\n", "zab/peer.py:1: zab may not import zkembed.tree.tree"),
        ("zab/peer.py", "from ..tree import tree\n", "zab/peer.py:1: zab may not import zkembed.tree.tree"),
        ("zab/peer.py", "from .. import tree\n", "zab/peer.py:1: zab may not import zkembed.tree"),
        ("zab/peer.py", "import zkembed.tree.tree\n", "zab/peer.py:1: zab may not import zkembed.tree.tree"),
        ("zab/peer.py", "def late():\n    from ..log import base\n", "zab/peer.py:2: zab may not import zkembed.log.base"),
        ("tree/a.py", "if TYPE_CHECKING:\n    from ..zab import effects\n", "tree/a.py:2: tree may not import zkembed.zab.effects"),
        ("log/file.py", "from zkembed import ZkError\n", "log/file.py:1: log may not import zkembed"),
        ("endpoint.py", "from .log.file import FileLog\n", "endpoint.py:1: endpoint may not import zkembed.log.file"),
        ("log/file.py", "from ..testing import errors\n", "log/file.py:1: log may not import zkembed.testing"),
        (
            "attic.py",
            "",
            "attic.py: belongs to no room; give it a row in ARCHITECTURE.md and in tests/test_layers.py",
        ),
    ],
)
def test_a_forbidden_import_is_refused(tmp_path: Path, file: str, text: str, fault: str) -> None:
    assert layer_faults(build(tmp_path, **{file: text})) == [fault]


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("zab/peer.py", "import time\n", "zab/peer.py:1: time is not pure"),
        ("zab/peer.py", "def now():\n    from time import monotonic\n", "zab/peer.py:2: time is not pure"),
        ("tree/a.py", "import os.path\n", "tree/a.py:1: os.path is not pure"),
        ("tree/a.py", "import trio\n", "tree/a.py:1: trio is not pure"),
        ("tree/a.py", "from random import Random\n", "tree/a.py:1: random is not pure"),
        ("tree/a.py", "data = open('/etc/passwd')\n", "tree/a.py:1: open() is not pure"),
        ("tree/a.py", "from io import FileIO\n", "tree/a.py:1: only BytesIO, StringIO of io are pure"),
        ("tree/a.py", "import io\nio.open('x')\n", "tree/a.py:2: io.open is not pure"),
        ("zab/peer.py", "import logging\nlogging.getLogger()\n", "zab/peer.py:2: logging.getLogger is not pure"),
        # endpoint.py is pure and imports log/base.py, which therefore has to be pure as well.
        ("log/base.py", "import socket\n", "log/base.py:1: socket is not pure"),
        ("log/__init__.py", "import threading\n", "log/__init__.py:1: threading is not pure"),
    ],
)
def test_an_impure_module_is_refused(tmp_path: Path, file: str, text: str, fault: str) -> None:
    changes = {file: text} if file != "log/base.py" else {file: text, "endpoint.py": "from .log.base import socket\n"}
    assert purity_faults(build(tmp_path, **changes)) == [fault]
