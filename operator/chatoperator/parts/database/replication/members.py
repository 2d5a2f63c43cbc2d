"""The members of a replicated database: their StatefulSets and Services. Pure.

Each is the single PostgreSQL's StatefulSet with Patroni around it, on a claim of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chatoperator.metadata import (
    DATABASE_INSTANCE_LABEL,
    DATABASE_LABEL,
    ROLE_LABEL,
    TEMPLATE_HASH_ANNOTATION,
    claim_name,
    database_name,
    digest,
    metadata,
    part_name,
    replicas_service_name,
    selector,
)
from chatoperator.parts.database import statefulset
from chatoperator.parts.database.replication import account, patroni
from chatoperator.parts.placement import placement
from chatoperator.parts.pod import http_probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

PRIMARY, REPLICA = "primary", "replica"
"""Values of the label of the role."""

PATRONI_PORT_NAME = "patroni"

LIVENESS_FAILURES = 6
"""Times 10 s, beyond what Patroni allows its own loop: 20 s on the leader, 40 s on a replica."""


BEGIN_KEY = "begin"
"""Of the ConfigMap: `true` where instance 1 may begin a database on an empty volume."""


def config_map(cluster: ChatCluster, parameters: Mapping[str, str], *, begin: bool) -> Manifest:
    """postgresql.conf without what Patroni sets.

    Args:
        cluster: The ChatCluster.
        parameters: All of them.
        begin: Whether instance 1 may begin a database on an empty volume.
    """
    own = {name: value for name, value in parameters.items() if name not in patroni.PATRONI_PARAMETERS}
    return statefulset.config_map(cluster, own, **{BEGIN_KEY: "true" if begin else "false"})


def stateful_set(cluster: ChatCluster, instance: int, *, image: str, pull_policy: str, config_digest: str) -> Manifest:
    """One member.

    The operator decides when a member gets its new template, and Kubernetes then replaces its pod at once: with
    updateStrategy OnDelete the operator would need the right to delete pods.

    Args:
        cluster: The ChatCluster.
        instance: Its number, from 1.
        image: Image to run.
        pull_policy: imagePullPolicy.
        config_digest: Changes with the parameters that only a restart brings.
    """
    made = statefulset.stateful_set(
        cluster,
        image=image,
        pull_policy=pull_policy,
        config_digest=config_digest,
        # All others are copied from the one that leads.
        restores=instance == 1,
    )
    spec, name = made["spec"], database_name(cluster.name, instance)
    pod = _template(cluster, instance, spec["template"])
    # The first one's is that of a single PostgreSQL, and immutable.
    chosen = {DATABASE_INSTANCE_LABEL: str(instance)} if instance > 1 else {}
    return {
        **made,
        "metadata": {**made["metadata"], "name": name, "annotations": {TEMPLATE_HASH_ANNOTATION: digest(pod)}},
        "spec": {
            **spec,
            "selector": {"matchLabels": {**selector(cluster.name, "postgres"), **chosen}},
            "template": pod,
        },
    }


def _template(cluster: ChatCluster, instance: int, single: Manifest) -> Manifest:
    held, pod = single["metadata"], single["spec"]
    labels = {DATABASE_LABEL: part_name(cluster.name, "postgres"), DATABASE_INSTANCE_LABEL: str(instance)}
    data = {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(cluster.name, instance)}}
    postgres, agent, *others = pod["containers"]
    environment = [*postgres["env"], *_environment(cluster)]
    return {
        "metadata": {**held, "labels": {**held["labels"], **labels}},
        "spec": {
            **pod,
            **_apart(cluster, pod),
            "serviceAccountName": part_name(cluster.name, "postgres"),
            "containers": [
                {**postgres, **_patroni(postgres), "env": environment},
                {**agent, "env": environment},
                *others,
            ],
            "volumes": [*(data if one["name"] == "data" else one for one in pod["volumes"]), account.token_volume()],
        },
    }


def _patroni(postgres: Manifest) -> Manifest:
    """What the container has otherwise, now that Patroni runs PostgreSQL in it."""
    port = {"name": PATRONI_PORT_NAME, "containerPort": patroni.PORT, "protocol": "TCP"}
    ready = http_probe("/readiness", PATRONI_PORT_NAME, period_seconds=5, failures=2)
    alive = http_probe("/liveness", PATRONI_PORT_NAME, period_seconds=10, failures=LIVENESS_FAILURES, timeout_seconds=5)
    return {
        "ports": [*postgres["ports"], port],
        # Not PostgreSQL's own: a replica may clone or replay for hours, and one that Patroni stopped is fenced.
        "startupProbe": {**alive, "periodSeconds": 5, "failureThreshold": statefulset.STARTUP_FAILURES},
        "readinessProbe": ready,
        "livenessProbe": alive,
        "volumeMounts": [*postgres["volumeMounts"], account.token_mount()],
    }


def _environment(cluster: ChatCluster) -> list[Manifest]:
    """What the image makes patroni.yml of; PATRONI_SCOPE is what turns Patroni on."""
    return [
        {"name": "PATRONI_SCOPE", "value": part_name(cluster.name, "postgres")},
        _from_pod("PATRONI_NAME", "metadata.name"),
        _from_pod("POD_IP", "status.podIP"),
        {"name": "PATRONI_KUBERNETES_NAMESPACE", "value": cluster.namespace},
        {"name": "PATRONI_KUBERNETES_LABELS", "value": json.dumps(selector(cluster.name, "postgres"))},
        {"name": "PATRONI_KUBERNETES_SCOPE_LABEL", "value": DATABASE_LABEL},
    ]


def _from_pod(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _apart(cluster: ChatCluster, pod: Manifest) -> Manifest:
    """Members on different nodes, and in different zones, as far as it goes; what the user says of either wins.

    Soft: on a cluster with fewer nodes than instances, two copies on one node are better than one.
    """
    given = placement(cluster.name, "postgres", cluster.database.pod_template)
    affinity = pod.get("affinity") or {}
    if "podAntiAffinity" in affinity or "topologySpreadConstraints" in given:
        return {}
    members = {"labelSelector": {"matchLabels": selector(cluster.name, "postgres")}}
    terms = [
        {"weight": weight, "podAffinityTerm": {**members, "topologyKey": key}}
        for weight, key in ((100, "kubernetes.io/hostname"), (50, "topology.kubernetes.io/zone"))
    ]
    return {"affinity": {**affinity, "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}


def leader_service(cluster: ChatCluster, *, has_leader: bool) -> Manifest:
    """Where chatservers reach the leader.

    Args:
        cluster: The ChatCluster.
        has_leader: Some pod has the label of the leader; before the first has, the Service finds the one PostgreSQL
            that there is.
    """
    made = statefulset.service(cluster)
    if not has_leader:
        return made
    # Only who is ready: an old leader that is cut off keeps its label.
    found = {**made["spec"]["selector"], ROLE_LABEL: PRIMARY}
    return {**made, "spec": {**made["spec"], "publishNotReadyAddresses": False, "selector": found}}


def replicas_service(cluster: ChatCluster) -> Manifest:
    """Where admins read from the replicas."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, replicas_service_name(cluster.name), "postgres"),
        "spec": {
            "type": "ClusterIP",
            "selector": {**selector(cluster.name, "postgres"), ROLE_LABEL: REPLICA},
            "ports": [{"name": "postgresql", "port": statefulset.PORT, "targetPort": "postgresql", "protocol": "TCP"}],
        },
    }
