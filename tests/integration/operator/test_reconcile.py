"""The reconcile on a real API server. No controller runs there: every change is the operator's or the test's."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.metadata import DELETION_COST_ANNOTATION, KIND, SCHEMA_ANNOTATION
from chatoperator.observed import Answer, Reading
from chatoperator.parts.database.statefulset import REVISION_KEY
from chatoperator.reconcile.observe import LOST_AFTER_SECONDS
from chatoperator.reports import AgentReport
from tests.support.chatclusters import SETTINGS
from tests.support.operators import SERVED

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

CHILDREN = {
    "Deployment": {"demo-chatserver", "demo-ingress"},
    "StatefulSet": {"demo-postgres"},
    "Service": {"demo-chatserver", "demo-ingress", "demo-ingress-proxies", "demo-postgres"},
    "ConfigMap": {"demo-ingress", "demo-postgres"},
    "Secret": {"demo-chatserver", "demo-database", "demo-ingress-ca", "demo-ingress-tls"},
    "PersistentVolumeClaim": {"demo-postgres-data"},
    "PodDisruptionBudget": {"demo-chatserver", "demo-ingress"},
}


async def test_brings_up_everything_and_then_writes_nothing(operator: Operator) -> None:
    await operator.brought_up()
    for kind, names in CHILDREN.items():
        found = {child["metadata"]["name"] for child in await operator.kube.list(kind, operator.namespace)}
        assert names <= found, kind
    before = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == before


async def test_a_restarted_operator_changes_nothing(operator: Operator) -> None:
    """It applies everything once, since it remembers nothing; the API server finds that all of it is there."""
    await operator.brought_up()
    before = await _versions(operator)
    assert {kind for kind, _ in before} == SERVED - {"Ingress", "ServiceAccount", "Role", "RoleBinding"}
    operator.restart()
    await operator.reconcile()
    assert await _versions(operator) == before


async def test_servers_wait_for_the_migration(operator: Operator) -> None:
    operator.create()
    await operator.reconcile(3)
    assert await operator.kube.get("Deployment", operator.namespace, "demo-chatserver") is None
    assert (await operator.condition("ChatserverReady"))["reason"] == "WaitingForMigration"
    assert (await operator.condition("Progressing"))["reason"] == "Migrating"
    await operator.migrated()
    await operator.reconcile()
    deployment = await operator.get("Deployment", "demo-chatserver")
    assert (
        deployment["metadata"]["annotations"][SCHEMA_ANNOTATION] == (await operator.migrate_job())["metadata"]["name"]
    )


async def test_a_new_image_waits_for_its_migration_while_the_old_one_is_kept(operator: Operator) -> None:
    await operator.brought_up()
    first = (await operator.migrate_job())["metadata"]["name"]
    operator.patch({"chatserver": {"image": "chatserver:2"}})
    await operator.reconcile()
    operator.kubectl("delete", "deployment", "demo-ingress")
    await operator.reconcile()
    assert await _image(operator) == "chatserver:1"
    assert (await operator.status())["images"]["chatserver"] == "chatserver:1"
    jobs = {job["metadata"]["name"] for job in await operator.kube.list("Job", operator.namespace)}
    operator.kubectl("delete", "job", first)
    assert len(jobs) == 2
    await operator.migrated()
    await operator.reconcile()
    assert await _image(operator) == "chatserver:2"
    assert (await operator.status())["images"]["chatserver"] == "chatserver:2"


async def test_deleted_children_come_back_with_their_replicas(operator: Operator) -> None:
    await operator.brought_up()
    operator.patch({"chatserver": {"scaling": {"minReplicas": 4}}})
    await operator.reconcile()
    for kind, names in CHILDREN.items():
        if kind == "PersistentVolumeClaim":
            continue
        for name in names:
            uid = (await operator.get(kind, name))["metadata"]["uid"]
            operator.kubectl("delete", kind, name)
            await operator.reconcile()
            assert (await operator.get(kind, name))["metadata"]["uid"] != uid
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 4


async def test_a_change_by_hand_is_undone(operator: Operator) -> None:
    await operator.brought_up()
    operator.kubectl("scale", "deployment", "demo-ingress", "--replicas=7")
    operator.kubectl("patch", "configmap", "demo-ingress", "--type=merge", "-p", '{"data":{"haproxy.cfg":"nonsense"}}')
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 2
    assert "server-template" in (await operator.get("ConfigMap", "demo-ingress"))["data"]["haproxy.cfg"]


async def test_credentials_and_volume_outlive_the_chatcluster_under_retain(operator: Operator) -> None:
    await operator.brought_up()
    kept = {}
    for kind, name in (
        ("Secret", "demo-database"),
        ("Secret", "demo-chatserver"),
        ("PersistentVolumeClaim", "demo-postgres-data"),
    ):
        kept[kind, name] = await operator.get(kind, name)
        assert "ownerReferences" not in kept[kind, name]["metadata"]
    operator.kubectl("delete", "cc", "demo")
    await operator.reconcile()
    operator.create()
    await operator.reconcile(2)
    for (kind, name), before in kept.items():
        after = await operator.get(kind, name)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after.get("data") == before.get("data")


async def test_the_policy_can_be_flipped_on_live_objects(operator: Operator) -> None:
    await operator.brought_up()
    uid = (await operator.get(KIND, "demo"))["metadata"]["uid"]
    for policy, owners in (("Delete", [uid]), ("Retain", []), ("Delete", [uid])):
        operator.patch({"deletionPolicy": policy})
        await operator.reconcile()
        for kind, name in (("Secret", "demo-database"), ("PersistentVolumeClaim", "demo-postgres-data")):
            metadata = (await operator.get(kind, name))["metadata"]
            assert [owner["uid"] for owner in metadata.get("ownerReferences", [])] == owners


async def test_a_claim_that_is_being_deleted_is_waited_out(operator: Operator) -> None:
    await operator.brought_up()
    # The API server's own protection finalizer keeps it, as a running pod would.
    operator.kubectl("delete", "pvc", "demo-postgres-data", "--wait=false")
    operator.kubectl("delete", "statefulset", "demo-postgres")
    await operator.reconcile(2)
    assert await operator.kube.get("StatefulSet", operator.namespace, "demo-postgres") is None
    assert (await operator.condition("DatabaseReady"))["reason"] == "VolumeLeaving"
    operator.kubectl("patch", "pvc", "demo-postgres-data", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await operator.reconcile(2)
    assert "deletionTimestamp" not in (await operator.get("PersistentVolumeClaim", "demo-postgres-data"))["metadata"]
    await operator.get("StatefulSet", "demo-postgres")


async def test_a_new_volume_is_migrated_before_servers_of_a_known_image(operator: Operator) -> None:
    await operator.brought_up()
    first = (await operator.migrate_job())["metadata"]["name"]
    operator.admin.delete("pvc", "demo-postgres-data")
    operator.admin.patch("pvc", "demo-postgres-data", {"metadata": {"finalizers": None}})
    await operator.reconcile(2)
    names = {job["metadata"]["name"] for job in await operator.kube.list("Job", operator.namespace)}
    assert names - {first}, "the new volume has no schema yet"


async def test_a_new_password_only_touches_the_pods(operator: Operator) -> None:
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    await operator.reconcile()
    postgres = (await operator.get("StatefulSet", "demo-postgres"))["metadata"]["generation"]
    servers = (await operator.get("Deployment", "demo-chatserver"))["metadata"]["generation"]
    touched = (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"]
    before = await _password(operator)
    operator.kubectl("delete", "secret", "demo-database")
    await operator.reconcile(2)
    assert await _password(operator) != before
    assert (await operator.get("StatefulSet", "demo-postgres"))["metadata"]["generation"] == postgres
    assert (await operator.get("Deployment", "demo-chatserver"))["metadata"]["generation"] == servers
    assert (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"] != touched


async def test_a_secret_that_lost_its_labels_is_not_replaced(operator: Operator) -> None:
    await operator.brought_up()
    before = await _password(operator)
    operator.kubectl("label", "secret", "demo-database", "app.kubernetes.io/managed-by-", "app.kubernetes.io/instance-")
    operator.restart()
    await operator.reconcile(2)
    assert await _password(operator) == before


async def test_connections_scale_up_and_a_lower_target_restarts_nothing(operator: Operator) -> None:
    await operator.brought_up()
    for name in ("demo-chatserver-a", "demo-chatserver-b"):
        operator.pod(name)
    operator.prober.connections = {
        "demo-chatserver-a": Reading(connections=20, draining=False),
        "demo-chatserver-b": Reading(connections=12, draining=False),
    }
    template = (await operator.get("Deployment", "demo-chatserver"))["spec"]["template"]
    operator.patch({"chatserver": {"targetConnectionsPerServer": 11}})
    await operator.reconcile()
    deployment = await operator.get("Deployment", "demo-chatserver")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"] == template
    assert (await operator.status())["connections"] == 32
    assert (await operator.status())["desiredReplicas"] == 3


async def test_a_change_of_the_spec_is_decided_on_at_once_and_puts_off_no_tick(operator: Operator) -> None:
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    operator.prober.connections = {"demo-chatserver-a": Reading(connections=20, draining=False)}
    operator.patch({"chatserver": {"targetConnectionsPerServer": 11}})
    await operator.reconcile(seconds=5)
    assert (await operator.status())["connections"] == 20
    operator.prober.connections = {"demo-chatserver-a": Reading(connections=32, draining=False)}
    await operator.reconcile(seconds=5)
    assert (await operator.status())["desiredReplicas"] == 2, "nothing has changed, and it is not time yet"
    # Fifteen seconds after the tick before the change.
    await operator.reconcile(seconds=5)
    assert (await operator.status())["desiredReplicas"] == 3


async def test_the_server_with_the_fewest_connections_goes(operator: Operator) -> None:
    await _three_servers_of_which_two_are_wanted(operator)
    costs = {
        name: (await operator.get("Pod", name))["metadata"].get("annotations", {}).get(DELETION_COST_ANNOTATION)
        for name in operator.prober.connections
    }
    assert costs == {"demo-chatserver-a": None, "demo-chatserver-b": "-100", "demo-chatserver-c": None}


async def test_a_server_on_a_lost_node_holds_the_others_only_as_long_as_it_could_be_draining(
    operator: Operator,
) -> None:
    await operator.three_servers()
    operator.pod("demo-chatserver-lost", node="lost")
    operator.kubectl("delete", "pod", "demo-chatserver-lost", "--grace-period=1", "--wait=false")
    operator.patch({"chatserver": {"scaling": {"minReplicas": 1}}})
    await operator.reconcile(2)
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 3
    operator.later = dt.timedelta(seconds=LOST_AFTER_SECONDS + 5)
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 2
    assert (await operator.condition("ScalingActive"))["status"] == "True"


async def _three_servers_of_which_two_are_wanted(operator: Operator) -> None:
    await operator.three_servers()
    operator.patch({"chatserver": {"scaling": {"minReplicas": 1}}})
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 2


async def test_a_number_changed_by_hand_is_undone(operator: Operator) -> None:
    await operator.brought_up()
    operator.kubectl("scale", "deployment", "demo-chatserver", "--replicas=9")
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 2


@pytest.mark.parametrize(("goes", "told"), [("demo-chatserver-b", []), ("demo-chatserver-a", ["WrongServerRemoved"])])
async def test_it_is_told_when_another_server_went_than_the_emptiest(
    operator: Operator, goes: str, told: list[str]
) -> None:
    await _three_servers_of_which_two_are_wanted(operator)
    operator.kubectl("delete", "pod", goes, "--grace-period=0", "--force")
    await operator.reconcile(3)
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    wrong = [event for event in events if event["reason"] == "WrongServerRemoved"]
    assert [event["reason"] for event in wrong] == told
    for event in wrong:
        assert event["type"] == "Warning"
        assert event["message"].startswith(
            "demo-chatserver-a was removed although demo-chatserver-b had fewer connections"
        )


async def test_the_cost_is_written_once_for_each_scale_down(operator: Operator) -> None:
    await _three_servers_of_which_two_are_wanted(operator)
    await operator.reconcile(3)
    marked = [write for write in operator.writes() if "/pods/demo-chatserver-" in write and "/status" not in write]
    by_cost = [write for write in marked if "demo-chatserver-b" in write]
    # Each pod once for its credentials' hash and once for the cluster autoscaler; the emptiest once more for its cost.
    assert len(marked) == 7
    assert len(by_cost) == 3


async def test_external_mode_passes_the_number_on(operator: Operator) -> None:
    await operator.brought_up()
    operator.patch({"chatserver": {"scaling": {"mode": "External", "replicas": 5}}})
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"] == 5
    assert (await operator.condition("ScalingActive"))["reason"] == "External"


async def test_a_wrong_spec_that_got_in_leaves_what_runs_alone(operator: Operator) -> None:
    await operator.brought_up()
    operator.prober.answer = Answer(ok=True, message="answered")
    await operator.reconcile()
    before = operator.writes()
    operator.patch({"database": {"parameters": {"listen_addresses": "localhost"}}})
    await operator.reconcile(2)
    progressing = await operator.condition("Progressing")
    assert progressing["reason"] == "InvalidSpec"
    assert "spec.database.parameters.listen_addresses" in progressing["message"]
    assert (await operator.condition("Ready"))["status"] == "True"
    changed = [write for write in operator.writes()[len(before) :] if "/chatclusters/" not in write]
    assert all("/events" in write for write in changed)
    events = operator.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    assert "InvalidSpec" in events.split()


async def test_paused_changes_nothing_and_keeps_telling_the_truth(operator: Operator) -> None:
    await operator.brought_up()
    operator.patch({"paused": True, "ingress": {"replicas": 5}})
    operator.kubectl("delete", "configmap", "demo-postgres")
    await operator.reconcile(2)
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 2
    assert await operator.kube.get("ConfigMap", operator.namespace, "demo-postgres") is None
    assert (await operator.condition("Paused"))["status"] == "True"
    operator.patch({"paused": False})
    await operator.reconcile()
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["replicas"] == 5


async def test_a_newer_operator_restarts_nothing_until_asked(operator: Operator) -> None:
    await operator.brought_up()
    templates = {name: (await operator.get("Deployment", name))["spec"] for name in CHILDREN["Deployment"]}
    newer = type(SETTINGS.images)(chatserver="chatserver:9", postgres="postgres:9", haproxy="haproxy:9")
    operator.restart(version="9", images=newer)
    await operator.reconcile(2)
    for name, spec in templates.items():
        assert (await operator.get("Deployment", name))["spec"] == spec
    assert (await operator.condition("UpgradeAvailable"))["status"] == "True"
    operator.patch({"version": "9"})
    await operator.reconcile(2)
    assert (await operator.get("Deployment", "demo-ingress"))["spec"]["template"]["spec"]["containers"][0][
        "image"
    ] == "haproxy:9"
    assert (await operator.status())["version"] == "9"


async def test_a_registry_and_its_secrets_reach_every_pod_and_can_be_put_right(operator: Operator) -> None:
    """A registry that does not exist holds up the migration, for which servers and database wait."""
    await operator.brought_up()
    operator.pod("demo-postgres-0", part="postgres")
    revision = (await operator.get("ConfigMap", "demo-postgres"))["data"][REVISION_KEY]
    operator.prober.report = AgentReport(credentials=None, configuration=revision, refused=None)
    before = (await operator.migrate_job())["metadata"]["name"]
    operator.patch({"images": {"registry": "wrong.example.com/", "pullSecrets": ["wrong"]}})
    await operator.reconcile(2)
    assert await _image(operator) == "chatserver:1"
    database = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]["spec"]
    assert (database["containers"][0]["image"], database.get("imagePullSecrets")) == ("postgres:1", None)
    operator.kubectl("delete", "job", before)
    registry = "registry.example.com:5000/chat/"
    operator.patch({"images": {"registry": registry, "pullSecrets": ["mine"]}, "ingress": {"image": "own/haproxy:2"}})
    await operator.reconcile(2)
    await operator.migrated()
    await operator.reconcile(2)
    holders = [await operator.get("Deployment", name) for name in sorted(CHILDREN["Deployment"])]
    holders += [await operator.get("StatefulSet", "demo-postgres"), await operator.migrate_job()]
    specs = [holder["spec"]["template"]["spec"] for holder in holders]
    assert [spec["imagePullSecrets"] for spec in specs] == [[{"name": "mine"}]] * 4
    chatserver, postgres = f"{registry}chatserver:1", f"{registry}postgres:1"
    assert [spec["containers"][0]["image"] for spec in specs] == [chatserver, "own/haproxy:2", postgres, chatserver]
    held = (await operator.status())["images"]
    valkey = f"{registry}valkey:1"
    assert held == {"chatserver": chatserver, "haproxy": "own/haproxy:2", "postgres": postgres, "valkey": valkey}

    # A newer operator whose chart names another registry changes nothing.
    newer = type(SETTINGS.images)(chatserver="c.example.com/chatserver:9", postgres="postgres:9", haproxy="haproxy:9")
    operator.restart(version="9", images=newer)
    await operator.reconcile(2)
    assert await _image(operator) == chatserver
    assert (await operator.status())["images"] == held


async def test_external_database_makes_no_postgres_and_waits_for_its_secret(operator: Operator) -> None:
    operator.chatcluster["spec"]["database"] = {"external": {"secretName": "mine"}}
    operator.create()
    await operator.reconcile(2)
    assert (await operator.condition("DatabaseReady"))["reason"] == "SecretMissing"
    assert await operator.kube.list("Job", operator.namespace) == []
    operator.kubectl("create", "secret", "generic", "mine", "--from-literal=dsn=postgresql://u:p@h/d")
    await operator.reconcile()
    await operator.migrated()
    await operator.reconcile()
    pod = (await operator.get("Deployment", "demo-chatserver"))["spec"]["template"]["spec"]
    assert "mine" in {volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
    assert await operator.kube.list("StatefulSet", operator.namespace) == []
    assert await operator.kube.list("PersistentVolumeClaim", operator.namespace) == []


async def test_a_missing_key_of_the_webhook_is_told_and_found_once_it_is_there(operator: Operator) -> None:
    webhook = {"url": "https://sms.example.com/codes", "secretName": "codes"}
    operator.chatcluster["spec"]["auth"] = {"otp": {"sender": "Webhook", "webhook": webhook}}
    await operator.brought_up()
    for wrong in (None, "other=0123456789abcdef", "secret=short"):
        operator.kubectl("delete", "secret", "codes", "--ignore-not-found")
        if wrong:
            operator.kubectl("create", "secret", "generic", "codes", f"--from-literal={wrong}")
        await operator.reconcile()
        progressing = await operator.condition("Progressing")
        assert (progressing["status"], progressing["reason"]) == ("False", "WebhookSecretMissing")
        assert "Secret codes of auth.otp.webhook.secretName" in progressing["message"]
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    told = [event["type"] for event in events if event["reason"] == "WebhookSecretMissing"]
    assert told == ["Warning"]
    operator.kubectl("delete", "secret", "codes")
    operator.kubectl("create", "secret", "generic", "codes", "--from-literal=secret=0123456789abcdef")
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] != "WebhookSecretMissing"
    assert (await operator.condition("DevelopmentCodes"))["status"] == "False"


async def test_pods_of_every_part_are_admitted_under_restricted(operator: Operator) -> None:
    await operator.brought_up()
    templates = [
        (await operator.get(kind, name))["spec"]["template"]
        for kind, name in (
            ("Deployment", "demo-chatserver"),
            ("Deployment", "demo-ingress"),
            ("StatefulSet", "demo-postgres"),
        )
    ]
    templates.append((await operator.migrate_job())["spec"]["template"])
    for number, template in enumerate(templates):
        made = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"try-{number}", "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }
        operator.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(made))


async def _versions(operator: Operator) -> dict[tuple[str, str], Any]:
    """The children by (kind, name), each with what changes when it is stored.

    A claim is stored once more at its first repeated apply, unchanged, so that of claims it is what they say.
    """
    return {
        (kind, child["metadata"]["name"]): child["spec"]
        if kind == "PersistentVolumeClaim"
        else child["metadata"]["resourceVersion"]
        for kind in SERVED
        for child in await operator.kube.list(kind, operator.namespace)
    }


async def _image(operator: Operator) -> str:
    deployment = await operator.get("Deployment", "demo-chatserver")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


async def _password(operator: Operator) -> str:
    secret = await operator.get("Secret", "demo-database")
    return base64.b64decode(secret["data"]["password"]).decode()
