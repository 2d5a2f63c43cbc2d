"""The certificate that the chat serves: when it expires, and which one the probe trusts."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import certifi
from cryptography import x509

if TYPE_CHECKING:
    from pathlib import Path

HTTPS_PORT = 443


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
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError as error:
        raise CertificateUnreadable(f"this is no X.509 certificate: {error}") from error


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
