"""`backup`: what it requests, and how it ends."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest

from chatoperator.metadata import BACKUP_ANNOTATION
from kubectl_chatcluster import backup, names, requests
from kubectl_chatcluster.errors import NoBackups, NotBackedUp
from tests.kubectl_chatcluster.objects import Answers

NOW = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)
VALUE = "2026-11-30T12.00.00Z"


def chat(**made: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"database": {"backup": {"repository": {"volume": {}}}}}
    return {"metadata": {"name": "demo", "namespace": "chat"}, "spec": spec, "status": {"database": {"backup": made}}}


def backed_up(*states: dict[str, Any], wait: bool = True) -> tuple[Answers, list[str]]:
    kubectl, said = Answers(list(states)), list[str]()
    timeout = 0.2 if wait else None
    backup.back_up(cast("Any", kubectl), chat(), timeout_seconds=timeout, now=NOW, say=said.append)
    return kubectl, said


def test_the_annotation_is_the_operators() -> None:
    assert names.BACKUP_ANNOTATION == BACKUP_ANNOTATION


def test_it_requests_one_and_does_not_wait_unless_it_is_to() -> None:
    kubectl, said = backed_up(wait=False)
    annotation = f"{names.BACKUP_ANNOTATION}={VALUE}"
    assert kubectl.ran == [("annotate", names.RESOURCE, "demo", "-n", "chat", "--overwrite", annotation)]
    assert said == ["requested a backup of the database"]


def test_it_ends_with_the_backup_that_it_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "POLL_SECONDS", 0)
    done = chat(answeredRequest=VALUE, lastBackupType="incremental", lastBackupAt="2026-11-30T12:01:00Z")
    _, said = backed_up(chat(answeredRequest="earlier", lastError="of the earlier one"), chat(), done)
    assert said[-1] == "the backup (incremental) ended at 2026-11-30T12:01:00Z"


def test_a_backup_that_failed_is_an_error_with_its_words() -> None:
    with pytest.raises(NotBackedUp, match="no space left"):
        backed_up(chat(answeredRequest=VALUE, lastError="no space left"))


def test_who_waits_in_vain_learns_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "POLL_SECONDS", 0)
    with pytest.raises(NotBackedUp, match="--component backup"):
        backed_up(chat())


def test_a_chat_without_a_repository_is_refused() -> None:
    without = {"metadata": {"name": "demo", "namespace": "chat"}, "spec": {}}
    with pytest.raises(NoBackups, match=r"spec\.database\.backup\.repository"):
        backup.back_up(cast("Any", Answers([])), without, timeout_seconds=None, now=NOW, say=print)
