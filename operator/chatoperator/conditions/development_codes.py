"""Whether anybody can sign in as anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster


def condition(cluster: ChatCluster) -> Condition:
    """DevelopmentCodes."""
    if cluster.auth.webhook is None:
        message = "auth.otp.sender is Log: anybody can sign in as anybody. Never let real people use this chat"
        return Condition("DevelopmentCodes", "True", "SenderLog", message)
    return Condition("DevelopmentCodes", "False", "SenderReal", "Codes go only to the phone they belong to")
