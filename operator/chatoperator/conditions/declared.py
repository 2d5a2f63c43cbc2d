"""What a condition is, and how its type and its reasons are declared. Pure.

Types and reasons are API: scripts and alerts use their names. They may be added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Holds = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Condition:
    """One condition without its time."""

    type: str
    status: Holds
    reason: str
    message: str


class Level(Enum):
    """When a transition to a reason becomes an Event, and of which type that Event is."""

    WARNING = "needs an action, whatever the status: always an Event, of type Warning"
    STATE = "an Event; a Warning if the status is the bad one of its type"
    STEP = "like STATE, but no Event for a transition between two steps of the same status"
    CHOSEN = "like STATE, but never a Warning: an admin configured it"
    FIGURE = "follows the number of connections: an Event only after a WARNING"


@dataclass(frozen=True)
class Reason:
    """One reason of a condition type: a row of docs/operations/conditions.md.

    Attributes:
        name: One word for programs.
        statuses: That the condition may have with it; the first is the usual one.
        meaning: What it means and what to do, as Markdown for a table's cell.
        level: How it appears in Events; the same for each type that has a reason of this name.
    """

    name: str
    statuses: tuple[Holds, ...]
    meaning: str
    level: Level = Level.STATE


@dataclass(frozen=True)
class ConditionType:
    """One condition type: a section of docs/operations/conditions.md.

    Attributes:
        name: As in status.conditions.
        bad: The status that needs attention.
        summary: What the type means, as Markdown with one sentence a line.
        reasons: All that it can have, in the order of the page.
        passes_on: Types whose reasons it can have, too.
    """

    name: str
    bad: Holds
    summary: str
    reasons: tuple[Reason, ...]
    passes_on: tuple[ConditionType, ...] = ()

    def condition(self, reason: Reason, message: str, status: Holds | None = None) -> Condition:
        """A condition of this type.

        Args:
            reason: One of the declared ones.
            message: What happened, what it means and what to do.
            status: Where it is not the reason's usual one.
        """
        return Condition(self.name, status or reason.statuses[0], reason.name, message)

    def reason(self, name: str) -> Reason:
        """The declared reason of a name.

        Raises:
            KeyError: None has it.
        """
        return {reason.name: reason for reason in self.reasons}[name]

    def event_types(self, reason: Reason) -> tuple[str, ...]:
        """The type of the Event for a reason, one for each of its statuses."""
        return tuple("Warning" if self.is_warning(reason.level, status) else "Normal" for status in reason.statuses)

    def is_warning(self, level: Level, status: str) -> bool:
        """Whether a transition to a reason of this level is a Warning."""
        return level is Level.WARNING or (level is not Level.CHOSEN and status == "False" == self.bad)
