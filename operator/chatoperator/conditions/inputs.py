"""The condition inputs: one reconcile as data, from which the conditions are computed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.desired.database import DesiredDatabase, Volume
from chatoperator.desired.migration import SchemaMigration
from chatoperator.parts.ingress.tls.expiry import expiry
from chatoperator.parts.ingress.tls.serving import Serving

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.autoscaling.autoscaler import Decision
    from chatoperator.desired import Desired
    from chatoperator.kube.contest import Contested
    from chatoperator.metadata import Manifest, Part
    from chatoperator.observed import Answer, Observed
    from chatoperator.parts.database.trouble import ClaimRefusal
    from chatoperator.parts.ingress.tls.expiry import Expiry
    from chatoperator.parts.irreplaceable import Loss


@dataclass(frozen=True)
class ConditionInputs:
    """What one reconcile observed, what it decided, and the result of applying that.

    Attributes:
        body: The ChatCluster as the API server has it.
        observed: Its children, the user's Secrets, and the reports of the running parts.
        answer: To a request through the ingress.
        now: The time with its zone.
        desired: The desired state; None where the spec is invalid.
        spec_error: What is wrong with the spec; None where it is valid.
        lost: Irreplaceable objects that are lost, where the spec is invalid.
        decision: The autoscaler's; None in modes External and Disabled, and where the spec is invalid.
        failure: What the API server rejected; None where it rejected nothing.
        contested: Who else writes what the operator writes; None where nobody does.
        conflict: The older ChatCluster with one of the hostnames; None where there is none.
        claim_refusal: Why the API server rejected another size or class of the volume; None where it did not.
        rejections: The error with which Kubernetes rejects the pods of a StatefulSet or Job, by part.
    """

    body: Manifest
    observed: Observed
    answer: Answer
    now: dt.datetime
    desired: Desired | None = None
    spec_error: str | None = None
    lost: tuple[Loss, ...] = ()
    decision: Decision | None = None
    failure: str | None = None
    contested: Contested | None = None
    conflict: str | None = None
    claim_refusal: ClaimRefusal | None = None
    rejections: Mapping[Part, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the ChatCluster."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Of the ChatCluster."""
        return str(self.body["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """Of the ChatCluster."""
        return str(self.body["metadata"]["uid"])

    @property
    def cluster(self) -> ChatCluster | None:
        """The parsed spec; None where it is invalid."""
        return self.desired.cluster if self.desired is not None else None

    @property
    def external(self) -> bool:
        """Whether the user runs the database, as far as the spec is valid."""
        return self.cluster is not None and self.cluster.database.external is not None

    @property
    def database(self) -> DesiredDatabase:
        """Of the desired state; nothing is known of it where the spec is invalid."""
        return self.desired.database if self.desired is not None else DesiredDatabase(Volume(), None)

    @property
    def migration(self) -> SchemaMigration:
        """Of the desired state; nothing is known of it where the spec is invalid."""
        return self.desired.migration if self.desired is not None else SchemaMigration()

    @property
    def serving(self) -> Serving:
        """Of the desired state; nothing is known of it where the spec is invalid."""
        return self.desired.serving if self.desired is not None else Serving()

    @property
    def expiry(self) -> Expiry | None:
        """When the served certificate expires; None where the operator renews it, or it is not known."""
        by_cert_manager = self.cluster is not None and self.cluster.ingress.issuer is not None
        return expiry(self.serving, by_cert_manager=by_cert_manager, now=self.now)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Irreplaceable objects that are lost, or about to be."""
        return self.desired.losses.reported if self.desired is not None else self.lost
