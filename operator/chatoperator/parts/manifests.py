"""Pure builders of everything a ChatCluster is made of: desired(cluster, inputs) -> ordered manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.metadata import tls_secret_name
from chatoperator.parts import credentials, networkpolicy
from chatoperator.parts.chatserver import deployment as chatserver
from chatoperator.parts.database import statefulset as postgres
from chatoperator.parts.ingress import deployment as ingress
from chatoperator.parts.ingress import front
from chatoperator.parts.ingress.tls import certmanager
from chatoperator.parts.needs import without
from chatoperator.parts.pod import disruption_budget

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.parts.credentials import Credentials, Issued, SelfSigned
    from chatoperator.settings import Images


@dataclass(frozen=True)
class ServerTemplate:
    """What the chatserver Deployment may run: an image whose migrations have run as Job `schema`."""

    image: str
    schema: str


@dataclass(frozen=True)
class Inputs:
    """What the manifests need beside the spec. None means that it is not known yet, and what needs it is left out.

    Attributes:
        images: Images to run.
        pull_policy: imagePullPolicy of every container.
        cluster_domain: DNS domain of the Kubernetes cluster.
        credentials: Passwords and keys, made once.
        self_signed: The certificate, where the operator makes it.
        issued: The certificate, where cert-manager or the admin's own Secret has brought a good one.
        certificates_known: Whether the cluster has cert-manager's kind Certificate.
        routes_known: Whether the cluster has the Gateway API's kind HTTPRoute.
        certificate_uid: Of the live Certificate, if there is also the Secret that it fills; None otherwise.
        tls_digest: Changes with the certificate that HAProxy is to serve; None while its Secret holds none.
        https_port: Port that clients use for HTTPS; None while Kubernetes has not given out a node port.
        volume_usable: False while an old claim is still being deleted.
        volume_leaving: The claim is being deleted and is this ChatCluster's own, so that its Secret is kept.
        withheld: (kind, name) of what is not to be made: somebody else has the name, or its content is lost.
        volume_size: Of the volume as it is; None where there is none yet, so that it will be as the spec asks.
        config_digest: Changes with the parameters that restart PostgreSQL; None while the StatefulSet waits: until it
            is known whether PostgreSQL takes them, and whether its new image can be pulled.
        database_identity: Changes when the database does; None while there is none.
        outlived_job: The migrate Job whose own container has succeeded while an injected one runs on, if there is one.
        server_template: What the chatservers may run; None before the first migration has succeeded.
        replicas: Decided number of chatservers.
        operator_namespace: Where the operator runs, which reads the chatservers' metrics.
        external_ports: TCP ports of the external database; empty where they cannot be told.
    """

    images: Images
    pull_policy: str
    cluster_domain: str
    credentials: Credentials
    self_signed: SelfSigned | None
    issued: Issued | None
    certificates_known: bool
    routes_known: bool
    certificate_uid: str | None
    tls_digest: str | None
    https_port: int | None
    volume_usable: bool
    volume_size: str | None
    config_digest: str | None
    database_identity: str | None
    outlived_job: str | None
    server_template: ServerTemplate | None
    replicas: int
    operator_namespace: str
    external_ports: tuple[int, ...]
    volume_leaving: bool = False
    withheld: frozenset[ObjectKey] = frozenset()


def desired(cluster: ChatCluster, inputs: Inputs) -> tuple[Manifest, ...]:
    """Everything to apply now, in order: what pods wait for comes before the pods."""
    return without(_all(cluster, inputs), inputs.withheld)


def _all(cluster: ChatCluster, inputs: Inputs) -> tuple[Manifest, ...]:
    return (
        *networkpolicy.policies(
            cluster, operator_namespace=inputs.operator_namespace, external_ports=inputs.external_ports
        ),
        *_secrets(cluster, inputs),
        *_database(cluster, inputs),
        *_servers(cluster, inputs),
        *_ingress(cluster, inputs),
    )


def migrate_job(cluster: ChatCluster, inputs: Inputs) -> Manifest | None:
    """The Job for the wanted chatserver image on the present database; None while there is no database."""
    if inputs.database_identity is None:
        return None
    return chatserver.migrate_job(
        cluster,
        image=inputs.images.chatserver,
        pull_policy=inputs.pull_policy,
        database_identity=inputs.database_identity,
        outlived_job=inputs.outlived_job,
    )


def _secrets(cluster: ChatCluster, inputs: Inputs) -> list[Manifest]:
    made = [credentials.chatserver_secret(cluster, inputs.credentials)]
    if cluster.database.external_secret_name is None and (inputs.volume_usable or inputs.volume_leaving):
        made.append(credentials.database_secret(cluster, inputs.credentials))
    if inputs.self_signed is not None:
        made.append(credentials.authority_secret(cluster, inputs.self_signed))
        made.append(credentials.tls_secret(cluster, inputs.self_signed.issued))
    if inputs.issued is not None and cluster.ingress.tls_secret_name != tls_secret_name(cluster.name):
        made.append(credentials.tls_secret(cluster, inputs.issued))
    return [*made, *_certificate(cluster, inputs)]


def _certificate(cluster: ChatCluster, inputs: Inputs) -> list[Manifest]:
    if cluster.ingress.issuer is None or not inputs.certificates_known:
        return []
    made = [certmanager.certificate(cluster, cluster.ingress.issuer)]
    if inputs.certificate_uid is not None:
        made.append(certmanager.issued_secret(cluster, inputs.certificate_uid))
    return made


def _database(cluster: ChatCluster, inputs: Inputs) -> list[Manifest]:
    if cluster.database.external_secret_name is not None:
        return []
    size = inputs.volume_size or cluster.database.storage.size
    made = [postgres.config_map(cluster, volume_size=size), postgres.service(cluster)]
    if inputs.volume_usable:
        made.append(postgres.claim(cluster, volume_size=size))
    if inputs.volume_usable and inputs.config_digest is not None:
        made.append(
            postgres.stateful_set(
                cluster,
                image=inputs.images.postgres,
                pull_policy=inputs.pull_policy,
                config_digest=inputs.config_digest,
            )
        )
    return made


def _servers(cluster: ChatCluster, inputs: Inputs) -> list[Manifest]:
    made = [chatserver.service(cluster), disruption_budget(cluster, "chatserver")]
    job, template = migrate_job(cluster, inputs), inputs.server_template
    name = job["metadata"]["name"] if job is not None else None
    # One that has succeeded is not made again when somebody removes it.
    if job is not None and (template is None or template.schema != name or inputs.outlived_job == name):
        made.append(job)
    if inputs.server_template is not None:
        made.append(
            chatserver.deployment(
                cluster,
                image=inputs.server_template.image,
                pull_policy=inputs.pull_policy,
                replicas=inputs.replicas,
                schema=inputs.server_template.schema,
                cluster_domain=inputs.cluster_domain,
            )
        )
    return made


def _ingress(cluster: ChatCluster, inputs: Inputs) -> list[Manifest]:
    made = [ingress.service(cluster), ingress.proxies_service(cluster), disruption_budget(cluster, "ingress")]
    made += front.objects(cluster, routes_known=inputs.routes_known)
    if inputs.https_port is None:
        return made
    config = ingress.config_map(cluster, https_port=inputs.https_port, cluster_domain=inputs.cluster_domain)
    made.append(config)
    if inputs.tls_digest is not None:
        made.append(
            ingress.deployment(
                cluster,
                image=inputs.images.haproxy,
                pull_policy=inputs.pull_policy,
                config=config,
            )
        )
    return made
