"""How the migration of the database's schema stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.rollout import ROLL_BACK
from chatoperator.conditions.workloads import troubles
from chatoperator.observed import job_state

if TYPE_CHECKING:
    from chatoperator.facts import Facts


def words(facts: Facts) -> str:
    """What the wanted image's migration waits for, or how it failed."""
    if facts.migrate_job_name is None:
        return "there is no database yet"
    job = facts.observed.child("Job", facts.migrate_job_name)
    if job_state(job) == "Failed":
        return (
            f"Job {facts.migrate_job_name} failed; see its pods' logs (kubectl logs job/{facts.migrate_job_name}). "
            "It is tried again by itself"
        )
    found = troubles(facts, "migrate")
    if found:
        look = f"see its logs (kubectl logs job/{facts.migrate_job_name}). {ROLL_BACK}"
        return "; ".join([f"Job {facts.migrate_job_name} does not succeed and is tried again", found[0], look])
    return f"Job {facts.migrate_job_name} runs"
