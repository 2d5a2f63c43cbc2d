"""What every part's pods have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.fields import mapping
from chatoperator.spec import PodTemplate, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping


def resources(raw: Mapping[str, Any]) -> Resources:
    """Quantities of the part `raw`."""
    wanted = mapping(raw, "resources")
    return Resources(
        requests={name: str(value) for name, value in mapping(wanted, "requests").items()},
        limits={name: str(value) for name, value in mapping(wanted, "limits").items()},
    )


def pod_template(raw: Mapping[str, Any]) -> PodTemplate:
    """The fields of a podTemplate."""
    return PodTemplate(
        labels=dict(mapping(raw, "labels")),
        annotations=dict(mapping(raw, "annotations")),
        node_selector=dict(mapping(raw, "nodeSelector")),
        tolerations=tuple(raw.get("tolerations") or ()),
        affinity=dict(mapping(raw, "affinity")),
        topology_spread_constraints=tuple(raw.get("topologySpreadConstraints") or ()),
    )
