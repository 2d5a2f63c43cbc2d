"""HAProxy's log and its page of metrics: what they are, and that a running HAProxy is not restarted for them."""

from __future__ import annotations

from chatoperator.desired.manifests import render
from chatoperator.metadata import CONFIG_HASH_ANNOTATION
from chatoperator.parts.ingress import haproxy
from chatoperator.parts.ingress.telemetry import LOG_FORMAT, PAGE, without_restart
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


def test_only_the_log_and_the_page_are_left_out_of_what_restarts_haproxy() -> None:
    text = haproxy.render(ROUTE)
    was, now = without_restart(text).splitlines(), text.splitlines()
    changed = {line.strip() for line in set(now) - set(was)}
    assert changed == {f"log-format '{LOG_FORMAT}'", PAGE.splitlines()[0].strip()}
    assert without_restart(text) == without_restart(without_restart(text))
