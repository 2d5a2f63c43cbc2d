"""What of the parts is made for the first time, or anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.workloads import troubles
from chatoperator.facts import Condition
from chatoperator.manifests.metadata import part_name
from chatoperator.observed import rolling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.facts import Facts
    from chatoperator.manifests.metadata import Part

ROLL_BACK = "What ran before goes on serving; correct the spec, or put back what it said"
"""Old servers and proxies go only when new ones are ready, and new servers come only after their migration."""


def condition(facts: Facts) -> Condition | None:
    """What of the parts is made for the first time, or anew."""
    parts: tuple[Part, ...] = ("postgres", "chatserver", "ingress")
    rolls = [part for part in parts if rolling(facts.observed.workload(facts.name, part))]
    missing = [part_name(facts.name, part) for part in parts if _wanted(facts, part) and not _there(facts, part)]
    stuck = [words for part in rolls for words in troubles(facts, part)]
    if missing:
        return Condition("Progressing", "True", "Starting", f"Making {', '.join(missing)}")
    if stuck:
        return Condition("Progressing", "True", "RolloutFailing", _stuck_words(rolls, stuck))
    if rolls:
        return Condition("Progressing", "True", "Rolling", f"Bringing {', '.join(rolls)} to what the spec asks")
    return None


def _wanted(facts: Facts, part: Part) -> bool:
    return part != "postgres" or facts.external_secret_present is None


def _there(facts: Facts, part: Part) -> bool:
    return facts.observed.workload(facts.name, part) is not None


def _stuck_words(moving: Sequence[Part], troubles: Sequence[str]) -> str:
    # There is one PostgreSQL: its old pod goes first.
    remedy = "Correct the spec, or put back what it said" if "postgres" in moving else ROLL_BACK
    return "; ".join([f"New pods of {', '.join(moving)} do not become ready", *troubles[:3], remedy])
