"""What the conditions of a ChatCluster are made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.autoscaling.autoscaler import Decision
    from chatoperator.kube.contest import Contested
    from chatoperator.metadata import Part
    from chatoperator.observed import Answer, Observed
    from chatoperator.parts.database.trouble import DatabaseTrouble
    from chatoperator.parts.ingress.routing import RouteTrouble
    from chatoperator.parts.ingress.tls.issuance import CertificateTrouble
    from chatoperator.parts.irreplaceable import Loss


@dataclass(frozen=True)
class Ends:
    """When a certificate ends.

    Attributes:
        at: RFC 3339.
        over: It has ended.
        soon: It ends before people have had time to notice.
    """

    at: str
    over: bool
    soon: bool


@dataclass(frozen=True)
class Facts:
    """What the conditions are made from.

    Attributes:
        name: Of the ChatCluster.
        uid: Of the ChatCluster.
        cluster: The parsed spec; None where it is wrong.
        observed: The children.
        answer: What came of a request through the ingress.
        decision: The autoscaler's; None in modes External and Disabled, and where the spec is wrong.
        migrate_job_name: The Job that the wanted image waits for; None where there is none.
        migrated: Whether the wanted image's migrations have run.
        contested: Who else writes what the operator writes; None where nobody does.
        conflict: The older ChatCluster with one of its hostnames, in words; None where there is none.
        certificate_ends: When the certificate ends, and whether it has; None where it cannot be told.
        certificate_trouble: What is wrong with the certificate's source; None where nothing is.
        route_trouble: What keeps clients from coming in through the Ingress or HTTPRoute; None where nothing does.
        external_trouble: What is wrong with the external database's Secrets; None where nothing is.
        webhook_fault: What is wrong with the webhook's Secret; None where nothing is.
        spec_error: What is wrong with the spec.
        failure: What the API server refused.
        upgrade: The release that the operator brings, where another one runs.
        parameters_refused: PostgreSQL's words against the parameters; None where it has none.
        parameters_checked: Whether PostgreSQL has looked at the parameters, or cannot be asked.
        claim_refusal: The API server's words against a larger volume; None where it took it.
        storage_class_kept: Of the claim, where the spec asks for another one; None where it does not.
        migration_failed: What Progressing said last, where that was of a migration that fails; empty otherwise.
        rejections: Why Kubernetes rejects the pods of a StatefulSet or Job, in its words, by part.
        rotating: Whether the database's passwords are being rotated.
        taken: Objects of others with a name that the operator would make, each in words.
        losses: What cannot be made twice and is lost, or about to be.
    """

    name: str
    uid: str
    cluster: ChatCluster | None
    observed: Observed
    answer: Answer
    decision: Decision | None = None
    migrate_job_name: str | None = None
    migrated: bool = False
    contested: Contested | None = None
    conflict: str | None = None
    certificate_ends: Ends | None = None
    certificate_trouble: CertificateTrouble | None = None
    route_trouble: RouteTrouble | None = None
    external_trouble: DatabaseTrouble | None = None
    webhook_fault: str | None = None
    spec_error: str | None = None
    failure: str | None = None
    upgrade: str | None = None
    parameters_refused: str | None = None
    parameters_checked: bool = True
    claim_refusal: str | None = None
    storage_class_kept: str | None = None
    migration_failed: str = ""
    rejections: Mapping[Part, str] = field(default_factory=dict)
    rotating: bool = False
    taken: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def external(self) -> bool:
        """Whether the database is one that the user runs, as far as the spec can be read."""
        return self.cluster is not None and self.cluster.database.external is not None
