"""spec.bus: how chatservers send each other hints."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from chatoperator.api.fields import Fields, Image, ObjectName, RuleBroken
from chatoperator.api.pods import PodTemplate, Resources

ValkeyReplicas = Annotated[int, Meta(ge=1, le=16)]
"""A number of Valkey pods, each of which has a share of the users."""


class Valkey(Fields, frozen=True):
    """The Valkey pods that the operator runs. They hold nothing that cannot be lost."""

    image: Image | None = None
    replicas: ValkeyReplicas = 2
    resources: Resources = Resources()
    pod_template: PodTemplate = PodTemplate()


class ExternalBus(Fields, frozen=True):
    """A Valkey that the user runs: a Secret with its URLs, and with its password, user, authority and prefix."""

    secret_name: ObjectName


class Bus(Fields, frozen=True):
    """The bus. `external` counts with type External only, and `valkey` with type Valkey only."""

    type: Literal["PostgreSQL", "Valkey", "External"] = "PostgreSQL"
    valkey: Valkey = Valkey()
    external: ExternalBus | None = None

    def __post_init__(self) -> None:
        """Check that an external bus has a Secret.

        Raises:
            RuleBroken: It has none.
        """
        if self.type == "External" and self.external is None:
            raise RuleBroken("external.secretName", "type External needs it: name the Secret with the URLs of Valkey")

    @property
    def valkeys(self) -> Valkey | None:
        """The Valkey pods to run; None where there are to be none."""
        return self.valkey if self.type == "Valkey" else None

    @property
    def external_secret_name(self) -> str | None:
        """The Secret of a Valkey that the user runs; None where that is not the bus."""
        return self.external.secret_name if self.type == "External" and self.external is not None else None
