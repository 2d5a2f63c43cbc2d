"""When PostgreSQL's configuration counts, and when it may restart for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.errors import SpecError
from chatoperator.kube.objects import annotation
from chatoperator.metadata import CONFIG_HASH_ANNOTATION
from chatoperator.parts.database import statefulset
from chatoperator.parts.database.replication import members

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.reports import AgentReport


def revision_of(cluster: ChatCluster, volume_size: str | None, *, replicated: bool) -> str:
    """Revision of the parameters that the agent has PostgreSQL take over.

    Raises:
        SpecError: A quantity that they are derived from cannot be read.
    """
    try:
        desired = statefulset.parameters(cluster, volume_size=volume_size or cluster.database.storage.size)
    except ValueError as error:
        raise SpecError("database.resources.limits", f"{error}: write it like 4Gi or 500m") from error
    made = members.config_map(cluster, desired, begin=False) if replicated else statefulset.config_map(cluster, desired)
    return str(made["data"][statefulset.REVISION_KEY])


def digest_of(
    cluster: ChatCluster, observed: Observed, agent: AgentReport | None, volume_size: str | None, revision: str | None
) -> str | None:
    """What the StatefulSet's template says of parameters that restart it.

    A healthy database is restarted only for what it is known to start with. One that is not healthy is: its entrypoint
    tries what is new, and it may be the cure.

    Returns:
        The desired one, or the live one where PostgreSQL rejects the desired; None until it is known whether it does.
    """
    desired = statefulset.config_digest(cluster, volume_size=volume_size or cluster.database.storage.size)
    template = ((observed.workload(cluster.name, "postgres") or {}).get("spec") or {}).get("template")
    live = annotation(template, CONFIG_HASH_ANNOTATION)
    if live is None or live == desired or agent is None:
        return desired
    if agent.configuration != revision:
        return None
    return live if agent.refused is not None else desired


def keeps_database(cluster: ChatCluster, observed: Observed, agent: AgentReport | None, image: str) -> bool:
    """Whether PostgreSQL stays as it is until the migration has succeeded.

    Its one pod goes before the new one comes, and the migration shows that the registry and the Secrets are right. Of
    an image that the spec gives to PostgreSQL alone it shows nothing, and a database that is not healthy waits for
    nothing.
    """
    live = observed.workload(cluster.name, "postgres")
    if live is None or agent is None:
        return False
    pulled_with = [one["name"] for one in live["spec"]["template"]["spec"].get("imagePullSecrets") or ()]
    other_image = cluster.database.image is None and image_of(live) != image
    return other_image or pulled_with != list(cluster.images.pull_secrets)


def image_of(workload: Manifest) -> str:
    """Image of the first container of a Deployment or StatefulSet."""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])
