"""The migration of the database schema, before which no new chatserver starts: part of Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import database_ready
from chatoperator.conditions.declared import Level, Reason
from chatoperator.conditions.rollout import ROLLOUT_FAILING, remedy
from chatoperator.conditions.workloads import rejection, troubles
from chatoperator.kube.objects import job_state

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.metadata import Manifest

MIGRATING = Reason("Migrating", ("True",), "The migration of the database schema runs, or waits for the database")
MIGRATION_FAILING = Reason(
    "MigrationFailing",
    ("True",),
    "The migration exits with an error, or its pod is rejected, and Kubernetes retries it. The message says how it "
    "exited; `kubectl logs` of the Job shows the cause. The reason stays until the migration succeeds. The previous "
    "version, if there was one, keeps serving: [changes.md](changes.md)",
    Level.WARNING,
)
MIGRATION_FAILED = Reason(
    "MigrationFailed",
    ("False",),
    "Check the logs of the Job. The previous version keeps serving, and the operator retries the Job",
    Level.WARNING,
)
FAILED = frozenset({MIGRATION_FAILING.name, MIGRATION_FAILED.name})
"""Reasons of a migration that fails: it goes from one to the other with each try."""


def progress(inputs: ConditionInputs) -> tuple[Reason, str]:
    """The reason and message of Progressing while the migration of the desired image has not succeeded."""
    failing = _failing(inputs)
    if failing is not None:
        return MIGRATION_FAILING, failing
    rejected = rejection(inputs, "postgres")
    if rejected is not None:
        return ROLLOUT_FAILING, f"New pods of postgres do not become ready; {rejected}"
    return MIGRATING, message(inputs)


def message(inputs: ConditionInputs) -> str:
    """What the migration of the desired image waits for, or how it failed."""
    name = inputs.migration.job_name
    if name is None:
        return f"The migration waits for the database: {database_ready.condition(inputs).message}"
    job = inputs.observed.child("Job", name)
    if job_state(job) == "Failed":
        return f"Job {name} failed; the operator retries it. Check its logs ({_logs(inputs, name)}). {remedy(inputs)}"
    return _failing(inputs) or _waiting(inputs, name, job)


def _waiting(inputs: ConditionInputs, name: str, job: Manifest | None) -> str:
    """What a Job that has not failed waits for."""
    database = database_ready.condition(inputs)
    if job is None:
        return f"Job {name}, which runs the migration, does not exist yet"
    if database.status == "False":
        return f"Job {name} waits for the database: {database.message}"
    if not inputs.observed.job_pods(name):
        return f"Job {name}, which runs the migration, has no pod yet"
    return f"Container migrate of Job {name} is running the migration"


def _failing(inputs: ConditionInputs) -> str | None:
    """What keeps the Job from succeeding; None where nothing is known to."""
    name, found = inputs.migration.job_name, troubles(inputs, "migrate")
    if name is None:
        return None
    if not found and name in _reported_failure(inputs):
        # The Job was recreated after it failed: until it succeeds nothing has changed for an admin.
        return f"Job {name} failed before and is retried. Check its logs ({_logs(inputs, name)}). {remedy(inputs)}"
    if not found:
        return None
    if not inputs.observed.job_pods(name):
        return f"Job {name} has no pod: {found[0]}"
    return f"Job {name} fails and is retried: {found[0]}. Check its logs ({_logs(inputs, name)}). {remedy(inputs)}"


def _reported_failure(inputs: ConditionInputs) -> str:
    """The message of Progressing in status, where it reports a migration that fails; empty otherwise."""
    held = (inputs.body.get("status") or {}).get("conditions") or []
    return next((str(one["message"]) for one in held if one["reason"] in FAILED), "")


def _logs(inputs: ConditionInputs, job_name: str) -> str:
    """By container: others may have been injected into the pod."""
    return f"kubectl logs job/{job_name} -c migrate -n {inputs.namespace}"
