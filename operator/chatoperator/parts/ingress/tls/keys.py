"""Keys in texts that users wrote, read at a bounded cost: hours of primality tests would stop all ChatClusters. Pure.

OpenSSL checks RSA and Diffie-Hellman keys by testing numbers for primality. With numbers chosen for it a key of 1 KB
takes minutes, and Python does nothing else meanwhile.
"""

from __future__ import annotations

import base64
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
"""Kinds of keys that TLS servers have."""

KEY_CHARACTERS_MAX = 16_000
"""Of a PEM text with a private key; RSA with 8192 bits has 6,400."""

PUBLIC_KEY_KINDS = frozenset(
    {
        PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5,
        PublicKeyAlgorithmOID.RSASSA_PSS,
        PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
        PublicKeyAlgorithmOID.ED25519,
        PublicKeyAlgorithmOID.ED448,
    }
)

UNREADABLE_EXTENSION = (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What reading an extension of a certificate may raise; only the first is a ValueError."""

_BLOCK = re.compile(r"-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)

_DIFFIE_HELLMAN = (bytes.fromhex("06092a864886f70d010301"), bytes.fromhex("06072a8648ce3e0201"))
"""DER of the object identifiers 1.2.840.113549.1.3.1 (PKCS #3) and 1.2.840.10046.2.1 (X9.42)."""


class EncryptedKeyError(ValueError):
    """A private key has a passphrase."""


def load_private_key(text: str) -> PrivateKey:
    """The first private key of a PEM text.

    Raises:
        EncryptedKeyError: It has a passphrase.
        ValueError: There is none, or none that a TLS server can use.
    """
    found = _BLOCK.search(text) if len(text) <= KEY_CHARACTERS_MAX else None
    if found is None:
        raise ValueError("it is not a PEM private key")
    label, content = found.groups()
    # Proc-Type and DEK-Info stand before the content of an encrypted key in OpenSSL's older form.
    if label.startswith("ENCRYPTED") or ":" in content:
        raise EncryptedKeyError("the key is encrypted with a passphrase")
    der = base64.b64decode("".join(content.split()), validate=True)
    if any(kind in der for kind in _DIFFIE_HELLMAN):
        raise ValueError("it is a Diffie-Hellman key")
    try:
        key = serialization.load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("it is not a readable private key") from error
    if not isinstance(key, PrivateKey):
        raise ValueError("it is not a key for TLS servers")  # noqa: TRY004 - the text is wrong, no argument's type
    if isinstance(key, rsa.RSAPrivateKey) and not _is_consistent(key.private_numbers()):
        raise ValueError("the numbers of the RSA key are inconsistent")
    return key


def public_key(certificate: x509.Certificate) -> object:
    """A certificate's key, to compare; None where it is of no kind that TLS servers have, or cannot be read."""
    if certificate.public_key_algorithm_oid not in PUBLIC_KEY_KINDS:
        return None
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def has_issued(issuer: x509.Certificate, made: x509.Certificate) -> bool:
    """Whether a certificate's issuer and signature are those of another."""
    if issuer.public_key_algorithm_oid not in PUBLIC_KEY_KINDS:
        return False
    try:
        made.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether signatures by an RSA key can be verified, provided that p and q are primes, which is not tested."""
    p, q, e = key.p, key.q, key.public_numbers.e
    if min(p, q) <= 2 or p * q != key.public_numbers.n or key.d >= key.public_numbers.n:  # noqa: PLR2004 - the even prime
        return False
    halves = ((p, key.dmp1), (q, key.dmq1))
    return key.iqmp * q % p == 1 and all(
        exponent == key.d % (prime - 1) and e * exponent % (prime - 1) == 1 for prime, exponent in halves
    )
