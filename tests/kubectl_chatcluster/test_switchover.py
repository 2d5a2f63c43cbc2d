"""`switchover`: what it requests, and when it is done."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest

from chatoperator.desired import replication
from kubectl_chatcluster import names, switchover
from kubectl_chatcluster.errors import NotSwitched, SingleDatabase
from tests.kubectl_chatcluster.objects import Answers

NOW = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)


def chat(leader: str | None = "demo-postgres-0", instances: int = 3) -> dict[str, Any]:
    status: dict[str, Any] = {"database": {"leader": leader, "instances": [{}] * instances}} if instances > 1 else {}
    return {"metadata": {"name": "demo", "namespace": "chat"}, "status": status}


def switched(states: list[dict[str, Any]], instance: int | None = None) -> tuple[Answers, list[str]]:
    kubectl, said = Answers(states), list[str]()
    switchover.switch(cast("Any", kubectl), chat(), instance=instance, timeout_seconds=0.2, now=NOW, say=said.append)
    return kubectl, said


def test_the_annotation_is_the_operators() -> None:
    assert names.SWITCHOVER_ANNOTATION == replication.SWITCHOVER_ANNOTATION


def test_it_ends_when_another_instance_leads() -> None:
    kubectl, said = switched([chat("demo-postgres-2-0")], 2)
    assert kubectl.ran == [
        ("annotate", names.RESOURCE, "demo", "-n", "chat", "--overwrite", (f"{names.SWITCHOVER_ANNOTATION}="
         "2026-11-30T12.00.00Z/2")),
    ]  # fmt: skip
    assert said[-1] == "demo-postgres-2-0 leads"


def test_who_waits_in_vain_learns_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchover, "POLL_SECONDS", 0)
    with pytest.raises(NotSwitched, match="still leads"):
        switched([chat(None), chat()])


def test_one_instance_has_nobody_to_switch_to() -> None:
    with pytest.raises(SingleDatabase, match=r"spec\.database\.instances"):
        switchover.leader(chat(instances=1))
