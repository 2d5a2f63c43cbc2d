"""Cases for alerts: series that are healthy, then faulty, then healthy again, for promtool's unit tests of rules.

Each case runs twice: the alert must fire at the end of the fault, and neither before it nor at the end of what follows;
then with a fault that is too small or too brief, for which it must never fire. Beside the chat with the fault there is
one that stays healthy, for which nothing may fire.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.rules import GROUPS
from monitoring.rules.declared import Alert, Group, Record
from monitoring.rules.rendering import spec
from monitoring.rules.slo import EVENTS
from tests.support.prometheus import program

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP_SECONDS = 60
"""Between two values of a series; all phases are in steps."""

CHAT = {"namespace": "chat", "chatcluster": "demo"}
CALM = {"namespace": "calm", "chatcluster": "quiet"}


@dataclass(frozen=True)
class Signal:
    """The values of a series by phase; None: the series is absent.

    Attributes:
        healthy: Before and after the fault.
        faulty: During the fault.
        near: During a fault that must not fire; None: as when healthy.
        kind: ``gauge``; ``counter``, whose values are its rises in each step; ``streak``, a counter that begins at 0 in
            each phase; ``clock``, whose values are how many
            seconds a timestamp is behind the time, with None for one that stands still.
        start: First value of a counter.
    """

    healthy: float | None
    faulty: float | None
    near: float | None
    kind: str
    start: float = 0

    def values(self, phases: list[tuple[str, int]]) -> str:
        """In promtool's notation, for phases of some steps each."""
        made: list[str] = []
        done, total = 0, self.start
        for phase, steps in phases:
            value = getattr(self, phase)
            if self.kind == "clock":
                made.append(
                    f"{(done - 1) * STEP_SECONDS}x{steps - 1}"
                    if value is None
                    else f"{done * STEP_SECONDS - value}+{STEP_SECONDS}x{steps - 1}"
                )
            elif value is None:
                made.append(f"_x{steps}")
            elif self.kind == "streak":
                made.append(f"{value}+{value}x{steps - 1}")
            elif self.kind == "counter":
                made.append(f"{total + value}{'+' if value >= 0 else ''}{value}x{steps - 1}")
                total += value * steps
            else:
                made.append(f"{value}x{steps - 1}")
            done += steps
        return " ".join(made)


def gauge(healthy: float | None, faulty: float | None, near: float | None = -1) -> Signal:
    """A series whose values are given."""
    return Signal(healthy, faulty, healthy if near == -1 else near, "gauge")


def counter(healthy: float | None, faulty: float | None, near: float | None = -1) -> Signal:
    """A series that rises by the given numbers in each step."""
    return Signal(healthy, faulty, healthy if near == -1 else near, "counter")


def streak(faulty: float) -> Signal:
    """A number that rises by as much in each step of the fault, and is 0 otherwise."""
    return Signal(0, faulty, 0, "streak")


def clock(near: float = 0) -> Signal:
    """A timestamp that follows the time, and stands still during the fault."""
    return Signal(0, None, near, "clock")


@dataclass(frozen=True)
class Case:
    """One fault, and which rules of an alert it makes fire.

    Attributes:
        alert: Name of the alert.
        fires: Severities that fire.
        series: Signals by series, as ``name{label="value"}`` without the labels of the chat.
        labels: Of the alert, beside those of the chat and the severity.
        steps: Steps of the phases before, during and after the fault.
        brief: Steps of a fault that is too brief; None: the near values are what must not fire.
        every: Steps between two evaluations of the rules.
        of_a_chat: Whether the series and the alert have the labels of a chat.
    """

    alert: str
    fires: tuple[str, ...]
    series: Mapping[str, Signal]
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[int, int, int] = (20, 20, 30)
    brief: int | None = None
    every: int = 1
    of_a_chat: bool = True

    def fault(self) -> dict[str, Any]:
        """The test in which the alert fires and resolves."""
        before, during, after = self.steps
        times = ((before - 1, ()), (before + during - 1, self.fires), (before + during + after - 1, ()))
        return self._test("fault", [("healthy", before), ("faulty", during), ("healthy", after)], times)

    def near(self) -> dict[str, Any]:
        """The test in which it does not fire; it is looked at after each evaluation."""
        before, during, after = self.steps
        phase = ("near", during) if self.brief is None else ("faulty", self.brief)
        times = tuple((step, ()) for step in range(0, before + phase[1] + after, self.every))
        return self._test("near", [("healthy", before), phase, ("healthy", after)], times)

    def _test(
        self, name: str, phases: list[tuple[str, int]], times: tuple[tuple[int, tuple[str, ...]], ...]
    ) -> dict[str, Any]:
        series = {labelled(one, CHAT if self.of_a_chat else {}): signal for one, signal in self.series.items()}
        values = [{"series": one, "values": signal.values(phases)} for one, signal in series.items()]
        if self.of_a_chat:
            calm = [("healthy", sum(steps for _, steps in phases))]
            values += [
                {"series": labelled(one, CALM), "values": signal.values(calm)} for one, signal in self.series.items()
            ]
        return {
            "name": f"{self.alert} {name}",
            "interval": f"{STEP_SECONDS}s",
            "input_series": values,
            "alert_rule_test": [
                {
                    "eval_time": f"{step * STEP_SECONDS}s",
                    "alertname": self.alert,
                    "exp_alerts": [{"exp_labels": self._labels(severity)} for severity in fires],
                }
                for step, fires in times
            ],
        }

    def _labels(self, severity: str) -> dict[str, str]:
        return {**(CHAT if self.of_a_chat else {}), **self.labels, "severity": severity}


def labelled(series: str, labels: Mapping[str, str]) -> str:
    """A series with further labels."""
    name, _, own = series.partition("{")
    given = [part for part in (own.rstrip("}"), *(f'{key}="{value}"' for key, value in labels.items())) if part]
    return f"{name}{{{', '.join(given)}}}"


def needed(alert: str) -> tuple[Group, ...]:
    """The alert's own rules, and those that record the series that they read: the others would only take time."""
    rules = [rule for group in GROUPS for rule in group.rules]
    alerts = [rule for rule in rules if isinstance(rule, Alert) and rule.name == alert]
    read = {name for rule in alerts for name in re.findall(r"chatcluster_slo:[a-z0-9_:]+", rule.expr)}
    records = [rule for rule in rules if isinstance(rule, Record) and rule.record in {EVENTS, *read}]
    return (Group("needed", "30s", (*records, *alerts)),)


def run(case: Case) -> str:
    """What promtool says about a case; empty if the alert does what it should."""
    rules = spec(groups=needed(case.alert))
    for group in rules["groups"]:
        for rule in group["rules"]:
            # promtool would compare the texts too.
            rule.pop("annotations", None)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yaml").write_text(json.dumps(rules))
        test = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": f"{case.every * STEP_SECONDS}s",
            "tests": [case.fault(), case.near()],
        }
        (Path(folder) / "test.yaml").write_text(json.dumps(test))
        done = subprocess.run(
            [program("promtool"), "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
        )
    return "" if done.returncode == 0 else done.stdout + done.stderr
