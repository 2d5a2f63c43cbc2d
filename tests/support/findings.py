"""Figures that a run should leave in its output, whatever pytest captures: ledgers, times, refusals' words."""

from __future__ import annotations

import os

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What a run found out.

    Attributes:
        test: node id of the test that ran; empty: none did.
        text: a line, or several.
        rerun: whether it is the failure of a test that was then run again.
    """

    test: str
    text: str
    rerun: bool = False


_findings: list[Finding] = []


def tell(text: object) -> None:
    """Have a line (or several) printed at the end of the run, and kept in the lane's file."""
    # Such as: tests/test_x.py::test_y (call)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    take_over(Finding(test, str(text)))


def take_over(finding: Finding) -> None:
    """Add what was found elsewhere."""
    _findings.append(finding)


def told() -> list[Finding]:
    """All of them so far."""
    return list(_findings)
