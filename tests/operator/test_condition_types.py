"""Condition types: one a file, with all reasons that they can have, which are rows of the page for admins."""

from __future__ import annotations

import ast
import re
from typing import get_args

import pytest

from chatoperator.conditions import TYPES, data_safe, is_bad, is_warning, level
from chatoperator.conditions.declared import Condition, ConditionType, Level, Reason
from chatoperator.kube import contest
from chatoperator.parts.database.trouble import DatabaseReason
from chatoperator.parts.ingress import routing
from chatoperator.parts.ingress.tls import issuance
from chatoperator.parts.irreplaceable import Subject
from crds import conditions as page
from tests.support.cluster import ROOT

FOLDER = ROOT / "operator" / "chatoperator" / "conditions"

BY_NAME = {kind.name: kind for kind in TYPES}


def test_each_type_has_a_file_of_its_own() -> None:
    assert len(BY_NAME) == len(TYPES)
    declaring = {
        file.stem
        for file in FOLDER.glob("*.py")
        if re.search(r"^TYPE = ConditionType\(", file.read_text(), re.MULTILINE)
    }
    assert declaring == {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.name).lower() for kind in TYPES}


def test_no_condition_is_made_with_a_reason_that_is_not_declared() -> None:
    """A reason is passed as what is declared; only Ready repeats that of another type, as a text."""
    makers = {
        file.stem
        for file in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Condition"
    }
    assert makers == {"declared", "ready"}


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("Contested", get_args(contest.Reason)),
        ("IngressReady", get_args(issuance.Reason)),
        ("IngressReady", get_args(routing.Reason)),
        ("DatabaseReady", get_args(DatabaseReason)),
        ("Progressing", get_args(DatabaseReason)),
        ("Progressing", [reason.name for reason in data_safe.LOSSES]),
        ("ScalingActive", ["ByConnections", "NoReadings", "External", "Disabled", "Paused"]),
        ("ScalingLimited", ["NoReadings", "External", "Disabled", "Paused", "Starting"]),
    ],
)
def test_reasons_that_are_decided_elsewhere_are_declared(kind: str, reasons: list[str]) -> None:
    assert {BY_NAME[kind].reason(name).name for name in reasons} == set(reasons)


def test_each_loss_has_a_reason() -> None:
    # The passwords of the database are not irreplaceable: the agent sets new ones.
    assert data_safe.REASONS.keys() | {"credentials"} == set(get_args(Subject))


def test_a_reason_appears_in_events_in_the_same_way_in_each_type() -> None:
    reasons = [reason for kind in TYPES for reason in kind.reasons]
    assert [reason.name for reason in reasons if reason.level is not level(reason.name)] == []


def test_reasons_of_a_type_are_unique_and_explained() -> None:
    for kind in TYPES:
        names = [reason.name for reason in kind.reasons]
        assert len(names) == len(set(names))
        assert kind.bad in {"True", "False"}
        assert [reason.name for reason in kind.reasons if not reason.meaning or reason.meaning.endswith(".")] == []


def test_the_page_of_conditions_is_up_to_date() -> None:
    text = page.PAGE.read_text()
    assert page.render(text) == text, "the conditions have changed: run `make docs`"


def test_a_new_reason_is_a_row_of_the_page_and_what_is_written_by_hand_stays() -> None:
    kind = ConditionType("Odd", bad="True", summary="It is odd.", reasons=(Reason("Quite", ("True",), "Do x | y"),))
    made = page.render("# A\n<!-- begin: made by `make docs` -->\nold\n<!-- end -->\nB\n", [kind])
    assert made.startswith("# A\n<!-- begin: made by `make docs` -->\n\n### Odd\n\nIt is odd.\n")
    assert made.endswith("| `Quite` | True | Normal | Do x \\| y |\n<!-- end -->\nB\n")


@pytest.mark.parametrize(
    ("kind", "status", "reason", "warning"),
    [
        ("Ready", "False", "NotAnswering", True),
        ("Ready", "True", "Answering", False),
        ("Progressing", "False", "Settled", False),
        ("Progressing", "True", "RolloutFailing", True),
        ("Progressing", "False", "InvalidDsn", False),
        ("DatabaseReady", "False", "InvalidDsn", True),
        ("ScalingActive", "False", "Paused", False),
        ("ScalingActive", "False", "NoReadings", True),
        ("IngressReady", "True", "CertificateExpiring", False),
        ("IngressReady", "True", "CertificateFailed", True),
        ("DevelopmentCodes", "True", "SenderLog", False),
    ],
)
def test_an_event_is_a_warning_where_somebody_has_to_act(kind: str, status: str, reason: str, *, warning: bool) -> None:
    assert is_warning({"type": kind, "status": status, "reason": reason}) is warning


def test_what_another_release_wrote_into_status_is_no_error() -> None:
    assert level("FromTheFuture") is Level.STATE
    assert not is_bad({"type": "FromTheFuture", "status": "False", "reason": "x"})
    made = BY_NAME["Ready"].condition(BY_NAME["Ready"].reason("Answering"), "it works")
    assert made == Condition("Ready", "True", "Answering", "it works")


def test_events_without_a_condition_are_on_the_page() -> None:
    files = sorted((ROOT / "operator" / "chatoperator").rglob("*.py"))
    made = {
        str(argument.value.value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and any(argument.arg == "warning" for argument in node.keywords)
        for argument in node.keywords
        if argument.arg == "reason" and isinstance(argument.value, ast.Constant)
    }
    section = page.PAGE.read_text().partition("\n## Events without a condition\n")[2]
    assert made == {
        "ClaimReplaced",
        "Removed",
        "SecretRestored",
        "Switchover",
        "VolumeReplaced",
        "WrongServerRemoved",
    }
    assert [reason for reason in made if f"\n- `{reason}`" not in section] == []
