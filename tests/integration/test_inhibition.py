"""A real Alertmanager with the documented inhibit_rules: one cause pages once, and mutes only its own chat."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from monitoring.rules import ALERTS
from monitoring.rules.__main__ import INHIBIT_RULES
from monitoring.rules.inhibition import INHIBITIONS, Inhibition
from tests.support.alertmanager import Alertmanager, Receiver
from tests.support.cluster import until
from tests.support.plainhttp import NO_TLS
from tests.support.prometheus import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.integration

INVARIANTS = ("ChatMessageLost", "ChatMessageDuplicated", "ChatMessageReordered")


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Alertmanager]:
    rules = yaml.load(INHIBIT_RULES.read_text(), yaml.CSafeLoader)["inhibit_rules"]
    with Receiver() as receiver, Alertmanager(receiver, inhibit_rules=rules) as running:
        yield running


def alert(name: str, chat: str, severity: str | None = None, **labels: str) -> dict[str, str]:
    """An alert's labels, with the severity that it has, or the first if it has two."""
    severities = [one.severity.value for one in ALERTS if one.name == name]
    of_the_chat = {"namespace": chat, "chatcluster": "demo"} if chat else {}
    return {"alertname": name, "severity": severity or severities[0], **of_the_chat, **labels}


async def muted(alertmanager: Alertmanager, alerts: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Those of the alerts that Alertmanager mutes once it has all of them."""
    url = f"http://{alertmanager.address}/api/v2/alerts"
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as client:
        (await client.post(url, json=[{"labels": labels} for labels in alerts])).raise_for_status()

        async def states() -> dict[frozenset[tuple[str, str]], str]:
            answer = (await client.get(url)).raise_for_status().json()
            return {frozenset(one["labels"].items()): one["status"]["state"] for one in answer}

        async def processed() -> bool:
            found = await states()
            return all(found.get(frozenset(labels.items()), "unprocessed") != "unprocessed" for labels in alerts)

        await until(processed, "Alertmanager has processed the alerts", 30, 0.1)
        found = await states()
    return [labels for labels in alerts if found[frozenset(labels.items())] == "suppressed"]


@pytest.mark.parametrize("inhibition", INHIBITIONS, ids=lambda inhibition: inhibition.cause)
async def test_a_cause_mutes_its_consequences_in_its_own_chat_alone(
    alertmanager: Alertmanager, inhibition: Inhibition
) -> None:
    chat, other = inhibition.cause.lower(), f"{inhibition.cause.lower()}-other"
    # The cause is there first, as in a real outage: Prometheus waits longest for what follows from it.
    assert not await muted(alertmanager, [alert(inhibition.cause, chat)])
    consequences = [alert(name, chat) for name in inhibition.consequences]
    unaffected = [
        *(alert(name, other) for name in inhibition.consequences),
        *(alert(name, chat) for name in INVARIANTS),
    ]
    # Those of the other chat that mute each other are not what is compared.
    causes = {"ChatErrorBudgetBurnFast", *(one.cause for one in INHIBITIONS)}
    unaffected = [labels for labels in unaffected if labels["alertname"] not in causes]
    found = await muted(alertmanager, [*consequences, *unaffected])
    assert [labels for labels in found if labels["namespace"] == chat] == consequences
    assert not [labels for labels in found if labels["namespace"] == other]


async def test_a_page_mutes_the_ticket_of_the_same_alert_and_chat(alertmanager: Alertmanager) -> None:
    page, ticket = (alert("ChatCertificateExpires", "pairs", severity) for severity in ("page", "ticket"))
    elsewhere = alert("ChatCertificateExpires", "elsewhere", "ticket")
    await muted(alertmanager, [page])
    assert await muted(alertmanager, [page, ticket, elsewhere]) == [ticket]


async def test_a_fast_burn_mutes_the_slow_one_of_the_same_objective(alertmanager: Alertmanager) -> None:
    fast = alert("ChatErrorBudgetBurnFast", "burns", slo="delivery")
    slow, other = (alert("ChatErrorBudgetBurnSlow", "burns", slo=slo) for slo in ("delivery", "connecting"))
    await muted(alertmanager, [fast])
    assert await muted(alertmanager, [fast, slow, other]) == [slow]


async def test_sends_that_are_not_accepted_page_once(alertmanager: Alertmanager) -> None:
    accepted, quick = (alert("ChatErrorBudgetBurnFast", "sends", slo=f"sends_{kind}") for kind in ("accepted", "quick"))
    await muted(alertmanager, [accepted])
    assert await muted(alertmanager, [accepted, quick]) == [quick]


async def test_an_operator_that_is_absent_is_not_deaf_too(alertmanager: Alertmanager) -> None:
    absent = alert("ChatOperatorAbsent", "")
    deaf = alert("ChatOperatorDeaf", "", namespace="chatcluster-system", job="operator")
    await muted(alertmanager, [absent])
    assert await muted(alertmanager, [absent, deaf]) == [deaf]


def test_amtool_accepts_the_block_in_a_configuration(tmp_path: Path) -> None:
    configuration = {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(configuration) + INHIBIT_RULES.read_text())
    done = subprocess.run([program("amtool"), "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
