"""spec.chatserver: the servers, and who decides how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from chatoperator.api import pods
from chatoperator.api.fields import choice, integer, mapping
from chatoperator.api.spec import Chatserver, Scaling
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ScalingMode


def parse_chatserver(raw: Mapping[str, Any]) -> Chatserver:
    """The fields of spec.chatserver.

    Raises:
        SpecError: A value cannot work.
    """
    template = pods.pod_template(raw)
    return Chatserver(
        image=raw.get("image"),
        target_connections_per_server=integer(
            raw, "targetConnectionsPerServer", 10_000, "chatserver.targetConnectionsPerServer", 1
        ),
        scaling=_scaling(mapping(raw, "scaling")),
        drain_seconds=integer(raw, "drainSeconds", 30, "chatserver.drainSeconds", 10),
        resources=pods.resources(raw, "chatserver"),
        env={str(entry["name"]): str(entry.get("value", "")) for entry in raw.get("env") or ()},
        pod_template=template,
        # It has to find a node where the servers find theirs.
        migration=pods.pod_template(mapping(raw, "migration")).placed_like(template),
    )


def _scaling(raw: Mapping[str, Any]) -> Scaling:
    path = "chatserver.scaling"
    mode = cast("ScalingMode", choice(raw, "mode", ("Internal", "External", "Disabled"), f"{path}.mode"))
    replicas = integer(raw, "replicas", 1, f"{path}.replicas", 1)
    if mode == "Internal" and replicas != 1:
        raise SpecError(
            f"{path}.replicas", "it must be 1 or absent in mode Internal; use External or Disabled to set it"
        )
    scaling = Scaling(
        mode=mode,
        replicas=None if mode == "Internal" else replicas,
        min_replicas=integer(raw, "minReplicas", 2, f"{path}.minReplicas", 1),
        max_replicas=integer(raw, "maxReplicas", 10, f"{path}.maxReplicas", 1),
        scale_down_stabilization_seconds=integer(
            raw, "scaleDownStabilizationSeconds", 300, f"{path}.scaleDownStabilizationSeconds", 0
        ),
    )
    if scaling.min_replicas > scaling.max_replicas:
        raise SpecError(f"{path}.minReplicas", f"it must be at most maxReplicas ({scaling.max_replicas})")
    return scaling
