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


def decided(
    children: dict[tuple[str, str], dict[str, Any]],
    hashes: tuple[str, ...] | None = ENABLED,
    image: str = "chatserver:1",
) -> migration.SchemaMigration:
    """What is decided where the probe is enabled."""
    return migration.decide(
        cluster(),
        Observed(children, ()),
        image=image,
        pull_policy="IfNotPresent",
        database_identity="one",
        probe_hashes=hashes,
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


def test_of_two_of_the_same_second_either_may_be_the_later() -> None:
    assert decided(ran(ENABLED, EARLIER) | ran((), EARLIER) | servers(NAME)).superseded


def test_none_runs_between_the_old_tokens_and_the_new_ones() -> None:
    """It would revoke both, and may run after the one that enrols the new ones."""
    waits = decided(ran(ENABLED, EARLIER) | servers(NAME), hashes=None)
    assert waits.job is None
    assert waits.done
    assert waits.template is not None
    assert waits.template.schema == NAME


def test_tokens_that_cannot_be_stored_hold_up_neither_a_first_migration_nor_another_image() -> None:
    first = decided({}, hashes=None)
    assert first.job is not None
    upgraded = decided(ran(ENABLED, EARLIER) | servers(NAME), hashes=None, image="chatserver:2")
    assert upgraded.job is not None
    assert not upgraded.done
