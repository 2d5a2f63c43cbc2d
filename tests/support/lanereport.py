"""A plugin of pytest: prints and keeps what a run found, fails one with too many reruns, and notes what a lane cost."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support import lanes
from tests.support.findings import Finding, take_over, told

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MOST_RERUNS = 3
"""Tests of a run that may pass only the second time; with more of them it is no accident, and the run fails."""

FAILURE_CHARS = 300


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the Makefile name its lanes."""
    parser.addoption("--lane", help=f"keep what this run costs and finds in {lanes.FOLDER}, under this name")


def pytest_configure(config: pytest.Config) -> None:
    """Report once, however many processes share the tests."""
    shares = hasattr(config, "workerinput")
    config.pluginmanager.register(Sharing() if shares else LaneReport(config))


class Costs:
    """What each file's tests took of the CPU in this process, with the processes that it waited for meanwhile."""

    def __init__(self) -> None:
        self.files: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Add a test's part, with its fixtures'."""
        begun, shared = lanes.cpu_seconds(), self.files[lanes.SHARED]
        try:
            return (yield)
        finally:
            self.files[item.location[0]] += lanes.cpu_seconds() - begun - (self.files[lanes.SHARED] - shared)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """Keep what ends with the last test apart: servers that all of them have used."""
        begun = lanes.cpu_seconds()
        try:
            return (yield)
        finally:
            if nextitem is None:
                self.files[lanes.SHARED] += lanes.cpu_seconds() - begun


class Sharing(Costs):
    """In one of several processes: hands what it found to the one that reports."""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand it over."""
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        output |= {"findings": msgspec.to_builtins(told()), "files": dict(self.files)}


class LaneReport(Costs):
    """In the process that reports.

    Args:
        config: of the run.
    """

    def __init__(self, config: pytest.Config) -> None:
        super().__init__()
        self._lane: str | None = config.getoption("lane")
        self._folder = config.rootpath / lanes.FOLDER
        self._started = time.monotonic()
        self._rerun: list[str] = []
        self._wrongly: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what failed before it was run again."""
        outcome: str = report.outcome
        if outcome != "rerun":
            return
        self._rerun.append(report.nodeid)
        if "e2e" not in report.keywords:
            self._wrongly.append(report.nodeid)
        printed = (f"--- {title}\n{text}" for title, text in report.sections)
        take_over(Finding(report.nodeid, "\n".join((report.longreprtext, *printed)), rerun=True))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that looked twice too often, or at what must not be looked at twice."""
        for problem in self._problems():
            print(f"\n{problem}")  # noqa: T201 - to the one who ran it
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _problems(self) -> Iterator[str]:
        if len(self._rerun) > MOST_RERUNS:
            yield f"{len(self._rerun)} tests were run again, of which {MOST_RERUNS} may: {', '.join(self._rerun)}"
        if self._wrongly:
            yield f"only end-to-end tests may be run again, not: {', '.join(self._wrongly)}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a process of several found out."""
        output = getattr(node, "workeroutput", {})
        for path, cost in output.get("files", {}).items():
            self.files[path] += cost
        for finding in output.get("findings", ()):
            take_over(msgspec.convert(finding, Finding))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what tests found out, beside that they passed, and keep it."""
        findings = told()
        if findings:
            terminalreporter.section("findings")
        for finding in findings:
            if finding.rerun:
                terminalreporter.line(f"{finding.test} failed, and was run again:")
            for line in finding.text.splitlines():
                terminalreporter.line(line)
        if self._lane is not None:
            lanes.write(self._folder, self._result(self._lane, terminalreporter.stats), findings)

    def _result(self, name: str, stats: dict[str, list[Any]]) -> lanes.Lane:
        def count(*categories: str) -> int:
            return sum(len(stats.get(category, ())) for category in categories)

        return lanes.Lane(
            name=name,
            python=platform.python_version(),
            seconds=round(time.monotonic() - self._started, 3),
            cpu_seconds=round(lanes.cpu_seconds(), 1),
            passed=count("passed"),
            failed=count("failed", "error"),
            skipped=count("skipped"),
            rerun=len(self._rerun),
            files={path: round(cost, 1) for path, cost in self.files.items()},
            failures=tuple(_line(report) for category in ("failed", "error") for report in stats.get(category, ())),
        )


def _line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = (crash.message if crash is not None else report.longreprtext).strip()
    first, _, _ = message.partition("\n")
    return f"{report.nodeid}: {first[:FAILURE_CHARS]}"
