"""All recording rules and alerts, one file for each subject."""

from __future__ import annotations

from monitoring.rules import backup, bus, chat, chatservers, database, ingress, operator, replication, slo
from monitoring.rules.declared import Alert

GROUPS = (
    *slo.GROUPS,
    *chat.GROUPS,
    *database.GROUPS,
    *replication.GROUPS,
    *backup.GROUPS,
    *ingress.GROUPS,
    *chatservers.GROUPS,
    *bus.GROUPS,
    *operator.GROUPS,
)
"""In the order of the generated file."""

ALERTS = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
"""All alerts; some share a name, with different severities."""
