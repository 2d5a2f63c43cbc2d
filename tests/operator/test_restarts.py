"""What a change of the spec restarts is what docs/operations/changes.md says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chatoperator.desired.database import Volume
from chatoperator.desired.manifests import render
from chatoperator.parts.database import statefulset
from tests.operator.test_places import SPEC, leaves
from tests.support.chatclusters import cluster, desired, instances_of
from tests.support.cluster import ROOT

ROW = re.compile(r"^\| (.+) \| (.+) \|$", re.MULTILINE)

PARTS = {
    "chatservers": "demo-chatserver",
    "HAProxy": "demo-ingress",
    "PostgreSQL": "demo-postgres",
    "Valkey pods": "demo-bus",
    "backup pod": "demo-backup",
}


def _backup(**more: Any) -> dict[str, Any]:
    """A spec with backups."""
    return {"database": {"backup": {"repository": {"volume": {}}, **more}}}


EXAMPLES: dict[str, dict[str, Any]] = {
    "chatserver.scaling.mode": {"chatserver": {"scaling": {"mode": "External", "replicas": 3}}},
    "chatserver.scaling.replicas": {"chatserver": {"scaling": {"mode": "Disabled", "replicas": 4}}},
    "chatserver.scaling.minReplicas": {"chatserver": {"scaling": {"minReplicas": 3}}},
    "chatserver.scaling.scaleDownStabilizationSeconds": {
        "chatserver": {"scaling": {"scaleDownStabilizationSeconds": 30}}
    },
    "chatserver.scaling.maxReplicas": {"chatserver": {"scaling": {"maxReplicas": 20}}},
    "chatserver.targetConnectionsPerServer": {"chatserver": {"targetConnectionsPerServer": 10_001}},
    "chatserver.env": {"chatserver": {"env": [{"name": "CHAT_LOG_LEVEL", "value": "DEBUG"}]}},
    "chatserver.resources": {"chatserver": {"resources": {"limits": {"memory": "2Gi"}}}},
    "chatserver.podTemplate": {"chatserver": {"podTemplate": {"labels": {"team": "chat"}}}},
    "chatserver.migration": {"chatserver": {"migration": {"podTemplate": {"nodeSelector": {"pool": "jobs"}}}}},
    "chatserver.drainSeconds": {"chatserver": {"drainSeconds": 60}},
    "monitoring": {"monitoring": {"probe": {"enabled": True}}},
    "ingress.allowedOrigins": {"ingress": {"allowedOrigins": ["https://www.example.com"]}},
    "auth": {"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}, "sessionDays": 30}},
    "retention": {"retention": {"days": 30}},
    "ingress.hostnames": {"ingress": {"hostnames": ["chat.example.com"]}},
    "ingress.replicas": {"ingress": {"replicas": 3}},
    "ingress.limits": {"ingress": {"limits": {"connectionsPerIP": 100}}},
    "ingress.podTemplate": {"ingress": {"podTemplate": {"labels": {"team": "chat"}}}},
    "database.podTemplate": {"database": {"podTemplate": {"priorityClassName": "chat"}}},
    "ingress.resources": {"ingress": {"resources": {"limits": {"memory": "2Gi"}}}},
    "ingress.tls.mode": {"ingress": {"tls": {"mode": "Secret", "secretName": "mine"}}},
    "ingress.tls.secretName": {"ingress": {"tls": {"mode": "Secret", "secretName": "another"}}},
    "ingress.tls.issuerRef": {
        "ingress": {
            "hostnames": ["chat.example.com"],
            "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}},
        }
    },
    "ingress.front": {"ingress": {"hostnames": ["chat.example.com"], "front": {"kind": "Ingress"}}},
    "ingress.service.annotations": {"ingress": {"service": {"annotations": {"a": "b"}}}},
    "ingress.service.externalTrafficPolicy": {
        "ingress": {"service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}}
    },
    "ingress.service.nodePort": {"ingress": {"service": {"type": "NodePort", "nodePort": 30444}}},
    "ingress.service.proxyProtocolFrom": {"ingress": {"service": {"proxyProtocolFrom": ["10.2.0.0/24"]}}},
    "ingress.service.type": {"ingress": {"service": {"type": "NodePort", "nodePort": 30443}}},
    "database.storage.size": {"database": {"storage": {"size": "20Gi"}}},
    "database.external": {"database": {"external": {"secretName": "another"}}},
    "database.instances": {"database": {"instances": 3}},
    "database.strict": {"database": {"instances": 3, "strict": False}},
    "database.resources": {"database": {"resources": {"limits": {"memory": "2Gi"}}}},
    "database.parameters": {"database": {"parameters": {"max_connections": "400"}}},
    "database.backup": {"database": {"backup": {"repository": {"volume": {}}}}},
    "database.backup.schedule": _backup(schedule={"full": "0 2 * * 0"}),
    "database.backup.retention": _backup(retention={"fullBackups": 3}),
    "database.backup.archiveTimeoutSeconds": _backup(archiveTimeoutSeconds=30),
    "database.backup.suspended": _backup(suspended=True),
    "database.backup.resources": _backup(resources={"limits": {"memory": "2Gi"}}),
    "database.backup.encryption": _backup(encryption={"secretName": "mine"}),
    "database.backup.drill": _backup(drill={}),
    "database.backup.drill.schedule": _backup(drill={"schedule": "0 6 1 * *"}),
    "database.backup.drill.timeoutSeconds": _backup(drill={"timeoutSeconds": 60}),
    "bus.type": {"bus": {"type": "Valkey"}},
    "bus.valkey.replicas": {"bus": {"type": "Valkey", "valkey": {"replicas": 3}}},
    "bus.valkey.resources": {"bus": {"type": "Valkey", "valkey": {"resources": {"limits": {"memory": "2Gi"}}}}},
    "bus.valkey.podTemplate": {"bus": {"type": "Valkey", "valkey": {"podTemplate": {"labels": {"team": "chat"}}}}},
    "bus.external": {"bus": {"type": "External", "external": {"secretName": "another"}}},
    "networkPolicies": {"networkPolicies": {"enabled": False}},
    "deletionPolicy": {"deletionPolicy": "Delete"},
    "paused": {"paused": True},
    "images.pullSecrets": {"images": {"pullSecrets": ["registry"]}, "bus": {"type": "Valkey"}},
}

ALREADY: dict[str, dict[str, Any]] = {
    "ingress.tls.issuerRef": {"ingress": {"hostnames": ["chat.example.com"]}},
    "ingress.tls.secretName": {"ingress": {"tls": {"mode": "Secret", "secretName": "mine"}}},
    "ingress.service.externalTrafficPolicy": {"ingress": {"service": {"type": "LoadBalancer"}}},
    "ingress.service.nodePort": {"ingress": {"service": {"type": "NodePort", "nodePort": 30443}}},
    "database.external": {"database": {"external": {"secretName": "mine"}}},
    "database.strict": {"database": {"instances": 3}},
    "bus.external": {"bus": {"type": "External", "external": {"secretName": "theirs"}}},
    **{
        f"database.backup.{field}": _backup()
        for field in ("schedule", "retention", "archiveTimeoutSeconds", "suspended", "resources", "encryption", "drill")
    },
    **{f"database.backup.drill.{field}": _backup(drill={}) for field in ("schedule", "timeoutSeconds")},
    **{
        field: {"bus": {"type": "Valkey"}}
        for field in ("bus.valkey.replicas", "bus.valkey.resources", "bus.valkey.podTemplate", "images.pullSecrets")
    },
}
"""What a field's example needs beside it, and the chat has before."""


def documented() -> dict[str, set[str]]:
    """By field, the workloads that its row names."""
    page = (ROOT / "docs" / "operations" / "changes.md").read_text()
    section = page.partition("## What a change restarts\n")[2].partition("\n## ")[0]
    return {
        field: {workload for part, workload in PARTS.items() if part in said}
        for fields, said in ROW.findall(section)
        for field in re.findall(r"`([^`]+)`", fields)
    }


def templates(**spec: Any) -> dict[str, Any]:
    """The pod templates by workload."""
    made = cluster(**spec)
    # The volume does not grow at once.
    digest = statefulset.config_digest(made, volume_size="10Gi")
    port = made.ingress.service.node_port or 443
    volume = Volume("10Gi")
    given = desired(made, volume=volume, config_digest=digest, https_port=port, replication=instances_of(made))
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in render(given)
        if manifest["kind"] in {"Deployment", "StatefulSet"}
    }


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_change_restarts_what_the_page_says(field: str) -> None:
    before, after = templates(**ALREADY.get(field, {})), templates(**EXAMPLES[field])
    assert {name for name in before if before[name] != after[name]} == documented()[field]


OF_IMAGES = {"version", "images.registry", "chatserver.image", "ingress.image", "database.image", "bus.valkey.image"}
"""Fields that choose images, which are an input here."""

PROMISED = {"restarts the chatservers": "demo-chatserver", "replaces the HAProxy pods": "demo-ingress"}
"""What descriptions of the CRD say of a change, with the workload."""


def test_every_field_of_the_page_is_tried() -> None:
    assert documented().keys() - OF_IMAGES == EXAMPLES.keys()


def test_a_description_announces_the_restarts_that_the_page_lists() -> None:
    wrong = {}
    for field in leaves(SPEC):
        schema, page = SPEC, [known for known in documented() if f"{field}.".startswith(f"{known}.")]
        for name in field.split("."):
            schema = schema.get("items", schema)["properties"][name]
        announced = {PROMISED[text] for text in PROMISED if text in schema["description"]}
        if field not in OF_IMAGES and not announced <= set().union(*(documented()[known] for known in page)):
            wrong[field] = announced
    assert wrong == {}


def test_every_field_of_the_crd_is_on_the_page() -> None:
    page = documented()
    missing = {field for field in leaves(SPEC) if not any(f"{field}.".startswith(f"{known}.") for known in page)}
    at_creation = {field for field in leaves(SPEC) if field.startswith("database.restore.")}
    # Kubernetes cannot move a volume. The page says both below the table.
    assert missing == {"database.storage.storageClassName", *at_creation}
