"""Rounds of one reconcile: each makes what the next one waits for, and an outdated spec is not applied."""

from __future__ import annotations

from typing import Any, cast

import pytest

from chatoperator.api.parse import parse
from chatoperator.errors import OutdatedError
from chatoperator.metadata import KIND
from chatoperator.observed import Observed
from chatoperator.reconcile.context import Context
from chatoperator.reconcile.converge import Converger
from chatoperator.reconcile.outcome import Outcome
from chatoperator.reconcile.state import State
from tests.support.chatclusters import NOW, SETTINGS, FakeProber, body
from tests.support.memoryapi import MemoryApi


class Converging:
    """One ChatCluster on an API server in memory, on which no controller runs.

    Attributes:
        outcome: Of the last reconcile.
    """

    def __init__(self, **spec: Any) -> None:
        self.api = MemoryApi()
        self.body = body(**spec)
        self.api.objects[KIND, "demo"] = self.body
        self.state = State()
        self.outcome = Outcome()
        self._converger = Converger(
            Context(
                cast("Any", self.api),
                cast("Any", self.api),
                cast("Any", FakeProber()),
                SETTINGS,
                monotonic=lambda: 0,
                now=lambda: NOW,
            )
        )

    async def converge(self) -> list[str]:
        """Reconcile, and return what was written."""
        self.api.requests.clear()
        self.outcome = Outcome()
        observed = Observed(self.api.owned(("chat", "demo")), ())
        await self._converger.converge(parse(self.body), self.body, observed, self.state, self.outcome)
        return list(self.api.requests)

    def migrated(self) -> None:
        """What the Job controller writes when the Job has succeeded."""
        (job,) = (raw for (kind, _), raw in self.api.objects.items() if kind == "Job")
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}


async def test_a_reconcile_makes_the_job_that_waits_for_the_claim_and_the_next_one_the_servers() -> None:
    converging = Converging()
    written = await converging.converge()
    job = next(number for number, one in enumerate(written) if one.startswith("apply Job/demo-migrate-"))
    assert written.index("apply PersistentVolumeClaim/demo-postgres-data") < job
    assert written.index("apply StatefulSet/demo-postgres") < job
    assert "apply Deployment/demo-chatserver" not in written, "its migration has not run"
    assert len(written) == len(set(written)), "nothing is applied twice"
    assert await converging.converge() == []
    converging.migrated()
    assert await converging.converge() == ["apply Deployment/demo-chatserver"]
    assert converging.api.objects["Deployment", "demo-chatserver"]["spec"]["replicas"] == 2
    assert await converging.converge() == []


async def test_nothing_is_written_for_a_spec_that_has_changed_meanwhile() -> None:
    converging = Converging()
    metadata = {**converging.body["metadata"], "generation": 2}
    converging.api.objects[KIND, "demo"] = {**converging.body, "metadata": metadata}
    with pytest.raises(OutdatedError):
        await converging.converge()
    assert converging.api.requests == []


async def test_nothing_is_written_while_it_is_paused() -> None:
    assert await Converging(paused=True).converge() == []


async def test_a_refused_object_is_sent_once_a_reconcile_and_the_others_are_made() -> None:
    converging = Converging()
    converging.api.refuses = {"apply Service/demo-postgres"}
    written = await converging.converge()
    assert written.count("apply Service/demo-postgres") == 1
    assert "apply StatefulSet/demo-postgres" in written
    assert len(converging.outcome.failures) == 1
    assert await converging.converge() == ["apply Service/demo-postgres"], "until it is taken"
