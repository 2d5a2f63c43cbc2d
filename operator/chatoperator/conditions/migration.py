"""How the migration of the database's schema stands, before which no new chatservers come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import database_ready
from chatoperator.conditions.inputs import Condition
from chatoperator.conditions.rollout import remedy
from chatoperator.conditions.workloads import rejection, troubles
from chatoperator.observed import job_state

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """Progressing, while the wanted image's migration has not succeeded."""
    failing = _failing(facts)
    if failing is not None:
        return Condition("Progressing", "True", "MigrationFailing", failing)
    rejected = rejection(facts, "postgres")
    if rejected is not None:
        message = f"New pods of postgres do not become ready; {rejected}"
        return Condition("Progressing", "True", "RolloutFailing", message)
    return Condition("Progressing", "True", "Migrating", words(facts))


def words(facts: Facts) -> str:
    """What the wanted image's migration waits for, or how it failed."""
    name, made = facts.migrate_job_name, database_ready.condition(facts)
    if name is None:
        return f"there is no database yet: {made.message}"
    job = facts.observed.child("Job", name)
    if job_state(job) == "Failed":
        return f"Job {name} failed; see its pods' logs ({_look(name)}). It is tried again by itself. {remedy(facts)}"
    failing = _failing(facts)
    if failing is not None:
        return failing
    if job is None:
        return f"Job {name} does not exist yet"
    if made.status == "False":
        return f"Job {name} waits for the database: {made.message}"
    return f"Container migrate of Job {name} runs" if facts.observed.job_pods(name) else f"Job {name} has no pod yet"


def _failing(facts: Facts) -> str | None:
    """What keeps the Job from succeeding; None where nothing is known to."""
    name, found = facts.migrate_job_name, troubles(facts, "migrate")
    if name is None:
        return None
    if not found and name in facts.migration_failed:
        # The Job was made anew after its end: until it succeeds nothing has changed for whoever reads this.
        return f"Job {name} failed before and is tried again; see its logs ({_look(name)}). {remedy(facts)}"
    if not found:
        return None
    if not facts.observed.job_pods(name):
        return f"Job {name} has no pod: {found[0]}"
    doing = f"Job {name} does not succeed and is tried again"
    return "; ".join([doing, found[0], f"see its logs ({_look(name)}). {remedy(facts)}"])


def _look(job_name: str) -> str:
    """By container: others may have been injected into the pod."""
    return f"kubectl logs job/{job_name} -c migrate"
