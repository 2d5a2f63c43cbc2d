"""Which migrate Job has to run: also after another state was desired for a moment."""

from __future__ import annotations

from typing import Any

from chatoperator.desired import migration
from chatoperator.metadata import SCHEMA_ANNOTATION, metadata, part_name
from chatoperator.observed import Observed
from chatoperator.parts.chatserver import deployment as chatserver
from tests.support.chatclusters import cluster

ENABLED = ("ab" * 32, "cd" * 32)
EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"


def decided(children: dict[tuple[str, str], dict[str, Any]]) -> migration.SchemaMigration:
    """What is decided where the probe is enabled."""
    return migration.decide(
        cluster(),
        Observed(children, ()),
        image="chatserver:1",
        pull_policy="IfNotPresent",
        database_identity="one",
        probe_hashes=ENABLED,
    )


def ran(hashes: tuple[str, ...], created: str, condition: str | None = "Complete") -> dict[tuple[str, str], Any]:
    """A migrate Job as the API server has it."""
    job = chatserver.migrate_job(
        cluster(),
        image="chatserver:1",
        pull_policy="IfNotPresent",
        database_identity="one",
        probe_hashes=hashes,
    )
    job["metadata"]["creationTimestamp"] = created
    job["status"] = {"conditions": [{"type": condition, "status": "True"}] if condition else []}
    return {("Job", job["metadata"]["name"]): job}


def servers(job_name: str) -> dict[tuple[str, str], Any]:
    """Chatservers that run since this Job has succeeded."""
    name = part_name("demo", "chatserver")
    made = {"metadata": metadata(cluster(), name, "chatserver"), "spec": {"template": {"metadata": {}, "spec": {}}}}
    made["metadata"]["annotations"] = {SCHEMA_ANNOTATION: job_name}
    made["spec"]["template"]["spec"] = {"containers": [{"name": "chatserver", "image": "chatserver:1"}]}
    return {("Deployment", name): made}


NAME = str(decided({}).job_name)


def test_one_that_has_succeeded_is_not_run_again() -> None:
    assert decided(ran(ENABLED, EARLIER) | servers(NAME)).done
    assert decided(servers(NAME)).done
    assert decided(servers(NAME)).job is None


def test_one_that_another_has_followed_runs_again() -> None:
    """The probe was disabled for a moment: its tokens are revoked, or will be."""
    for condition in ("Complete", None):
        followed = decided(ran(ENABLED, EARLIER) | ran((), LATER, condition) | servers(NAME))
        assert followed.superseded
        assert not followed.done
        removed = decided(ran((), LATER, condition) | servers(NAME))
        assert not removed.done
        assert removed.job is not None
    again = decided(ran((), EARLIER) | ran(ENABLED, LATER) | servers(NAME))
    assert again.done
    assert not again.superseded
