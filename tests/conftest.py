"""What every test of the suite shares: how hypothesis draws, and which versions a report is about."""

from __future__ import annotations

import platform
from importlib.metadata import version

from hypothesis import HealthCheck, settings

# No luck: the same examples on every run and machine, so that a red test is red for whoever looks next. No deadline per
# example either: a slow machine is no failure; pytest-timeout bounds a test as a whole.
settings.register_profile(
    "zkembed",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("zkembed")


def pytest_report_header() -> str:
    """One line above the run: a failure report names what it ran on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join([f"zkembed on {python}", *(f"{name} {version(name)}" for name in ("trio", "attrs", "cbor2", "hypothesis"))])
