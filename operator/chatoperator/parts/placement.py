"""What the user adds to a part's pods: labels, annotations, and where they may run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.metadata import labels, selector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatoperator.api.pods import PodTemplate
    from chatoperator.metadata import Manifest, Part

LOST_NODE_SECONDS = 30
"""Stateless pods are replaced this long after Kubernetes has given their node up, which alone takes 50 s. Its
default is 300 s, in which the other servers would carry all clients. A shorter cut of the network moves nothing."""

LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def pod_metadata(
    cluster_name: str, part: Part, template: PodTemplate, annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Metadata of a part's pods. Ours win: labels tie the pods to the parts, and other parts find them by those.

    Args:
        cluster_name: Of the ChatCluster.
        part: Whose pods they are.
        template: The user's.
        annotations: The operator's own.
    """
    made: Manifest = {"labels": {**template.labels, **labels(cluster_name, part)}}
    annotated = {**template.annotations, **(annotations or {})}
    return {**made, "annotations": annotated} if annotated else made


def placement(cluster_name: str, part: Part, template: PodTemplate) -> Manifest:
    """The fields of a pod spec that say where the pods may run, those that the user gives.

    A topology spread constraint without a selector is about the part's own pods.
    """
    own = {"labelSelector": {"matchLabels": selector(cluster_name, part)}}
    made: Manifest = {
        "topologySpreadConstraints": [{**own, **constraint} for constraint in template.topology_spread_constraints],
        "nodeSelector": dict(template.node_selector),
        "tolerations": [dict(toleration) for toleration in template.tolerations],
        "affinity": dict(template.affinity),
        "priorityClassName": template.priority_class_name,
    }
    return {name: value for name, value in made.items() if value}


def tolerations(template: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The tolerations of a stateless part: the user's, and for a lost node ours where the user says nothing of it.

    Args:
        template: The user's.
    """
    # Where two fit, Kubernetes takes the shorter time: ours would undo the user's.
    said = {str(one.get("key") or "") for one in template if one.get("effect") in (None, "", "NoExecute")}
    ours = [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}
        for taint in LOST_NODE_TAINTS
        # Without a key it is about every taint.
        if not said & {taint, ""}
    ]
    return [*(dict(one) for one in template), *ours]
