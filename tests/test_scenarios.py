"""Every scenario of docs/scenarios.md is told by a test that says its id, in the files that the page names.

An id is said by a test's name (``test_el_12_no_needless_wait``) or in a docstring: of a test, or of a function that tests are made of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "scenarios.md"

GROUPS = {"EL": 15, "DI": 7, "SY": 16, "BR": 11, "DU": 12, "SN": 5, "SE": 18, "WA": 5, "RE": 9, "HX": 13}
"""How many scenarios each group has: so that none is lost from the page. Numbers are never reused, so there are gaps."""

IN_TEXT = re.compile(rf"\b({'|'.join(GROUPS)})-(\d+)(?: to \1-(\d+))?")
IN_NAME = re.compile(rf"(?<=_)({'|'.join(GROUPS)})((?:_?\d+)+)(?=_|$)", re.IGNORECASE)
ROW = re.compile(r"^\| ([A-Z]{2}-\d+) \| (.+?) \| (.*?) \|$", re.MULTILINE)


def ids_in(name: str, docstring: str) -> set[str]:
    found = set()
    for group, first, last in IN_TEXT.findall(docstring):
        found |= {f"{group}-{number}" for number in range(int(first), int(last or first) + 1)}
    for group, numbers in IN_NAME.findall(name):
        found |= {f"{group.upper()}-{number}" for number in re.findall(r"\d+", numbers)}
    return found


@cache
def page() -> dict[str, tuple[str, ...]]:
    """By scenario, the files that tell it."""
    return {id: tuple(re.findall(r"`([^`]+)`", files)) for id, _, files in ROW.findall(PAGE.read_text(encoding="utf-8"))}


@cache
def told_in(file: str) -> frozenset[str]:
    module = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(id for each in functions for id in ids_in(each.name, ast.get_docstring(each) or ""))


def files() -> Iterator[str]:
    for path in sorted(TESTS.rglob("*.py")):
        if path != Path(__file__).resolve():
            yield str(path.relative_to(TESTS))


def test_the_page_has_every_scenario() -> None:
    """Once each, in order within its group."""
    ids = [id for id, _, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(ids) == len(set(ids))
    numbers = {group: [int(id[3:]) for id in ids if id.startswith(group)] for group in GROUPS}
    assert {group: len(found) for group, found in numbers.items()} == GROUPS
    assert all(found == sorted(found) for found in numbers.values())


@pytest.mark.parametrize("id", page())
def test_a_scenario_is_told_where_the_page_says(id: str) -> None:
    assert page()[id], f"{id} is told nowhere"
    assert [file for file in page()[id] if not (TESTS / file).is_file()] == []
    assert [file for file in page()[id] if id not in told_in(file)] == []


def test_no_test_tells_of_a_scenario_that_the_page_lacks() -> None:
    unknown = {id: file for file in files() for id in told_in(file) if id not in page()}
    assert unknown == {}


def test_ids_are_understood() -> None:
    """The patterns see what they must see, and no more."""
    assert ids_in("test_el_12_deciding_at_different_moments", "") == {"EL-12"}
    assert ids_in("test_sy_1_2_die_at_each_step", "(Y-6, S-1)") == {"SY-1", "SY-2"}
    assert ids_in("test_SE_1_SE_17_a_return", "RULE-3, HX-3 to HX-5") == {"SE-1", "SE-17", "HX-3", "HX-4", "HX-5"}
    assert ids_in("test_hx3_hx4_whatever_is_no_hello", "") == {"HX-3", "HX-4"}
    assert ids_in("test_of_a_wa_lk", "HX-3, Z-2") == {"HX-3"}
