"""Whether the database is there and stores what it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition
from chatoperator.conditions.workloads import part_condition, troubles
from chatoperator.metadata import claim_name
from chatoperator.observed import leaving

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """DatabaseReady."""
    kind = "DatabaseReady"
    if facts.external_trouble is not None:
        return Condition(kind, "False", facts.external_trouble.reason, facts.external_trouble.message)
    if facts.answer.volume_full:
        return Condition(kind, "False", "VolumeFull", _full_words(facts))
    if facts.external:
        return _external(facts, kind)
    claim = facts.observed.child("PersistentVolumeClaim", claim_name(facts.name))
    if leaving(claim, facts.uid):
        message = f"PersistentVolumeClaim {claim_name(facts.name)} is being deleted; waiting until it is gone"
        return Condition(kind, "False", "VolumeLeaving", message)
    return part_condition(facts, "postgres", kind)


def _external(facts: Facts, kind: str) -> Condition:
    unproved = _unproved(facts)
    if unproved is not None:
        return Condition(kind, "Unknown", "Unverified", unproved)
    if facts.answer.ok:
        return Condition(kind, "True", "Reachable", "The chatservers reach the external database")
    return Condition(kind, "Unknown", "Unknown", "The external database is judged by the chatservers' answers")


def _unproved(facts: Facts) -> str | None:
    """Why nobody knows whether a new connection would succeed: the migration, which makes one, does not."""
    ended = [trouble for trouble in troubles(facts, "migrate") if ": container " in trouble]
    named = facts.cluster.database.external if facts.cluster is not None else None
    if facts.migrated or not ended or named is None:
        return None
    return (
        "Chatservers may still have connections to the external database, and no new one is known to succeed: "
        f"{ended[0]}. Look whether Secret {named.secret_name}, key {named.secret_key}, of database.external is right"
    )


def _full_words(facts: Facts) -> str:
    if facts.external:
        return "The external database's volume is full: messages are refused, reading goes on. Make room there"
    return (
        "The database's volume is full: messages are refused, reading goes on. Raise spec.database.storage.size; where "
        "its storage class cannot grow volumes, move the data to a larger one (docs/operations/database.md)"
    )
