"""How long a rotation of the database's passwords takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.parts.database.logins import SINCE_ANNOTATION, STAGE_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.parts.database.logins import Logins


def follow(began: int | None, held: Mapping[str, str], logins: Logins) -> tuple[int | None, int | None]:
    """When the rotation in progress began, and the duration of one that ends now.

    An operator that starts in the second stage of a rotation knows when that stage began, not when the rotation did,
    and returns no duration for it.

    Args:
        began: As of the last call, in Unix seconds; None where none was in progress or its begin is not known.
        held: Annotations of the database's Secret, which have the present stage.
        logins: The passwords and the stage that are desired now, at most one stage further.

    Returns:
        Unix seconds or None, and seconds or None.
    """
    since = held.get(SINCE_ANNOTATION, "")
    if held.get(STAGE_ANNOTATION) == "preparing" and since.isdecimal():
        began = int(since)
    if logins.stage == "preparing":
        return logins.since, None
    if logins.stage == "settled" and began is not None:
        return None, max(0, logins.since - began)
    return began, None
