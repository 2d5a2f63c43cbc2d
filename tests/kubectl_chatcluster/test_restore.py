"""`restore`: what it says before it asks, what it requests, and how it ends."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, cast

import pytest

from chatoperator.desired import restoration
from chatoperator.metadata import RESTORE_ANNOTATION
from kubectl_chatcluster import __main__ as program
from kubectl_chatcluster import names, requests, restore
from kubectl_chatcluster.errors import NoBackups, NotConfirmed, NothingToUndo, NotRestored
from tests.kubectl_chatcluster.objects import Answers

NOW = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)
ID = "2026-11-30T12.00.00Z"
TARGET = "2026-11-30T10:15:00Z"
WINDOW = {"oldestRestorableTime": "2026-11-29T01:10:00Z", "newestRestorableTime": "2026-11-30T11:55:00Z"}


def chat(**held: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"database": {"backup": {"repository": {"volume": {}}}}}
    status = {"database": {"backup": WINDOW, "restore": held}}
    return {"metadata": {"name": "demo", "namespace": "chat"}, "spec": spec, "status": status}


def restored(
    *states: dict[str, Any],
    target: str | None = TARGET,
    answer: str = "demo",
    confirmed: bool = False,
    before: dict[str, Any] | None = None,
) -> tuple[Answers, list[str]]:
    kubectl, said = Answers(list(states)), list[str]()
    restore.restore(
        cast("Any", kubectl),
        before or chat(),
        target=target,
        confirmed=confirmed,
        timeout_seconds=0.2,
        now=NOW,
        say=said.append,
        prompt=lambda _: answer,
    )
    return kubectl, said


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "POLL_SECONDS", 0)


def test_names_and_phases_are_the_operators() -> None:
    assert names.RESTORE_ANNOTATION == RESTORE_ANNOTATION
    assert restore.STEPS.keys() == restoration.UNDER_WAY
    assert restore.LATEST == restoration.LATEST


def test_it_says_what_is_lost_asks_and_waits_for_the_end() -> None:
    done = chat(id=ID, phase="Completed", restoredTo="2026-11-30T10:14:59Z", keptData=f"pgdata.before-{ID}")
    kubectl, said = restored(chat(), chat(id=ID, phase="Stopping"), chat(id=ID, phase="Restoring"), done)
    text = "\n".join(said)
    assert "1 h 45 min" in text
    assert "after 2026-11-29T01:10:00Z" in text
    assert f"pgdata.before-{ID}" in text
    assert said[-1] == f"restored, to the transaction of 2026-11-30T10:14:59Z; the data of before is in pgdata.before-{ID} on the volume"  # fmt: skip  # noqa: E501
    ((*command, annotation),) = kubectl.ran
    assert command == ["annotate", names.RESOURCE, "demo", "-n", "chat", "--overwrite"]
    key, _, value = annotation.partition("=")
    assert key == RESTORE_ANNOTATION
    assert json.loads(value) == {"id": ID, "targetTime": TARGET}
    request, fault = restoration.requested(value)
    assert (request, fault) == (restoration.Request(ID, TARGET), "")


@pytest.mark.parametrize("answer", ["", "yes", "Demo"])
def test_without_the_name_nothing_is_requested(answer: str) -> None:
    kubectl = Answers([chat()])
    with pytest.raises(NotConfirmed, match="nothing was changed"):
        restore.restore(
            cast("Any", kubectl), chat(), target=TARGET, confirmed=False, timeout_seconds=1, now=NOW,
            say=lambda _: None, prompt=lambda _: answer,
        )  # fmt: skip
    assert kubectl.ran == []


def test_a_script_is_not_asked() -> None:
    kubectl, _ = restored(chat(id=ID, phase="Completed"), answer="", confirmed=True)
    assert kubectl.ran


def test_an_undoing_names_the_restore_that_it_undoes() -> None:
    before = chat(id="first", phase="Completed", targetTime=TARGET, endedAt="2026-11-30T11:00:00Z")
    kubectl, said = restored(chat(id=ID, phase="Completed"), target=None, before=before)
    assert json.loads(kubectl.ran[0][-1].partition("=")[2]) == {"id": ID, "undo": "first"}
    assert "since 2026-11-30T11:00:00Z" in said[0]
    with pytest.raises(NothingToUndo):
        restored(chat(), target=None)


def test_a_refusal_and_a_failure_are_errors_with_their_words() -> None:
    with pytest.raises(NotRestored, match="nothing was changed: no room"):
        restored(chat(refused={"id": ID, "message": "no room"}))
    with pytest.raises(NotRestored, match=r"file 7 is gone.*--undo"):
        restored(chat(id=ID, phase="Failed", message="file 7 is gone"))
    with pytest.raises(NotRestored, match="it continues"):
        restored(chat(id=ID, phase="Restoring", refused={"id": "other", "message": "x"}))


def test_a_chat_without_a_repository_is_refused() -> None:
    without = {"metadata": {"name": "demo", "namespace": "chat"}, "spec": {}}
    with pytest.raises(NoBackups, match=r"spec\.database\.backup\.repository"):
        restored(before=without)


def test_times_are_read_with_their_zone_and_sent_in_utc() -> None:
    parsed = program.parser().parse_args(["restore", "--to", "2026-11-30T11:15:00+01:00"])
    assert parsed.to == TARGET
    assert program.parser().parse_args(["restore", "demo", "--to", "latest", "--yes"]).to == "latest"
    for wrong in (["--to", "2026-11-30T10:15:00"], ["--to", "now"], [], ["--undo", "--to", TARGET]):
        with pytest.raises(SystemExit):
            program.parser().parse_args(["restore", *wrong])
