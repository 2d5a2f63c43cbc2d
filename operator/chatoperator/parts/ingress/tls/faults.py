"""What is wrong with a certificate and key that an admin supplies: judged before HAProxy or a client meets them."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from chatoperator.parts.ingress.tls.keys import (
    UNREADABLE_EXTENSION,
    EncryptedKeyError,
    has_issued,
    load_private_key,
    public_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chatoperator.parts.credentials import Certificate
    from chatoperator.parts.ingress.tls.keys import PrivateKey

RSA_BITS_MIN = 2048
"""OpenSSL's security level 2, Debian's default: HAProxy does not start with a smaller key."""

PAIR_BYTES_MAX = 16_000
"""HAProxy takes a changed pair as one command of its runtime API, which has room for 16 KiB."""

CERTIFICATE_BYTES_MAX = 64 * 1024
"""Of each of tls.crt, tls.key and ca.crt. The operator keeps what it serves in memory, once for each ChatCluster."""

CHAIN_MAX = 16
"""Certificates that are judged: chains have two to four, and each signature takes time."""

NAMES_SHOWN = 5
"""Host names of a certificate in one message; some have a hundred."""


class Grade(IntEnum):
    """How bad a fault is: a pair is as good as its worst."""

    GOOD = 0
    PARTLY = 1
    """Some clients reject it, or HAProxy takes it at its next start only."""
    REJECTED = 2
    """Every client that checks certificates rejects it."""
    UNUSABLE = 3
    """HAProxy does not start with it."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        grade: How bad it is.
        message: What is wrong with which key of the Secret, and what to do. Holds nothing of a private key.
    """

    grade: Grade
    message: str


def grade(faults: Sequence[Fault]) -> Grade:
    """That of the worst fault; GOOD without any."""
    return max((fault.grade for fault in faults), default=Grade.GOOD)


def certificate_faults(pair: Certificate, hostnames: Sequence[str], now: dt.datetime) -> tuple[Fault, ...]:
    """All faults of a pair, the worst first.

    Args:
        pair: PEM texts, as the keys tls.crt and tls.key of a Secret hold them.
        hostnames: Names under which clients come, the main one first; empty where that does not matter.
        now: The time with its zone.
    """
    longest, length = max(("tls.crt", len(pair.certificate)), ("tls.key", len(pair.key)), key=lambda one: one[1])
    if length > CERTIFICATE_BYTES_MAX:
        message = (
            f"{longest} exceeds {CERTIFICATE_BYTES_MAX // 1024} KiB; store only the server certificate and its chain"
        )
        return (Fault(Grade.UNUSABLE, message),)
    chain, key = _chain(pair.certificate), _key(pair.key)
    found = [one for one in (chain, key) if isinstance(one, Fault)]
    if not isinstance(chain, Fault):
        if not isinstance(key, Fault):
            found += _of_the_key(chain, key)
        found += [*_of_the_server(chain[0], hostnames, now), *_of_the_chain(chain[:CHAIN_MAX], now)]
        if len(chain) > CHAIN_MAX:
            message = (
                f"tls.crt holds {len(chain)} certificates; store only the server certificate and those of its issuers"
            )
            found.append(Fault(Grade.PARTLY, message))
    if len(pair.certificate) + len(pair.key) > PAIR_BYTES_MAX:
        message = (
            f"tls.crt and tls.key together exceed {PAIR_BYTES_MAX} bytes; remove the root certificate from tls.crt"
        )
        found.append(Fault(Grade.PARTLY, message))
    return tuple(sorted(found, key=lambda fault: -fault.grade))


def _chain(text: str) -> list[x509.Certificate] | Fault:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return Fault(
            Grade.UNUSABLE, "tls.crt is not a PEM certificate; store the server certificate and its chain as PEM"
        )


def _key(text: str) -> PrivateKey | Fault:
    try:
        return load_private_key(text)
    except EncryptedKeyError:
        remedy = "store it without a passphrase (openssl pkey -in encrypted.key -out tls.key)"
        return Fault(Grade.UNUSABLE, f"tls.key is encrypted and HAProxy cannot read it; {remedy}")
    except ValueError:
        return Fault(
            Grade.UNUSABLE, "tls.key is not a PEM private key for TLS servers; store the private key of tls.crt as PEM"
        )


def _of_the_key(chain: Sequence[x509.Certificate], key: PrivateKey) -> Iterator[Fault]:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        message = (
            f"tls.key is RSA with {key.key_size} bits, but HAProxy requires at least {RSA_BITS_MIN}; "
            "create a new key and certificate"
        )
        yield Fault(Grade.UNUSABLE, message)
    fitting = [number for number, made in enumerate(chain[:CHAIN_MAX], 1) if public_key(made) == key.public_key()]
    if not fitting:
        yield Fault(
            Grade.UNUSABLE,
            "tls.key does not belong to the certificate in tls.crt; store the key and certificate of the same pair",
        )
    elif fitting[0] != 1:
        message = f"tls.key belongs to certificate {fitting[0]} in tls.crt; put the server certificate first"
        yield Fault(Grade.UNUSABLE, message)


def _of_the_server(certificate: x509.Certificate, hostnames: Sequence[str], now: dt.datetime) -> Iterator[Fault]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        yield Fault(Grade.REJECTED, f"the certificate in tls.crt expired at {_rfc3339(ends)}; renew it")
    if now < begins:
        message = f"the certificate in tls.crt is not valid before {_rfc3339(begins)}; replace it or wait"
        yield Fault(Grade.REJECTED, message)
    if not _for_servers(certificate):
        message = "the certificate in tls.crt is not valid for servers (extendedKeyUsage lacks serverAuth); replace it"
        yield Fault(Grade.REJECTED, message)
    names = _names(certificate)
    missing = [hostname for hostname in hostnames if not any(covers(name, hostname) for name in names)]
    if missing:
        shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        message = (
            f"the certificate in tls.crt does not cover {', '.join(missing)} of ingress.hostnames; it covers "
            f"{shown or 'no host name (subjectAltName)'}. Replace it, or correct ingress.hostnames"
        )
        # Clients are sent to the first.
        yield Fault(Grade.REJECTED if hostnames[0] in missing else Grade.PARTLY, message)


def _of_the_chain(chain: Sequence[x509.Certificate], now: dt.datetime) -> Iterator[Fault]:
    for number, (made, issuer) in enumerate(itertools.pairwise(chain), 2):
        if not has_issued(issuer, made):
            message = (
                f"certificate {number} in tls.crt did not issue the one before it; store the server certificate, "
                "then its issuer, and so on"
            )
            yield Fault(Grade.PARTLY, message)
        if now >= issuer.not_valid_after_utc:
            ended = _rfc3339(issuer.not_valid_after_utc)
            message = (
                f"certificate {number} in tls.crt, which belongs to an authority, expired at {ended}; renew the chain"
            )
            yield Fault(Grade.PARTLY, message)


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except UNREADABLE_EXTENSION:
        return True
    return bool({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage))


def _names(certificate: x509.Certificate) -> list[str]:
    """Host names and addresses in its subjectAltName; clients look at nothing else."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNREADABLE_EXTENSION:
        return []
    addresses = [str(address) for address in held.get_values_for_type(x509.IPAddress)]
    return [*held.get_values_for_type(x509.DNSName), *addresses]


def covers(name: str, hostname: str) -> bool:
    """Whether a certificate's name is a host name, or its wildcard for one label: RFC 9525, section 6.3.

    `*.example.com` covers `chat.example.com`, neither `example.com` nor `a.chat.example.com`.
    """
    name, hostname = name.lower().rstrip("."), hostname.lower().rstrip(".")
    if not name.startswith("*."):
        return name == hostname
    label, _, parent = hostname.partition(".")
    return bool(label) and name[2:] == parent


def _rfc3339(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
