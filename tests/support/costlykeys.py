"""Private keys and certificates with numbers that OpenSSL's tests for primality take minutes to hours for."""

from __future__ import annotations

import base64

P, Q = 2**9689 - 1, 2**9941 - 1
"""Primes: every round of a test passes, so that none is left out."""

PKCS3 = bytes.fromhex("06092a864886f70d010301")
X942 = bytes.fromhex("06072a8648ce3e0201")

_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")


def rsa_key(p: int = P, q: int = Q) -> str:
    """An RSA key in OpenSSL's older form, the number d aside in order; 19,630 bits."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return _pem("RSA PRIVATE KEY", _sequence(*map(_integer, numbers)))


def diffie_hellman_key(kind: bytes, label: str = "PRIVATE KEY") -> str:
    """A key for Diffie-Hellman, which no TLS server can have."""
    return _pem(label, _sequence(_integer(0), _diffie_hellman(kind), _tagged(0x04, _integer(5))))


def diffie_hellman_certificate(kind: bytes) -> str:
    """A certificate with such a public key; nobody has signed it."""
    validity = _sequence(_tagged(0x17, b"260101000000Z"), _tagged(0x17, b"490101000000Z"))
    public = _sequence(_diffie_hellman(kind), _tagged(0x03, b"\0" + _integer(5)))
    body = _sequence(_integer(1), _ECDSA, _sequence(), validity, _sequence(), public)
    return _pem("CERTIFICATE", _sequence(body, _ECDSA, _tagged(0x03, b"\0" + _sequence(_integer(1), _integer(1)))))


def _diffie_hellman(kind: bytes) -> bytes:
    last = [_integer(2**521 - 1)] if kind == X942 else []
    return _sequence(kind, _sequence(_integer(P), _integer(2), *last))


def _pem(label: str, der: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
