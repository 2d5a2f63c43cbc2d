"""What recording rules and alerts are. Pure.

Names of alerts and recorded series are API: routes, silences and dashboards use them. They may be added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CHAT = "{{ $labels.namespace }}/{{ $labels.chatcluster }}"
"""How the text of an alert names its chat; Prometheus replaces it."""


class Severity(StrEnum):
    """Who reads an alert, and when."""

    PAGE = "page"
    """Users notice it now or within hours: somebody acts at once, at night too."""

    TICKET = "ticket"
    """Somebody acts within days."""

    INFO = "info"
    """Nobody acts: it explains what others see at the same time."""


@dataclass(frozen=True)
class Record:
    """A recording rule.

    Attributes:
        record: Name of the series, as ``level:metric:operation``.
        expr: PromQL; see ``scaling`` for ``seconds(...)``.
        labels: Added to each series.
    """

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """An alert; its runbook is docs/runbooks/NAME.md.

    Attributes:
        name: The alert's name. Two alerts may share it when they differ in severity.
        severity: Whether it pages.
        expr: PromQL; see ``scaling`` for ``seconds(...)``.
        pending: How long the expression has to hold before the alert fires, such as ``5m``; ``0s``: at once.
        summary: One line; it names the chat.
        description: What happened, what it means, and what to do first.
    """

    name: str
    severity: Severity
    expr: str
    pending: str
    summary: str
    description: str


@dataclass(frozen=True)
class Group:
    """Rules that Prometheus evaluates one after the other.

    Attributes:
        name: Unique among all groups.
        interval: Time between two evaluations, such as ``30s``.
        rules: In the order of evaluation.
    """

    name: str
    interval: str
    rules: tuple[Record | Alert, ...]


def grown(counter: str, window: str) -> str:
    """PromQL of how much a counter rose within a window, one that appeared with its first event included.

    ``increase`` sees no rise in a series whose first value is already 1.
    """
    return f"(({counter} unless {counter} offset {window}) or increase({counter}[{window}]))"
