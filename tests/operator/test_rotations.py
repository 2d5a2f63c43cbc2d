"""The duration of a rotation of passwords, also where the operator is restarted in the middle of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from chatoperator.parts.database.logins import SINCE_ANNOTATION, STAGE_ANNOTATION, Logins
from chatoperator.reconcile.rotations import follow

if TYPE_CHECKING:
    from chatoperator.parts.database.logins import Stage

SETTLED: tuple[Stage, int] = ("settled", 0)
PREPARING: tuple[Stage, int] = ("preparing", 100)
FOLLOWING: tuple[Stage, int] = ("following", 130)
DONE: tuple[Stage, int] = ("settled", 160)


@pytest.mark.parametrize(
    ("stages", "durations"),
    [
        ([SETTLED, SETTLED, PREPARING, PREPARING, FOLLOWING, DONE, SETTLED], [60]),
        ([PREPARING, FOLLOWING, DONE], [60]),
        ([PREPARING, DONE], [60]),
        ([FOLLOWING, FOLLOWING, DONE], []),
        ([SETTLED, SETTLED], []),
    ],
    ids=["whole", "seen from its first stage", "in one step", "begun before the operator", "none"],
)
def test_a_rotation_is_measured_once_from_its_begin_to_its_end(
    stages: list[tuple[Stage, int]], durations: list[int]
) -> None:
    """Each stage is held by the Secret when the next one is decided."""
    began, found = None, list[int]()
    for (held, held_since), (stage, since) in itertools.pairwise(stages):
        annotations = {} if held == "settled" else {STAGE_ANNOTATION: held, SINCE_ANNOTATION: str(held_since)}
        began, seconds = follow(began, annotations, Logins("chat_a", {}, stage, since))
        found += [] if seconds is None else [seconds]
    assert found == durations
