"""What keeps the spec from being followed, or what is on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import address, changes, data_safe, migration, names, rollout
from chatoperator.conditions.inputs import Condition
from chatoperator.observed import job_state

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """What keeps the spec from being followed, or what is on its way."""
    return (
        _stopped(facts)
        or _moving(facts)
        or Condition("Progressing", "False", "Settled", "Everything is as the spec asks")
    )


def _stopped(facts: Facts) -> Condition | None:
    """The first of these that holds: somebody has to do something, or has said that nothing is to be done."""
    kind = "Progressing"
    job = facts.observed.child("Job", facts.migrate_job_name) if facts.migrate_job_name else None
    if facts.spec_error is not None:
        return Condition(kind, "False", "InvalidSpec", f"{facts.spec_error}. What runs is left as it is")
    made: Condition | None = names.condition(facts) or data_safe.trouble(facts, kind)
    if made is not None:
        return made
    if facts.failure is not None:
        made = Condition(kind, "False", "ApplyFailed", facts.failure)
    elif facts.cluster is not None and facts.cluster.paused:
        made = Condition(kind, "False", "Paused", "spec.paused is true: nothing is changed")
    elif facts.webhook_fault is not None:
        message = f"{facts.webhook_fault}. Chatservers that run keep running, new ones wait for it"
        made = Condition(kind, "False", "WebhookSecretMissing", message)
    elif facts.external_trouble is not None:
        made = Condition(kind, "False", facts.external_trouble.reason, facts.external_trouble.message)
    elif facts.parameters_refused is not None:
        made = Condition(kind, "False", "ParametersRefused", changes.parameters_words(facts.parameters_refused))
    elif facts.storage_class_kept is not None:
        made = Condition(kind, "False", "StorageClassKept", changes.class_words(facts, facts.storage_class_kept))
    elif facts.claim_refusal is not None:
        made = Condition(kind, "False", "VolumeNotExpandable", changes.growth_words(facts, facts.claim_refusal))
    elif not facts.migrated and job_state(job) == "Failed":
        made = Condition(kind, "False", "MigrationFailed", migration.words(facts))
    return made


def _moving(facts: Facts) -> Condition | None:
    """The first of these that holds: it goes on by itself."""
    if not facts.migrated:
        return migration.condition(facts)
    return rollout.condition(facts) or changes.condition(facts) or _without_address(facts)


def _without_address(facts: Facts) -> Condition | None:
    without = address.missing(facts)
    return Condition("Progressing", "True", "AddressMissing", without) if without is not None else None
