"""The Deployment of the probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.pods import Resources
from chatoperator.metadata import metadata, part_name, probe_secret_name, selector, service_host, tls_secret_name
from chatoperator.parts.placement import placement, pod_metadata, tolerations
from chatoperator.parts.pod import (
    SERVICE_USER_ID,
    container_security,
    http_probe,
    pod_spec,
    resources,
    secret_volume,
)
from chatoperator.parts.probe.tokens import TOKENS_KEY

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

METRICS_PORT = 9090

REQUESTS = {"cpu": "10m", "memory": "64Mi"}
LIMITS = {"cpu": "500m", "memory": "128Mi"}
"""47 MB and 3 ms of CPU a message; with less CPU it would measure its own wait."""

TOKENS_FOLDER = "/etc/chatcluster/probe"
CERTIFICATE_FOLDER = "/etc/chatcluster/tls"
CERTIFICATE_KEY = "tls.crt"

GRACE_SECONDS = 10


def deployment(cluster: ChatCluster, *, image: str, pull_policy: str, cluster_domain: str) -> Manifest:
    """The probe. It runs where chatservers may, and is replaced only after its old pod has stopped.

    It accepts the very certificate that HAProxy serves: an admin's need not have a name inside the cluster, nor an
    authority that the image knows.

    Args:
        cluster: The ChatCluster.
        image: The chatservers' image.
        pull_policy: imagePullPolicy.
        cluster_domain: DNS domain of the Kubernetes cluster, such as `cluster.local`.
    """
    template = cluster.chatserver.pod_template
    container: Manifest = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": [
            "probe",
            f"--url=https://{service_host(cluster, 'ingress')}.{cluster_domain}",
            f"--every={cluster.monitoring.probe.interval_seconds}",
            f"--token-file={TOKENS_FOLDER}/{TOKENS_KEY}",
            f"--certificate-file={CERTIFICATE_FOLDER}/{CERTIFICATE_KEY}",
            f"--metrics-port={METRICS_PORT}",
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "env": [
            {"name": "CHAT_SERVER_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
        ],
        "resources": resources(REQUESTS, LIMITS, Resources()),
        "securityContext": container_security(),
        "startupProbe": http_probe("/metrics", "metrics", period_seconds=1, failures=120),
        "livenessProbe": http_probe("/metrics", "metrics", period_seconds=30, failures=4, timeout_seconds=10),
        "volumeMounts": [
            {"name": "tokens", "mountPath": TOKENS_FOLDER, "readOnly": True},
            {"name": "tls", "mountPath": CERTIFICATE_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, part_name(cluster.name, "probe"), "probe"),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            # Two probes at once would replace each other's connections.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(cluster.name, "probe")},
            "template": {
                "metadata": pod_metadata(cluster.name, "probe", template),
                "spec": {
                    **pod_spec(
                        user_id=SERVICE_USER_ID,
                        containers=[container],
                        volumes=[
                            secret_volume("tokens", probe_secret_name(cluster.name), {TOKENS_KEY: TOKENS_KEY}),
                            # Without the private key.
                            secret_volume("tls", tls_secret_name(cluster.name), {CERTIFICATE_KEY: CERTIFICATE_KEY}),
                        ],
                        pull_secrets=cluster.images.pull_secrets,
                        termination_grace_seconds=GRACE_SECONDS,
                    ),
                    **placement(cluster.name, "probe", template),
                    "tolerations": tolerations(template.tolerations),
                },
            },
        },
    }
