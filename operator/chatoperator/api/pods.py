"""resources and podTemplate: what every part's pods have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, field
from msgspec.structs import replace

from chatoperator.api.fields import Fields, LabelValue, ObjectName, RuleBroken
from chatoperator.api.quantity import number

_RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|[a-z0-9][-a-z0-9.]*/[A-Za-z0-9][-\w.]*")

Quantity = Annotated[str | int | float, Meta(description="a quantity such as 4Gi or 500m")]

Quantities = Annotated[Mapping[str, Quantity], Meta(max_length=8)]


class Resources(Fields, frozen=True):
    """Quantities by resource name; what is absent comes from the part's defaults.

    Attributes:
        stated_requests: The field requests as the user wrote it; a number is a quantity, too.
        stated_limits: The field limits likewise.
    """

    stated_requests: Quantities = field(default_factory=dict, name="requests")
    stated_limits: Quantities = field(default_factory=dict, name="limits")

    def __post_init__(self) -> None:
        """Check names and quantities, and that no request is above its limit.

        Raises:
            RuleBroken: One is not so.
        """
        for kind, quantities in (("requests", self.requests), ("limits", self.limits)):
            for name, quantity in quantities.items():
                _check_quantity(f"{kind}.{name}", name, quantity)
        for name, limit in self.limits.items():
            request = self.requests.get(name)
            if request is not None and 0 < number(limit) < number(request):
                remedy = f"{limit} is below the request of {request}; raise it, or lower the request"
                raise RuleBroken(f"limits.{name}", remedy)

    @property
    def requests(self) -> Mapping[str, str]:
        """The requests as Kubernetes writes them: `cpu: 2` -> "2"."""
        return {name: str(quantity) for name, quantity in self.stated_requests.items()}

    @property
    def limits(self) -> Mapping[str, str]:
        """The limits likewise."""
        return {name: str(quantity) for name, quantity in self.stated_limits.items()}


def _check_quantity(field: str, name: str, quantity: str) -> None:
    if not _RESOURCE.fullmatch(name):
        raise RuleBroken(field, "no resource has this name; cpu and memory have")
    try:
        number(quantity)
    except ValueError as error:
        raise RuleBroken(field, f"{error}: write it like 4Gi or 500m") from error


class PodTemplate(Fields, frozen=True):
    """What the user adds to a part's pods, as Kubernetes writes it. Empty fields change nothing."""

    labels: Annotated[Mapping[str, LabelValue], Meta(max_length=32)] = {}
    annotations: Annotated[Mapping[str, Annotated[str, Meta(max_length=4096)]], Meta(max_length=32)] = {}
    node_selector: Annotated[Mapping[str, LabelValue], Meta(max_length=32)] = {}
    tolerations: Annotated[tuple[Mapping[str, Any], ...], Meta(max_length=32)] = ()
    affinity: Mapping[str, Any] = {}
    topology_spread_constraints: Annotated[tuple[Mapping[str, Any], ...], Meta(max_length=8)] = ()
    priority_class_name: ObjectName | None = None

    def placed_like(self, other: PodTemplate) -> PodTemplate:
        """The same template, on the nodes of another part where it does not choose its own."""
        return replace(
            self,
            node_selector=self.node_selector or other.node_selector,
            tolerations=self.tolerations or other.tolerations,
            affinity=self.affinity or other.affinity,
            priority_class_name=self.priority_class_name or other.priority_class_name,
        )
