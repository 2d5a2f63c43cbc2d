"""Objects of others with a name that the operator would make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition | None:
    """Progressing, where a name is taken; None otherwise."""
    if not facts.taken:
        return None
    message = (
        f"Objects of others have names that ChatCluster {facts.name} needs: {'; '.join(facts.taken)}. They are left as "
        "they are; what would have these names, and what relies on it, is not made. Delete or rename them, or give the "
        "ChatCluster another name. What an earlier ChatCluster of this name left is taken over once it has its labels "
        "again (docs/operations/uninstall.md)"
    )
    return Condition("Progressing", "False", "NameTaken", message)
