"""The places that a field of the ChatCluster passes from the CRD to a pod, which tests/operator/test_places.py proves.

A new field needs a line in PLACES or in USED_ELSEWHERE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from chatserver.environment import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS = "Deployment demo-chatserver"
SERVERS_POD = f"{SERVERS} spec.template"
PROXIES_POD = "Deployment demo-ingress spec.template"
DATABASE_POD = "StatefulSet demo-postgres spec.template"
MIGRATION_POD = "Job demo-migrate spec.template"
BACKUP_POD = "StatefulSet demo-backup spec.template"
BUS_POD = "StatefulSet demo-bus spec.template"
PROBE_POD = "Deployment demo-probe spec.template"
CLAIM = "PersistentVolumeClaim demo-postgres-data"
CERTIFICATE = "Certificate demo-ingress-issued"
ENVIRONMENT = f"{SERVERS_POD}.spec.containers.chatserver.env"
HAPROXY = "ConfigMap demo-ingress data.haproxy.cfg"


class Place(NamedTuple):
    """Where a value of a field arrives.

    Attributes:
        value: A value other than the default.
        manifest: Beginning of the path that it changes: kind, name, path; entries of lists by their name.
        setting: Attribute of the server's Settings, of a variable of the environment.
        beside: What else of the spec the value needs, which is there before it.
    """

    value: Any
    manifest: str
    setting: str | None = None
    beside: Mapping[str, Any] = {}


def variable(value: Any, name: str, *, setting: str | None = None, beside: Mapping[str, Any] | None = None) -> Place:
    """A field that servers read as CHAT_`name`; their setting has its name unless another one is given."""
    return Place(value, f"{ENVIRONMENT}.{PREFIX}{name}", setting or name.lower(), beside or {})


NAMED = {"ingress": {"hostnames": ["a.example.com"]}}
FRONTED = {"ingress": {"hostnames": ["a.example.com"], "front": {"kind": "Ingress"}}}
ROUTED = {"ingress": {"hostnames": ["a.example.com"], "front": {"kind": "HTTPRoute", "parentRefs": [{"name": "a"}]}}}
ISSUED = {
    "ingress": {"hostnames": ["a.example.com"], "tls": {"mode": "CertManager", "issuerRef": {"name": "a"}}},
}
PUBLISHED = {"ingress": {"service": {"type": "NodePort"}}}
POSTED = {
    "auth": {
        "otp": {"sender": "Webhook", "webhook": {"url": "https://sms.example.com/codes", "secretName": "codes"}},
    },
}
PROBED = {"monitoring": {"probe": {"enabled": True}}}
VALKEY = {"bus": {"type": "Valkey"}}
EXTERNAL_BUS = {"bus": {"type": "External", "external": {"secretName": "theirs"}}}
BACKED_UP: dict[str, Any] = {"database": {"backup": {"repository": {"volume": {}}}}}
DRILLED: dict[str, Any] = {"database": {"backup": {"repository": {"volume": {}}, "drill": {}}}}
STORES: dict[str, dict[str, Any]] = {
    "s3": {"bucket": "chats", "region": "eu", "endpoint": "s3.example.com", "secretName": "store"},
    "gcs": {"bucket": "chats", "secretName": "store"},
    "azure": {"account": "chats", "container": "chats", "secretName": "store"},
}
"""The fields that each object store needs."""

OF_STORES: dict[str, dict[str, Any]] = {
    "s3": {"path": "/a", "uriStyle": "Path", "caSecretName": "authority"},
    "gcs": {"path": "/a"},
    "azure": {"path": "/a", "endpoint": "other.example.com"},
}
"""And those that it may have, with values other than the defaults."""

EXTERNAL = {"database": {"external": {"secretName": "theirs"}}}


def _pods(path: str, pod: str) -> dict[str, Place]:
    """The fields of podTemplate."""
    return {
        f"{path}.labels": Place({"team": "chat"}, f"{pod}.metadata.labels.team"),
        f"{path}.annotations": Place({"a": "b"}, f"{pod}.metadata.annotations.a"),
        f"{path}.nodeSelector": Place({"pool": "chat"}, f"{pod}.spec.nodeSelector.pool"),
        f"{path}.tolerations": Place([{"key": "a", "operator": "Exists"}], f"{pod}.spec.tolerations"),
        f"{path}.affinity": Place({"nodeAffinity": {}}, f"{pod}.spec.affinity.nodeAffinity"),
        f"{path}.topologySpreadConstraints": Place(
            [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
            f"{pod}.spec.topologySpreadConstraints",
        ),
        f"{path}.priorityClassName": Place("chat", f"{pod}.spec.priorityClassName"),
    }


def _resources(path: str, container: str) -> dict[str, Place]:
    return {
        f"{path}.requests": Place({"cpu": "900m"}, f"{container}.resources.requests.cpu"),
        f"{path}.limits": Place({"memory": "3Gi"}, f"{container}.resources.limits.memory"),
    }


def _backups() -> dict[str, Place]:
    """The fields of backups and restores."""
    host, plan = "ConfigMap demo-backup data.pgbackrest.conf", "ConfigMap demo-backup data.backup.json"
    source, pod = "ConfigMap demo-backup-restore data.pgbackrest.conf", f"{DATABASE_POD}.spec.initContainers.restore"
    kept = "PersistentVolumeClaim demo-backup-data spec"
    restored = {"database": {"restore": {"from": {"chatCluster": {"name": "old"}}}}}
    made = {
        "repository.volume.size": Place("30Gi", f"{kept}.resources.requests.storage"),
        "repository.volume.storageClassName": Place("fast", f"{kept}.storageClassName"),
        "schedule.full": Place("0 2 * * 0", plan),
        "schedule.incremental": Place("0 2 * * 1-6", plan),
        "schedule.verify": Place("0 5 * * *", plan),
        "retention.fullBackups": Place(3, host),
        "archiveTimeoutSeconds": Place(30, "ConfigMap demo-postgres data"),
        "suspended": Place(value=True, manifest="ConfigMap demo-postgres data"),
        "encryption.secretName": Place("mine", f"{BACKUP_POD}.spec.containers.backup.env"),
        **_resources("resources", f"{BACKUP_POD}.spec.containers.backup"),
    }
    drills = {
        "schedule": Place("0 6 1 * *", plan),
        "timeoutSeconds": Place(60, plan),
        "size": Place("30Gi", f"{BACKUP_POD}.spec.volumes.drill"),
        "storageClassName": Place("fast", f"{BACKUP_POD}.spec.volumes.drill"),
    }
    places = {f"database.backup.drill.{name}": place._replace(beside=DRILLED) for name, place in drills.items()}
    places |= {f"database.backup.{name}": place._replace(beside=BACKED_UP) for name, place in made.items()}
    for kind, fields in STORES.items():
        for name in (*fields, *OF_STORES[kind]):
            value = OF_STORES[kind].get(name, "other")
            container = f"{BACKUP_POD}.spec" if name.endswith("ecretName") else host
            into = f"{DATABASE_POD}.spec" if name.endswith("ecretName") else source
            repository = {kind: fields}
            theirs = {**repository, "encryption": {"secretName": "key"}}
            places |= {
                f"database.backup.repository.{kind}.{name}": Place(
                    value, container, beside={"database": {"backup": {"repository": repository}}}
                ),
                f"database.restore.from.repository.{kind}.{name}": Place(
                    value, into, beside={"database": {"restore": {"from": {"repository": theirs}}}}
                ),
            }
    other = {"s3": STORES["s3"], "encryption": {"secretName": "key"}}
    return {
        **places,
        "database.restore.from.repository.encryption.secretName": Place(
            "mine", pod, beside={"database": {"restore": {"from": {"repository": other}}}}
        ),
        "database.restore.from.chatCluster.name": Place("other", source, beside=restored),
        "database.restore.targetTime": Place(
            "2026-11-30T10:15:00Z", "ConfigMap demo-backup-restore data.restore.json", beside=restored
        ),
    }


PLACES: dict[str, Place] = {
    "deletionPolicy": Place("Delete", f"{CLAIM} metadata.ownerReferences"),
    "images.pullSecrets": Place(["registry"], f"{SERVERS_POD}.spec.imagePullSecrets"),
    "ingress.replicas": Place(3, "Deployment demo-ingress spec.replicas"),
    "ingress.hostnames": Place(["a.example.com"], HAPROXY),
    "ingress.allowedOrigins": variable(["https://a.example.com"], "ALLOWED_ORIGINS"),
    "ingress.service.type": Place("NodePort", "Service demo-ingress spec.type"),
    "ingress.service.nodePort": Place(30443, "Service demo-ingress spec.ports.https.nodePort", beside=PUBLISHED),
    "ingress.service.externalTrafficPolicy": Place(
        "Local", "Service demo-ingress spec.externalTrafficPolicy", beside=PUBLISHED
    ),
    "ingress.service.annotations": Place({"a": "b"}, "Service demo-ingress metadata.annotations.a"),
    "ingress.service.proxyProtocolFrom": Place(["10.0.0.0/8"], HAPROXY),
    "ingress.tls.issuerRef.name": Place("b", f"{CERTIFICATE} spec.issuerRef.name", beside=ISSUED),
    "ingress.tls.issuerRef.kind": Place("ClusterIssuer", f"{CERTIFICATE} spec.issuerRef.kind", beside=ISSUED),
    "ingress.tls.issuerRef.group": Place("b.com", f"{CERTIFICATE} spec.issuerRef.group", beside=ISSUED),
    "ingress.front.kind": Place("Ingress", "Ingress demo-front", beside=NAMED),
    "ingress.front.className": Place("public", "Ingress demo-front spec.ingressClassName", beside=FRONTED),
    "ingress.front.tlsSecretName": Place("mine", "Ingress demo-front spec.tls", beside=FRONTED),
    "ingress.front.annotations": Place({"a": "b"}, "Ingress demo-front metadata.annotations.a", beside=FRONTED),
    "ingress.front.parentRefs": Place([{"name": "b"}], "HTTPRoute demo-front spec.parentRefs", beside=ROUTED),
    "ingress.limits.requestsPerSecondPerIP": Place(7, HAPROXY),
    "ingress.limits.connectionsPerIP": Place(7, HAPROXY),
    "ingress.limits.trustedProxies": Place(
        ["10.0.0.0/8"], HAPROXY, beside={"ingress": {"limits": {"connectionsPerIP": 7}}}
    ),
    **_resources("ingress.resources", f"{PROXIES_POD}.spec.containers.haproxy"),
    **_pods("ingress.podTemplate", PROXIES_POD),
    "chatserver.targetConnectionsPerServer": variable(20_000, "MAX_CONNECTIONS"),
    "chatserver.scaling.maxReplicas": variable(40, "DATABASE_POOL_SIZE"),
    "chatserver.drainSeconds": variable(60, "DRAIN_SECONDS"),
    "chatserver.env.name": variable([{"name": "CHAT_LOG_LEVEL", "value": "DEBUG"}], "LOG_LEVEL"),
    "chatserver.env.value": variable([{"name": "CHAT_AUDIT_DAYS", "value": "7"}], "AUDIT_DAYS"),
    **_resources("chatserver.resources", f"{SERVERS_POD}.spec.containers.chatserver"),
    **_pods("chatserver.podTemplate", SERVERS_POD),
    **_pods("chatserver.migration.podTemplate", MIGRATION_POD),
    "database.instances": Place(3, "StatefulSet demo-postgres-2"),
    "database.strict": Place(
        value=False,
        manifest="ConfigMap demo-postgres-config metadata.annotations",
        beside={"database": {"instances": 3}},
    ),
    "database.storage.size": Place("20Gi", f"{CLAIM} spec.resources.requests.storage"),
    "database.storage.storageClassName": Place("fast", f"{CLAIM} spec.storageClassName"),
    **_resources("database.resources", f"{DATABASE_POD}.spec.containers.postgres"),
    **_pods("database.podTemplate", DATABASE_POD),
    "database.parameters": Place({"work_mem": "8MB"}, "ConfigMap demo-postgres data"),
    "database.external.secretName": Place("other", f"{SERVERS_POD}.spec.volumes", beside=EXTERNAL),
    "database.external.secretKey": Place("uri", f"{SERVERS_POD}.spec.volumes", beside=EXTERNAL),
    "database.external.caSecretName": Place("authority", f"{SERVERS_POD}.spec.volumes", beside=EXTERNAL),
    "database.external.connectionBudget": variable(40, "DATABASE_POOL_SIZE", beside=EXTERNAL),
    **_backups(),
    "bus.type": variable("Valkey", "BUS_TYPE", setting="bus"),
    "bus.valkey.replicas": variable(3, "BUS_URLS", setting="bus", beside=VALKEY),
    **{
        field: place._replace(beside=VALKEY)
        for field, place in {
            **_resources("bus.valkey.resources", f"{BUS_POD}.spec.containers.valkey"),
            **_pods("bus.valkey.podTemplate", BUS_POD),
        }.items()
    },
    "bus.external.secretName": Place("other", f"{SERVERS_POD}.spec.volumes.bus", beside=EXTERNAL_BUS),
    "auth.otp.sender": variable("Log", "OTP_SENDER", beside=POSTED),
    "auth.otp.webhook.url": variable("https://b.example.com", "OTP_WEBHOOK_URL", setting="otp_webhook", beside=POSTED),
    "auth.otp.webhook.secretName": Place("other", f"{SERVERS_POD}.spec.volumes.webhook", beside=POSTED),
    "auth.limits.codesPerAddressPerHour": variable(7, "CODES_PER_ADDRESS_PER_HOUR"),
    "auth.limits.codesPerNumberPerHour": variable(7, "CODES_PER_NUMBER_PER_HOUR"),
    "auth.limits.codesPerHour": variable(7, "CODES_PER_HOUR"),
    "auth.limits.messagesPerUserPerMinute": variable(7, "MESSAGES_PER_USER_PER_MINUTE"),
    "auth.limits.storedBytesPerUserPerHour": variable(2**20, "STORED_BYTES_PER_USER_PER_HOUR"),
    "auth.limits.requestsPerDevicePerMinute": variable(7, "REQUESTS_PER_DEVICE_PER_MINUTE"),
    "auth.limits.requestsPerAddressPerMinute": variable(7, "REQUESTS_PER_ADDRESS_PER_MINUTE"),
    "auth.limits.numbersPerUserPerDay": variable(1024, "NUMBERS_PER_USER_PER_DAY"),
    "auth.limits.numbersPerAddressPerDay": variable(7, "NUMBERS_PER_ADDRESS_PER_DAY"),
    "auth.callingCodes": variable(["49"], "CALLING_CODES"),
    "auth.sessionDays": variable(7, "SESSION_DAYS"),
    "retention.days": variable(7, "RETENTION_DAYS"),
    "monitoring.probe.enabled": Place(value=True, manifest="Deployment demo-probe"),
    "monitoring.probe.intervalSeconds": Place(30, f"{PROBE_POD}.spec.containers.probe.args", beside=PROBED),
    "networkPolicies.enabled": Place(value=False, manifest="NetworkPolicy demo-chatserver"),
    "networkPolicies.metricsFrom": Place([{"podSelector": {}}], "NetworkPolicy demo-chatserver spec.ingress"),
}
"""By field of the CRD."""

USED_ELSEWHERE = {
    "version": ("cluster.version", "chooses the images, which are an input of the manifests"),
    "images.registry": ("source.of", "the same"),
    "ingress.image": ("cluster.ingress.image", "the same"),
    "chatserver.image": ("cluster.chatserver.image", "the same"),
    "database.image": ("cluster.database.image", "the same"),
    "bus.valkey.image": ("cluster.bus.valkey.image", "the same"),
    "paused": ("cluster.paused", "decides whether anything is applied"),
    "ingress.tls.mode": ("cluster.ingress.issuer", "chooses the certificate, an input of the manifests"),
    "ingress.tls.secretName": ("cluster.ingress.tls_secret_name", "the same"),
    "chatserver.scaling.mode": ("scaling.mode", "chooses who decides the number of servers, an input of the manifests"),
    "chatserver.scaling.replicas": ("scaling.replicas", "the number, likewise"),
    "chatserver.scaling.minReplicas": ("scaling.min_replicas", "bounds the autoscaler"),
    "chatserver.scaling.scaleDownStabilizationSeconds": ("scaling.scale_down_stabilization_seconds", "slows it down"),
    "auth.otp.allowDevelopmentCodes": ("self.allow_development_codes", "a rule asks for it beside sender Log"),
}
"""Fields that change no manifest by themselves: what the operator reads, and why."""

_WITH_RESOURCES = ("ingress", "chatserver", "database", "database.backup", "bus.valkey")

RENAMED = {
    "database.strict": "stated_strict",
    "database.restore.from": "source",
    "ingress.limits.requestsPerSecondPerIP": "requests_per_second_per_address",
    "ingress.limits.connectionsPerIP": "connections_per_address",
    "chatserver.env": "variables",
    "chatserver.scaling.replicas": "stated_replicas",
    **{f"{part}.resources.requests": "stated_requests" for part in _WITH_RESOURCES},
    **{f"{part}.resources.limits": "stated_limits" for part in _WITH_RESOURCES},
}
"""Attributes that have another name than their field."""
