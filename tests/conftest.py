"""What holds for the whole suite: a test is skipped only if a committed list says so, with its reason."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import lanes

pytest_plugins = ["tests.support.lanereport"]

ALLOWED = Path(__file__).parent / "data" / "skipped.toml"

# A loaded machine is slow. Where CI is set, the parent is hypothesis's own profile for it, without chance.
settings.register_profile("patient", parent=settings.default, deadline=None)
settings.load_profile("patient")

_skipped: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that no lane would run."""
    for item in items:
        if problem := lanes.uncollected(item.nodeid, (mark.name for mark in item.iter_markers())):
            raise pytest.UsageError(problem)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was skipped, and why."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped[report.nodeid] = str(report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped what no committed reason covers."""
    allowed: dict[str, str] = tomllib.loads(ALLOWED.read_text())["skipped"]
    # An entry without parameters covers a test with all of them.
    unexplained = {name: why for name, why in _skipped.items() if not {name, name.partition("[")[0]} & allowed.keys()}
    if unexplained:
        for name, why in unexplained.items():
            print(f"\nskipped, but not listed with a reason in {ALLOWED}: {name}: {why}")  # noqa: T201 - to the one who ran it
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
