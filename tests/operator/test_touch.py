"""Which running pods are annotated, so that they get at once what has changed under them."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    CREDENTIALS_HASH_ANNOTATION,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
)
from chatoperator.observed import Observed
from chatoperator.parts.ingress.tls.serving import Serving
from chatoperator.reconcile.outcome import Outcome
from chatoperator.reconcile.touch import stale_certificates, stale_mounts, touch, without_eviction_rule
from tests.support.chatclusters import CREDENTIALS, cluster, desired, pod
from tests.support.memoryapi import MemoryApi

DATABASE_SECRET = ("Secret", "demo-database")


PODS = (pod("p", "postgres"), pod("s", "chatserver"), pod("i", "ingress"), pod("m", "migrate"))


def test_pods_that_reread_credentials_are_touched_until_they_have_the_last_ones() -> None:
    made = desired(cluster())
    stale = stale_mounts(made, Observed({}, PODS), set())
    assert stale.keys() == {"p", "s"}
    assert stale["s"] == CREDENTIALS.dsn_digest
    current = tuple(dataclasses.replace(one, credentials_digest=stale.get(one.name)) for one in PODS)
    assert stale_mounts(made, Observed({}, current), set()) == {}
    leaving = (pod("s", "chatserver", terminating=True),)
    assert stale_mounts(made, Observed({}, leaving), set()) == {}


def test_no_pod_is_marked_with_content_that_was_not_written() -> None:
    observed, made = Observed({}, PODS), desired(cluster())
    assert stale_mounts(made, observed, {DATABASE_SECRET}) == {}
    assert stale_mounts(made, observed, {("ConfigMap", "demo-postgres")}) == {}
    assert stale_certificates(made, observed, {("Secret", "demo-ingress-tls")}) == {}


def test_an_external_database_has_no_credentials_of_the_operators() -> None:
    external = desired(cluster(database={"external": {"secretName": "mine"}}))
    assert stale_mounts(external, Observed({}, PODS), set()) == {}


def test_proxies_are_touched_after_a_new_certificate() -> None:
    made = desired(cluster())
    stale = stale_certificates(made, Observed({}, PODS), set())
    assert stale == {"i": made.serving.digest}
    current = (pod("i", "ingress", certificate_digest=made.serving.digest),)
    assert stale_certificates(made, Observed({}, current), set()) == {}
    assert stale_certificates(desired(cluster(), serving=Serving()), Observed({}, PODS), set()) == {}


def test_only_pods_whose_volumes_are_scratch_may_be_evicted() -> None:
    assert without_eviction_rule(Observed({}, PODS)) == {"s": "tmp", "i": "tmp,run"}
    ruled = (pod("s", "chatserver", has_eviction_rule=True),)
    assert without_eviction_rule(Observed({}, ruled)) == {}


async def test_a_refused_annotation_does_not_keep_back_the_others() -> None:
    api, outcome = MemoryApi("annotate Pod/p"), Outcome()
    await touch(cast("Any", api), cast("Any", api), desired(cluster()), Observed({}, PODS), outcome)
    assert len(outcome.failures) == 1
    written = {name for values in api.annotations.values() for name in values}
    assert written == {CERTIFICATE_HASH_ANNOTATION, SAFE_TO_EVICT_VOLUMES_ANNOTATION}
    api.refuses = set()
    await touch(cast("Any", api), cast("Any", api), desired(cluster()), Observed({}, PODS), Outcome())
    assert CREDENTIALS_HASH_ANNOTATION in api.annotations["Pod", "p"]
