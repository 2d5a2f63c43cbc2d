"""TLS to a chat's ingress, whose other side is a tenant's: no handshake may keep the operator busy."""

from __future__ import annotations

import functools
import ssl

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, as the operator's own HAProxy has them. With DHE the server chooses the numbers: one handshake with
10,000 bits takes a second of CPU, in which the event loop does nothing else."""


def context(authority: str | None) -> ssl.SSLContext:
    """How to connect.

    Args:
        authority: PEM of the authority to trust; None trusts any certificate.
    """
    if authority is None:
        return _trusting_any()
    made = _context()
    made.load_verify_locations(cadata=authority)
    return made


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(CIPHERS)
    return made


@functools.cache
def _trusting_any() -> ssl.SSLContext:
    made = _context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made
