"""The key that signs requests to the webhook, in an admin's own Secret: what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.kube.objects import secret_text
from chatoperator.parts.chatserver.deployment import WEBHOOK_KEY

if TYPE_CHECKING:
    from chatoperator.metadata import Manifest

KEY_BYTES_MIN = 16
"""Fewest that chatservers take; with a shorter one they do not start."""


def webhook_fault(name: str, secret: Manifest | None) -> str | None:
    """What is wrong with the Secret and what to do, without a byte of the key; None where it can be used.

    Args:
        name: Of the Secret.
        secret: The Secret; None where it does not exist.
    """
    what = f"Secret {name} of auth.otp.webhook.secretName"
    if secret is None:
        return f"{what} does not exist; create it with the key {WEBHOOK_KEY}, of at least {KEY_BYTES_MIN} random bytes"
    if not (secret.get("data") or {}).get(WEBHOOK_KEY):
        return f"{what} has no key {WEBHOOK_KEY}; add it, with at least {KEY_BYTES_MIN} random bytes"
    key = secret_text(secret, WEBHOOK_KEY)
    if key is None:
        return (
            f"Key {WEBHOOK_KEY} in {what} is not UTF-8 text; replace it, for example with the base64 "
            "text of random bytes"
        )
    held = len(key.strip().encode())
    if held < KEY_BYTES_MIN:
        return (
            f"Key {WEBHOOK_KEY} in {what} has {held} bytes, which is too short; replace it with one of "
            f"at least {KEY_BYTES_MIN} bytes"
        )
    return None
