"""Progressing: what prevents the spec from being applied, or which change is in progress."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator.conditions import address, changes, data_safe, database_ready, migration, names, rollout
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.observed import job_state

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import Facts

SETTLED = Reason("Settled", ("False",), "The spec is fully applied")
INVALID_SPEC = Reason(
    "InvalidSpec",
    ("False",),
    "The spec is invalid; the message names the field. Nothing was changed; running pods keep running",
    Level.WARNING,
)
APPLY_FAILED = Reason(
    "ApplyFailed",
    ("False",),
    "The API server rejected objects. The message lists each of them with the error, the field of the spec and the "
    "remedy. All other objects are applied. The operator retries the rejected ones",
    Level.WARNING,
)
PAUSED = Reason("Paused", ("False",), "`spec.paused` is true", Level.CHOSEN)
WEBHOOK_SECRET_MISSING = Reason(
    "WebhookSecretMissing",
    ("False",),
    "The Secret of `auth.otp.webhook.secretName` is missing, or its key `secret` is unusable; the message says which "
    "and what to do",
    Level.WARNING,
)
ADDRESS_MISSING = Reason("AddressMissing", ("True",), "As for `IngressReady`", Level.STEP)

TYPE = ConditionType(
    "Progressing",
    bad="True",
    summary="A change is in progress.\n"
    "False means that the operator has finished: with reason `Settled` the spec is applied, with any other reason it "
    "waits for your action.",
    reasons=(
        SETTLED,
        *rollout.REASONS,
        migration.MIGRATING,
        *changes.UNDER_WAY,
        ADDRESS_MISSING,
        migration.MIGRATION_FAILING,
        migration.MIGRATION_FAILED,
        INVALID_SPEC,
        names.NAME_TAKEN,
        *(replace(reason, meaning="As for `DataSafe`") for reason in data_safe.LOSSES),
        APPLY_FAILED,
        PAUSED,
        WEBHOOK_SECRET_MISSING,
        *(replace(reason, meaning="As for `DatabaseReady`") for reason in database_ready.EXTERNAL_TROUBLES),
        *changes.REJECTED,
    ),
)


def condition(facts: Facts) -> Condition:
    """Progressing."""
    return TYPE.condition(*(_stopped(facts) or _moving(facts) or (SETTLED, "The spec is fully applied")))


def _stopped(facts: Facts) -> tuple[Reason, str] | None:
    """The first of these that holds: an admin has to act, or has paused the operator."""
    if facts.spec_error is not None:
        return INVALID_SPEC, f"{facts.spec_error}. The operator changed nothing; running pods keep running"
    made = names.taken(facts) or data_safe.loss(facts)
    if made is not None:
        return made
    if facts.failure is not None:
        return APPLY_FAILED, facts.failure
    if facts.cluster is not None and facts.cluster.paused:
        return PAUSED, "spec.paused is true: the operator changes nothing"
    return _secrets(facts) or changes.rejected(facts) or _failed_migration(facts)


def _secrets(facts: Facts) -> tuple[Reason, str] | None:
    """Faults of Secrets that the spec names."""
    if facts.webhook_fault is not None:
        message = f"{facts.webhook_fault}. Running chatservers keep running; new ones wait for the Secret"
        return WEBHOOK_SECRET_MISSING, message
    if facts.external_trouble is not None:
        return TYPE.reason(facts.external_trouble.reason), facts.external_trouble.message
    return None


def _failed_migration(facts: Facts) -> tuple[Reason, str] | None:
    job = facts.observed.child("Job", facts.migrate_job_name) if facts.migrate_job_name else None
    if not facts.migrated and job_state(job) == "Failed":
        return migration.MIGRATION_FAILED, migration.message(facts)
    return None


def _moving(facts: Facts) -> tuple[Reason, str] | None:
    """The first of these that holds: it proceeds automatically."""
    if not facts.migrated:
        return migration.progress(facts)
    return rollout.progress(facts) or changes.under_way(facts) or _without_address(facts)


def _without_address(facts: Facts) -> tuple[Reason, str] | None:
    without = address.missing(facts)
    return (ADDRESS_MISSING, without) if without is not None else None
