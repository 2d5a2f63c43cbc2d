"""How long a rotation of the database's passwords takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatoperator.parts.database.logins import Logins


def follow(began: int | None, logins: Logins) -> tuple[int | None, int | None]:
    """When the rotation in progress began, and the duration of one that has just ended.

    An operator that starts in the middle of a rotation knows when its present stage began, not when the rotation did,
    and returns no duration for it.

    Args:
        began: As of the last call, in Unix seconds; None where none was in progress or its begin is not known.
        logins: The passwords and the stage of the rotation.

    Returns:
        Unix seconds or None, and seconds or None.
    """
    if logins.stage == "preparing":
        return logins.since, None
    if logins.stage == "settled" and began is not None:
        return None, max(0, logins.since - began)
    return began, None
