"""The table of mutants in docs/mutants.md: ``python -m tests.mutants.table`` tries every mutant anew and writes it.

A row holds what is needed to see it again: the seed is one less than the seeds that were needed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from attrs import frozen

from zkembed.testing.checkers import IDS

from .simulated import MUTANTS, SEEDS_MAX, STORIES_ONLY, Mutant

PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"
_BEGIN = "<!-- written by make mutants -->"
_HEAD = "| mutant | what it breaks | caught by | seeds needed | wishes |\n|---|---|---|---|---|"


@frozen
class Row:
    """caught_by: id of the checker.  needed: seeds, from 0 on, until it did."""

    name: str
    breaks: str
    caught_by: str
    needed: int
    wishes: str

    @property
    def seed(self) -> int:
        return self.needed - 1

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.breaks} | {self.caught_by} | {self.needed} | {self.wishes} |"

    @classmethod
    def read(cls, line: str) -> Row:
        name, breaks, caught_by, needed, wishes = (cell.strip() for cell in line.strip().strip("|").split(" | "))
        return cls(name.strip("`"), breaks, caught_by, int(needed), wishes)


def read_table(page: Path = PAGE) -> dict[str, Row]:
    """By name of the mutant."""
    _, _, written = page.read_text().partition(_BEGIN)
    rows = [Row.read(line) for line in written.splitlines() if line.startswith("| `")]
    return {row.name: row for row in rows}


def describe(mutant: Mutant) -> str:
    """What it wishes for, in a few words."""
    words = []
    for name, value in mutant.wishes.items():
        if isinstance(value, Mapping):
            words += [f"{key}={_short(each)}" for key, each in value.items()]
        else:
            words.append(f"{name}={_short(value)}")
    return "; ".join(words) or "none"


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each[0]} {each[1]:g}" if isinstance(each, tuple) else str(each) for each in value)
    return str(value)


def row_of(mutant: Mutant, caught_by: str, needed: int) -> Row:
    return Row(mutant.name, mutant.breaks, caught_by, needed, describe(mutant))


def render(rows: Iterable[Row]) -> str:
    rows = list(rows)
    needed = [row.needed for row in rows]
    caught: dict[str, list[str]] = {}
    for row in rows:
        caught.setdefault(row.caught_by, []).append(f"`{row.name}`")
    ids = "\n".join(f"| {id} | {', '.join(caught.get(id, ['none']))} |" for id in (*IDS, *sorted(set(caught) - set(IDS))))
    summary = f"{len(rows)} mutants; seeds needed: at most {max(needed)}, half of them {median(needed):g} or less; allowed are {SEEDS_MAX}."
    checkers = f"| checker | mutants that it caught |\n|---|---|\n{ids}"
    others = "Caught by stories alone: " + ", ".join(f"`{breakage.__name__}`" for breakage in STORIES_ONLY) + "."
    return "\n\n".join([_BEGIN, summary, "\n".join([_HEAD, *map(str, rows)]), checkers, others]) + "\n"


def main(names: list[str]) -> int:
    """Try all mutants, or those named; the other rows stay as they are. Status 1 if one was not caught."""
    known, missed = read_table() if PAGE.exists() else {}, []
    rows = []
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            if mutant.name in known:
                rows.append(row_of(mutant, known[mutant.name].caught_by, known[mutant.name].needed))
            continue
        began = time.monotonic()
        needed, caught_by = mutant.seeds_needed()
        told = f"{caught_by} after {needed} seeds" if needed else f"NOT CAUGHT within {SEEDS_MAX} seeds"
        print(f"{mutant.name}: {told} ({time.monotonic() - began:.0f} s)", flush=True)
        if needed:
            rows.append(row_of(mutant, caught_by, needed))
        else:
            missed.append(mutant.name)
    before, _, _ = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(before + render(rows))
    print(f"{len(rows)} mutants caught; {len(missed)} missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
