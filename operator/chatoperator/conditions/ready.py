"""Ready: whether the chat works, as a real request through the ingress shows, and what prevents it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import address, chatserver_ready, database_ready, ingress_ready
from chatoperator.conditions.declared import Condition, ConditionType, Level, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.conditions.inputs import ConditionInputs

ANSWERING = Reason("Answering", ("True",), "The chat works")
NOT_ANSWERING = Reason(
    "NotAnswering",
    ("False",),
    "All parts report that they are ready, but no request gets through: check NetworkPolicies "
    "([network.md](network.md)), DNS and the logs of the HAProxy pods",
    Level.STEP,
)
ADDRESS_MISSING = Reason(
    "AddressMissing",
    ("False",),
    "As for `IngressReady`. `Ready` is False for this reason only when `ingress.hostnames` is empty too, because "
    "`status.url` is then empty",
    Level.STEP,
)

TYPE = ConditionType(
    "Ready",
    bad="False",
    summary="The chat works.\n"
    "`Ready` is the result of a real request through the ingress Service and through each HAProxy pod.\n"
    "The operator repeats the request every 4 s, so `Ready` follows the state of the chat within 10 s.",
    reasons=(ANSWERING, NOT_ANSWERING, ADDRESS_MISSING),
    passes_on=(database_ready.TYPE, chatserver_ready.TYPE, ingress_ready.TYPE),
)


def condition(inputs: ConditionInputs, parts: Sequence[Condition]) -> Condition:
    """Ready: the result of a request through the ingress; the first part that is not well gives the reason."""
    trouble = inputs.serving.trouble
    if inputs.answer.ok and trouble is not None and not trouble.accepted:
        # It answers, but clients reject the certificate.
        return Condition(TYPE.name, "False", trouble.reason, f"{inputs.answer.message}; {trouble.message}")
    without = address.missing(inputs)
    if inputs.answer.ok and without is not None and inputs.cluster is not None and not inputs.cluster.ingress.hostnames:
        # With a hostname its DNS may lead here by another way.
        return TYPE.condition(ADDRESS_MISSING, f"{inputs.answer.message}; {without}")
    if inputs.answer.ok and not (inputs.expiry and inputs.expiry.expired):
        return TYPE.condition(ANSWERING, inputs.answer.message)
    # What waits for another part repeats the message of that part.
    broken = [part for part in parts if part.status != "True"]
    reason = broken[0].reason if broken else NOT_ANSWERING.name
    if len(broken) > 1:
        broken = [part for part in broken if part.reason != chatserver_ready.WAITING_FOR_MIGRATION.name]
    details = [part.message for part in broken]
    return Condition(TYPE.name, "False", reason, "; ".join([inputs.answer.message, *details]))
