"""Objects that do not belong to the ChatCluster but have names that it needs: part of Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import Level, Reason
from chatoperator.kube.ownership import owner_in_words

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import ConditionInputs

NAME_TAKEN = Reason(
    "NameTaken",
    ("False",),
    "Objects that do not belong to this ChatCluster have names that the operator needs. The message lists them. The "
    "operator leaves them unchanged and does not create what depends on them. Delete them if nobody needs them, or "
    "create the ChatCluster under another name",
    Level.WARNING,
)


def taken(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """NameTaken with its message; None where no name is taken."""
    names = _names(inputs)
    if not names:
        return None
    message = (
        f"Objects that do not belong to ChatCluster {inputs.name} have names that it needs: {'; '.join(names)}. "
        "The operator leaves them unchanged and does not create its own objects of these names, nor what depends on "
        "them. If they are from an earlier ChatCluster of this name, restore their labels, and the operator adopts "
        "them (docs/operations/uninstall.md). Otherwise delete them if nobody needs them, or create the ChatCluster "
        "under another name"
    )
    return NAME_TAKEN, message


def _names(inputs: ConditionInputs) -> list[str]:
    """The objects of others that the operator would create, each with its owner."""
    withheld = inputs.desired.withheld if inputs.desired is not None else ()
    return [
        f"{kind} {name} ({owner_in_words(raw)})"
        for (kind, name), raw in sorted(inputs.observed.others.items())
        if (kind, name) in withheld
    ]
