"""Progressing: what prevents the spec from being applied, or which change is in progress."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator.conditions import (
    address,
    bus_ready,
    changes,
    data_safe,
    database_ready,
    database_restored,
    migration,
    names,
    rollout,
)
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.kube.objects import job_state
from chatoperator.parts.chatserver.webhook_key import webhook_fault

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

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
RESTORING = replace(database_restored.RESTORING, statuses=("True",), meaning="As for `DatabaseRestored`")
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
        RESTORING,
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
        replace(bus_ready.SECRET_INVALID, meaning="As for `BusReady`"),
        *changes.REJECTED,
    ),
)


def condition(inputs: ConditionInputs) -> Condition:
    """Progressing."""
    return TYPE.condition(*(_stopped(inputs) or _moving(inputs) or (SETTLED, "The spec is fully applied")))


def _stopped(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The first of these that holds: an admin has to act, or has paused the operator."""
    if inputs.spec_error is not None:
        return INVALID_SPEC, f"{inputs.spec_error}. The operator changed nothing; running pods keep running"
    made = names.taken(inputs) or data_safe.loss(inputs)
    if made is not None:
        return made
    if inputs.failure is not None:
        return APPLY_FAILED, inputs.failure
    if inputs.cluster is not None and inputs.cluster.paused:
        return PAUSED, "spec.paused is true: the operator changes nothing"
    return _secrets(inputs) or changes.rejected(inputs) or _failed_migration(inputs)


def _secrets(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """Faults of Secrets that the spec names."""
    webhook = inputs.cluster.auth.webhook if inputs.cluster is not None else None
    secrets = inputs.observed.user_secrets
    fault = webhook_fault(webhook.secret_name, secrets.get(webhook.secret_name)) if webhook is not None else None
    if fault is not None:
        message = f"{fault}. Running chatservers keep running; new ones wait for the Secret"
        return WEBHOOK_SECRET_MISSING, message
    if inputs.database.trouble is not None:
        return TYPE.reason(inputs.database.trouble.reason), inputs.database.trouble.message
    fault = bus_ready.secret_fault(inputs)
    return None if fault is None else (bus_ready.SECRET_INVALID, fault)


def _failed_migration(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    job = inputs.observed.child("Job", inputs.migration.job_name) if inputs.migration.job_name else None
    if not inputs.migration.done and job_state(job) == "Failed":
        return migration.MIGRATION_FAILED, migration.message(inputs)
    return None


def _moving(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The first of these that holds: it proceeds automatically."""
    if inputs.desired is not None and inputs.desired.restoration is not None and inputs.desired.holds_servers:
        return RESTORING, database_restored.condition(inputs.desired.restoration).message
    if not inputs.migration.done:
        return migration.progress(inputs)
    return rollout.progress(inputs) or changes.under_way(inputs) or _without_address(inputs)


def _without_address(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    without = address.missing(inputs)
    return (ADDRESS_MISSING, without) if without is not None else None
