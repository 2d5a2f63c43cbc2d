"""Whatever a pod of a chat reports: the operator's conditions are made, and its status is one that the CRD allows."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest

from chatoperator.conditions import conditions
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.observed import Answer, Observed
from chatoperator.probes.parsing import parse_backup, parse_report
from chatoperator.reconcile.figures import figures
from chatoperator.reports import BackupReport
from tests.operator.test_backup import PAGE
from tests.operator.test_crd import SCHEMA
from tests.operator.test_drill import LAST
from tests.support.chatclusters import NOW, body, cluster, desired, pod
from tests.support.schemas import strict

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMES = (
    "2026-11-22T01:10:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    f"2026-11-22T01:10:00.{'1' * 500}Z",
    "2026-11-22",
)

EXTREMES: tuple[Any, ...] = (
    *TIMES, "", "x" * 5000, "\ud800", "\x00\x1b[31m", "pgdata\n",
    0, -1, 2**63, 10**400, 1.5, -0.5, 1e300, float("inf"), float("nan"), True, None, [], {}, ["x" * 5000] * 20,
)  # fmt: skip

BACKUP: dict[str, Any] = {
    **PAGE,
    "last_backup_error": {"at": "2026-11-22T01:00:00Z", "text": "no space", "code": "full"},
    "last_verify": {"at": "2026-11-22T04:00:00Z", "ok": False, "text": "damaged"},
    "answered_request": "now",
    "last_drill": {**LAST, "ok": False, "code": "damaged", "text": "an index"},
    "answered_drill": "now",
    "drill_overdue_since": "2026-11-21T04:00:00Z",
}

AGENT: dict[str, Any] = {
    "credentials": "a",
    "configuration": "b",
    "refused": "not this",
    "member": {
        "role": "leader",
        "state": "running",
        "timeline": 1,
        "lag_bytes": 0,
        "synchronous": True,
        "pending_restart": False,
        "paused": False,
        "leader": "demo-postgres-0",
    },
    "archive": {"failing": True, "waiting": 2, "lag_seconds": 700.5, "error": "no route"},
    "volume": {"size_bytes": 10, "free_bytes": 5, "kept": ["pgdata.before-1"]},
}


def _places(report: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of a report, and to each object and list in it."""
    if path:
        yield path
    inner = report.items() if isinstance(report, dict) else enumerate(report) if isinstance(report, list) else ()
    for key, value in inner:
        yield from _places(value, (*path, key))


def _changed(report: dict[str, Any], path: tuple[Any, ...], value: Any) -> str:
    changed = copy.deepcopy(report)
    *way, last = path
    parent: Any = changed
    for key in way:
        parent = parent[key]
    parent[last] = value
    return json.dumps(changed)


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("drop", [(), ("last_backup_error",), ("last_backup_error", "last_verify")])
def test_any_report_makes_conditions_and_a_status_that_is_allowed(drop: tuple[str, ...], instances: int) -> None:
    """Each value of each report becomes each extreme; what is left out is what would hide the conditions after it."""
    spec: dict[str, Any] = {"database": {"instances": instances, "backup": {"repository": {"volume": {}}, "drill": {}}}}
    backup, made = {name: value for name, value in BACKUP.items() if name not in drop}, desired(cluster(**spec))
    pages = [(_changed(backup, path, value), json.dumps(AGENT)) for path in _places(backup) for value in EXTREMES]
    if not drop:
        pages += [(json.dumps(backup), _changed(AGENT, path, value)) for path in _places(AGENT) for value in EXTREMES]
    for page, agent in pages:
        report, beside = parse_backup(page), parse_report(agent)
        observed = Observed({}, (pod("demo-postgres-0", "postgres"),), agent=beside, backup=report)
        found = conditions(ConditionInputs(body(**spec), observed, Answer(ok=True, message=""), NOW, desired=made))
        json.dumps([one.message for one in found], ensure_ascii=False).encode()
        shown = figures(body(**spec), observed, made)["database"] or {}
        json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
        assert _faults(shown) == [], (page, agent)


FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("int64")
def _is_int64(value: object) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


DATABASE = jsonschema.Draft202012Validator(
    strict(SCHEMA["properties"]["status"]["properties"]["database"]), format_checker=FORMATS
)


def _faults(database: dict[str, Any]) -> list[str]:
    """Where the API server would reject it."""
    # As JSON, in which there are no tuples.
    return [f"status{error.json_path[1:]}" for error in DATABASE.iter_errors(json.loads(json.dumps(_kept(database))))]


def _kept(value: Any) -> Any:
    """The same without what a merge patch removes."""
    return {name: _kept(one) for name, one in value.items() if one is not None} if isinstance(value, dict) else value


def test_a_status_that_is_too_long_is_found() -> None:
    assert _faults({"backup": {"lastBackupType": "x" * 5000}}) == ["status.backup.lastBackupType"]
    assert _faults({"backup": {"lastDrillSeconds": 2**63}}) == ["status.backup.lastDrillSeconds"]


@pytest.mark.parametrize("time", TIMES[1:])
def test_a_time_that_cannot_be_reckoned_with_is_no_report(time: str) -> None:
    page = {"repository": {"reachable": True, "error": ""}, "oldest_restorable": time}
    assert msgspec.convert(page, BackupReport).oldest_restorable == time
    assert parse_backup(json.dumps(page)) is None
