"""Rule N-7: log once per interval, whatever comes."""

from __future__ import annotations

import logging

import pytest

from zkembed.transport.throttle import ThrottledLog


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "zkembed.transport"]


def test_a_kind_is_logged_once_an_interval_with_a_count_of_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(interval=10.0)
    for now in (0.0, 1.0, 9.9, 10.0, 11.0, 25.0, 40.0):
        log.warning("a", f"at {now}", now)
    assert messages(caplog) == [
        "at 0.0",
        "at 10.0 (and 2 more of the kind since it was last logged)",
        "at 25.0 (and 1 more of the kind since it was last logged)",
        "at 40.0",
    ]


def test_kinds_do_not_hide_each_other(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(interval=10.0)
    for key in ("a", "b", "a", "b"):
        log.warning(key, key, 1.0)
    assert messages(caplog) == ["a", "b"]


def test_invented_kinds_flood_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(interval=10.0, keys_max=2)
    for now in (1.0, 5.0, 12.0):
        for i in range(100):
            log.warning(i, f"kind {i} at {now}", now)
    assert messages(caplog) == [
        "kind 0 at 1.0",
        "kind 1 at 1.0",
        "kind 2 at 1.0",
        "kind 0 at 12.0 (and 1 more of the kind since it was last logged)",
        "kind 1 at 12.0 (and 1 more of the kind since it was last logged)",
        "kind 2 at 12.0 (and 195 more of the kind since it was last logged)",
    ]


def test_a_message_with_percent_signs_is_only_text(caplog: pytest.LogCaptureFixture) -> None:
    ThrottledLog().warning("a", "100 %s {0}", 0.0)
    assert messages(caplog) == ["100 %s {0}"]


def test_lines_may_go_to_another_log_at_another_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ThrottledLog(target=logging.getLogger("elsewhere")).log(logging.INFO, "a", "text", 0.0)
    assert caplog.record_tuples == [("elsewhere", logging.INFO, "text")]
