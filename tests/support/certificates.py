"""Certificates that are not of the operator's making."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from chatoperator.manifests.credentials import Certificate, SelfSigned


def of_a_user(
    name: str = "localhost", *, since: dt.datetime | None = None, days: float = 90, bits: int = 2048
) -> SelfSigned:
    """A certificate as users bring them, with an RSA key; it is its own authority.

    Args:
        name: Its host name.
        since: When it begins; an hour ago otherwise.
        days: How long it lasts.
        bits: Of its key.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins = since or dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(common_name)
        .issuer_name(common_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pair = Certificate(
        made.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode(),
    )
    return SelfSigned(pair, pair)
