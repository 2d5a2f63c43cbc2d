"""The fields of status beside the conditions: address, volume, certificate, number, release. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.metadata import member_name, part_name
from chatoperator.parts.database.replication import patroni
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.ingress.tls.expiry import rfc3339
from chatoperator.parts.losses import irreplaceables
from chatoperator.parts.remembered import STATUS_FIELD, record
from chatoperator.reconcile.keep import policy
from chatoperator.reporting import status

if TYPE_CHECKING:
    from chatoperator.desired import Desired
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed


def figures(body: Manifest, observed: Observed, desired: Desired) -> dict[str, Any]:
    """Fields of status, by name; None removes one.

    Args:
        body: The ChatCluster.
        observed: Its children after the reconcile.
        desired: What the reconcile required.
    """
    cluster = desired.cluster
    service = observed.child("Service", part_name(cluster.name, "ingress"))
    return {
        "url": status.url(cluster, service, observed.component("ingress")),
        "volumeSize": desired.database.volume.size,
        "certificate": _certificate(desired),
        "desiredReplicas": desired.replicas,
        "version": desired.release.version,
        "images": _images(desired),
        "deletionPolicy": policy(body, observed),
        **_database(desired, observed),
        STATUS_FIELD: record(body, observed, irreplaceables(cluster, observed)),
    }


def _database(desired: Desired, observed: Observed) -> dict[str, Any]:
    """The instances of the database, by their pods; nothing of a single one, whose field is removed with the others."""
    made, held = desired.replication, patroni.read(desired.cluster.name, observed)
    if made is None:
        return {"database": None}
    instances = []
    for instance in made.instances:
        name = member_name(desired.cluster.name, instance.number)
        report = observed.agents.get(name)
        member = report.member if report is not None else None
        lag = member.lag_bytes if member is not None and name != made.leader else None
        instances.append(
            {
                "name": name,
                "state": member.state if member is not None else "unknown",
                "synchronous": name in held.standbys,
                # In whole MiB: of a replica that follows it stays 0, and each change of the status is a request.
                "lagMebibytes": lag // 2**20 if lag is not None else None,
            }
        )
    return {"database": {"leader": made.leader, "instances": instances}}


def _certificate(desired: Desired) -> dict[str, str] | None:
    """The certificate that HAProxy should serve, so that somebody who replaced it can wait for it."""
    served = desired.serving.pair.certificate if desired.serving.pair is not None else ""
    sha256, expires = self_signed.fingerprint(served), self_signed.expires_at(served)
    return {"sha256": sha256, "notAfter": rfc3339(expires)} if sha256 is not None and expires is not None else None


def _images(desired: Desired) -> dict[str, str]:
    """What runs: the chatserver's image counts once its migrations have run."""
    template, images = desired.migration.template, desired.release.images
    return {
        "chatserver": template.image if template else images.chatserver,
        "postgres": images.postgres,
        "haproxy": images.haproxy,
        **({"valkey": images.valkey} if images.valkey else {}),
    }
