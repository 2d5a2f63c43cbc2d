"""Each panel about the operator and its fleet shows data from an operator process on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitoring.rules.rendering import rule_file
from tests.support.cluster import until
from tests.support.dashboards import AFTER_EVENTS, chosen, of_the_operator, without_data
from tests.support.findings import tell
from tests.support.prometheus import Prometheus, Target

if TYPE_CHECKING:
    from tests.support.operator_processes import Operators

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 90


async def test_each_panel_about_the_operator_has_data(operators: Operators, minimal: dict[str, Any]) -> None:
    process = operators.start("operator-a", CHAT_TEST_ANSWERS="1")
    await operators.leads(process)
    operators.admin.create(minimal)
    with Prometheus(rules={"rules.yaml": rule_file()}) as prometheus:
        prometheus.scrape(
            Target.of(process.metrics_url, namespace=operators.namespace, component="operator", pod=process.name),
            # A pod of the chat that Prometheus does not reach.
            Target("127.0.0.1:1", {"namespace": operators.namespace, "chatcluster": "demo", "component": "chatserver"}),
        )
        every = [
            (name, expression)
            for name, expression in chosen(of_the_operator)
            if not any(metric in expression for metric in AFTER_EVENTS)
        ]
        missing = every

        async def shown() -> bool:
            nonlocal missing
            missing = without_data(prometheus, missing, "demo")
            return not missing

        await until(shown, "the panels have data", PATIENCE_SECONDS, otherwise=lambda: str(missing))
        tell(f"{len(every)} queries of panels about the operator have data on a real API server")
