"""Certificates that are not of the operator's making."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chatoperator.parts.credentials import Certificate, SelfSigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import ObjectIdentifier

SERVER_AUTH, CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


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
    pair = issued([name], key=key, since=since, days=days)
    return SelfSigned(pair, pair)


def issued(
    names: Sequence[str] = ("localhost",),
    *,
    by: Certificate | None = None,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    since: dt.datetime | None = None,
    days: float = 90,
    usage: ObjectIdentifier | None = None,
) -> Certificate:
    """A certificate as an authority of others issues it.

    Args:
        names: Its host names; the first is its subject, too.
        by: The authority; itself otherwise.
        key: Its key; a new P-256 otherwise.
        since: When it begins; an hour ago otherwise.
        days: How long it lasts.
        usage: What its key may be used for; not said otherwise.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nameless")])
    signer: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = key
    if by is not None:
        issuer = x509.load_pem_x509_certificate(by.certificate.encode()).subject
        loaded = serialization.load_pem_private_key(by.key.encode(), password=None)
        assert isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        signer = loaded
    begins = since or dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days))
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = builder.sign(signer, hashes.SHA256())
    plain = serialization.NoEncryption()
    return Certificate(
        made.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode(),
    )
