"""What one reconcile wishes for, but for the number of chatservers: release, credentials, certificate, migration."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chatoperator.errors import SpecError
from chatoperator.metadata import (
    OUTLIVED_ANNOTATION,
    chatserver_secret_name,
    claim_name,
    database_secret_name,
    digest,
    part_name,
)
from chatoperator.observed import annotation, condemned, job_state, leaving, schema_of, secret_text
from chatoperator.parts.chatserver.webhook_key import webhook_fault
from chatoperator.parts.credentials import Credentials
from chatoperator.parts.database import logins
from chatoperator.parts.database.configuration import digest_of, image_of, keeps_database, revision_of
from chatoperator.parts.database.external import judge
from chatoperator.parts.ingress.front_certificate import front_certificate_trouble
from chatoperator.parts.ingress.tls.serving import serving
from chatoperator.parts.losses import find_losses
from chatoperator.parts.manifests import Inputs, ServerTemplate, migrate_job
from chatoperator.parts.needs import unbegun
from chatoperator.parts.networkpolicy import live_database_ports
from chatoperator.reporting import status
from chatoperator.settings import Images

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import AgentReport, Observed, Reading
    from chatoperator.parts.database.external import Judged
    from chatoperator.parts.database.trouble import DatabaseTrouble
    from chatoperator.parts.ingress.routing import RouteTrouble
    from chatoperator.parts.ingress.tls.serving import Serving
    from chatoperator.parts.losses import Losses
    from chatoperator.settings import Settings

SECRET_BYTES = 32
"""256 random bits for each password and key."""


@dataclass(frozen=True)
class Told:
    """What the running parts say of themselves, and the cluster.

    Attributes:
        agent: PostgreSQL's agent; None where it gives no report.
        readings: The chatservers by pod name, as they were read last.
        certificates_known: Whether the cluster has cert-manager's kind Certificate.
        routes_known: Whether it has the Gateway API's kind HTTPRoute.
        held: What the last reconcile of this ChatCluster wished for; None after a start of the operator.
    """

    agent: AgentReport | None = None
    readings: Mapping[str, Reading | None] = field(default_factory=dict)
    certificates_known: bool = False
    routes_known: bool = False
    held: Inputs | None = None


@dataclass(frozen=True)
class Plan:
    """One reconcile's wishes.

    Attributes:
        inputs: What the manifests are made from.
        job_name: The migrate Job of the wanted image on the present database; None while there is none.
        migrated: Whether it has succeeded.
        version: The release to run.
        serving: Which certificate, and how it stands with it.
        front_trouble: What is wrong with the certificate of the Ingress in front; None where nothing is.
        external_trouble: What is wrong with the external database's Secrets; None where nothing is.
        webhook_fault: What is wrong with the webhook's Secret; None where nothing is, and without a webhook.
        config_revision: Of the parameters; None for an external database.
        parameters_refused: PostgreSQL's words against the parameters; None where it has none.
        parameters_checked: Whether PostgreSQL has looked at them; True where it cannot be asked.
        losses: What cannot be made twice and is lost, or about to be.
    """

    inputs: Inputs
    job_name: str | None
    migrated: bool
    version: str
    serving: Serving
    front_trouble: RouteTrouble | None
    external_trouble: DatabaseTrouble | None
    webhook_fault: str | None
    config_revision: str | None
    parameters_refused: str | None
    parameters_checked: bool
    losses: Losses

    @property
    def waiting(self) -> bool:
        """Whether something is under way that no event tells of: a rotation, or a check of the parameters."""
        if self.config_revision is None:
            return False
        return not self.parameters_checked or self.inputs.credentials.logins.stage != "settled"

    def with_replicas(self, replicas: int) -> Plan:
        """The same plan with another number of chatservers."""
        return replace(self, inputs=replace(self.inputs, replicas=replicas))

    def withholding(self, taken: Collection[ObjectKey], cluster: ChatCluster, observed: Observed) -> Plan:
        """The same plan without what would be written into somebody else's object, or made on one.

        Args:
            taken: (kind, name) of the others' objects.
            cluster: The parsed spec.
            observed: Its children.
        """
        if not taken:
            return self
        senders = unbegun(cluster.name, taken, observed.children)
        jobs = {("Job", self.job_name)} if self.job_name and ("Job", "") in senders else set()
        withheld = self.inputs.withheld | frozenset(taken) | senders | frozenset(jobs)
        return replace(self, inputs=replace(self.inputs, withheld=withheld))


def make_plan(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    named: Mapping[str, Manifest | None],
    settings: Settings,
    now: dt.datetime,
    told: Told,
) -> Plan:
    """Everything that one reconcile wishes for; its number of chatservers is still 0.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster; its status pins what runs.
        observed: Its children.
        named: The user's Secrets by name.
        settings: The operator's own.
        now: The time with its zone, for certificates.
        told: What the running parts say.

    Raises:
        SpecError: The spec names a release that this operator does not bring.
    """
    version, images = _release(cluster, body, settings)
    external = cluster.database.external
    judged = judge(cluster, external, named) if external is not None else None
    known = told.certificates_known
    lost = find_losses(cluster, body, observed, told.held)
    served = serving(cluster, observed, named, settings, now, lost, certificates_known=known)
    pair = served.pair
    claim = observed.child("PersistentVolumeClaim", claim_name(cluster.name))
    usable = not leaving(claim, cluster.uid)
    volume_size = _size(claim) if usable else None
    revision = None if external else revision_of(cluster, volume_size)
    inputs = Inputs(
        images=images,
        pull_policy=settings.image_pull_policy,
        cluster_domain=settings.cluster_domain,
        credentials=_credentials(cluster, body, observed, told, lost, int(now.timestamp())),
        self_signed=served.self_signed,
        issued=served.issued,
        certificates_known=known,
        certificate_uid=served.certificate_uid,
        routes_known=told.routes_known,
        # With the key, so that one that is put right later is noticed; a hash of a key gives nothing away.
        tls_digest=digest([pair.certificate, pair.key]) if pair else None,
        https_port=_https_port(cluster, observed),
        volume_usable=usable,
        volume_size=volume_size,
        config_digest=None if external else digest_of(cluster, observed, told.agent, volume_size, revision),
        database_identity=judged.identity if judged else _claim_identity(claim if usable else None),
        outlived_job=None,
        server_template=None,
        replicas=0,
        operator_namespace=settings.namespace,
        external_ports=_external_ports(cluster, observed, judged),
        volume_leaving=not usable and not condemned(claim, cluster.uid),
        withheld=lost.withheld,
    )
    job = migrate_job(cluster, inputs)
    job_name = job["metadata"]["name"] if job is not None else None
    inputs = replace(inputs, outlived_job=_outlived(observed, job_name))
    live = observed.workload(cluster.name, "chatserver")
    migrated = job_name is not None and (
        job_state(observed.child("Job", job_name)) == "Complete"
        or inputs.outlived_job == job_name
        or schema_of(live) == job_name
    )
    template: ServerTemplate | None = None
    if migrated and job_name is not None:
        template = ServerTemplate(images.chatserver, job_name)
    elif live is not None:
        # What runs keeps running, and keeps being repaired, until the new image's migrations have run.
        template = ServerTemplate(image_of(live), schema_of(live) or "")
    if not migrated and keeps_database(cluster, observed, told.agent, images.postgres):
        inputs = replace(inputs, config_digest=None)
    webhook = cluster.auth.webhook
    return Plan(
        inputs=replace(inputs, server_template=template),
        job_name=job_name,
        migrated=migrated,
        version=version,
        serving=served,
        front_trouble=front_certificate_trouble(cluster, named, now),
        external_trouble=judged.trouble if judged else None,
        webhook_fault=webhook_fault(webhook.secret_name, named.get(webhook.secret_name)) if webhook else None,
        config_revision=revision,
        parameters_refused=told.agent.refused if told.agent and told.agent.configuration == revision else None,
        parameters_checked=told.agent is None or told.agent.configuration == revision,
        losses=lost,
    )


def _release(cluster: ChatCluster, body: Manifest, settings: Settings) -> tuple[str, Images]:
    """The version to run and its images: those pinned in status, unless spec names others."""
    held = body.get("status") or {}
    version = cluster.version or held.get("version") or settings.version
    if version == settings.version:
        images = settings.images
    elif version == held.get("version"):
        images = Images(**held["images"])
    else:
        raise SpecError(
            "version",
            f"this operator can install only release {settings.version}; set that release, or remove the field",
        )
    source = cluster.images
    return version, Images(
        chatserver=cluster.chatserver.image or source.of(images.chatserver),
        postgres=cluster.database.image or source.of(images.postgres),
        haproxy=cluster.ingress.image or source.of(images.haproxy),
    )


def _credentials(
    cluster: ChatCluster, body: Manifest, observed: Observed, told: Told, lost: Losses, now_seconds: int
) -> Credentials:
    """What the Secrets hold, a rotation's next step included; what they lack is made new unless it is lost."""
    secret = observed.child("Secret", database_secret_name(cluster.name))
    held = secret_text(observed.child("Secret", chatserver_secret_name(cluster.name)), "secret-key") or lost.key
    key = held or ("" if ("Secret", chatserver_secret_name(cluster.name)) in lost.withheld else _new_secret())
    servers = observed.component("chatserver")
    followed = [None if server.terminating else told.readings.get(server.name) for server in servers]
    return Credentials(
        logins=logins.advance(
            logins.read(
                lambda name: secret_text(secret, name), ((secret or {}).get("metadata") or {}).get("annotations") or {}
            ),
            request=annotation(body, logins.REQUEST_ANNOTATION),
            signs=logins.Signs(
                applied=told.agent.credentials if told.agent else None,
                followed=tuple(reading.login if reading else None for reading in followed),
            ),
            salt=key,
            now=now_seconds,
            new_password=_new_secret,
        ),
        chatserver_key=key,
    )


def _new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def _size(claim: Manifest | None) -> str | None:
    """What the API server has granted: a wish for more may have been refused."""
    if claim is None:
        return None
    return str(claim["spec"]["resources"]["requests"]["storage"])


def _https_port(cluster: ChatCluster, observed: Observed) -> int | None:
    if cluster.ingress.service.type == "NodePort" and cluster.ingress.service.node_port is not None:
        return cluster.ingress.service.node_port
    if cluster.ingress.service.type == "NodePort":
        return status.https_port(observed.child("Service", part_name(cluster.name, "ingress")))
    return 443


def _claim_identity(claim: Manifest | None) -> str | None:
    """Changes when the volume does, so that its schema is brought up to date again."""
    return f"claim:{claim['metadata']['uid']}" if claim is not None else None


def _external_ports(cluster: ChatCluster, observed: Observed, judged: Judged | None) -> tuple[int, ...]:
    """Where the URL cannot be read now, the ports of the last one that could: servers still use what it said."""
    if judged is None or judged.ports:
        return judged.ports if judged else ()
    return live_database_ports(observed.child("NetworkPolicy", part_name(cluster.name, "migrate")))


def _outlived(observed: Observed, job_name: str | None) -> str | None:
    """The migrate Job, where its own container has succeeded and an injected one keeps it from being complete."""
    job = observed.child("Job", job_name) if job_name is not None else None
    if job is None:
        return None
    ended = annotation(job, OUTLIVED_ANNOTATION) is not None
    pods = [pod for pod in observed.component("migrate") if pod.owner_uid == job["metadata"]["uid"]]
    return job_name if ended or any(pod.outlived for pod in pods) else None
