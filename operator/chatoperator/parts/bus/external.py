"""Checks of the Secret of a Valkey that the user runs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api import busurls
from chatoperator.kube.objects import secret_text
from chatoperator.parts.bus.access import AUTHORITY_KEY, PASSWORD_KEY, server_bus
from chatoperator.parts.ingress.tls.self_signed import holds_certificates

if TYPE_CHECKING:
    from chatoperator.metadata import Manifest
    from chatoperator.parts.bus.access import ServerBus

URLS_KEY, USERNAME_KEY, PREFIX_KEY = "urls", "username", "prefix"

VALUE_BYTES_MAX = 512
"""Of a user, a password and a prefix."""


class BusSecretError(ValueError):
    """The Secret cannot be used; the message names the key and the remedy, and shows nothing of its content."""


def judge(secret_name: str, secret: Manifest | None, *, default_prefix: str) -> ServerBus:
    """The bus that the Secret of `bus.external` describes.

    Args:
        secret_name: Of the Secret.
        secret: The Secret; None where it does not exist.
        default_prefix: Of keys and channels, without the key prefix.

    Raises:
        BusSecretError: Chatservers could not use it.
    """
    where = f"of Secret {secret_name} (bus.external.secretName)"
    text = secret_text(secret, URLS_KEY)
    if text is None:
        raise BusSecretError(
            f"Secret {secret_name} of bus.external.secretName is missing or has no key {URLS_KEY}; create it with URLs "
            f"such as {busurls.EXAMPLE}"
        )
    try:
        urls = busurls.read(text)
    except busurls.UrlsError as error:
        raise BusSecretError(f"Key {URLS_KEY} {where} cannot be used: {error}") from error
    username, prefix = (_line(secret, key, where) for key in (USERNAME_KEY, PREFIX_KEY))
    password = _line(secret, PASSWORD_KEY, where)
    if username is not None and password is None:
        raise BusSecretError(f"Key {USERNAME_KEY} {where} needs the key {PASSWORD_KEY} beside it; add the password")
    authority = secret_text(secret, AUTHORITY_KEY)
    if authority is not None and not holds_certificates(authority):
        raise BusSecretError(
            f"Key {AUTHORITY_KEY} {where} holds no PEM certificates; store that of the authority which issued Valkey's "
            "certificates, or remove the key if it is one that every system knows"
        )
    if authority is not None and not urls.tls:
        raise BusSecretError(
            f"Key {AUTHORITY_KEY} {where} has no effect, because no URL uses TLS; write valkeys:// instead of "
            f"valkey:// in key {URLS_KEY}, or remove {AUTHORITY_KEY}"
        )
    keys = [key for key, value in ((PASSWORD_KEY, password), (AUTHORITY_KEY, authority)) if value is not None]
    return server_bus(
        urls.text, username=username, prefix=prefix or default_prefix, secret_name=secret_name, keys=tuple(keys)
    )


def _line(secret: Manifest | None, key: str, where: str) -> str | None:
    """The text of a key that holds one line; None where it is absent."""
    if key not in ((secret or {}).get("data") or {}):
        return None
    text = (secret_text(secret, key) or "").strip()
    if not text or not text.isprintable() or len(text.encode()) > VALUE_BYTES_MAX:
        raise BusSecretError(
            f"Key {key} {where} must hold one line of at most {VALUE_BYTES_MAX} bytes; correct it, or remove the key"
        )
    return text
