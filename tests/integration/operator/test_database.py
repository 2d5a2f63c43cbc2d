"""The database's passwords, parameters and volume on a real API server; its agent says what the test sets."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from chatoperator.metadata import CONFIG_HASH_ANNOTATION
from chatoperator.metrics.prometheus import REGISTRY
from chatoperator.observed import Answer, Reading
from chatoperator.parts.database.logins import REQUEST_ANNOTATION, STAGE_ANNOTATION
from chatoperator.parts.database.statefulset import REVISION_KEY
from chatoperator.reports import AgentReport

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

CLAIM = "demo-postgres-data"
BANANA = {"database": {"parameters": {"shared_buffers": "banana"}}}
WORDS = 'invalid value for parameter "shared_buffers": "banana"'


async def _keys(operator: Operator) -> dict[str, str]:
    data = (await operator.get("Secret", "demo-database"))["data"]
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


async def _revision(operator: Operator) -> str:
    return str((await operator.get("ConfigMap", "demo-postgres"))["data"][REVISION_KEY])


async def _hash(operator: Operator) -> str:
    template = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]
    return str(template["metadata"]["annotations"][CONFIG_HASH_ANNOTATION])


async def _agent_says(operator: Operator, *, refused: str | None = None) -> None:
    """That all there is now has been taken over, or was refused."""
    operator.prober.report = AgentReport((await _keys(operator))["revision"], await _revision(operator), refused)


async def _running(operator: Operator) -> None:
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    operator.pod("demo-postgres-0", part="postgres")
    await _agent_says(operator)
    operator.rolled_out()
    await operator.reconcile()


def _rotations() -> float:
    """How many rotations of passwords were measured."""
    return REGISTRY.get_sample_value("chatcluster_rotation_seconds_count", {"kind": "credentials"}) or 0


async def test_a_rotation_takes_each_step_when_the_last_one_is_known_to_be_done(operator: Operator) -> None:
    await _running(operator)
    generations = [
        (await operator.get(kind, name))["metadata"]["generation"]
        for kind, name in (("StatefulSet", "demo-postgres"), ("Deployment", "demo-chatserver"))
    ]
    first = await _keys(operator)
    assert first["username"] == "chat_a"
    operator.prober.connections = {"demo-chatserver-a": Reading(0, draining=False, login="chat_a")}
    measured = _rotations()
    operator.kubectl("annotate", "cc", "demo", f"{REQUEST_ANNOTATION}=today")
    await operator.reconcile(2)
    prepared = await _keys(operator)
    assert prepared["password.chat_b"] != first["password.chat_b"]
    assert (prepared["dsn"], prepared["password.chat_a"]) == (first["dsn"], first["password.chat_a"])
    assert (await operator.condition("Progressing"))["reason"] == "RotatingCredentials"
    assert await operator.reconciler.turned() == [(operator.namespace, "demo")], "the pulse looks again"
    await _agent_says(operator)
    operator.restart()
    await operator.reconcile(2)
    followed = await _keys(operator)
    assert (followed["username"], followed["password"]) == ("chat_b", prepared["password.chat_b"])
    assert followed["password.chat_a"] == first["password.chat_a"], "the server has not read the new one"
    operator.prober.connections = {"demo-chatserver-a": Reading(0, draining=False, login="chat_b")}
    await operator.reconcile(2)
    last = await _keys(operator)
    assert last["password.chat_a"] != first["password.chat_a"]
    assert last["dsn"] == followed["dsn"]
    annotations = (await operator.get("Secret", "demo-database"))["metadata"]["annotations"]
    assert annotations[REQUEST_ANNOTATION] == "today"
    assert STAGE_ANNOTATION not in annotations
    await _agent_says(operator)
    before = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == before, "one request is one rotation"
    assert _rotations() == measured + 1
    assert generations == [
        (await operator.get(kind, name))["metadata"]["generation"]
        for kind, name in (("StatefulSet", "demo-postgres"), ("Deployment", "demo-chatserver"))
    ]


async def test_the_database_restarts_only_for_parameters_that_it_takes(operator: Operator) -> None:
    await _running(operator)
    before = await _hash(operator)
    operator.patch(BANANA)
    await operator.reconcile(2)
    assert await _hash(operator) == before, "nobody knows yet"
    assert (await operator.condition("Progressing"))["reason"] == "ApplyingParameters"
    await _agent_says(operator, refused=WORDS)
    operator.patch({"database": {"resources": {"limits": {"memory": "2Gi"}}}})
    await operator.reconcile()
    await _agent_says(operator, refused=WORDS)
    await operator.reconcile()
    assert await _hash(operator) == before
    progressing = await operator.condition("Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ParametersRefused")
    assert WORDS in progressing["message"]
    template = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]["spec"]
    assert template["containers"][0]["resources"]["limits"]["memory"] == "2Gi", "all else goes on"
    operator.patch({"database": {"parameters": {"shared_buffers": "300MB"}}})
    await operator.reconcile()
    await _agent_says(operator)
    await operator.reconcile()
    assert await _hash(operator) != before
    assert (await operator.condition("Progressing"))["reason"] != "ParametersRefused"


async def test_parameters_that_are_read_in_place_restart_nothing(operator: Operator) -> None:
    await _running(operator)
    generation = (await operator.get("StatefulSet", "demo-postgres"))["metadata"]["generation"]
    operator.patch({"database": {"parameters": {"work_mem": "8MB"}}})
    await operator.reconcile(2)
    await _agent_says(operator)
    await operator.reconcile()
    assert (await operator.get("StatefulSet", "demo-postgres"))["metadata"]["generation"] == generation


async def test_a_database_that_is_not_well_gets_new_parameters_unasked(operator: Operator) -> None:
    """They may be the cure, and its entrypoint tries them."""
    await operator.brought_up()
    before = await _hash(operator)
    operator.patch({"database": {"parameters": {"shared_buffers": "300MB"}}})
    await operator.reconcile()
    assert await _hash(operator) != before


def _bound(operator: Operator, storage_class: str, *, expandable: bool) -> None:
    """What the provisioner and the volume controller would do."""
    made = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": storage_class},
        "provisioner": "example.com/nobody",
        "allowVolumeExpansion": expandable,
    }
    operator.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    operator.patch_status("pvc", CLAIM, {"phase": "Bound", "capacity": {"storage": "10Gi"}})


async def _with_class(operator: Operator, storage_class: str) -> None:
    operator.chatcluster["spec"]["database"] = {"storage": {"storageClassName": storage_class}}
    await operator.brought_up()


async def _size(operator: Operator) -> str:
    return str((await operator.get("PersistentVolumeClaim", CLAIM))["spec"]["resources"]["requests"]["storage"])


async def test_the_volume_grows_and_its_stages_are_told(operator: Operator) -> None:
    await _with_class(operator, "expandable")
    _bound(operator, "expandable", expandable=True)
    operator.patch({"database": {"storage": {"size": "20Gi"}}})
    await operator.reconcile(2)
    assert await _size(operator) == "20Gi"
    for stage in ("Resizing", "FileSystemResizePending"):
        operator.patch_status("pvc", CLAIM, {"conditions": [{"type": stage, "status": "True"}]})
        operator.rolled_out()
        await operator.reconcile()
        progressing = await operator.condition("Progressing")
        assert (progressing["status"], progressing["reason"]) == ("True", "VolumeResizing"), stage
        assert "20Gi" in progressing["message"]
    operator.patch_status("pvc", CLAIM, {"conditions": None, "capacity": {"storage": "20Gi"}})
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] == "Settled"
    config = (await operator.get("ConfigMap", "demo-postgres"))["data"]["postgresql.conf"]
    assert "max_wal_size = '2048MB'" in config


async def test_a_class_that_cannot_grow_is_told_and_all_else_goes_on(operator: Operator) -> None:
    await _with_class(operator, "rigid")
    _bound(operator, "rigid", expandable=False)
    operator.patch({"database": {"storage": {"size": "20Gi"}}, "ingress": {"replicas": 3}, "deletionPolicy": "Delete"})
    await operator.reconcile(2)
    progressing = await operator.condition("Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "VolumeNotExpandable")
    assert "20Gi" in progressing["message"]
    assert "allowVolumeExpansion" in progressing["message"]
    assert await _size(operator) == "10Gi"
    assert (await operator.get("PersistentVolumeClaim", CLAIM))["metadata"]["ownerReferences"]
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 3
    config = (await operator.get("ConfigMap", "demo-postgres"))["data"]["postgresql.conf"]
    assert "max_wal_size = '1024MB'" in config, "the settings follow the volume as it is"
    before = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == before, "it is not asked again and again"
    _bound(operator, "rigid", expandable=True)
    operator.seconds += 600
    await operator.reconcile(2)
    assert await _size(operator) == "20Gi"
    assert (await operator.condition("Progressing"))["reason"] != "VolumeNotExpandable"


async def test_a_size_that_was_refused_can_be_taken_back(operator: Operator) -> None:
    await _with_class(operator, "rigid")
    _bound(operator, "rigid", expandable=False)
    operator.rolled_out()
    operator.patch({"database": {"storage": {"size": "20Gi"}}})
    await operator.reconcile(2)
    assert (await operator.condition("Progressing"))["reason"] == "VolumeNotExpandable"
    assert (await operator.status())["volumeSize"] == "10Gi"
    operator.patch({"database": {"storage": {"size": "10Gi"}}})
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] == "Settled"


async def test_a_larger_volume_that_is_taken_over_is_left_as_it_is(operator: Operator) -> None:
    await _with_class(operator, "expandable")
    _bound(operator, "expandable", expandable=True)
    operator.patch({"database": {"storage": {"size": "20Gi"}}})
    await operator.reconcile(2)
    operator.patch_status("pvc", CLAIM, {"capacity": {"storage": "20Gi"}})
    operator.kubectl("delete", "cc", "demo")
    await operator.reconcile()
    operator.create()
    await operator.reconcile(2)
    operator.rolled_out()
    await operator.reconcile()
    assert await _size(operator) == "20Gi"
    assert (await operator.status())["volumeSize"] == "20Gi"
    assert (await operator.condition("Progressing"))["reason"] not in ("VolumeNotExpandable", "ApplyFailed")


async def test_a_volume_never_shrinks(operator: Operator) -> None:
    await operator.brought_up()
    done = operator.server.run_kubectl(
        *("patch", "cc", "demo", "-n", operator.namespace, "--type=merge", "-p"),
        json.dumps({"spec": {"database": {"storage": {"size": "5Gi"}}}}),
    )
    assert done.returncode != 0
    assert "must not shrink" in done.stderr


async def test_a_full_volume_is_told_though_the_chat_answers(operator: Operator) -> None:
    await operator.brought_up()
    operator.prober.answer = Answer(ok=False, message="answered, but full", volume_full=True)
    await operator.reconcile()
    for kind in ("Ready", "DatabaseReady"):
        condition = await operator.condition(kind)
        assert (condition["status"], condition["reason"]) == ("False", "VolumeFull")
    operator.prober.answer = Answer(ok=True, message="answered")
    assert await operator.reconciler.turned() == [(operator.namespace, "demo")]
