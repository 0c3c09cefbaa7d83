"""What ``import zkembed`` promises: exactly these names, each with a docstring that says what its signature cannot.

The lists below are the public API. Adding a name here is a decision; a name that slips into ``zkembed/__init__.py`` without
one is a failure, and so is one that goes missing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import typing
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import zkembed
from zkembed.errors import ZkError

ERRORS = """
    ZkError
    BadArgumentsError ConfigError NoNodeError NodeExistsError BadVersionError NotEmptyError NoChildrenForEphemeralsError
    DataTooLargeError LimitReachedError TransactionError LockBusyError
    SessionExpiredError LockLostError NodeStartError NodeFailedError StorageError CorruptLogError
    InternalError
"""
# A peer's misbehaviour never reaches the application (rule N-4).
ERRORS_OF_PEERS = """
    DecodeError ProtocolError
"""
NAMES = """
    Config Node serve Client Role NodeStatistics
    Znode Created Stat Transaction Pending sequence_number
    Watch WatchedEvent EventKind EventStream StreamStatistics
    Session SessionState
    Lock Election Held
"""
PUBLIC = frozenset((ERRORS + NAMES).split())

# Modules that users import by name, with what they must hold at least.
MODULES = {
    "zkembed.abc": ("Log", "RecordReader", "SnapshotReader", "SnapshotWriter", "Transport", "Link", "LinkError"),
    "zkembed.recipes": ("Lock", "Election", "Held"),
    "zkembed.testing": (
        *("open_ensemble", "Ensemble", "CrashedError"),
        *("check_linearizable", "Linearizability", "Operation", "Recorder", "Model", "SequentialModel", "Register", "KeyValue", "UNKNOWN"),
    ),
}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_there(name: str) -> None:
    assert hasattr(zkembed, name), f"zkembed.{name} is part of the API and missing"


def test_nothing_else_is_public() -> None:
    present = {name for name, value in vars(zkembed).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    assert sorted(present - PUBLIC) == [], "not in the list of tests/test_exports.py"


def test_names_are_re_exported_explicitly() -> None:
    """``X as X`` is what type checkers take for a public name; anything else in the file would be a second way."""
    assert plain_exports(Path(zkembed.__file__).read_text(encoding="utf-8")) == []


def plain_exports(source: str) -> list[str]:
    """Names that a package's ``__init__`` imports without ``as``, and statements that are neither imports nor its docstring."""
    faults = []
    for node in ast.parse(source).body:
        match node:
            case ast.ImportFrom(module="__future__") | ast.Expr(value=ast.Constant()):
                pass
            case ast.Assign(targets=[ast.Name(id="__version__")]):
                pass
            case ast.ImportFrom(names=aliases):
                faults += [f"line {node.lineno}: {alias.name}" for alias in aliases if alias.asname != alias.name]
            case _:
                faults.append(f"line {node.lineno}: {type(node).__name__}")
    return faults


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MODULES.items() for name in names])
def test_module_exports(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"{module}.{name} is part of the API and missing"


@pytest.mark.parametrize("name", sorted(ERRORS.split()))
def test_errors_are_zk_errors(name: str) -> None:
    error = getattr(zkembed, name, None)
    assert isinstance(error, type)
    assert issubclass(error, ZkError)


def test_every_error_is_public_or_has_a_reason_not_to_be() -> None:
    errors = importlib.import_module("zkembed.errors")
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ZkError)}
    assert defined == set((ERRORS + ERRORS_OF_PEERS).split())


def test_the_version_is_the_package_s() -> None:
    assert getattr(zkembed, "__version__", None) == version("zkembed")


# --- docstrings ------------------------------------------------------------------------------------------------------


class Documented(NamedTuple):
    """One public thing that needs a docstring. label: as a user would write it."""

    label: str
    value: object


def documented(name: str, value: object) -> Iterator[Documented]:
    """``value`` and, for a class, every public method and property that it or a base inside the project defines."""
    if not callable(value):
        return
    yield Documented(name, value)
    if not isinstance(value, type) or issubclass(value, Enum | BaseException):
        return
    for member in dir(value):
        found = inspect.getattr_static(value, member)
        if isinstance(found, classmethod | staticmethod):
            found = found.__func__
        ours = getattr(found, "__module__", None) or getattr(getattr(found, "fget", None), "__module__", "") or ""
        if not member.startswith("_") and ours.startswith("zkembed") and (inspect.isfunction(found) or isinstance(found, property)):
            yield Documented(f"{name}.{member}", found)


def everything() -> list[Documented]:
    return [
        thing
        for module, names in [("zkembed", sorted(PUBLIC)), *MODULES.items()]
        for name in names
        for thing in documented(f"{module}.{name}", getattr(importlib.import_module(module), name, None))
    ]


def doc_fault(thing: Documented) -> str | None:
    """What is wrong with the docstring, if anything."""
    doc = inspect.getdoc(thing.value) or ""
    # attrs and NamedTuple write a docstring of their own where there is none: the signature once more.
    if not doc.strip() or doc.startswith(("Method generated by attrs", thing.label.rpartition(".")[2] + "(")):
        return f"{thing.label} has no docstring"
    if gives_context_manager(thing.value) and not re.search(r"Enter: .+Exit: ", doc, re.DOTALL):
        return f"{thing.label} is or gives an async context manager; its docstring has no line 'Enter: ... Exit: ...'"
    return None


def gives_context_manager(value: object) -> bool:
    """Whether ``async with`` takes what this function returns, or is an async context manager class by itself."""
    if isinstance(value, type):
        return hasattr(value, "__aenter__")
    if not inspect.isfunction(value) or inspect.iscoroutinefunction(value):
        return False
    if value is not inspect.unwrap(value) and inspect.isasyncgenfunction(inspect.unwrap(value)):
        return True  # @asynccontextmanager
    returned = _returned(value)
    return isinstance(returned, type) and hasattr(returned, "__aenter__")


def _returned(function: Any) -> object:
    try:
        annotation = typing.get_type_hints(function).get("return")
    except NameError:  # A name imported for type checkers alone; the text has to do.
        text = str(function.__annotations__.get("return", ""))
        return AbstractAsyncContextManager if "AsyncContextManager" in text else None
    return typing.get_origin(annotation) or annotation


@pytest.mark.parametrize("thing", everything(), ids=lambda thing: thing.label)
def test_docstring(thing: Documented) -> None:
    """Every public callable says what it does, and which half of a context manager may wait."""
    assert doc_fault(thing) is None


# --- the test's own test ---------------------------------------------------------------------------------------------


class Opened:
    """Enter: checkpoint.  Exit: checkpoint."""

    async def __aenter__(self) -> Opened:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Silent(Opened):
    """A context manager that does not say which half waits."""

    def bare(self) -> None: ...


def opens() -> Opened:
    """Opens something."""
    return Opened()


@asynccontextmanager
async def generated() -> AsyncIterator[int]:
    """Opens something."""
    yield 1


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (Opened, None),
        (Silent, "x is or gives an async context manager; its docstring has no line 'Enter: ... Exit: ...'"),
        (opens, "x is or gives an async context manager; its docstring has no line 'Enter: ... Exit: ...'"),
        (generated, "x is or gives an async context manager; its docstring has no line 'Enter: ... Exit: ...'"),
        (Silent.bare, "x has no docstring"),
        (plain_exports, None),
    ],
)
def test_a_poor_docstring_is_refused(value: object, fault: str | None) -> None:
    assert doc_fault(Documented("x", value)) == fault


def test_a_plain_export_is_refused() -> None:
    source = '"""Doc."""\nfrom .a import B as B, C\nfrom .d import E as F\n__all__ = ["B"]\n'
    assert plain_exports(source) == ["line 2: C", "line 3: E", "line 4: Assign"]
