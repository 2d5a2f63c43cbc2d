"""What of the parts is made for the first time, or anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition
from chatoperator.conditions.workloads import SHOWN, troubles
from chatoperator.metadata import part_name
from chatoperator.observed import ready_replicas, rolling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.conditions.inputs import Facts
    from chatoperator.metadata import Part

ROLL_BACK = "Correct the spec, or put back what it said"

GOES_ON = "What ran before goes on serving"
"""Old servers and proxies go only when new ones are ready, and new servers come only after their migration."""


def remedy(facts: Facts, parts: Sequence[Part] = ("chatserver",)) -> str:
    """What goes on meanwhile, if anything does, and what to correct: the spec, or a Secret that it names.

    Args:
        facts: What the conditions are made from.
        parts: Those whose new pods do not become ready.
    """
    external = facts.cluster.database.external_secret_name if facts.cluster is not None else None
    # There is one PostgreSQL: its old pod goes first.
    goes_on = "postgres" not in parts and all(ready_replicas(facts.observed.workload(facts.name, it)) for it in parts)
    correct = ROLL_BACK
    if external is not None and "chatserver" in parts:
        correct = f"Correct Secret {external} of database.external.secretName or the database; or the spec"
    return f"{GOES_ON}. {correct}" if goes_on else correct


def condition(facts: Facts) -> Condition | None:
    """What of the parts is made for the first time, or anew."""
    parts: tuple[Part, ...] = ("postgres", "chatserver", "ingress")
    rolls = [part for part in parts if rolling(facts.observed.workload(facts.name, part))]
    missing = [part_name(facts.name, part) for part in parts if _wanted(facts, part) and not _there(facts, part)]
    stuck = [words for part in rolls for words in troubles(facts, part)]
    if missing:
        return Condition("Progressing", "True", "Starting", f"Making {', '.join(missing)}")
    if stuck:
        return Condition("Progressing", "True", "RolloutFailing", _stuck_words(facts, rolls, stuck))
    if rolls:
        return Condition("Progressing", "True", "Rolling", f"Bringing {', '.join(rolls)} to what the spec asks")
    return None


def _wanted(facts: Facts, part: Part) -> bool:
    return part != "postgres" or not facts.external


def _there(facts: Facts, part: Part) -> bool:
    return facts.observed.workload(facts.name, part) is not None


def _stuck_words(facts: Facts, moving: Sequence[Part], troubles: Sequence[str]) -> str:
    return "; ".join([f"New pods of {', '.join(moving)} do not become ready", *troubles[:SHOWN], remedy(facts, moving)])
