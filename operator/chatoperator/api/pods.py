"""What every part's pods have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from chatoperator.api.fields import mapping
from chatoperator.api.quantity import number
from chatoperator.api.spec import PodTemplate, Resources
from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|[a-z0-9][-a-z0-9.]*/[A-Za-z0-9][-\w.]*")


def resources(raw: Mapping[str, Any], path: str) -> Resources:
    """Quantities of a part.

    Args:
        raw: The part, which has the field resources.
        path: The part's field below `spec`, for errors.

    Raises:
        SpecError: A name or quantity is none, or a request is above its limit.
    """
    wanted = mapping(raw, "resources")
    made = Resources(
        requests=_quantities(wanted, "requests", f"{path}.resources.requests"),
        limits=_quantities(wanted, "limits", f"{path}.resources.limits"),
    )
    for name, limit in made.limits.items():
        request = made.requests.get(name)
        if request is not None and 0 < number(limit) < number(request):
            field = f"{path}.resources.limits.{name}"
            raise SpecError(field, f"{limit} is below the request of {request}; raise it, or lower the request")
    return made


def _quantities(raw: Mapping[str, Any], key: str, path: str) -> dict[str, str]:
    made = {name: str(value) for name, value in mapping(raw, key).items()}
    for name, quantity in made.items():
        if not _RESOURCE.fullmatch(name):
            raise SpecError(f"{path}.{name}", "no resource has this name; cpu and memory have")
        try:
            number(quantity)
        except ValueError as error:
            raise SpecError(f"{path}.{name}", f"{error}: write it like 4Gi or 500m") from error
    return made


def pod_template(raw: Mapping[str, Any]) -> PodTemplate:
    """The field podTemplate of a part."""
    wanted = mapping(raw, "podTemplate")
    return PodTemplate(
        labels=dict(mapping(wanted, "labels")),
        annotations=dict(mapping(wanted, "annotations")),
        node_selector=dict(mapping(wanted, "nodeSelector")),
        tolerations=tuple(wanted.get("tolerations") or ()),
        affinity=dict(mapping(wanted, "affinity")),
        topology_spread_constraints=tuple(wanted.get("topologySpreadConstraints") or ()),
        priority_class_name=wanted.get("priorityClassName"),
    )
