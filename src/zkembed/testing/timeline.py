"""Calls drawn as bars above each other, for people who look for the one that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .operations import Operation

COLUMNS = 2
LABEL_MAX = 60


def draw(marked: Sequence[tuple[str, Operation[Any, Any]]]) -> list[str]:
    """One line for each call: its mark, who called, when it began and ended, a bar, the call itself.

    Bars keep the order of all beginnings and ends, not the distances between them; the numbers have those. A bar without an end is a call
    that never returned.
    """
    times = sorted({time for _, each in marked for time in (each.invoked, each.returned) if time is not None})
    column = {time: index * COLUMNS for index, time in enumerate(times)}
    width = COLUMNS * len(times) + 1
    cells = [(mark, str(each.process), f"{each.invoked:g}", _end(each), _bar(each, column, width), each) for mark, each in marked]
    widths = [max((len(str(row[index])) for row in cells), default=0) for index in range(4)]
    return [
        f"{mark:>{widths[0]}}  {process:<{widths[1]}}  {begun:>{widths[2]}} {ended:>{widths[3]}}  {bar}  {_label(each)}"
        for mark, process, begun, ended, bar, each in cells
    ]


def _end(operation: Operation[Any, Any]) -> str:
    return "" if operation.returned is None else f"{operation.returned:g}"


def _bar(operation: Operation[Any, Any], column: dict[float, int], width: int) -> str:
    begun = column[operation.invoked]
    if operation.returned is None:
        return (" " * begun + "|").ljust(width - 1, "-") + ">"
    inside = column[operation.returned] - begun - 1
    return (" " * begun + "|" + ("-" * inside + "|" if inside >= 0 else "")).ljust(width)


def _label(operation: Operation[Any, Any]) -> str:
    text = str(operation)
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 3] + "..."
