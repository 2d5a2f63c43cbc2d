"""`drill`: what it requests, and how it ends."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest

from chatoperator.metadata import DRILL_ANNOTATION
from kubectl_chatcluster import drill, names, requests
from kubectl_chatcluster.errors import NoDrills, NotDrilled
from tests.kubectl_chatcluster.objects import Answers

NOW = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)
VALUE = "2026-11-30T12.00.00Z"


def chat(spec: dict[str, Any] | None = None, **made: Any) -> dict[str, Any]:
    backup = {"repository": {"volume": {}}, "drill": {}} if spec is None else spec
    status = {"database": {"backup": made}}
    return {
        "metadata": {"name": "demo", "namespace": "chat"},
        "spec": {"database": {"backup": backup}},
        "status": status,
    }


def drilled(
    *states: dict[str, Any], wait: bool = True, spec: dict[str, Any] | None = None
) -> tuple[Answers, list[str]]:
    kubectl, said = Answers(list(states)), list[str]()
    timeout = 0.2 if wait else None
    drill.drill(cast("Any", kubectl), chat(spec), timeout_seconds=timeout, now=NOW, say=said.append)
    return kubectl, said


def test_the_annotation_is_the_operators() -> None:
    assert names.DRILL_ANNOTATION == DRILL_ANNOTATION


def test_it_requests_one_and_does_not_wait_unless_it_is_to() -> None:
    kubectl, said = drilled(wait=False)
    annotation = f"{names.DRILL_ANNOTATION}={VALUE}"
    assert kubectl.ran == [("annotate", names.RESOURCE, "demo", "-n", "chat", "--overwrite", annotation)]
    assert said == ["requested a restore drill"]


def test_it_ends_with_the_drill_that_it_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "POLL_SECONDS", 0)
    good: dict[str, Any] = {
        "lastDrillMessages": 500,
        "lastDrillNewestMessageAt": "2026-11-30T11:59:00Z",
        "lastDrillSeconds": 61,
    }
    _, said = drilled(chat(answeredDrill="earlier", lastDrillError="earlier"), chat(answeredDrill=VALUE, **good))
    assert said[-1] == (
        "the drill restored 500 messages, the newest of 2026-11-30T11:59:00Z, and found no damage; it took 61 s"
    )


def test_a_drill_that_failed_is_an_error_with_its_words() -> None:
    with pytest.raises(NotDrilled, match="pg_amcheck"):
        drilled(chat(answeredDrill=VALUE, lastDrillError="pg_amcheck: damaged"))


def test_who_waits_in_vain_learns_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "POLL_SECONDS", 0)
    with pytest.raises(NotDrilled, match="--component backup"):
        drilled(chat())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, r"spec\.database\.backup\.drill"),
        ({"repository": {}, "drill": None}, r"spec\.database\.backup\.drill"),
        ({"drill": {}, "suspended": True}, r"spec\.database\.backup\.suspended"),
    ],
)
def test_a_request_that_nothing_would_answer_is_refused(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(NoDrills, match=field):
        drilled(wait=False, spec=spec)
