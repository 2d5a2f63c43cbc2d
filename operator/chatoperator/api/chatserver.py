"""spec.chatserver: the chatservers, and who decides how many run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, field

from chatoperator.api.fields import Count, Fields, Image, Replicas, RuleBroken, VariableName
from chatoperator.api.pods import PodTemplate, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECTION_CAP_STEP = 12_500
"""Connections. A server's hard cap is 1.25 times its target, rounded up to a multiple of this: 1.25 times the default
target of 10,000. The cap is part of the pod template; coarse steps keep a lowered target from restarting servers."""


class Scaling(Fields, frozen=True):
    """Who decides how many chatservers run.

    Attributes:
        stated_replicas: The field replicas, which has no meaning in mode Internal.
    """

    mode: Literal["Internal", "External", "Disabled"] = "Internal"
    stated_replicas: Replicas = field(default=1, name="replicas")
    min_replicas: Replicas = 2
    max_replicas: Replicas = 10
    scale_down_stabilization_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 300

    def __post_init__(self) -> None:
        """Check the numbers against the mode and each other.

        Raises:
            RuleBroken: They contradict.
        """
        if self.mode == "Internal" and self.stated_replicas != 1:
            remedy = "it must be 1 or absent in mode Internal; use External or Disabled to set it"
            raise RuleBroken("replicas", remedy)
        if self.min_replicas > self.max_replicas:
            raise RuleBroken("minReplicas", f"it must be at most maxReplicas ({self.max_replicas})")

    @property
    def replicas(self) -> int | None:
        """The number that the user or an external autoscaler has set; None in mode Internal."""
        return None if self.mode == "Internal" else self.stated_replicas

    @property
    def ceiling(self) -> int:
        """The most chatservers that may be desired."""
        return self.max_replicas if self.replicas is None else max(self.replicas, self.max_replicas)


class Variable(Fields, frozen=True):
    """A further environment variable of the chatservers."""

    name: VariableName
    value: Annotated[str, Meta(max_length=4096)] = ""


class Migration(Fields, frozen=True):
    """The Job that migrates the schema."""

    pod_template: PodTemplate = PodTemplate()


class Chatserver(Fields, frozen=True):
    """The chatservers.

    Attributes:
        drain_seconds: Time over which a server that stops moves its clients to others.
        variables: The field env.
    """

    image: Image | None = None
    target_connections_per_server: Count = 10_000
    scaling: Scaling = Scaling()
    drain_seconds: Annotated[int, Meta(ge=10, le=3600)] = 30
    resources: Resources = Resources()
    variables: Annotated[tuple[Variable, ...], Meta(max_length=64)] = field(default=(), name="env")
    pod_template: PodTemplate = PodTemplate()
    migration: Migration = Migration()

    @property
    def max_connections(self) -> int:
        """Hard cap of WebSockets on one server: a target of 3 or 10,000 -> 12,500; 10,001 -> 25,000."""
        return CONNECTION_CAP_STEP * math.ceil(1.25 * self.target_connections_per_server / CONNECTION_CAP_STEP)

    @property
    def env(self) -> Mapping[str, str]:
        """The further environment variables by name."""
        return {variable.name: variable.value for variable in self.variables}

    @property
    def migration_template(self) -> PodTemplate:
        """Of the migrate Job's pods, which have to find a node where the servers find theirs."""
        return self.migration.pod_template.placed_like(self.pod_template)


def surge(replicas: int) -> int:
    """Pods that a rollout of `replicas` chatservers adds at a time: a quarter, at least one (2 -> 1, 10 -> 3)."""
    return max(1, math.ceil(replicas / 4))
