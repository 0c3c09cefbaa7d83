"""``python -m zkembed.testing.simulate`` as somebody at a terminal sees it."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest

from zkembed.testing import simulate as command
from zkembed.tree.watches import Watches


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    return command.main(list(arguments), out), out.getvalue()


def test_seeds_that_hold_give_a_summary_and_status_0() -> None:
    status, text = run("--seeds", "3", "--operations", "60")
    assert status == 0
    assert "3 runs" in text
    assert "judged:    A1" in text
    assert "faults:" in text
    assert "0 failed" in text


def test_one_seed_again() -> None:
    status, text = run("--seed", "4", "--operations", "60")
    assert (status, "seed 4 holds" in text) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "meteorite"], "unknown fault 'meteorite'; there are: kill"),
        (["--seeds", "0"], "0 given, expected a number from 1 on"),
        (["--seed", "tuesday"], "'tuesday' given, expected a number from 0 on"),
        (["--seeds", "2", "--nodes", "4"], "expected 1, 2, 3, 5 or 7"),
        (["--unheard-of"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_is_a_usage_error_that_says_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def break_watches(patch: pytest.MonkeyPatch) -> None:
    """No watch ever fires (W1)."""
    patch.setattr(Watches, "trigger", lambda self, applied: [])


def test_a_failure_tells_seed_property_story_and_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    break_watches(monkeypatch)
    status, text = run("--seeds", "40", "--operations", "150")
    assert status == 1
    assert "FAILED: W1" in text or "FAILED: W3" in text or "FAILED: L3" in text
    assert "how to read it" in text
    assert "again: python -m zkembed.testing.simulate --seed" in text


def test_shrinking_leaves_out_faults_while_it_fails_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    break_watches(monkeypatch)
    status, text = run("--seeds", "40", "--operations", "150", "--shrink")
    assert status == 1
    again = text[text.index("again: ") :].split()
    seed, skip = again[again.index("--seed") + 1], again[again.index("--skip") + 1] if "--skip" in again else ""
    replayed = run("--seed", seed, "--operations", "150", *(("--skip", skip) if skip else ()))
    assert replayed[0] == 1


def test_interrupted_it_prints_the_verdicts_so_far() -> None:
    # Whoever runs the suite in the background may have had Ctrl-C ignored for all that he starts.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from zkembed.testing import simulate; sys.exit(simulate.main())"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", f"print('begun', flush=True); {program}", "--seeds", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            while "seeds," not in process.stdout.readline():  # Its first report of progress.
                pass
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert "interrupted after" in rest
    assert "judged:" in rest


def test_two_processes_share_the_seeds() -> None:
    status, text = run("--seeds", "4", "--operations", "40", "--jobs", "2")
    assert (status, "4 runs" in text) == (0, True)
