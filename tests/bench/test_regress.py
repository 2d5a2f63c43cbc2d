"""A loss is found by what is counted, whatever else has come or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.regress.baseline import Baseline, report
from bench.regress.compare import GRAIN, Row, compared, kept, table
from bench.regress.works import ROUNDS, WORKS

if TYPE_CHECKING:
    from pathlib import Path

    from bench.regress.works import Work


UNITS = {"send": 10}


def verdict(name: str, was: float | None, now: float | None) -> str:
    def counts(value: float | None) -> dict[str, dict[str, float]]:
        return {"send": {} if value is None else {name: value}}

    [row] = compared(counts(was), counts(now), UNITS)
    assert row.fails == (row.verdict in {"LOSS", "NEW", "GONE"})
    return row.verdict


@pytest.mark.parametrize(
    ("name", "was", "now", "expected"),
    [
        ("instructions", 1000, 1199, ""),
        ("instructions", 1000, 1201, "LOSS"),
        ("instructions", 1000, 801, ""),
        # A gain that nobody accepts would hide the next loss: it is told, and fails nothing.
        ("instructions", 1000, 799, "gain"),
        ("instructions", None, 1000, "NEW"),
        ("instructions", 1000, None, "GONE"),
        # Two messages in ten cost a second statement: that may be the clock. In all ten it is not.
        ("statements", 1, 1.3, ""),
        ("statements", 1, 2, "LOSS"),
        # A poll writes nothing, but PostgreSQL notes by the clock who runs.
        ("WAL bytes", 0, 60, ""),
        ("WAL bytes", 0, 61, "LOSS"),
        ("bytes", 100, 140, ""),
    ],
)
def test_a_fifth_more_is_a_loss(name: str, was: float | None, now: float | None, expected: str) -> None:
    assert verdict(name, was, now) == expected


@pytest.mark.parametrize("work", [work for work in WORKS if "at once" in work.name], ids=lambda work: work.name)
def test_one_more_statement_for_what_comes_together_is_a_loss(work: Work) -> None:
    was, now = ({work.name: {"statements": count * ROUNDS / work.units}} for count in (1, 2))
    assert [row.verdict for row in compared(was, now, {work.name: work.units})] == ["LOSS"]


def test_what_depends_on_another_python_is_shown_and_not_judged() -> None:
    was, now = ({"send": {"instructions": 1000.0 * times, "statements": 1.0 * times}} for times in (1, 2))
    rows = compared(was, now, UNITS, {"Python"})
    assert [(row.count, row.verdict) for row in rows] == [("instructions", "other"), ("statements", "LOSS")]


def test_a_report_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    was = Baseline.of({"send": {"frames": 2.0}, "poll": {"frames": 9.0}}, {"Python": "3.11"})
    was.write(path)
    assert Baseline.read(path) == was
    text, failed = report(was, was)
    assert not failed
    assert "ACCEPT" not in text
    text, failed = report(was, Baseline.of({"send": {"frames": 9.0}, "poll": {"frames": 2.0}}, {"Python": "3.13"}))
    assert failed
    assert "Python was 3.11 and is 3.13" in text
    assert "LOSS: frames of a send" in text
    assert "There are gains" in text
    assert "make bench-regress ACCEPT=1" in text
    _, failed = report(Baseline.read(tmp_path / "none"), was)
    assert failed


def test_works_that_come_and_go_are_told() -> None:
    rows = compared(
        {"send": {"bytes": 1.0}, "poll": {"bytes": 2.0}}, {"sync": {"bytes": 3.0}, "send": {"bytes": 1.0}}, {}
    )
    assert [(row.work, row.verdict) for row in rows] == [("sync", "NEW"), ("send", ""), ("poll", "GONE")]


def test_a_baseline_keeps_what_is_compared_and_stays_the_same_when_it_is_compared_with_itself() -> None:
    counts = {"send": dict.fromkeys(GRAIN, 1234.5678) | {"seconds": 0.4}}
    baseline = kept(counts)
    assert baseline["send"] == dict.fromkeys(GRAIN, 1235.0)
    assert kept(baseline) == baseline
    assert not any(row.verdict for row in compared(baseline, baseline, UNITS))


def test_the_table_says_each_work_once_and_what_is_wrong_with_it() -> None:
    rows = [Row("send", "instructions", 1_000_000.0, 1_250_000.0, "LOSS"), Row("send", "statements", 2.0, 2.0, ""),
            Row("poll", "blocks", None, 253.04, "NEW")]  # fmt: skip
    assert table(rows).splitlines()[1:] == [
        "send      instructions   1,000,000   1,250,000      +25.0%  LOSS",
        "          statements             2           2       +0.0%",
        "poll      blocks                 -         253           -  NEW",
    ]
