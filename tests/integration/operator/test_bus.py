"""The bus on a real API server, with the rights of the release: made, changed, its Secret deleted, never adopted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.observed import Reading

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

VALKEY = {"type": "Valkey"}
KINDS = ("StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap", "Secret")


async def _there(operator: Operator) -> set[str]:
    """Kinds of the objects of the bus that exist."""
    found = {kind: await operator.kube.get(kind, operator.namespace, "demo-bus") for kind in KINDS}
    return {kind for kind, raw in found.items() if raw is not None}


async def _variables(operator: Operator) -> dict[str, str]:
    """The variables of the bus in the chatservers' template."""
    live = await operator.get("Deployment", "demo-chatserver")
    env = live["spec"]["template"]["spec"]["containers"][0]["env"]
    return {one["name"]: one["value"] for one in env if one["name"].startswith("CHAT_BUS_")}


async def _count(operator: Operator) -> int:
    return len((await _variables(operator)).get("CHAT_BUS_URLS", "").split(","))


async def _to_valkey(operator: Operator) -> None:
    """A chat on PostgreSQL's bus that changes to Valkey."""
    await operator.brought_up()
    operator.rolled_out()
    operator.patch({"bus": VALKEY})
    await operator.reconcile()
    operator.all_ready("statefulset", "demo-bus")
    await operator.reconcile()
    operator.rolled_out()
    await operator.reconcile()


async def test_the_bus_changes_to_valkey_and_back_in_order(operator: Operator) -> None:
    await operator.brought_up()
    operator.rolled_out()
    await operator.reconcile()
    assert await _there(operator) == set()
    assert await _variables(operator) == {}

    operator.patch({"bus": VALKEY})
    await operator.reconcile()
    assert await _there(operator) == set(KINDS)
    assert await _variables(operator) == {}, "Valkey is not ready"
    assert (await operator.condition("Progressing"))["status"] == "True"
    assert "Chatservers use the bus that they had before" in (await operator.condition("BusReady"))["message"]
    operator.all_ready("statefulset", "demo-bus")
    await operator.reconcile()
    assert (await _variables(operator))["CHAT_BUS_TYPE"] == "Valkey"
    assert await _count(operator) == 2
    operator.rolled_out()
    operator.pod("demo-chatserver-a")
    operator.prober.connections = {"demo-chatserver-a": Reading(0, draining=False, hears_bus=True)}
    await operator.reconcile()
    assert (await operator.condition("BusReady"))["reason"] == "Connected"
    before = len(operator.writes())
    await operator.reconcile(2)
    assert len(operator.writes()) == before, "there is nothing to do"

    operator.patch({"bus": {"valkey": {"replicas": 3}}})
    await operator.reconcile()
    assert (await operator.get("StatefulSet", "demo-bus"))["spec"]["replicas"] == 3
    assert await _count(operator) == 2, "the third one is not ready"
    operator.all_ready("statefulset", "demo-bus")
    await operator.reconcile()
    assert await _count(operator) == 3
    operator.patch({"bus": {"valkey": {"replicas": 1}}})
    operator.rolled_out()
    await operator.reconcile()
    assert await _count(operator) == 1
    assert (await operator.get("StatefulSet", "demo-bus"))["spec"]["replicas"] == 3, "servers may still use them"
    operator.rolled_out()
    await operator.reconcile()
    assert (await operator.get("StatefulSet", "demo-bus"))["spec"]["replicas"] == 1

    operator.patch({"bus": {"type": "PostgreSQL"}})
    operator.all_ready("statefulset", "demo-bus")
    await operator.reconcile()
    assert await _variables(operator) == {}
    assert await _there(operator) == set(KINDS), "servers may still use it"
    operator.rolled_out()
    await operator.reconcile()
    assert await _there(operator) == {"PodDisruptionBudget", "ConfigMap", "Secret"}
    assert (await operator.condition("Progressing"))["reason"] != "ApplyFailed"


async def test_a_deleted_secret_is_recreated_with_other_passwords_that_reach_all(operator: Operator) -> None:
    await _to_valkey(operator)
    operator.pod("demo-chatserver-a")
    await operator.reconcile()
    before = await operator.get("Secret", "demo-bus")
    template = (await operator.get("StatefulSet", "demo-bus"))["spec"]["template"]
    servers = (await operator.get("Deployment", "demo-chatserver"))["spec"]["template"]
    annotations = (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"]
    operator.admin.delete("secret", "demo-bus")
    await operator.reconcile()
    after = await operator.get("Secret", "demo-bus")
    assert not {key for key in before["data"] if before["data"][key] == after["data"][key]}
    assert (await operator.get("StatefulSet", "demo-bus"))["spec"]["template"] != template, "Valkey restarts"
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["template"] == servers, "servers do not"
    assert (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"] != annotations
    said = json.dumps(await operator.status()) + operator.kubectl("get", "events", "-o", "json")
    assert after["data"]["password"] not in said


@pytest.mark.parametrize("kind", ["Secret", "Service", "StatefulSet"])
async def test_an_object_of_somebody_elses_is_left_alone_and_the_chat_runs(operator: Operator, kind: str) -> None:
    contents: dict[str, dict[str, Any]] = {
        "Secret": {"apiVersion": "v1", "stringData": {"password": "theirs"}},
        "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 6379}], "selector": {"app": "shop"}}},
        "StatefulSet": {
            "apiVersion": "apps/v1",
            "spec": {
                "serviceName": "shop",
                "selector": {"matchLabels": {"app": "shop"}},
                "template": {
                    "metadata": {"labels": {"app": "shop"}},
                    "spec": {"containers": [{"name": "shop", "image": "shop:1"}]},
                },
            },
        },
    }
    operator.admin.create(
        {"kind": kind, "metadata": {"name": "demo-bus", "namespace": operator.namespace}, **contents[kind]}
    )
    theirs = await operator.get(kind, "demo-bus")
    operator.chatcluster["spec"]["bus"] = VALKEY
    await operator.brought_up()
    operator.rolled_out()
    await operator.reconcile()
    assert await operator.get(kind, "demo-bus") == theirs
    progressing = await operator.condition("Progressing")
    assert progressing["reason"] == "NameTaken"
    assert f"{kind} demo-bus" in progressing["message"]
    operator.patch({"bus": {"type": "PostgreSQL"}})
    await operator.reconcile()
    assert await operator.get(kind, "demo-bus") == theirs


async def test_an_external_bus_is_used_once_its_secret_is_right(operator: Operator) -> None:
    await operator.brought_up()
    operator.rolled_out()
    operator.patch({"bus": {"type": "External", "external": {"secretName": "theirs"}}})
    await operator.reconcile()
    for kind in ("BusReady", "Progressing"):
        condition = await operator.condition(kind)
        assert (condition["status"], condition["reason"]) == ("False", "BusSecretInvalid")
        assert "Secret theirs of bus.external.secretName" in condition["message"]
    assert await _variables(operator) == {}
    content = {"urls": "valkey://bus.example.com:6390", "password": "hunter2"}
    operator.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": content})
    await operator.reconcile()
    variables = await _variables(operator)
    assert variables["CHAT_BUS_URLS"] == "valkey://bus.example.com:6390"
    assert variables["CHAT_BUS_PREFIX"] == f"{operator.namespace}.demo"
    assert await _there(operator) == set()
    policy = await operator.get("NetworkPolicy", "demo-chatserver")
    assert {"ports": [{"port": 6390, "protocol": "TCP"}]} in policy["spec"]["egress"]
    operator.admin.delete("secret", "theirs")
    await operator.reconcile()
    assert await _variables(operator) == variables, "what works is not taken away"
    said = json.dumps(await operator.status()) + operator.kubectl("get", "events", "-o", "json")
    assert "hunter2" not in said
