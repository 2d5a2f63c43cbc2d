"""A running HAProxy is not restarted for its log, its page of metrics, or how it refuses."""

from __future__ import annotations

from chatoperator.desired.manifests import render
from chatoperator.metadata import CONFIG_HASH_ANNOTATION
from chatoperator.parts.ingress import haproxy
from chatoperator.parts.ingress.answers import http_errors
from chatoperator.parts.ingress.clients import refuse_when_full
from chatoperator.parts.ingress.restarts import without_restart
from chatoperator.parts.ingress.telemetry import LOG_FORMAT, PAGE
from tests.support.chatclusters import cluster, desired
from tests.support.front import ROUTE

HASH_OF_0_1_0 = "94766408f8"
"""Of the HAProxy pods of a ChatCluster without fields of its own, by the operator of release 0.1.0."""


def test_an_upgrade_from_the_first_release_restarts_no_haproxy() -> None:
    (deployment,) = [
        manifest
        for manifest in render(desired(cluster()))
        if (manifest["kind"], manifest["metadata"]["name"]) == ("Deployment", "demo-ingress")
    ]
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"][CONFIG_HASH_ANNOTATION] == HASH_OF_0_1_0


def test_only_the_log_the_page_and_refusals_are_left_out_of_what_restarts_haproxy() -> None:
    text = haproxy.render(ROUTE)
    was, now = without_restart(text).splitlines(), text.splitlines()
    changed = {line.strip() for line in set(now) - set(was)}
    refusals = {line.strip() for line in http_errors().splitlines() if "Retry-After" in line}
    full = {line.strip() for line in refuse_when_full(ROUTE.max_connections).splitlines()}
    assert changed == {f"log-format '{LOG_FORMAT}'", PAGE.splitlines()[0].strip(), *full, *refusals}
    assert without_restart(text) == without_restart(without_restart(text))
