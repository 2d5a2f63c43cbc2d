"""Renders every object of a ChatCluster: render(desired) -> ordered manifests. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.desired.restoration import environment
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.metadata import tls_secret_name
from chatoperator.parts import credentials, networkpolicy
from chatoperator.parts.backup import configuration as backup_configuration
from chatoperator.parts.backup import credentials as backup_credentials
from chatoperator.parts.backup import host as backup_host
from chatoperator.parts.backup import restore as backup_restore
from chatoperator.parts.bus import credentials as bus_credentials
from chatoperator.parts.bus import valkey
from chatoperator.parts.chatserver import deployment as chatserver
from chatoperator.parts.database import statefulset as postgres
from chatoperator.parts.database.replication import account, members, patroni
from chatoperator.parts.ingress import deployment as ingress
from chatoperator.parts.ingress import front
from chatoperator.parts.ingress.tls import certmanager
from chatoperator.parts.needs import without
from chatoperator.parts.pod import disruption_budget
from chatoperator.parts.probe import deployment as probe
from chatoperator.parts.probe import tokens as probe_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.desired import Desired
    from chatoperator.desired.replication import Replication
    from chatoperator.metadata import Manifest


def render(desired: Desired) -> tuple[Manifest, ...]:
    """Everything to apply now, in order: what pods wait for comes before the pods.

    What cannot be made yet is left out, with what is withheld and whatever relies on that.
    """
    policies = networkpolicy.policies(
        desired.cluster,
        operator_namespace=desired.settings.namespace,
        external_ports=desired.database.ports,
        bus=desired.bus.servers,
        replicated=desired.replication is not None,
        api_server_ports=desired.settings.api_server_ports,
    )
    made = [
        *policies,
        *_secrets(desired),
        *_backup_access(desired),
        *_database(desired),
        *_backup(desired),
        *_bus(desired),
        *_servers(desired),
        *_ingress(desired),
    ]
    made += _probe(desired)
    return without(made, desired.withheld)


def _secrets(desired: Desired) -> list[Manifest]:
    cluster, serving, volume = desired.cluster, desired.serving, desired.database.volume
    made = [credentials.chatserver_secret(cluster, desired.credentials)]
    if cluster.database.external_secret_name is None and (volume.usable or volume.leaving):
        made.append(credentials.database_secret(cluster, desired.credentials))
    if serving.self_signed is not None:
        made.append(credentials.authority_secret(cluster, serving.self_signed))
        made.append(credentials.tls_secret(cluster, serving.self_signed.issued))
    if serving.issued is not None and cluster.ingress.tls_secret_name != tls_secret_name(cluster.name):
        made.append(credentials.tls_secret(cluster, serving.issued))
    return [*made, *_certificate(desired)]


def _certificate(desired: Desired) -> list[Manifest]:
    cluster, uid = desired.cluster, desired.serving.certificate_uid
    if cluster.ingress.issuer is None or CERTIFICATE not in desired.served:
        return []
    made = [certmanager.certificate(cluster, cluster.ingress.issuer)]
    if uid is not None:
        made.append(certmanager.issued_secret(cluster, uid))
    return made


def _database(desired: Desired) -> list[Manifest]:
    cluster, volume, config_digest = desired.cluster, desired.database.volume, desired.database.config_digest
    if cluster.database.external_secret_name is not None:
        return []
    size = volume.size or cluster.database.storage.size
    parameters = postgres.parameters(cluster, volume_size=size)
    begins = desired.database.begins if desired.replication is None else desired.replication.begin
    restored = cluster.database.restore
    made = [] if restored is None else [backup_restore.config_map(cluster, restored, begin=begins)]
    if desired.replication is not None:
        return [*made, *_instances(desired, desired.replication, parameters)]
    restoration = desired.restoration if desired.restoration is not None and desired.restoration.in_template else None
    marked = {} if restoration is None else {backup_restore.STATE_KEY: restoration.state}
    made += [postgres.config_map(cluster, parameters, **marked), postgres.service(cluster)]
    if volume.usable:
        made.append(postgres.claim(cluster, volume_size=size))
    if volume.usable and config_digest is not None:
        made.append(
            postgres.stateful_set(
                cluster,
                image=desired.release.images.postgres,
                pull_policy=desired.settings.image_pull_policy,
                config_digest=config_digest,
                default_account=desired.database.had_account,
                in_place=None if restoration is None else environment(restoration),
            )
        )
    return made


def _backup_access(desired: Desired) -> list[Manifest]:
    """What the pods of the database mount, and by which they and the backup pod find each other."""
    cluster, spec, made = desired.cluster, desired.cluster.database.backup, desired.backup
    if spec is None or made is None:
        return []
    instances = [one.number for one in desired.replication.instances] if desired.replication is not None else [1]
    config = backup_configuration.config_map(
        cluster, spec, instances=instances, key_type=made.secrets.key_type, requests=made.requests
    )
    services = [backup_host.instance_service(cluster, number) for number in instances]
    return [
        backup_credentials.tls_secret(cluster, made.credentials.pair),
        config,
        backup_host.service(cluster),
        *services,
    ]


def _backup(desired: Desired) -> list[Manifest]:
    cluster, spec, made = desired.cluster, desired.cluster.database.backup, desired.backup
    if spec is None or made is None:
        return []
    volume = spec.repository.volume
    objects: list[Manifest] = []
    if made.credentials.passphrase is not None and (made.volume.usable or made.volume.leaving):
        objects.append(backup_credentials.key_secret(cluster, made.credentials.passphrase))
    if not made.volume.usable:
        return objects
    if volume is not None:
        objects.append(backup_host.claim(cluster, volume, volume_size=made.volume.size or volume.size))
    pod = backup_host.stateful_set(
        cluster,
        spec,
        image=desired.release.images.postgres,
        pull_policy=desired.settings.image_pull_policy,
        secret_digest=made.pod_digest(desired.credentials.chatserver_key),
        key_type=made.secrets.key_type,
        database_size=desired.database.volume.size or cluster.database.storage.size,
    )
    return [*objects, pod]


def _instances(desired: Desired, replication: Replication, parameters: Mapping[str, str]) -> list[Manifest]:
    """Several instances: what they need at the API server comes before them."""
    cluster = desired.cluster
    made = [
        members.config_map(cluster, parameters, begin=replication.begin),
        *patroni.config_maps(cluster, parameters, strict=replication.strict, synchronous=replication.synchronous),
        *account.objects(cluster, [one.number for one in replication.instances]),
        members.leader_service(cluster, has_leader=replication.has_leader),
        members.replicas_service(cluster),
        disruption_budget(cluster, "postgres"),
    ]
    for instance in replication.instances:
        volume = instance.volume
        if volume.usable:
            size = volume.size or cluster.database.storage.size
            made.append(postgres.claim(cluster, volume_size=size, instance=instance.number))
        if volume.usable and instance.applied:
            made.append(
                members.stateful_set(
                    cluster,
                    instance.number,
                    image=desired.release.images.postgres,
                    pull_policy=desired.settings.image_pull_policy,
                    config_digest=desired.database.config_digest or "",
                )
            )
    return made


def _bus(desired: Desired) -> list[Manifest]:
    cluster, spec, made = desired.cluster, desired.cluster.bus.valkeys, desired.bus
    if spec is None or made.pods is None or made.credentials is None:
        return []
    config = valkey.config_map(cluster, spec)
    pods = valkey.stateful_set(
        cluster,
        spec,
        image=desired.release.images.valkey,
        pull_policy=desired.settings.image_pull_policy,
        replicas=made.pods,
        config=config,
        secret_digest=made.credentials.server_digest(desired.credentials.chatserver_key),
    )
    secret = bus_credentials.secret(cluster, made.credentials)
    return [secret, config, valkey.service(cluster), disruption_budget(cluster, "bus"), pods]


def _servers(desired: Desired) -> list[Manifest]:
    cluster, migration = desired.cluster, desired.migration
    made = [chatserver.service(cluster), disruption_budget(cluster, "chatserver")]
    if migration.job is not None:
        made.append(migration.job)
    if migration.template is not None:
        made.append(
            chatserver.deployment(
                cluster,
                image=migration.template.image,
                pull_policy=desired.settings.image_pull_policy,
                replicas=0 if desired.holds_servers else desired.replicas,
                schema=migration.template.schema,
                bus=desired.bus.servers,
                cluster_domain=desired.settings.cluster_domain,
            )
        )
    return made


def _probe(desired: Desired) -> list[Manifest]:
    tokens, running = desired.probe, desired.migration.template
    if tokens is None:
        return []
    made = [probe_tokens.secret(desired.cluster, tokens)]
    if running is not None:
        made.append(
            probe.deployment(
                desired.cluster,
                image=running.image,
                pull_policy=desired.settings.image_pull_policy,
                cluster_domain=desired.settings.cluster_domain,
            )
        )
    return made


def _ingress(desired: Desired) -> list[Manifest]:
    cluster = desired.cluster
    made = [ingress.service(cluster), ingress.proxies_service(cluster), disruption_budget(cluster, "ingress")]
    made += front.objects(cluster, routes_known=ROUTE in desired.served)
    if desired.https_port is None:
        return made
    config = ingress.config_map(cluster, https_port=desired.https_port, cluster_domain=desired.settings.cluster_domain)
    made.append(config)
    if desired.serving.pair is not None:
        made.append(
            ingress.deployment(
                cluster,
                image=desired.release.images.haproxy,
                pull_policy=desired.settings.image_pull_policy,
                config=config,
            )
        )
    return made
