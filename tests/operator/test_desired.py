"""The desired state: what is decided from the observed one on release, migration, credentials and volume."""

from __future__ import annotations

import base64
import dataclasses
import itertools
from dataclasses import replace
from typing import Any

import pytest

from chatoperator.desired import Desired, decide
from chatoperator.desired.manifests import render
from chatoperator.desired.migration import ServerTemplate
from chatoperator.errors import SpecError
from chatoperator.metadata import SCHEMA_ANNOTATION
from chatoperator.observed import Observed
from chatoperator.reconcile.state import State
from tests.support import chatclusters
from tests.support.chatclusters import IMAGES, NOW, SETTINGS, body, cluster

CLAIM = ("PersistentVolumeClaim", "demo-postgres-data")
SERVERS = ("Deployment", "demo-chatserver")
Objects = dict[tuple[str, str], dict[str, Any]]


def decided(children: Objects, *, status: dict[str, Any] | None = None, **spec: Any) -> Desired:
    numbers = itertools.count()
    return decide(
        cluster(**spec),
        {**body(**spec), "status": status or {}},
        Observed(children, ()),
        settings=SETTINGS,
        now=NOW,
        held=None,
        replicas=2,
        new_secret=lambda: f"secret {next(numbers)}",
    )


def claim(uid: str = "0000-claim", **metadata: Any) -> Objects:
    spec = {"resources": {"requests": {"storage": "10Gi"}}}
    return {CLAIM: {"metadata": {"name": CLAIM[1], "uid": uid, **metadata}, "spec": spec, "status": {}}}


def job_name(uid: str = "0000-claim", image: str = "chatserver:1") -> str:
    images = dataclasses.replace(IMAGES, chatserver=image)
    made = chatclusters.desired(cluster(), images=images, database_identity=f"claim:{uid}")
    return str(made.migration.job_name)


def job(name: str, kind: str | None) -> Objects:
    conditions = [] if kind is None else [{"type": kind, "status": "True"}]
    return {("Job", name): {"metadata": {"name": name, "uid": "0000-job"}, "status": {"conditions": conditions}}}


def servers(image: str, schema: str) -> Objects:
    template = {"spec": {"containers": [{"name": "chatserver", "image": image}]}}
    meta = {"name": SERVERS[1], "uid": "0000-servers", "annotations": {SCHEMA_ANNOTATION: schema}}
    return {SERVERS: {"metadata": meta, "spec": {"replicas": 2, "template": template}, "status": {}}}


def secret(name: str, **texts: str) -> Objects:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {("Secret", name): {"metadata": {"name": name, "uid": f"0000-{name}"}, "data": data}}


NEW = job_name()
OLD = job_name(image="chatserver:0")


@pytest.mark.parametrize(
    ("children", "job", "migrated", "template"),
    [
        # A bring-up: the claim first, since the Job is named after it; then the Job; then the servers.
        ({}, None, False, None),
        (claim(), NEW, False, None),
        (claim() | job(NEW, None), NEW, False, None),
        (claim() | job(NEW, "Failed"), NEW, False, None),
        (claim() | job(NEW, "Complete"), NEW, True, ServerTemplate("chatserver:1", NEW)),
        # An upgrade: what runs is kept until the new image's migration is through.
        (claim() | servers("chatserver:0", OLD), NEW, False, ServerTemplate("chatserver:0", OLD)),
        (
            claim() | servers("chatserver:0", OLD) | job(NEW, "Failed"),
            NEW,
            False,
            ServerTemplate("chatserver:0", OLD),
        ),
        (
            claim() | servers("chatserver:0", OLD) | job(NEW, "Complete"),
            NEW,
            True,
            ServerTemplate("chatserver:1", NEW),
        ),
        # A Job that was deleted after it had succeeded is not run again: the servers tell.
        (claim() | servers("chatserver:1", NEW), NEW, True, ServerTemplate("chatserver:1", NEW)),
        # Another volume is another database.
        (
            claim("0000-another") | servers("chatserver:1", NEW),
            job_name("0000-another"),
            False,
            ServerTemplate("chatserver:1", NEW),
        ),
        # What runs keeps running where its volume is gone.
        (servers("chatserver:1", NEW), None, False, ServerTemplate("chatserver:1", NEW)),
    ],
)
def test_servers_follow_their_migration(
    children: Objects, job: str | None, template: ServerTemplate | None, *, migrated: bool
) -> None:
    made = decided(children)
    assert (made.migration.job_name, made.migration.done, made.migration.template) == (job, migrated, template)
    assert made.replicas == 2, "the number is decided elsewhere"


HELD = {"version": "0", "images": {"chatserver": "chatserver:0", "postgres": "postgres:0", "haproxy": "haproxy:0"}}


@pytest.mark.parametrize(
    ("status", "spec", "version", "images"),
    [
        ({}, {}, "1", ("chatserver:1", "postgres:1", "haproxy:1")),
        # An operator's upgrade restarts nothing: what status pins goes on.
        (HELD, {}, "0", ("chatserver:0", "postgres:0", "haproxy:0")),
        (HELD, {"version": "0"}, "0", ("chatserver:0", "postgres:0", "haproxy:0")),
        (HELD, {"version": "1"}, "1", ("chatserver:1", "postgres:1", "haproxy:1")),
        (HELD, {"database": {"image": "mine:2"}}, "0", ("chatserver:0", "mine:2", "haproxy:0")),
    ],
)
def test_the_release_is_the_specs_or_else_the_one_that_runs(
    status: dict[str, Any], spec: dict[str, Any], version: str, images: tuple[str, str, str]
) -> None:
    release = decided({}, status=status, **spec).release
    made = release.images
    assert (release.version, (made.chatserver, made.postgres, made.haproxy)) == (version, images)
    assert release.available == (None if version == "1" else "1")


def test_a_release_that_nobody_brings_is_refused_by_its_field() -> None:
    with pytest.raises(SpecError, match=r"spec\.version"):
        decided({}, status=HELD, version="2")
    assert IMAGES.chatserver == "chatserver:1"


def test_what_secrets_hold_is_kept_and_what_they_lack_is_made_once() -> None:
    kept = decided(secret("demo-chatserver", **{"secret-key": "the key"})).credentials
    assert kept.chatserver_key == "the key"
    made = decided({}).credentials
    assert {made.chatserver_key, *made.logins.passwords.values()} <= {f"secret {number}" for number in range(4)}
    assert len({made.chatserver_key, *made.logins.passwords.values()}) == 1 + len(made.logins.passwords)


@pytest.mark.parametrize(
    ("children", "usable", "size", "identity"),
    [
        ({}, True, None, None),
        (claim(), True, "10Gi", "claim:0000-claim"),
        # It holds people's messages until its last pod is gone; nothing new is begun on it.
        (claim(deletionTimestamp="2026-11-22T12:00:00Z"), False, None, None),
    ],
)
def test_a_volume_that_is_being_deleted_is_not_begun_on(
    children: Objects, size: str | None, identity: str | None, *, usable: bool
) -> None:
    made = decided(children).database
    assert (made.volume.usable, made.volume.size, made.identity) == (usable, size, identity)


def test_what_is_somebody_elses_is_withheld_with_what_would_be_made_on_it() -> None:
    children = claim()
    before = decided(children)
    made = before.withholding([("Service", "demo-postgres")], Observed(children, ()))
    assert ("Service", "demo-postgres") in made.withheld
    assert ("Job", NEW) in made.withheld, "it would talk to somebody else's database"
    assert before.withholding([], Observed(children, ())) is before


def test_the_job_is_rendered_only_while_it_is_needed() -> None:
    assert decided(claim() | job(NEW, None)).migration.job is not None
    done = decided(claim() | job(NEW, "Complete"))
    assert done.migration.job is None
    assert NEW not in {manifest["metadata"]["name"] for manifest in render(done)}


def test_the_same_observations_are_decided_alike_so_that_nothing_is_rendered_again() -> None:
    children = claim() | secret("demo-chatserver", **{"secret-key": "the key"})
    held = decided(children)
    again = replace(held, credentials=decided(children).credentials, serving=held.serving)
    assert again == held
    state = State()
    assert state.rendered(again) is state.rendered(held)
    assert state.rendered(replace(held, replicas=3)) is not state.rendered(held)
