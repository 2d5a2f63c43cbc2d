"""DevelopmentCodes: whether anybody can sign in as anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition

SENDER_LOG = Reason(
    "SenderLog",
    ("True",),
    "Anybody can sign in as anybody. Set `auth.otp.sender` to Webhook before real users sign in",
)
SENDER_REAL = Reason("SenderReal", ("False",), "Sign-in codes are sent to phones")

TYPE = ConditionType(
    "DevelopmentCodes",
    bad="True",
    summary="Sign-in codes are not sent to phones, so that anybody can sign in as anybody.",
    reasons=(SENDER_LOG, SENDER_REAL),
)


def condition(cluster: ChatCluster) -> Condition:
    """DevelopmentCodes."""
    if cluster.auth.webhook is None:
        message = (
            "auth.otp.sender is Log: sign-in codes are not sent to phones, and anybody can sign in as anybody. Set it "
            "to Webhook before real users sign in"
        )
        return TYPE.condition(SENDER_LOG, message)
    return TYPE.condition(SENDER_REAL, "Each sign-in code is sent only to the phone number that it is for")
