"""Settings of the service that delivers sign-in codes (``CHAT_OTP_WEBHOOK_*``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatserver.environment import PREFIX, SettingsError

if TYPE_CHECKING:
    from chatserver.environment import Reader

# 256 bits, the output size of the HMAC's SHA-256; a shorter key is the weakest part of the code's protection.
MIN_SECRET_KEY_BYTES = 16
# Only the owner of the machine can make "localhost" resolve to something else.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """The service that delivers sign-in codes.

    Attributes:
        url: https, or http to this machine.
        secret: key of the signature; None: it is in ``secret_file``.
        secret_file: file with the key, read again for each request.
    """

    url: str = field(repr=False)
    secret: bytes | None = field(repr=False)
    secret_file: Path | None

    def read_secret(self) -> bytes:
        """Return the key that signs requests now.

        Raises:
            OSError: the file cannot be read at this moment.
            ValueError: the key is too short.
        """
        secret = self.secret if self.secret_file is None else self.secret_file.read_bytes().strip()
        if secret is None or len(secret) < MIN_SECRET_KEY_BYTES:
            raise ValueError(f"the key must have at least {MIN_SECRET_KEY_BYTES} bytes")
        return secret


def read_webhook(reader: Reader) -> Webhook:
    """Read and validate the settings.

    Raises:
        SettingsError: a value is missing or invalid; the text names the variable.
    """
    url = reader.optional("OTP_WEBHOOK_URL")
    if url is None:
        raise SettingsError(
            f"{PREFIX}OTP_SENDER=Webhook needs {PREFIX}OTP_WEBHOOK_URL: the URL to which codes are posted"
        )
    secret, path = reader.optional("OTP_WEBHOOK_SECRET"), reader.optional("OTP_WEBHOOK_SECRET_FILE")
    if (secret is None) == (path is None):
        raise SettingsError(
            f"{PREFIX}OTP_SENDER=Webhook needs exactly one of {PREFIX}OTP_WEBHOOK_SECRET and "
            f"{PREFIX}OTP_WEBHOOK_SECRET_FILE: the key that signs requests to the webhook"
        )
    webhook = Webhook(
        _check_webhook_url(url),
        None if secret is None else secret.encode(),
        None if path is None else Path(path),
    )
    try:
        webhook.read_secret()
    except OSError as e:
        raise SettingsError(
            f"{PREFIX}OTP_WEBHOOK_SECRET_FILE cannot be read ({e.strerror}): name a readable file"
        ) from e
    except ValueError as e:
        raise SettingsError(f"{PREFIX}OTP_WEBHOOK_SECRET(_FILE): {e}") from e
    return webhook


def _check_webhook_url(url: str) -> str:
    """Return the URL; errors do not quote it, because gateways put secrets into it."""
    name = f"{PREFIX}OTP_WEBHOOK_URL"
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as e:
        raise SettingsError(f"{name} is not a URL: {e}") from e
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{name} must be an absolute URL, such as https://gateway.example.com/codes")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK_HOSTS):
        raise SettingsError(f"{name} must begin with https:// (http:// only to this machine), because codes are secret")
    if parts.username is not None or parts.fragment:
        raise SettingsError(
            f"{name} must have neither a user name nor a fragment: requests are authenticated by their signature"
        )
    return url
