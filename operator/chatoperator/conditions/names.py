"""Objects that do not belong to the ChatCluster but have names that it needs: part of Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts

NAME_TAKEN = Reason(
    "NameTaken",
    ("False",),
    "Objects that do not belong to this ChatCluster have names that the operator needs. The message lists them. The "
    "operator leaves them unchanged and does not create what depends on them. Delete or rename them, or rename the "
    "ChatCluster",
    Level.WARNING,
)


def taken(facts: Facts) -> tuple[Reason, str] | None:
    """NameTaken with its message; None where no name is taken."""
    if not facts.taken:
        return None
    message = (
        f"Objects that do not belong to ChatCluster {facts.name} have names that it needs: {'; '.join(facts.taken)}. "
        "The operator leaves them unchanged and does not create its own objects of these names, nor what depends on "
        "them. Delete or rename them, or give the ChatCluster another name. If they are from an earlier ChatCluster of "
        "this name, restore their labels, and the operator adopts them (docs/operations/uninstall.md)"
    )
    return NAME_TAKEN, message
