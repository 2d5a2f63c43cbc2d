"""What is wrong with the webhook's Secret is told by its name and key, and nothing of what it holds."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chatoperator.parts.chatserver.webhook_key import webhook_fault


def secret(**data: bytes) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (None, "Secret codes of auth.otp.webhook.secretName does not exist"),
        (secret(other=b"0123456789abcdef"), "has no key secret"),
        (secret(secret=b""), "has no key secret"),
        (secret(secret=b"hunter2"), "has 7 bytes"),
        (secret(secret=b"hunter2" + b" " * 20 + b"\n"), "has 7 bytes"),
        (secret(secret=b"\xff" * 20), "is not UTF-8 text"),
    ],
)
def test_a_wrong_key_is_told_without_a_byte_of_it(held: dict[str, Any] | None, told: str) -> None:
    fault = webhook_fault("codes", held)
    assert fault is not None
    assert told in fault
    assert "Secret codes of auth.otp.webhook.secretName" in fault
    assert "hunter2" not in fault


def test_a_key_of_sixteen_bytes_is_taken() -> None:
    assert webhook_fault("codes", secret(secret=b"0123456789abcdef\n")) is None
