"""The documents hold what they are cited for: every rule, row and link that is named exists."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
SOURCES = sorted(path for room in ("src", "tests", "examples", "benchmarks") for path in (PROJECT / room).rglob("*.py"))

RULE = re.compile(r"\b[XPIEDYKBRSQZOCN]-\d+\b")
ROW = re.compile(r"(?:rows? |\(|, | and | to )([A-ELSTVW]\d{1,2})\b(?=[ ,;:.)]|$)")
INVARIANT = re.compile(r"\binvariants? ([ADSEWLV]\d{1,2})\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def words(path: Path) -> str:
    """The comments and strings of a source file: where rules are cited."""
    with tokenize.open(path) as file:
        tokens = tokenize.generate_tokens(file.readline)
        return "\n".join(token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING))


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def defined_rules() -> set[str]:
    return set(re.findall(r"^- \*\*([A-Z]-\d+)\*\*", read("docs/protocol.md"), re.MULTILINE))


def defined_rows() -> set[str]:
    rows = re.findall(r"^\| ([A-D]\d+) \|", read("docs/semantics.md"), re.MULTILINE)
    habits = re.findall(r"^- \*\*(T\d+)\*\*", read("CONTRIBUTING.md"), re.MULTILINE)
    return {*rows, *habits}


def defined_invariants() -> set[str]:
    return set(re.findall(r"^\| ([A-Z]\d+) ", read("docs/invariants.md"), re.MULTILINE))


def undefined(citation: re.Pattern[str], defined: set[str]) -> Iterator[str]:
    for path in SOURCES:
        if path != Path(__file__).resolve():
            for name in sorted(set(citation.findall(words(path))) - defined):
                yield f"{path.relative_to(PROJECT)} cites {name}"


def test_every_rule_that_code_cites_is_in_the_protocol() -> None:
    assert list(undefined(RULE, defined_rules())) == []


def test_every_row_that_code_cites_is_defined() -> None:
    """Invariants are cited without the word too: what "D3" is about is clear where it stands, and both pages may define one."""
    assert list(undefined(ROW, defined_rows() | defined_invariants())) == []


def test_every_invariant_that_code_cites_is_defined() -> None:
    assert list(undefined(INVARIANT, defined_invariants())) == []


def test_rules_are_numbered_without_gaps() -> None:
    """A citation outlives edits only if numbers are never reused; a gap would be a rule that was lost."""
    rules = sorted((rule.split("-")[0], int(rule.split("-")[1])) for rule in defined_rules())
    for letter in {letter for letter, _ in rules}:
        numbers = [number for other, number in rules if other == letter]
        assert numbers == list(range(1, len(numbers) + 1)), letter


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = page if not target else page.parent / target
        assert file.exists(), f"{page.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}, link


def test_a_citation_of_nothing_is_found() -> None:
    """The patterns see what they must see, and no more."""
    assert RULE.findall("rules Y-6.1, B-15) and EL-12, ASYNC-1") == ["Y-6", "B-15"]
    assert ROW.findall("(A5) row C2, 0xA3, (T12)") == ["A5", "C2", "T12"]
    assert INVARIANT.findall("invariant A5, invariants W3") == ["A5", "W3"]
