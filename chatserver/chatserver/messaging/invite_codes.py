"""Codes of invites: who has one may join the group that it names. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

RANDOM_BYTES: Final = 17
"""Random bytes of a code: 136 bits, which nobody finds by trying."""

_GROUP_BYTES: Final = 7
"""Bytes of the group's id in a code: ids are below 2^53. It makes a code readable in the shard of its group alone."""


def make_code(group_id: int, random: bytes) -> str:
    """Return a code from RANDOM_BYTES of randomness.

    Example:
        >>> code = make_code(15, bytes(RANDOM_BYTES))
        >>> code, group_of(code)
        ('AAAAAAAADwAAAAAAAAAAAAAAAAAAAAAA', 15)
    """
    return base64.urlsafe_b64encode(group_id.to_bytes(_GROUP_BYTES, "big") + random).decode()


def group_of(code: str) -> int | None:
    """Return the id of the group that a code names; None: it is no code.

    Example:
        >>> group_of("x"), group_of("+" * 32)
        (None, None)
    """
    try:
        decoded = base64.b64decode(code, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(decoded) != _GROUP_BYTES + RANDOM_BYTES:
        return None
    return int.from_bytes(decoded[:_GROUP_BYTES], "big")


def digest_of(code: str) -> bytes:
    """Return what is stored of a code: it has enough randomness, so that no slow hash is needed."""
    return hashlib.sha256(code.encode()).digest()
