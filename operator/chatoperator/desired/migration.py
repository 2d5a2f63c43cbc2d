"""The migration of the database's schema, and the chatservers that it lets run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import annotation, job_state, schema_of
from chatoperator.kube.ownership import is_child, is_migrate_job
from chatoperator.metadata import OUTLIVED_ANNOTATION
from chatoperator.parts.chatserver import deployment as chatserver
from chatoperator.parts.database.configuration import image_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed


@dataclass(frozen=True)
class ServerTemplate:
    """What the chatserver Deployment may run: an image whose migrations have run as Job `schema`."""

    image: str
    schema: str


@dataclass(frozen=True)
class SchemaMigration:
    """The migration that the desired image needs on the present database.

    Attributes:
        job_name: The Job; None while there is no database.
        done: Whether it has succeeded.
        job: The Job as it should be; None where none is needed, because its servers run already.
        template: What the chatservers may run; None before the first migration has succeeded.
        superseded: Whether another migrate Job has come after this one, when another state was desired for a while.
            What it did may undo what this one did, so this one is deleted and runs again.
    """

    job_name: str | None = None
    done: bool = False
    job: Manifest | None = None
    template: ServerTemplate | None = None
    superseded: bool = False


def decide(
    cluster: ChatCluster,
    observed: Observed,
    *,
    image: str,
    pull_policy: str,
    database_identity: str | None,
    probe_hashes: Sequence[str] | None = (),
    suspended: bool = False,
) -> SchemaMigration:
    """Decide which Job has to run, and what the chatservers may run meanwhile.

    Args:
        cluster: The parsed spec.
        observed: Its children.
        image: The desired image of the chatservers.
        pull_policy: imagePullPolicy.
        database_identity: Changes when the database does; None while there is none.
        probe_hashes: Of the tokens of the probe that the Job enrols; None: they are made, and not stored yet.
        suspended: The database is being replaced by an earlier state: nothing is migrated before it is there.
    """
    live = observed.workload(cluster.name, "chatserver")
    # What runs keeps running, and keeps being repaired, until the new image's migrations have run.
    running = ServerTemplate(image_of(live), schema_of(live) or "") if live is not None else None
    if database_identity is None:
        return SchemaMigration(template=running)
    if suspended and running is not None:
        return SchemaMigration(job_name=running.schema, done=True, template=running)
    if probe_hashes is None and running is not None and running.image == image:
        # A Job without hashes would revoke what the next one enrols, and might run after it. Only a Secret that cannot
        # be written must hold up no other image.
        return SchemaMigration(job_name=running.schema, done=True, template=running)
    job = chatserver.migrate_job(
        cluster,
        image=image,
        pull_policy=pull_policy,
        database_identity=database_identity,
        probe_hashes=probe_hashes or (),
    )
    name = str(job["metadata"]["name"])
    existing = observed.child("Job", name)
    others = _other_jobs(cluster, observed, name)
    # The API server's times are whole seconds: of two that were created in the same one, either may be the later.
    superseded = existing is not None and any(_created(other) >= _created(existing) for other in others)
    outlived = _is_outlived(observed, name) and not superseded
    if outlived or (existing is not None and not superseded and job_state(existing) == "Complete"):
        done = True
    else:
        # One that has succeeded may be gone; another that is there has run, or runs, since then.
        done = schema_of(live) == name and not others
    template = ServerTemplate(image, name) if done else running
    # One that has succeeded is not made again when somebody removes it.
    needed = outlived or not done or template is None or template.schema != name
    return SchemaMigration(
        job_name=name,
        done=done,
        job=(chatserver.suspended(job) if outlived else job) if needed else None,
        template=template,
        superseded=superseded,
    )


def _other_jobs(cluster: ChatCluster, observed: Observed, job_name: str) -> list[Manifest]:
    return [
        child
        for (kind, name), child in observed.children.items()
        if kind == "Job" and name != job_name and is_migrate_job(cluster.name, name) and is_child(child, cluster.uid)
    ]


def _created(job: Manifest) -> str:
    """RFC 3339 in UTC, so that texts compare as times do."""
    return str(job["metadata"].get("creationTimestamp", ""))


def _is_outlived(observed: Observed, job_name: str) -> bool:
    """Whether the Job's own container has succeeded while an injected one keeps the Job from being complete."""
    job = observed.child("Job", job_name)
    if job is None:
        return False
    pods = [pod for pod in observed.component("migrate") if pod.owner_uid == job["metadata"]["uid"]]
    return annotation(job, OUTLIVED_ANNOTATION) is not None or any(pod.outlived for pod in pods)
