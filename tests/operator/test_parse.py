"""parse(): frozen types out, errors that name the field and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.errors import SpecError
from tests.support.chatclusters import body, cluster

HOOK = {"url": "https://sms.example.com/codes", "secretName": "codes"}


def test_the_least_that_is_valid_has_every_default() -> None:
    made = cluster()
    assert (made.name, made.namespace, made.retain, made.paused) == ("demo", "chat", True, False)
    assert made.ingress.replicas == 2
    assert made.ingress.service.type == "ClusterIP"
    assert made.chatserver.target_connections_per_server == 10_000
    assert (made.chatserver.scaling.min_replicas, made.chatserver.scaling.max_replicas) == (2, 10)
    assert made.database.storage.size == "10Gi"
    assert (made.auth.limits.codes_per_address_per_hour, made.auth.session_days) == (100, 90)


@pytest.mark.parametrize(
    ("scaling", "replicas"),
    [
        ({}, None),
        ({"replicas": 1}, None),
        ({"mode": "Internal", "replicas": 1}, None),
        ({"mode": "External"}, 1),
        ({"mode": "Disabled", "replicas": 4}, 4),
    ],
)
def test_the_default_number_of_chatservers_means_nothing_in_mode_internal(
    scaling: dict[str, Any], replicas: int | None
) -> None:
    assert cluster(chatserver={"scaling": scaling}).chatserver.scaling.replicas == replicas


def test_null_is_absent_at_any_depth() -> None:
    """As server-side apply stores what a file leaves empty."""
    toleration = {"key": "a", "operator": "Exists", "value": None}
    given = {
        "version": None,
        "ingress": {"image": None, "front": None, "resources": None, "tls": {"secretName": None, "issuerRef": None}},
        "chatserver": {"podTemplate": {"tolerations": [toleration], "priorityClassName": None}},
        "database": {"external": None, "storage": {"storageClassName": None}, "resources": {"limits": {"cpu": None}}},
    }
    without = {"chatserver": {"podTemplate": {"tolerations": [{"key": "a", "operator": "Exists"}]}}}
    assert cluster(**given) == cluster(**without)


def test_no_storage_class_is_not_the_default_one() -> None:
    assert cluster(database={"storage": {"storageClassName": ""}}).database.storage.storage_class_name == ""
    assert cluster().database.storage.storage_class_name is None


def _front(**front: Any) -> dict[str, Any]:
    return {"ingress": {"hostnames": ["a.example.com"], "front": front}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"chatserver": {"scaling": {"minReplicas": 5, "maxReplicas": 2}}}, "chatserver.scaling.minReplicas"),
        ({"chatserver": {"scaling": {"replicas": 2}}}, "chatserver.scaling.replicas"),
        ({"chatserver": {"scaling": {"mode": "External", "replicas": 0}}}, "chatserver.scaling.replicas"),
        ({"chatserver": {"scaling": {"mode": "Sometimes"}}}, "chatserver.scaling.mode"),
        ({"chatserver": {"drainSeconds": 9}}, "chatserver.drainSeconds"),
        ({"chatserver": {"targetConnectionsPerServer": "many"}}, "chatserver.targetConnectionsPerServer"),
        ({"chatserver": {"targetConnectionsPerServer": True}}, "chatserver.targetConnectionsPerServer"),
        ({"images": {"registry": "registry.example.com/chat"}}, "images.registry"),
        ({"ingress": {"tls": {"mode": "Secret"}}}, "ingress.tls.secretName"),
        ({"ingress": {"tls": {"mode": "CertManager"}, "hostnames": ["a.example.com"]}}, "ingress.tls.issuerRef"),
        ({"ingress": {"tls": {"issuerRef": {"name": "ours"}}}}, "ingress.tls.issuerRef"),
        ({"ingress": {"tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}}, "ingress.hostnames"),
        ({"ingress": {"front": {"kind": "Ingress"}}}, "ingress.hostnames"),
        (_front(kind="HTTPRoute"), "ingress.front.parentRefs"),
        (_front(kind="Ingress", parentRefs=[{"name": "public"}]), "ingress.front.parentRefs"),
        (_front(kind="HTTPRoute", parentRefs=[{"name": "public"}], className="a"), "ingress.front.className"),
        (_front(kind="HTTPRoute", parentRefs=[{"name": "public"}], tlsSecretName="a"), "ingress.front.tlsSecretName"),
        (_front(kind="Tunnel"), "ingress.front.kind"),
        ({"ingress": {"service": {"nodePort": 30443}}}, "ingress.service.nodePort"),
        ({"database": {"parameters": {"port": "1"}}}, "database.parameters.port"),
        ({"database": {"parameters": {"synchronous_commit": "off"}}}, "database.parameters.synchronous_commit"),
        ({"database": {"parameters": {"fsync": "off"}}}, "database.parameters.fsync"),
        ({"database": {"parameters": {"work_mem": "1MB\nport = 1"}}}, "database.parameters.work_mem"),
        ({"database": {"parameters": {"work_mem = 1\nport": "1"}}}, "database.parameters.work_mem = 1\nport"),
        ({"database": {"parameters": {"max_connections": "lots"}}}, "database.parameters.max_connections"),
        ({"database": {"external": {}}}, "database.external.secretName"),
        ({"chatserver": {"scaling": {"maxReplicas": 100}}, "database": {"parameters": {"max_connections": "100"}}},
         "chatserver.scaling.maxReplicas"),
        ({"database": {"external": {"secretName": "mine", "connectionBudget": 10}}},
         "database.external.connectionBudget"),
        ({"auth": {}}, "auth.otp.sender"),
        ({"auth": {"otp": {"sender": "Log"}}}, "auth.otp.allowDevelopmentCodes"),
        ({"auth": {"otp": {"sender": "Webhook"}}}, "auth.otp.webhook"),
        ({"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True, "webhook": HOOK}}}, "auth.otp.webhook"),
        ({"auth": {"otp": {"sender": "Webhook", "webhook": {**HOOK, "url": "http://a"}}}}, "auth.otp.webhook.url"),
        ({"auth": {"otp": {"sender": "Webhook", "webhook": {"url": "https://a"}}}}, "auth.otp.webhook.secretName"),
        ({"auth": {"otp": {"sender": "Webhook", "webhook": HOOK}, "limits": {"codesPerNumberPerHour": 0}}},
         "auth.limits.codesPerNumberPerHour"),
        ({"ingress": {"limits": {"trustedProxies": ["10.0.0.0/33"]}}}, "ingress.limits.trustedProxies"),
        ({"ingress": {"service": {"proxyProtocolFrom": ["10.0.0.300"]}}}, "ingress.service.proxyProtocolFrom"),
        ({"ingress": {"limits": {"connectionsPerIP": 0}}}, "ingress.limits.connectionsPerIP"),
        ({"deletionPolicy": "Perhaps"}, "deletionPolicy"),
        ({"ingress": {"resources": {"limits": {"cpus": 1}}}}, "ingress.resources.limits.cpus"),
        ({"chatserver": {"resources": {"requests": {"memory": "much"}}}}, "chatserver.resources.requests.memory"),
        ({"database": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 0.5}}}},
         "database.resources.limits.cpu"),
    ],
)  # fmt: skip
def test_wrong_values_name_their_field_and_a_remedy(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(body(**spec))
    assert refused.value.field == field
    assert refused.value.remedy
    assert str(refused.value).startswith(f"spec.{field}: ")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"chatserver": {"drainSeconds": 9}},
         "chatserver.drainSeconds: it must be a whole number from 10 to 3600, not 9"),
        ({"chatserver": {"drainSeconds": True}},
         "chatserver.drainSeconds: it must be a whole number from 10 to 3600, not True"),
        ({"ingress": {"replicas": "9" * 100_000}}, "ingress.replicas: it must be a whole number from 1 to 20"),
        ({"chatserver": {"scaling": {"mode": "x - at `$.y`"}}},
         "chatserver.scaling.mode: it must be one of Disabled, External, Internal, not 'x - at `$.y`'"),
        ({"paused": "yes"}, "paused: it must be true or false, not 'yes'"),
        ({"ingress": []}, "ingress: it must be an object"),
        ({"ingress": {"hostnames": "a.example.com"}}, "ingress.hostnames: it must be a list of at most 32 entries"),
        ({"ingress": {"hostnames": ["a.example.com", "A"]}},
         "ingress.hostnames[1]: it must be a DNS name in lower case, such as chat.example.com"),
        ({"ingress": {"hostnames": ["a.example.com\n"]}},
         "ingress.hostnames[0]: it must be a DNS name in lower case, such as chat.example.com"),
        ({"database": {"external": {}}},
         "database.external.secretName: it is missing; set it to the name of an object, such as chat-tls"),
        ({"ingress": {"service": {"annotations": {"a": "b" * 1025}}}},
         "ingress.service.annotations: each value in it must be text of at most 1024 characters"),
        ({"database": {"parameters": {str(number): "" for number in range(65)}}},
         "database.parameters: it must be an object with at most 64 fields"),
        ({"ingress": {"resources": {"limits": {"cpu": [1]}}}},
         "ingress.resources.limits: each value in it must be a quantity such as 4Gi or 500m"),
    ],
)  # fmt: skip
def test_a_value_that_its_type_refuses_is_explained(spec: dict[str, Any], told: str) -> None:
    """The CRD refuses them too; an object may have been stored before it did."""
    with pytest.raises(SpecError) as refused:
        parse(body(**spec))
    assert str(refused.value) == f"spec.{told}"


def test_a_spec_that_is_no_object_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^spec: it must be an object$"):
        parse({**body(), "spec": [1]})


def test_a_field_of_a_newer_crd_is_ignored() -> None:
    newer = {"database": {"engine": "new"}, "somethingElse": {"a": 1}}
    assert cluster(**newer) == cluster()


@pytest.mark.parametrize(
    "spec",
    [
        {"auth": {"otp": {"sender": "Webhook", "webhook": {**HOOK, "url": "https://u:hunter2@sms.example.com"}}}},
        {"auth": {"otp": {"sender": "Webhook", "webhook": {**HOOK, "url": 3, "secretName": "hunter2"}}}},
        {"auth": {"otp": {"sender": "Webhook", "webhook": {**HOOK, "secretName": "hunter2!"}}}},
        {"database": {"external": {"secretName": "postgresql://chat:hunter2@db/chat"}}},
        {"chatserver": {"env": [{"name": "CHAT=hunter2"}]}},
    ],
)
def test_a_text_that_may_be_a_secret_is_not_repeated(spec: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        parse(body(**spec))
    assert "hunter2" not in str(refused.value)
