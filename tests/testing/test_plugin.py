"""The pytest plugin, in pytest runs of its own: what it gives, what it refuses, and what it costs those who do not use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = "pytester"

STRICT = ("--strict-markers", "--strict-config", "-W", "error", "-p", "no:cacheprovider")


@pytest.fixture
def application(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project: trio mode, and nothing of ours but the plugin that is installed."""
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    return pytester


def test_the_fixtures_give_a_client_and_its_ensemble(application: pytest.Pytester) -> None:
    application.makepyfile(
        """
        import pytest

        async def test_client(zk, autojump_clock):
            await zk.create("/a", b"1")
            assert (await zk.get("/a")).data == b"1"
            assert zk.node.id == 1

        async def test_each_test_has_its_own(zk, zk_ensemble, autojump_clock):
            assert await zk.exists("/a") is None
            assert zk_ensemble.zk(1) is zk
            zk_ensemble.crash(zk_ensemble.leader())
            await zk_ensemble.wait_leader()
            with pytest.raises(Exception, match="there is no member 4"):
                zk_ensemble.zk(4)
        """
    )
    application.runpytest(*STRICT).assert_outcomes(passed=2)


def test_the_marker_says_how_many_members_and_their_settings(application: pytest.Pytester) -> None:
    application.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.zkembed(session_timeout=4, seed=3)

        @pytest.mark.zkembed(nodes=5)
        async def test_five(zk_ensemble, autojump_clock):
            await zk_ensemble.zk(5).create("/a")
            assert zk_ensemble.zk(5).session.timeout == 4

        @pytest.mark.zkembed(nodes=1, session_timeout=5)
        async def test_one(zk, zk_ensemble, autojump_clock):
            assert zk.session.timeout == 5
            with pytest.raises(ValueError):
                zk_ensemble.zk(2)
        """
    )
    application.runpytest(*STRICT).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [("zk", "the real clock"), ("zk_ensemble", "the real clock"), ("zk, mock_clock", "a mock clock that nobody moves")],
)
def test_without_autojump_clock_they_refuse_at_once_and_say_what_to_write(arguments: str, found: str, application: pytest.Pytester) -> None:
    """They cannot bring the clock along: pytest-trio takes it from the test's own arguments alone."""
    application.makepyfile(f"async def test_mine({arguments}):\n    raise AssertionError('ran')\n")
    result = application.runpytest(*STRICT)
    assert result.ret != 0
    result.stdout.fnmatch_lines([f"*found {found}: also ask for autojump_clock in the test's own arguments*"])
    result.stdout.no_fnmatch_line("*AssertionError: ran*")


def test_a_usefixtures_for_the_clock_is_refused_too(application: pytest.Pytester) -> None:
    application.makepyfile(
        """
        import pytest

        @pytest.mark.usefixtures("autojump_clock")
        async def test_mine(zk):
            raise AssertionError("ran")
        """
    )
    application.runpytest(*STRICT).stdout.fnmatch_lines(["*also ask for autojump_clock*"])


def test_a_marker_with_a_number_alone_is_refused(application: pytest.Pytester) -> None:
    application.makepyfile(
        """
        import pytest

        @pytest.mark.zkembed(5)
        async def test_mine(zk, autojump_clock):
            pass
        """
    )
    application.runpytest(*STRICT).stdout.fnmatch_lines(["*marker zkembed takes keywords alone*nodes=5*"])


def test_a_failing_test_shows_its_own_error(application: pytest.Pytester) -> None:
    """Nothing of ours in its way, nothing hanging after it."""
    application.makepyfile(
        """
        async def test_mine(zk, autojump_clock):
            await zk.get("/no/such")
        """
    )
    result = application.runpytest(*STRICT)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*zkembed.errors.NoNodeError: get '/no/such': no such znode*"])


def test_the_marker_and_the_fixtures_are_documented(application: pytest.Pytester) -> None:
    application.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.zkembed(nodes=3, [*][*]settings): size of the test's ensemble*"])
    application.runpytest("--fixtures").stdout.fnmatch_lines(["zk_ensemble*", "zk*"])


def test_a_run_that_does_not_use_it_imports_nothing(application: pytest.Pytester) -> None:
    """Installed is not used: neither zkembed nor trio are imported when pytest loads the plugin."""
    code = "import sys, _zkembed_pytestplugin; print([name for name in ('zkembed', 'trio', 'attrs', 'cbor2') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_it_is_what_the_distribution_says() -> None:
    from importlib.metadata import entry_points

    assert [point.value for point in entry_points(group="pytest11", name="zkembed")] == ["_zkembed_pytestplugin"]
