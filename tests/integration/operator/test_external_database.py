"""A database that the user runs, as its Secrets change: what is told, what is migrated, what stays open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import of_a_user
from tests.support.chatclusters import SELF_SIGNED

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration


def _secret(operator: Operator, name: str = "mine", **data: str) -> None:
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    operator.kubectl("apply", "-f", "-", stdin=json.dumps(made))


async def _jobs(operator: Operator) -> set[str]:
    return {job["metadata"]["name"] for job in await operator.kube.list("Job", operator.namespace)}


async def _open_ports(operator: Operator, part: str = "chatserver") -> set[int]:
    policy = await operator.get("NetworkPolicy", f"demo-{part}")
    rules = [rule for rule in policy["spec"]["egress"] if "to" not in rule]
    assert all("ports" in rule for rule in rules), "a rule without ports is all of them"
    return {port["port"] for rule in rules for port in rule["ports"]} - {53, 5353}


@pytest.fixture
async def external(operator: Operator) -> Operator:
    operator.chatcluster["spec"]["database"] = {"external": {"secretName": "mine"}}
    _secret(operator, dsn="postgresql://u:first@h/d")
    await operator.brought_up()
    return operator


async def test_only_another_database_is_migrated_anew(external: Operator) -> None:
    first = await _jobs(external)
    template = (await external.get("Deployment", "demo-chatserver"))["spec"]["template"]
    external.kubectl("annotate", "secret", "mine", "a=b")
    await external.reconcile()
    _secret(external, dsn="postgresql://u:second@h:5432/d?sslmode=require")
    await external.reconcile()
    assert await _jobs(external) == first
    _secret(external, dsn="postgresql://u:second@h/another")
    await external.reconcile()
    assert len(await _jobs(external) - first) == 1, "its schema is looked at before anything else"
    assert (await external.get("Deployment", "demo-chatserver"))["spec"]["template"] == template
    assert "second" not in json.dumps(await external.status())


async def test_a_url_that_cannot_be_used_is_told_and_what_runs_runs_on(external: Operator) -> None:
    template = (await external.get("Deployment", "demo-chatserver"))["spec"]["template"]
    assert await _open_ports(external) == {5432}
    for wrong in ("mysql://u:hunter2@h/d", "postgresql://u:hun@ter2@h/d", "hunter2"):
        _secret(external, dsn=wrong)
        await external.reconcile()
        condition = await external.condition("DatabaseReady")
        assert (condition["status"], condition["reason"]) == ("False", "InvalidDsn")
        assert "Key dsn of Secret mine (database.external)" in condition["message"]
        assert (await external.condition("Progressing"))["reason"] == "InvalidDsn"
        said = json.dumps(await external.status()) + external.kubectl("get", "events", "-o", "json")
        assert "hunter2" not in said
        assert "ter2" not in said
        assert (await external.get("Deployment", "demo-chatserver"))["spec"]["template"] == template
        # Its servers still use what it said before.
        assert await _open_ports(external) == await _open_ports(external, "migrate") == {5432}
    external.admin.delete("secret", "mine")
    await external.reconcile()
    assert (await external.condition("DatabaseReady"))["reason"] == "SecretMissing"
    assert (await external.get("Deployment", "demo-chatserver"))["spec"]["template"] == template
    _secret(external, dsn="postgresql://u:third@h/d")
    await external.reconcile()
    assert (await external.condition("DatabaseReady"))["reason"] == "Unknown"


async def test_before_the_url_is_right_nothing_is_open_and_nothing_runs(operator: Operator) -> None:
    operator.chatcluster["spec"]["database"] = {"external": {"secretName": "mine"}}
    _secret(operator, dsn="mysql://u:hunter2@h/d")
    operator.create()
    await operator.reconcile(2)
    assert await _open_ports(operator) == set()
    assert await _jobs(operator) == set()
    _secret(operator, dsn="postgresql://u:p@h:6432/d")
    await operator.reconcile(2)
    assert await _open_ports(operator) == {6432}
    assert len(await _jobs(operator)) == 1


async def test_a_secret_by_cloudnativepg_with_its_authority(operator: Operator) -> None:
    operator.chatcluster["spec"]["database"] = {
        "external": {"secretName": "cluster-app", "secretKey": "uri", "caSecretName": "cluster-ca"}
    }
    _secret(operator, "cluster-app", uri="postgresql://app:p%40ss@cluster-rw.chat:5432/app", username="app")
    operator.create()
    for content, reason, words in (
        (None, "SecretMissing", "Secret cluster-ca of database.external.caSecretName is missing"),
        ({"tls.crt": "x"}, "SecretMissing", "has no key ca.crt"),
        ({"ca.crt": SELF_SIGNED.server.certificate}, "CertificateInvalid", "holds no PEM certificates"),
    ):
        if content is not None:
            _secret(operator, "cluster-ca", **content)
        await operator.reconcile()
        condition = await operator.condition("DatabaseReady")
        assert condition["reason"] == reason
        assert words in condition["message"]
        assert await _jobs(operator) == set()
    _secret(operator, "cluster-ca", **{"ca.crt": of_a_user().server.certificate, "ca.key": "not for servers"})
    await operator.reconcile(2)
    spec = (await operator.migrate_job())["spec"]["template"]["spec"]
    items = {
        volume["name"]: volume["secret"]["items"] for volume in spec["volumes"] if "items" in volume.get("secret", {})
    }
    assert items == {
        "database": [{"key": "uri", "path": "dsn"}],
        "database-ca": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    told = {variable["name"]: variable.get("value") for variable in spec["containers"][0]["env"]}
    assert told["PGSSLMODE"] == "verify-full"
    assert told["PGSSLROOTCERT"] == "/etc/chatcluster/database-ca/ca.crt"


@pytest.mark.parametrize(
    ("parameters", "fields", "words"),
    [
        ("?sslmode=disable", {"caSecretName": "its-ca"}, "remove sslmode"),
        ("?sslmode=prefer", {"caSecretName": "its-ca"}, "remove sslmode"),
        ("?sslrootcert=/a", {"caSecretName": "its-ca"}, "remove sslrootcert"),
        ("?sslmode=verify-full", {}, "name a Secret with its ca.crt in database.external.caSecretName"),
    ],
)
async def test_url_and_fields_that_contradict_each_other_are_told(
    operator: Operator, parameters: str, fields: dict[str, str], words: str
) -> None:
    operator.chatcluster["spec"]["database"] = {"external": {"secretName": "mine", **fields}}
    _secret(operator, dsn=f"postgresql://u:hunter2@h/d{parameters}")
    operator.create()
    await operator.reconcile()
    condition = await operator.condition("DatabaseReady")
    assert condition["reason"] == "InvalidDsn"
    assert words in condition["message"]
