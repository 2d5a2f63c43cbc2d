"""The chatservers: Service, Deployment, and the Job that migrates their schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import (
    OUTLIVED_ANNOTATION,
    SCHEMA_ANNOTATION,
    digest,
    metadata,
    migrate_job_name,
    part_name,
    proxies_service_name,
    selector,
)
from chatoperator.parts.bus import access as bus_access
from chatoperator.parts.chatserver import database_access
from chatoperator.parts.ingress.haproxy import DISCOVERY_SECONDS, READINESS_NOTICE_SECONDS, STAY_SECONDS
from chatoperator.parts.placement import placement, pod_metadata, tolerations
from chatoperator.parts.pod import (
    SERVICE_USER_ID,
    container_security,
    http_probe,
    pod_spec,
    resources,
    secret_volume,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.api.auth import Auth
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.parts.bus.access import ServerBus

HTTP_PORT = 8080
METRICS_PORT = 9090
"""Only inside the cluster: the Service and HAProxy do not know it."""

DEFAULT_REQUESTS = {"cpu": "50m", "memory": "96Mi"}
DEFAULT_LIMITS = {"cpu": "1", "memory": "1Gi"}
"""12,500 WebSockets at about 30 KB each beside the process itself; one process uses one core."""

GRACE_AFTER_DRAIN_SECONDS = 20
"""terminationGracePeriodSeconds must exceed drain + 15 s: the last writes, closing frames, and kubelet's own delay."""

WEBHOOK_FOLDER = "/etc/chatcluster/webhook"
WEBHOOK_KEY = "secret"
"""Key of the user's Secret, and name of the file: the key that signs what is posted to the webhook."""

MIGRATE_DEADLINE_SECONDS = 1800
"""A Job that takes longer is stuck; the operator reports it and tries again."""

MIGRATE_RETRIES = 8
"""Each try itself waits two minutes for the database."""

PROBE_HASHES_VARIABLE = "CHAT_PROBE_TOKEN_HASHES"
"""Hashes rather than tokens: the Job needs no more, and they are no secret."""

SURGE = "25%"
"""Rounded up by Kubernetes, as api.chatserver.surge() has it."""


def service(cluster: ChatCluster) -> Manifest:
    """Headless: HAProxy finds each server by DNS, with the operator up or down.

    No publishNotReadyAddresses: a draining server leaves DNS at once.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, part_name(cluster.name, "chatserver"), "chatserver"),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector(cluster.name, "chatserver"),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def deployment(
    cluster: ChatCluster,
    *,
    image: str,
    pull_policy: str,
    replicas: int,
    schema: str,
    cluster_domain: str,
    bus: ServerBus = bus_access.POSTGRESQL,
) -> Manifest:
    """The chatservers.

    Args:
        cluster: The ChatCluster.
        image: Image to run.
        pull_policy: imagePullPolicy.
        replicas: The decided number; always set, so that a recreated Deployment starts with it.
        schema: Name of the migrate Job after which this template may run.
        cluster_domain: DNS domain of the Kubernetes cluster, such as `cluster.local`.
        bus: That the servers may use now.
    """
    webhook_volumes, webhook_mounts = _webhook_volume(cluster.auth)
    template = cluster.chatserver.pod_template
    container: Manifest = {
        "name": "chatserver",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["serve"],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "env": _environment(cluster, cluster_domain, bus),
        "resources": resources(DEFAULT_REQUESTS, DEFAULT_LIMITS, cluster.chatserver.resources),
        "securityContext": container_security(),
        "startupProbe": http_probe("/livez", "http", period_seconds=1, failures=120),
        "livenessProbe": http_probe("/livez", "http", period_seconds=10, failures=6, timeout_seconds=5),
        # Without the database: its outage must not empty DNS, whose slots HAProxy may not fill again (haproxy#3400).
        "readinessProbe": http_probe("/readyz?exclude=database", "http", period_seconds=2, failures=2),
        "volumeMounts": [*database_access.mounts(cluster), *webhook_mounts, *bus_access.mounts(bus)],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            **metadata(cluster, part_name(cluster.name, "chatserver"), "chatserver"),
            "annotations": {SCHEMA_ANNOTATION: schema},
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            # A rollout stops old servers only when HAProxy has found the new ones; otherwise two quick replacements
            # leave it for some seconds with servers that are all draining.
            "minReadySeconds": DISCOVERY_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": SURGE}},
            "selector": {"matchLabels": selector(cluster.name, "chatserver")},
            "template": {
                "metadata": pod_metadata(cluster.name, "chatserver", template),
                "spec": {
                    **pod_spec(
                        user_id=SERVICE_USER_ID,
                        containers=[container],
                        volumes=[*database_access.volumes(cluster), *webhook_volumes, *bus_access.volumes(bus)],
                        pull_secrets=cluster.images.pull_secrets,
                        termination_grace_seconds=cluster.chatserver.drain_seconds + GRACE_AFTER_DRAIN_SECONDS,
                        spread_over=selector(cluster.name, "chatserver"),
                    ),
                    **placement(cluster.name, "chatserver", template),
                    "tolerations": tolerations(template.tolerations),
                },
            },
        },
    }


def migrate_job(
    cluster: ChatCluster, *, image: str, pull_policy: str, database_identity: str, probe_hashes: Sequence[str] = ()
) -> Manifest:
    """The Job that brings the schema up to date before servers of this image serve, and enrols the probe's tokens.

    Its name holds a hash of its template, which is immutable, and of the database it has to run on: a new image, a new
    volume or other tokens are a new Job.

    Args:
        cluster: The ChatCluster.
        image: The chatserver image whose migrations to run.
        pull_policy: imagePullPolicy.
        database_identity: Changes when the database does: the claim's uid, or where the external one is.
        probe_hashes: Of the probe's tokens, in hex; none: no token of a probe stays valid.
    """
    enrolled = [{"name": PROBE_HASHES_VARIABLE, "value": ",".join(probe_hashes)}] if probe_hashes else []
    container: Manifest = {
        "name": "migrate",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["migrate"],
        "env": [*database_access.environment(cluster), *enrolled],
        "resources": resources(DEFAULT_REQUESTS, DEFAULT_LIMITS, cluster.chatserver.resources),
        "securityContext": container_security(),
        "volumeMounts": database_access.mounts(cluster),
    }
    template: Manifest = {
        "metadata": pod_metadata(cluster.name, "migrate", cluster.chatserver.migration_template),
        "spec": {
            **pod_spec(
                user_id=SERVICE_USER_ID,
                containers=[container],
                volumes=database_access.volumes(cluster),
                pull_secrets=cluster.images.pull_secrets,
                termination_grace_seconds=30,
            ),
            **placement(cluster.name, "migrate", cluster.chatserver.migration_template),
            "restartPolicy": "OnFailure",
        },
    }
    name = migrate_job_name(cluster.name, digest([template, database_identity]))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(cluster, name, "migrate"),
        "spec": {
            "backoffLimit": MIGRATE_RETRIES,
            "activeDeadlineSeconds": MIGRATE_DEADLINE_SECONDS,
            "template": template,
        },
    }


def suspended(job: Manifest) -> Manifest:
    """The migrate Job after its own container has succeeded while an injected one runs on.

    Kubernetes removes the pod of a suspended Job, which neither fails at its deadline nor runs again.
    """
    return {
        **job,
        "metadata": {**job["metadata"], "annotations": {OUTLIVED_ANNOTATION: "true"}},
        "spec": {**job["spec"], "suspend": True},
    }


def _environment(cluster: ChatCluster, cluster_domain: str, bus: ServerBus) -> list[Manifest]:
    """Ours, and after it the user's, of which none may replace ours."""
    ours = [*database_access.environment(cluster), *_serve_environment(cluster, cluster_domain)]
    ours += bus_access.environment(bus)
    names = {entry["name"] for entry in ours}
    theirs = cluster.chatserver.env.items()
    return [*ours, *({"name": name, "value": value} for name, value in theirs if name not in names)]


def _serve_environment(cluster: ChatCluster, cluster_domain: str) -> list[Manifest]:
    values = {
        "CHAT_DATABASE_POOL_SIZE": cluster.pool_size,
        "CHAT_HTTP_PORT": HTTP_PORT,
        "CHAT_METRICS_PORT": METRICS_PORT,
        "CHAT_DRAIN_SECONDS": cluster.chatserver.drain_seconds,
        "CHAT_READINESS_NOTICE_SECONDS": READINESS_NOTICE_SECONDS,
        # With the domain and the last dot it is one question, not one for each search domain.
        "CHAT_PROXIES_HOST": f"{proxies_service_name(cluster.name)}.{cluster.namespace}.svc.{cluster_domain}.",
        "CHAT_PROXY_STAY_SECONDS": STAY_SECONDS,
        "CHAT_MAX_CONNECTIONS": cluster.chatserver.max_connections,
        **_sign_in_environment(cluster.auth),
        "CHAT_SESSION_DAYS": cluster.auth.session_days,
        "CHAT_ALLOWED_ORIGINS": ",".join(cluster.ingress.allowed_origins),
        **({} if cluster.retention.days is None else {"CHAT_RETENTION_DAYS": cluster.retention.days}),
        # HAProxy replaces X-Forwarded-For, so exactly one entry can be trusted.
        "CHAT_TRUSTED_PROXY_HOPS": 1,
    }
    return [
        {"name": "CHAT_SERVER_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        *({"name": name, "value": str(value)} for name, value in values.items()),
    ]


def _sign_in_environment(auth: Auth) -> dict[str, object]:
    limits = auth.limits
    values: dict[str, object] = {
        "CHAT_OTP_SENDER": "Log" if auth.webhook is None else "Webhook",
        "CHAT_CODES_PER_ADDRESS_PER_HOUR": limits.codes_per_address_per_hour,
        "CHAT_CODES_PER_NUMBER_PER_HOUR": limits.codes_per_number_per_hour,
        "CHAT_CODES_PER_HOUR": limits.codes_per_hour,
        "CHAT_MESSAGES_PER_USER_PER_MINUTE": limits.messages_per_user_per_minute,
        "CHAT_STORED_BYTES_PER_USER_PER_HOUR": limits.stored_bytes_per_user_per_hour,
        "CHAT_REQUESTS_PER_DEVICE_PER_MINUTE": limits.requests_per_device_per_minute,
        "CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE": limits.requests_per_address_per_minute,
        "CHAT_NUMBERS_PER_USER_PER_DAY": limits.numbers_per_user_per_day,
        "CHAT_NUMBERS_PER_ADDRESS_PER_DAY": limits.numbers_per_address_per_day,
    }
    if auth.calling_codes:
        values["CHAT_CALLING_CODES"] = ",".join(auth.calling_codes)
    if auth.webhook is not None:
        values["CHAT_OTP_WEBHOOK_URL"] = auth.webhook.url
        values["CHAT_OTP_WEBHOOK_SECRET_FILE"] = f"{WEBHOOK_FOLDER}/{WEBHOOK_KEY}"
    return values


def _webhook_volume(auth: Auth) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes and mounts of the signing key. Migrations send no codes, so their Job has none."""
    if auth.webhook is None:
        return [], []
    return (
        [secret_volume("webhook", auth.webhook.secret_name, {WEBHOOK_KEY: WEBHOOK_KEY})],
        [{"name": "webhook", "mountPath": WEBHOOK_FOLDER, "readOnly": True}],
    )
