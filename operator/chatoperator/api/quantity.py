"""Kubernetes quantities as numbers: `1Gi` of memory, `500m` of a core. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
    **{unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")},
    **{f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")},
}

_SHOWN_MAX = 40
"""Characters of a text that are repeated."""

_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,2})|([a-zA-Z]*))")


def number(quantity: str) -> Decimal:
    """The number that a quantity stands for: `1Gi` -> 1073741824, `500m` -> 0.5, `1e3` -> 1000.

    Raises:
        ValueError: It is none.
    """
    found = _QUANTITY.fullmatch(quantity.strip())
    if found is None or (found[3] or "") not in _UNITS:
        raise ValueError(f"{quantity[:_SHOWN_MAX]!r} is no quantity")
    return Decimal(found[1]) * _UNITS[found[3] or ""] * Decimal(10) ** int(found[2] or 0)
