"""SCRAM-SHA-256 verifiers as in pg_authid, so that no statement contains a password. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata

ITERATIONS = 4096
"""PostgreSQL's default of scram_iterations. The passwords have 256 random bits: more iterations add nothing."""

SALT_BYTES = 16

_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def make(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return the verifier of a password (RFC 5802): `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`."""
    # SASLprep is NFKC and rejects some characters, which PostgreSQL also uses unchanged.
    salted = hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def matches(verifier: str | None, password: str) -> bool:
    """Return whether a verifier is one of this password, with any salt."""
    found = _VERIFIER.fullmatch(verifier or "")
    if found is None:
        return False
    made = make(password, base64.b64decode(found[2]), int(found[1]))
    return hmac.compare_digest(made, found[0])


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
