"""Self-signed certificates: an authority of the ChatCluster's own and a server certificate, renewed in time."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chatoperator.parts.credentials import Certificate, SelfSigned
from chatoperator.parts.ingress.tls.keys import UNREADABLE_EXTENSION, has_issued, load_private_key, public_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.parts.ingress.tls.keys import PrivateKey

AUTHORITY_NAME = "ChatCluster self-signed authority"
"""Distinguishes what the operator issued from what others did; parts/ingress/certificates.lua knows it too."""

AUTHORITY_DAYS = 3650
"""Clients pin it by hand, so it has to last."""

SERVER_DAYS = 365
"""Below the 398 days that Apple's and other clients accept."""

RENEW_BEFORE_DAYS = 30
"""A month in which a stopped operator does no harm."""

OVERDUE_SHARE = 6
"""cert-manager renews when a third of a certificate's time is left; half of that third is enough to try in."""

BACKDATE = dt.timedelta(hours=1)
"""Clients' clocks may be slow."""


def ensure(
    authority: Certificate | None,
    server: Certificate | None,
    names: Sequence[str],
    now: dt.datetime,
    *,
    client_name: str | None = None,
) -> SelfSigned:
    """What may be kept of the present certificates, and new ones for the rest.

    Args:
        authority: The present authority, if any.
        server: The present server certificate, if any.
        names: Host names and IP addresses that the server certificate has to cover.
        now: The time, with its zone.
        client_name: Common name of a certificate by which clients prove who they are, too; None for a server's alone.
    """
    if authority is None or not _authority_usable(authority, now):
        authority = _make_authority(now)
    if server is None or not _server_usable(server, authority, names, now, client_name):
        server = _make_server(authority, names, now, client_name)
    return SelfSigned(authority, server)


def usable(pair: Certificate, now: dt.datetime) -> bool:
    """Whether a pair is one that clients could accept now: its key fits, and it has begun and not ended.

    Whoever issued it, and for whatever names.
    """
    loaded = _load(pair)
    return loaded is not None and loaded[0].not_valid_before_utc <= now < loaded[0].not_valid_after_utc


def holds_certificates(text: str) -> bool:
    """Whether a PEM text has at least one certificate, and each can be read."""
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def fits(pair: Certificate) -> bool:
    """Whether certificate and key can be read and belong together."""
    return _load(pair) is not None


def overdue(certificate: str, now: dt.datetime) -> bool:
    """Whether what cert-manager issued should have been renewed long ago: less than a sixth of its time is left.

    Raises:
        ValueError: not a PEM certificate.
    """
    made = x509.load_pem_x509_certificate(certificate.encode())
    left = made.not_valid_after_utc - now
    return left < (made.not_valid_after_utc - made.not_valid_before_utc) / OVERDUE_SHARE


def is_own(certificate: str) -> bool:
    """Whether an authority of the operator's has issued a PEM certificate."""
    try:
        issuer = x509.load_pem_x509_certificate(certificate.encode()).issuer
    except ValueError:
        return False
    return [attribute.value for attribute in issuer.get_attributes_for_oid(NameOID.COMMON_NAME)] == [AUTHORITY_NAME]


def expires_at(certificate: str) -> dt.datetime | None:
    """When a PEM certificate, the first of its chain, ends; None where it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    except ValueError:
        return None


def fingerprint(certificate: str) -> str | None:
    """SHA-256 of the first PEM certificate, like `AB:01:...`; None where it cannot be read."""
    try:
        made = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return None
    return made.fingerprint(hashes.SHA256()).hex(":").upper()


def _load(pair: Certificate) -> tuple[x509.Certificate, PrivateKey] | None:
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
        key = load_private_key(pair.key)
    except ValueError:
        return None
    return (certificate, key) if public_key(certificate) == key.public_key() else None


def _load_own(pair: Certificate) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """The same, where the key is of the kind that the operator makes."""
    loaded = _load(pair)
    if loaded is None or not isinstance(loaded[1], ec.EllipticCurvePrivateKey):
        return None
    return loaded[0], loaded[1]


def _fresh(certificate: x509.Certificate, now: dt.datetime) -> bool:
    renew_at = certificate.not_valid_after_utc - dt.timedelta(days=RENEW_BEFORE_DAYS)
    return certificate.not_valid_before_utc <= now < renew_at


def _authority_usable(pair: Certificate, now: dt.datetime) -> bool:
    loaded = _load_own(pair)
    return loaded is not None and _fresh(loaded[0], now)


def _server_usable(
    pair: Certificate, authority: Certificate, names: Sequence[str], now: dt.datetime, client_name: str | None
) -> bool:
    loaded, issuer = _load_own(pair), _load_own(authority)
    if loaded is None or issuer is None or not _fresh(loaded[0], now):
        return False
    try:
        present = loaded[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNREADABLE_EXTENSION:
        return False
    named = [attribute.value for attribute in loaded[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    same = set(present) == set(_alternative_names(names)) and named == ([] if client_name is None else [client_name])
    return same and has_issued(issuer[0], loaded[0])


def _alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    made: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            made.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            made.append(x509.DNSName(name))
    return made


def _make_authority(now: dt.datetime) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME)])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate, key)


def _make_server(
    authority: Certificate, names: Sequence[str], now: dt.datetime, client_name: str | None
) -> Certificate:
    issuer = _load_own(authority)
    if issuer is None:
        raise ValueError("the authority's certificate and key do not belong together")
    issuer_certificate, issuer_key = issuer
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ChatCluster")]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    if client_name is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, client_name))
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    subject = x509.Name(attributes)
    certificate = (
        _builder(subject, issuer_certificate.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    return Certificate(
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )
