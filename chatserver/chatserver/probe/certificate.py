"""The certificate that the chat serves: when it expires, and which one the probe trusts."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import certifi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HTTPS_PORT = 443

_SEQUENCE, _CONTEXT_0, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_SHORT_YEAR = 1950
"""Two digits of a UTCTime are the years 1950 to 2049 (RFC 5280)."""


class CertificateUnreadable(ValueError):
    """Something is no X.509 certificate."""


class TrustUnusable(Exception):
    """The file with trusted certificates cannot be used; the text says why and what to do."""


async def read_expiry(url: str, timeout_seconds: float) -> float:
    """Return when the certificate of an https URL expires, in seconds since 1970.

    The certificate is read on a connection that verifies nothing and sends nothing: an expired one has to be read too.

    Raises:
        OSError: No TLS connection was possible.
        CertificateUnreadable: The server's certificate is none.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or HTTPS_PORT)
    pem = await asyncio.to_thread(ssl.get_server_certificate, address, timeout=timeout_seconds)
    return expiry_of(ssl.PEM_cert_to_DER_cert(pem))


def expiry_of(certificate: bytes) -> float:
    """Return when a certificate in DER expires, in seconds since 1970.

    Raises:
        CertificateUnreadable: It is none.
    """
    try:
        (_, signed), *_ = _elements(certificate)
        (_, content), *_ = _elements(signed)
        fields = [element for element in _elements(content) if element[0] != _CONTEXT_0]
        # Serial number, algorithm, issuer, validity: from notBefore to notAfter.
        _, (tag, text) = _elements(fields[3][1])
        return _time(tag, text.decode("ascii")).timestamp()
    except (ValueError, IndexError) as error:
        raise CertificateUnreadable(f"this is no X.509 certificate: {error}") from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and content of each DER element; raises ValueError or IndexError for what is none."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("an element is longer than what holds it")
        yield tag, data[at : at + length]
        at += length


def _time(tag: int, text: str) -> dt.datetime:
    if tag == _UTC_TIME:
        year = int(text[:2])
        text = f"{year + (2000 if year + 1900 < _SHORT_YEAR else 1900)}{text[2:]}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"tag {tag} is no time")
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)


class Trust:
    """Which server certificates the probe accepts.

    A file is read again before each connection: kubelet replaces it when the certificate is renewed. What it held
    before stays trusted, because the proxies may serve it for some seconds more.

    Args:
        authorities: PEM file with the authorities to trust; the server's certificate must have the name in the URL.
        certificate: PEM file whose first certificate is the only one to accept, whatever its name is.
        insecure: Accept any certificate.

    Raises:
        TrustUnusable: The file cannot be read, or holds no certificate.
    """

    def __init__(
        self, *, authorities: Path | None = None, certificate: Path | None = None, insecure: bool = False
    ) -> None:
        self._file = authorities or certificate
        self._pinned = certificate is not None
        self._text: str | None = None
        self.context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if insecure or self._pinned:
            self.context.check_hostname = False
        if insecure:
            self.context.verify_mode = ssl.CERT_NONE
        elif self._pinned:
            self.context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self._file is not None:
            self.refresh()
        elif not insecure:
            _trust_public_authorities(self.context)

    def refresh(self) -> None:
        """Read the file again.

        Raises:
            TrustUnusable: As for the class.
        """
        if self._file is None:
            return
        try:
            text = self._file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no PEM text"
            raise TrustUnusable(f"{self._file} cannot be read ({reason}); name a readable PEM file") from error
        if text == self._text:
            return
        end = "-----END CERTIFICATE-----"
        kept = text.partition(end)[0] + end if self._pinned and end in text else text
        try:
            self.context.load_verify_locations(cadata=kept)
        except (ssl.SSLError, ValueError) as error:
            raise TrustUnusable(f"{self._file} holds no certificate; put one into it as PEM") from error
        self._text = text


def _trust_public_authorities(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    # The image has no /etc/ssl/certs.
    context.load_verify_locations(cafile=certifi.where())
