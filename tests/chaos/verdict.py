"""Verdicts, a line each, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

TEXT_SHOWN = 100


@frozen
class Verdict:
    """id: of the invariant.  judged: how often there was something to judge.  fault: what is wrong; "" for nothing.

    missing: why there is no verdict; "" if there is one. A run without a verdict on every line has failed.
    """

    id: str
    text: str
    judged: int = 0
    fault: str = ""
    missing: str = ""

    @property
    def good(self) -> bool:
        return not self.fault and not self.missing and self.judged > 0

    @property
    def word(self) -> str:
        if self.fault:
            return "VIOLATED"
        if self.missing:
            return "no verdict"
        return "holds" if self.judged else "not seen"


def table(verdicts: Iterable[Verdict]) -> str:
    """For people: every line, then what is wrong in full."""
    rows = list(verdicts)
    lines = [f"  {verdict.id:4} {verdict.text:44} {verdict.judged:>8}  {verdict.word}" for verdict in rows]
    for verdict in rows:
        if why := verdict.fault or verdict.missing:
            lines += ["", f"{verdict.id} {verdict.text}: {verdict.word}", *(f"    {line}" for line in why.splitlines())]
    return "\n".join([f"  {'':4} {'invariant':44} {'judged':>8}  verdict", *lines])
