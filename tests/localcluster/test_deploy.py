"""What the local cluster's chat is given beside the example."""

from __future__ import annotations

from chatoperator.desired.manifests import render
from chatoperator.metadata import labels
from localcluster.deploy import api_server_as_peer
from tests.support.chatclusters import cluster, desired
from tests.support.networkpolicies import Endpoint, allowed


def test_the_api_server_may_read_metrics_from_another_node_and_nothing_else() -> None:
    spec = {"metricsFrom": api_server_as_peer("172.18.0.3")}
    policies = [made for made in render(desired(cluster(networkPolicies=spec))) if made["kind"] == "NetworkPolicy"]
    control_plane, worker = Endpoint(address="172.18.0.3"), Endpoint(address="172.18.0.2")
    proxy = Endpoint(namespace="chat", labels=labels("demo", "ingress"))
    server = Endpoint(namespace="chat", labels=labels("demo", "chatserver"))
    for pod, metrics in ((proxy, 8404), (server, 9090)):
        assert allowed(policies, control_plane, pod, metrics)
        assert not allowed(policies, worker, pod, metrics)
    assert not allowed(policies, control_plane, server, 8080)
