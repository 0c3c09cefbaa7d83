"""The tests that docs/testing.md shows to others pass, and the check in them can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "testing.md"
PROGRAMS = [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) if "zk_ensemble" in text]
SETTINGS = "[pytest]\ntrio_mode = true\naddopts = -p no:cacheprovider\n"


def run(pytester: pytest.Pytester, program: str) -> pytest.RunResult:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(program)
    return pytester.runpytest_inprocess("-W", "error")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: re.findall(r"def (test_\w+)", text)[0])
def test_what_the_page_shows_passes(pytester: pytest.Pytester, program: str) -> None:
    run(pytester, program).assert_outcomes(passed=1)


def test_without_the_sync_the_shown_check_fails_and_tells_why(pytester: pytest.Pytester) -> None:
    [program] = [text for text in PROGRAMS if "check_linearizable" in text]
    stale = re.sub(r"await zk\.sync\(\).*", "await trio.lowlevel.checkpoint()", program)
    assert stale != program
    stale = stale.replace(
        "    async with trio.open_nursery()", "    zk_ensemble.partition({1, 2}, {3})\n    async with trio.open_nursery()"
    )
    stale = stale.replace("    assert check", "        await trio.sleep(0.8)\n        zk_ensemble.heal()\n    assert check")
    result = run(pytester, stale)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not linearizable: no order of the calls explains*", "*('read',) -> *"])
