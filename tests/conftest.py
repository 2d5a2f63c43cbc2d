"""What holds for the whole suite: a test is skipped only if a committed list says so, with its reason."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import lanes

pytest_plugins = ["tests.support.lanereport"]

ALLOWED = Path(__file__).parent / "data" / "skipped.toml"

# A loaded machine is slow. Where CI is set, the parent is hypothesis's own profile for it, without chance.
settings.register_profile("patient", parent=settings.default, deadline=None, max_examples=40)
settings.load_profile("patient")
# Where another lane looks at the same properties with more examples.
settings.register_profile("brief", parent=settings.get_profile("patient"), max_examples=10)
# `make soak`: new examples each time.
EXAMPLES = int(os.environ.get("CHAT_SOAK_EXAMPLES", "200"))
settings.register_profile(
    "deep", parent=settings.get_profile("patient"), max_examples=EXAMPLES, derandomize=False, print_blob=True
)

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
