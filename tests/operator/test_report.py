"""Reporting: one status patch where anything changed, and an Event for each transition that needs one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from chatoperator.errors import KubeError, OutdatedError
from chatoperator.observed import Answer, Observed
from chatoperator.reconcile.context import Context
from chatoperator.reconcile.report import Reporter
from chatoperator.reconcile.state import State
from chatoperator.reporting.events import BURST, EventContent
from tests.support.chatclusters import NOW, SETTINGS, FakeProber, body, cluster, desired
from tests.support.memoryapi import MemoryApi

SERVICE = {("Service", "demo-ingress"): {"metadata": {"name": "demo-ingress"}, "spec": {"clusterIP": "192.0.2.1"}}}


class Reporting:
    """A reporter of a ChatCluster whose status is what was written last."""

    def __init__(self) -> None:
        self.api = MemoryApi()
        self.prober = FakeProber()
        self.body = body()
        self.state = State()
        self.reporter = Reporter(
            Context(
                cast("Any", self.api),
                cast("Any", self.api),
                cast("Any", self.prober),
                SETTINGS,
                monotonic=lambda: 0,
                now=lambda: NOW,
            )
        )

    async def report(self, *failures: KubeError) -> dict[str, Any]:
        """Report, and return what was written."""
        self.api.requests.clear()
        self.api.statuses.clear()
        observed, made = Observed(SERVICE, ()), desired(cluster())
        await self.reporter.report(self.body, observed, made, self.state, conflict=None, failures=failures)
        return self.written()

    def written(self) -> dict[str, Any]:
        assert len(self.api.statuses) <= 1, "one patch at most"
        patch: dict[str, Any] = self.api.statuses[0] if self.api.statuses else {}
        self.body = {**self.body, "status": {**self.body.get("status", {}), **patch}}
        return patch

    def condition(self, kind: str) -> dict[str, Any]:
        return next(one for one in self.body["status"]["conditions"] if one["type"] == kind)


async def test_status_is_written_once_and_then_only_where_it_changes() -> None:
    reporting = Reporting()
    first = await reporting.report()
    assert {"conditions", "desiredReplicas", "version", "images", "observedGeneration"} <= first.keys()
    assert await reporting.report() == {}
    assert reporting.api.requests == []
    reporting.prober.answer = Answer(ok=True, message="answered")
    assert (await reporting.report()).keys() == {"conditions"}
    assert reporting.condition("Ready")["status"] == "True"
    assert reporting.state.ready is True


async def test_a_refusal_is_reported_with_an_event_and_ends_with_one() -> None:
    reporting = Reporting()
    await reporting.report()
    await reporting.report(KubeError("exceeded quota", 403))
    assert reporting.condition("Progressing")["reason"] == "ApplyFailed"
    assert reporting.api.requests == ["status demo", "event ApplyFailed"]
    await reporting.report(KubeError("exceeded quota", 403))
    assert reporting.api.requests == [], "it is the same still"
    await reporting.report()
    assert reporting.condition("Progressing")["reason"] != "ApplyFailed"


async def test_an_invalid_spec_is_reported_with_the_state_of_what_runs() -> None:
    reporting = Reporting()
    reporting.prober.answer = Answer(ok=True, message="answered")
    observed = Observed(SERVICE, ())
    await reporting.reporter.refuse(reporting.body, observed, reporting.state, spec_error="spec.x: y", lost=())
    written = reporting.written()
    assert "desiredReplicas" not in written, "what an invalid spec requires is not known"
    assert reporting.condition("Progressing")["reason"] == "InvalidSpec"
    assert reporting.condition("Ready")["status"] == "True"


async def test_a_status_of_an_older_spec_makes_the_reconcile_run_again() -> None:
    reporting = Reporting()
    reporting.body["metadata"]["generation"] = 0
    with pytest.raises(OutdatedError):
        await reporting.report()


async def test_events_are_limited_however_often_something_changes() -> None:
    reporting = Reporting()
    for number in range(BURST + 5):
        content = EventContent(warning=True, reason=f"Reason{number}", message="changed")
        await reporting.reporter.record_event(reporting.body, reporting.state, content)
    assert len(reporting.api.requests) == BURST
