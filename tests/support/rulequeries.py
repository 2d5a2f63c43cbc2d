"""What the rules read: selectors in their PromQL, as far as they write it."""

from __future__ import annotations

import re
from typing import NamedTuple

from monitoring.rules import GROUPS

_SELECTOR = re.compile(
    r"\b((?:chat|haproxy|valkey|process|container)[a-z0-9_]*_[a-z0-9_:]+|up)\b(?!\s*\()(?:\{([^}]*)\})?"
)
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')


class Selector(NamedTuple):
    """A series that an expression reads.

    Attributes:
        metric: Its name.
        matchers: Regular expressions by label.
    """

    metric: str
    matchers: dict[str, str]


def selectors(expression: str) -> list[Selector]:
    """Each series that an expression reads; names of labels are no series."""
    without_labels = re.sub(r"\b(by|on|group_left|without)\s*\([^)]*\)", "", expression)
    return [
        Selector(
            metric,
            {label: value if kind == "=~" else re.escape(value) for label, kind, value in _MATCHER.findall(matchers)},
        )
        for metric, matchers in _SELECTOR.findall(without_labels)
    ]


def read_by_rules() -> list[Selector]:
    """Each series that a rule reads."""
    return [selector for group in GROUPS for rule in group.rules for selector in selectors(rule.expr)]
