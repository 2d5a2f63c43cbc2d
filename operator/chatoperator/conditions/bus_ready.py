"""BusReady: whether chatservers receive each other's hints at once. Without it the chat works, but more slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

CONNECTED = Reason("Connected", ("True",), "All chatservers that report it receive each other's hints")
DISCONNECTED = Reason(
    "Disconnected",
    ("False",),
    "The chatservers that the message names do not receive the hints of the others: they read the database every 5 s "
    "instead. See [ChatBusLost](../runbooks/ChatBusLost.md)",
    Level.STEP,
)
SECRET_INVALID = Reason(
    "BusSecretInvalid",
    ("False",),
    "The Secret of `bus.external.secretName` is missing, or one of its keys cannot be used; the message names the key "
    "and says what to write ([bus.md](bus.md#a-valkey-that-you-run)). Chatservers keep the bus that they have",
    Level.WARNING,
)
UNREPORTED = Reason("Unreported", ("Unknown",), "No chatserver reports the state of the bus. See `ChatserverReady`")

TYPE = ConditionType(
    "BusReady",
    bad="False",
    summary="Chatservers receive each other's hints at once.\n"
    "If it is False, messages, receipts and sign-outs reach users of other servers up to 10 s late, and typing and "
    "presence may not arrive; no message is lost, and `Ready` does not depend on it.",
    reasons=(CONNECTED, DISCONNECTED, SECRET_INVALID, UNREPORTED, *workloads.REASONS[1:]),
)

SLOWER = (
    "Messages from users on other chatservers come up to 10 s late, and typing and presence may not arrive; no message "
    "is lost"
)


def condition(inputs: ConditionInputs, cluster: ChatCluster) -> Condition:
    """BusReady."""
    fault = secret_fault(inputs)
    if fault is not None:
        return TYPE.condition(SECRET_INVALID, fault)
    if cluster.bus.valkeys is not None:
        pods = workloads.part_condition(inputs, "bus", TYPE)
        if pods.status != "True":
            # Until they are ready for the first time, chatservers use what they did before.
            return TYPE.condition(TYPE.reason(pods.reason), f"{pods.message}. {_effect(inputs)}")
    return _of_servers(inputs, cluster)


def secret_fault(inputs: ConditionInputs) -> str | None:
    """What is wrong with the Secret of an external bus, as a message; None where nothing is."""
    error = inputs.desired.bus.secret_error if inputs.desired is not None else None
    return None if error is None else f"{error}. Chatservers keep the bus that they have"


def _effect(inputs: ConditionInputs) -> str:
    bus = inputs.desired.bus if inputs.desired is not None else None
    uses = bus is not None and bus.servers.is_own(inputs.name)
    return SLOWER if uses else "Chatservers use the bus that they had before until all Valkey pods are ready"


def _of_servers(inputs: ConditionInputs, cluster: ChatCluster) -> Condition:
    observed = inputs.observed
    serving = {pod.name for pod in observed.component("chatserver") if pod.ready and not pod.terminating}
    reports = {
        name: reading.hears_bus
        for name, reading in observed.readings.items()
        if name in serving and reading is not None and reading.hears_bus is not None
    }
    deaf = sorted(name for name, hears in reports.items() if not hears)
    if not reports:
        return TYPE.condition(UNREPORTED, "No chatserver reports whether it receives the hints of the others")
    if deaf:
        shown = ", ".join(deaf[: workloads.SHOWN])
        message = f"{len(deaf)} of {len(reports)} chatservers do not receive the hints of the others: {shown}. {SLOWER}"
        return TYPE.condition(DISCONNECTED, message)
    return TYPE.condition(CONNECTED, f"Chatservers receive each other's hints through {_NAMES[cluster.bus.type]}")


_NAMES = {"PostgreSQL": "PostgreSQL", "Valkey": "Valkey", "External": "the external Valkey"}
