"""Rules are complete, named uniquely, and the generated files are up to date."""

from __future__ import annotations

import re
from collections import Counter

from monitoring.rules import ALERTS, GROUPS
from monitoring.rules.__main__ import INHIBIT_RULES, RULES
from monitoring.rules.inhibition import INHIBITIONS, block
from monitoring.rules.rendering import Values, rule_file, spec
from monitoring.rules.slo import SLOS


def test_the_files_of_the_chart_are_what_make_docs_makes() -> None:
    assert RULES.read_text() == rule_file(), "the rules have changed: run `make docs`"
    assert INHIBIT_RULES.read_text() == block(), "the inhibitions have changed: run `make docs`"


def test_an_alert_has_one_rule_for_each_severity() -> None:
    twice = [key for key, count in Counter((alert.name, alert.severity) for alert in ALERTS).items() if count > 1]
    assert not twice
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def test_each_alert_says_what_happened_what_it_means_and_what_to_do() -> None:
    for alert in ALERTS:
        assert re.fullmatch(r"Chat[A-Z][A-Za-z]+", alert.name)
        assert not alert.summary.endswith("."), alert.name
        sentences = re.split(r"(?<=[.:;]) ", alert.description)
        assert len(sentences) >= 3, alert.name
        assert alert.description.endswith("."), alert.name


def test_each_alert_on_a_chat_names_it_and_keeps_its_labels() -> None:
    """One rule serves all chats, and routes go by their labels."""
    for alert in ALERTS:
        if not alert.name.startswith("ChatOperator"):
            assert "{{ $labels.namespace }}/{{ $labels.chatcluster }}" in alert.summary, alert.name
            grouped = re.findall(r"\bby \(([^)]*)\)", alert.expr)
            # The recorded series of the SLOs have these labels and no other.
            grouped += ["namespace, chatcluster"] * ("_slo:" in alert.expr)
            assert grouped, alert.name
            assert all(labels.startswith("namespace, chatcluster") for labels in grouped), alert.name


def test_every_label_in_a_text_is_one_that_the_expression_keeps() -> None:
    for alert in ALERTS:
        kept = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", alert.expr) for label in labels.split(",")}
        kept |= set(re.findall(r'label_replace\([^)]*?, "(\w+)", "\w+", "", ""\)', alert.expr, re.DOTALL))
        kept |= set(re.findall(r'"(resource)"', alert.expr))
        kept |= {"namespace", "chatcluster", "slo"} if "_slo:" in alert.expr else set()
        used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        assert used <= kept, alert.name


def test_inhibitions_name_alerts_that_exist_and_never_mute_a_broken_promise() -> None:
    names = {alert.name for alert in ALERTS}
    for inhibition in INHIBITIONS:
        assert {inhibition.cause, *inhibition.consequences} <= names
        assert not {"ChatMessageLost", "ChatMessageDuplicated", "ChatMessageReordered"} & set(inhibition.consequences)
        assert inhibition.cause not in inhibition.consequences


def test_no_two_inhibitions_mute_each_other() -> None:
    pairs = {(inhibition.cause, muted) for inhibition in INHIBITIONS for muted in inhibition.consequences}
    assert not {(cause, muted) for cause, muted in pairs if (muted, cause) in pairs}


def test_values_change_links_objectives_labels_and_leave_alerts_out() -> None:
    values = Values("https://x/", ("ChatLockWaits",), {"team": "chat"}, {"endToEnd": 98.5})
    rules = [rule for group in spec(values)["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    assert "ChatLockWaits" not in alerts
    assert alerts["ChatNotReady"]["annotations"]["runbook_url"] == "https://x/ChatNotReady.md"
    assert alerts["ChatNotReady"]["labels"] == {"team": "chat", "severity": "page"}
    objectives = {rule["labels"]["slo"]: rule["expr"] for rule in rules if rule.get("record", "").endswith("ive:ratio")}
    assert objectives == {
        **{slo.name: f"vector({slo.percent:g} / 100)" for slo in SLOS},
        "end_to_end": "vector(98.5 / 100)",
    }


def test_a_group_without_rules_is_left_out() -> None:
    names = tuple({alert.name for alert in ALERTS})
    assert [group["name"] for group in spec(Values(disabled=names))["groups"]] == [
        "chatcluster-slo",
        "chatcluster-slo-long",
    ]
