"""What holds for the whole suite: a test is skipped only if a committed list says so, with its reason."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.findings import tell, told

ALLOWED = Path(__file__).parent / "data" / "skipped.toml"

# A loaded machine is slow. Where CI is set, the parent is hypothesis's own profile for it, without chance.
settings.register_profile("patient", parent=settings.default, deadline=None)
settings.load_profile("patient")

MOST_RERUNS = 3
"""Tests of a run that may pass only the second time; with more of them it is no accident, and the run fails."""

_skipped: dict[str, str] = {}
_rerun: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was skipped, and why; and what failed before it was run again."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped[report.nodeid] = str(report.longrepr)
    outcome: str = report.outcome
    # Where several processes share the tests, the one that collects their reports hears of each again.
    if outcome == "rerun" and not hasattr(report, "node"):
        printed = (f"--- {title}\n{text}" for title, text in report.sections)
        _rerun.append(report.nodeid)
        tell("\n".join((f"{report.nodeid} failed, and was run again:", report.longreprtext, *printed)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped what no committed reason covers, or that looked twice too often."""
    allowed: dict[str, str] = tomllib.loads(ALLOWED.read_text())["skipped"]
    unexplained = {name: why for name, why in _skipped.items() if name not in allowed}
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["findings"] = told()
    if len(_rerun) > MOST_RERUNS:
        print(f"\n{len(_rerun)} tests failed at first, of which {MOST_RERUNS} may: {', '.join(_rerun)}")  # noqa: T201 - to the one who ran it
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if unexplained:
        for name, why in unexplained.items():
            print(f"\nskipped, but not listed with a reason in {ALLOWED}: {name}: {why}")  # noqa: T201 - to the one who ran it
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of several found out."""
    for text in getattr(node, "workeroutput", {}).get("findings", ()):
        tell(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests found out, beside that they passed."""
    if told():
        terminalreporter.section("findings")
        for line in told():
            terminalreporter.line(line)
