"""What one reconcile wishes for, but for the number of chatservers: release, credentials, certificate, migration."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chatoperator import status
from chatoperator.errors import SpecError
from chatoperator.manifests import Images, Inputs, ServerTemplate, logins, migrate_job, postgres
from chatoperator.manifests.credentials import Credentials
from chatoperator.manifests.metadata import (
    CONFIG_HASH_ANNOTATION,
    OUTLIVED_ANNOTATION,
    chatserver_secret_name,
    claim_name,
    database_secret_name,
    digest,
    part_name,
)
from chatoperator.manifests.networkpolicy import live_database_ports
from chatoperator.observed import annotation, job_state, leaving, schema_of, secret_text
from chatoperator.reconcile.externaldatabase import judge
from chatoperator.reconcile.serving import serving
from chatoperator.reconcile.webhook_key import webhook_fault

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from chatoperator.facts import DatabaseTrouble
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.observed import AgentReport, Observed, Reading
    from chatoperator.reconcile.externaldatabase import Judged
    from chatoperator.reconcile.serving import Serving
    from chatoperator.settings import Settings
    from chatoperator.spec import ChatCluster

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
    """

    agent: AgentReport | None = None
    readings: Mapping[str, Reading | None] = field(default_factory=dict)
    certificates_known: bool = False
    routes_known: bool = False


@dataclass(frozen=True)
class Plan:
    """One reconcile's wishes.

    Attributes:
        inputs: What the manifests are made from.
        job_name: The migrate Job of the wanted image on the present database; None while there is none.
        migrated: Whether it has succeeded.
        version: The release to run.
        serving: Which certificate, and how it stands with it.
        external_trouble: What is wrong with the external database's Secrets; None where nothing is.
        webhook_fault: What is wrong with the webhook's Secret; None where nothing is, and without a webhook.
        config_revision: Of the parameters; None for an external database.
        parameters_refused: PostgreSQL's words against the parameters; None where it has none.
        parameters_checked: Whether PostgreSQL has looked at them; True where it cannot be asked.
    """

    inputs: Inputs
    job_name: str | None
    migrated: bool
    version: str
    serving: Serving
    external_trouble: DatabaseTrouble | None
    webhook_fault: str | None
    config_revision: str | None
    parameters_refused: str | None
    parameters_checked: bool

    @property
    def waiting(self) -> bool:
        """Whether something is under way that no event tells of: a rotation, or a check of the parameters."""
        if self.config_revision is None:
            return False
        return not self.parameters_checked or self.inputs.credentials.logins.stage != "settled"

    def with_replicas(self, replicas: int) -> Plan:
        """The same plan with another number of chatservers."""
        return replace(self, inputs=replace(self.inputs, replicas=replicas))


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
    served = serving(cluster, observed, named, settings, now, certificates_known=known)
    pair = served.pair
    claim = observed.child("PersistentVolumeClaim", claim_name(cluster.name))
    usable = not leaving(claim, cluster.uid)
    volume_size = _size(claim) if usable else None
    revision = None if external else _config_revision(cluster, volume_size)
    inputs = Inputs(
        images=images,
        pull_policy=settings.image_pull_policy,
        cluster_domain=settings.cluster_domain,
        credentials=_credentials(cluster, body, observed, told, int(now.timestamp())),
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
        config_digest=None if external else _config_digest(cluster, observed, told.agent, volume_size, revision),
        database_identity=judged.identity if judged else _claim_identity(claim if usable else None),
        outlived_job=None,
        server_template=None,
        replicas=0,
        operator_namespace=settings.namespace,
        external_ports=_external_ports(cluster, observed, judged),
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
        template = ServerTemplate(_image_of(live), schema_of(live) or "")
    if not migrated and _keeps_database(cluster, observed, told.agent, images.postgres):
        inputs = replace(inputs, config_digest=None)
    webhook = cluster.auth.webhook
    return Plan(
        inputs=replace(inputs, server_template=template),
        job_name=job_name,
        migrated=migrated,
        version=version,
        serving=served,
        external_trouble=judged.trouble if judged else None,
        webhook_fault=webhook_fault(webhook.secret_name, named.get(webhook.secret_name)) if webhook else None,
        config_revision=revision,
        parameters_refused=told.agent.refused if told.agent and told.agent.configuration == revision else None,
        parameters_checked=told.agent is None or told.agent.configuration == revision,
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
        raise SpecError("version", f"this operator brings release {settings.version}; name it, or remove the field")
    source = cluster.images
    return version, Images(
        chatserver=cluster.chatserver.image or source.of(images.chatserver),
        postgres=cluster.database.image or source.of(images.postgres),
        haproxy=cluster.ingress.image or source.of(images.haproxy),
    )


def _credentials(cluster: ChatCluster, body: Manifest, observed: Observed, told: Told, now_seconds: int) -> Credentials:
    """What the Secrets hold, a rotation's next step included; what they lack is made new."""
    secret = observed.child("Secret", database_secret_name(cluster.name))
    held = secret_text(observed.child("Secret", chatserver_secret_name(cluster.name)), "secret-key")
    key = held or _new_secret()
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


def _config_revision(cluster: ChatCluster, volume_size: str | None) -> str:
    try:
        made = postgres.config_map(cluster, volume_size=volume_size or cluster.database.storage_size)
    except ValueError as error:
        raise SpecError("database.resources.limits", f"{error}: write it like 4Gi or 500m") from error
    return str(made["data"][postgres.REVISION_KEY])


def _config_digest(
    cluster: ChatCluster, observed: Observed, agent: AgentReport | None, volume_size: str | None, revision: str | None
) -> str | None:
    """What the StatefulSet's template says of parameters that restart it.

    A healthy database is restarted only for what it is known to start with. One that is not healthy is: its entrypoint
    tries what is new, and it may be the cure.

    Returns:
        The wanted one, or the live one where PostgreSQL refuses the wanted; None until it is known whether it does.
    """
    wanted = postgres.config_digest(cluster, volume_size=volume_size or cluster.database.storage_size)
    template = ((observed.workload(cluster.name, "postgres") or {}).get("spec") or {}).get("template")
    live = annotation(template, CONFIG_HASH_ANNOTATION)
    if live is None or live == wanted or agent is None:
        return wanted
    if agent.configuration != revision:
        return None
    return live if agent.refused is not None else wanted


def _keeps_database(cluster: ChatCluster, observed: Observed, agent: AgentReport | None, image: str) -> bool:
    """Whether PostgreSQL stays as it is until the migration has succeeded.

    Its one pod goes before the new one comes, and the migration shows that the registry and the Secrets are right. Of
    an image that the spec gives to PostgreSQL alone it shows nothing, and a database that is not healthy waits for
    nothing.
    """
    live = observed.workload(cluster.name, "postgres")
    if live is None or agent is None:
        return False
    pulled_with = [one["name"] for one in live["spec"]["template"]["spec"].get("imagePullSecrets") or ()]
    other_image = cluster.database.image is None and _image_of(live) != image
    return other_image or pulled_with != list(cluster.images.pull_secrets)


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


def _image_of(workload: Manifest) -> str:
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])
