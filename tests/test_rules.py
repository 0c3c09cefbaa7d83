"""Every rule of docs/protocol.md that is built is named by a test: in its title, or in what is written inside it.

A name is no proof. It is where to look, and what to break on purpose (``tests/mutants``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PROTOCOL = TESTS.parent / "docs" / "protocol.md"

RULE = re.compile(r"\b([A-Z])-(\d+)\b")
RANGE = re.compile(r"\b([A-Z])-(\d+)(?:\.\d)? to \1-(\d+)")
IN_NAME = re.compile(r"test_(?:[a-z0-9]+_)*?([a-z])_?(\d+)(?=_|$)", re.IGNORECASE)

NOT_BUILT = {
    "B-7": "observers",
    "C-7": "configurations that remove or demote a member",
    "N-6": "keys and TLS",
    "O-1": "observers",
    "O-2": "observers",
}


@cache
def defined_rules() -> frozenset[str]:
    return frozenset(re.findall(r"^- \*\*([A-Z]-\d+)\*\*", PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE))


def stories(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of the file's first lines, of each test, and of each function with a docstring: the cases that tests are made of."""
    source = path.read_text(encoding="utf-8")
    module = ast.parse(source)
    yield "", RANGE.sub("", ast.get_docstring(module) or "")  # "rules Q-1 to Q-10" is a topic, and tells of no rule that it is tested.
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.name.startswith("test_") or ast.get_docstring(node)):
            yield node.name, ast.get_source_segment(source, node) or ""


def rules_in(name: str, source: str) -> set[str]:
    found = {f"{letter}-{number}" for letter, number in RULE.findall(source)}
    for letter, first, last in RANGE.findall(source):
        found |= {f"{letter}-{number}" for number in range(int(first), int(last) + 1)}
    return found | {f"{letter.upper()}-{number}" for letter, number in IN_NAME.findall(name)}


@cache
def named_rules() -> dict[str, tuple[str, ...]]:
    """By rule, the tests that name it."""
    named: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("*.py")):
        if path == Path(__file__).resolve():
            continue
        for name, source in stories(path):
            for rule in sorted(rules_in(name, source)):
                named.setdefault(rule, []).append(f"{path.relative_to(TESTS)}::{name}")
    return {rule: tuple(tests) for rule, tests in named.items()}


def test_every_rule_that_is_built_is_named_by_a_test() -> None:
    assert sorted(defined_rules() - NOT_BUILT.keys() - named_rules().keys()) == []


def test_the_rules_that_are_not_built_exist() -> None:
    assert NOT_BUILT.keys() <= defined_rules()


def test_names_and_ranges_are_understood() -> None:
    """The patterns see what they must see, and no more."""
    assert rules_in("test_y_11_a_slow_stream", "") == {"Y-11"}
    assert rules_in("test_SE_19_a_request", "rules Q-5 to Q-7, ZK-1367") == {"Q-5", "Q-6", "Q-7"}
    assert rules_in("test_br_4_gap", "(B-3, EL-12)") == {"B-3"}
