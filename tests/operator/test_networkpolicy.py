"""Who may talk to whom: the rendered rules, evaluated. That a network obeys them is for tests/e2e/test_network.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.desired.manifests import render
from chatoperator.errors import SpecError
from chatoperator.metadata import labels
from chatoperator.parts.networkpolicy import live_database_ports
from tests.support.chatclusters import cluster, desired
from tests.support.networkpolicies import Endpoint, allowed

if TYPE_CHECKING:
    from chatoperator.metadata import Part

EXTERNAL = {"external": {"secretName": "mine"}}
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}


def part(name: Part, namespace: str = "chat", instance: str = "demo") -> Endpoint:
    return Endpoint(namespace=namespace, labels=labels(instance, name))


INGRESS, SERVER, POSTGRES, MIGRATE = part("ingress"), part("chatserver"), part("postgres"), part("migrate")
STRANGER = Endpoint(namespace="chat", labels={"app": "stranger"})
OPERATOR = Endpoint(namespace="chatcluster-system", labels={"app.kubernetes.io/name": "chatcluster-operator"})
MONITOR = Endpoint(namespace="monitoring", labels=PROMETHEUS)
IMPOSTOR = part("chatserver", namespace="elsewhere")
NEIGHBOUR = part("chatserver", instance="other")
DNS = Endpoint(namespace="kube-system", labels={"k8s-app": "kube-dns"})
INTERNET = Endpoint(address="203.0.113.9")


def policies(changed: dict[str, Any] | None = None, **spec: Any) -> list[dict[str, Any]]:
    return [m for m in render(desired(cluster(**spec), **(changed or {}))) if m["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        # Clients reach HAProxy and nothing else.
        (INTERNET, INGRESS, 8443, True),
        (INTERNET, INGRESS, 8080, True),
        (INTERNET, INGRESS, 8404, False),
        (INTERNET, SERVER, 8080, False),
        (INTERNET, SERVER, 9090, False),
        (INTERNET, POSTGRES, 5432, False),
        (STRANGER, INGRESS, 8443, True),
        # Only HAProxy reaches the servers.
        (INGRESS, SERVER, 8080, True),
        (INGRESS, SERVER, 9090, False),
        (STRANGER, SERVER, 8080, False),
        (SERVER, SERVER, 8080, False),
        (NEIGHBOUR, SERVER, 8080, False),
        (part("ingress", instance="other"), SERVER, 8080, False),
        (part("ingress", namespace="elsewhere"), SERVER, 8080, False),
        # Only servers and migrations reach PostgreSQL.
        (SERVER, POSTGRES, 5432, True),
        (MIGRATE, POSTGRES, 5432, True),
        (INGRESS, POSTGRES, 5432, False),
        (STRANGER, POSTGRES, 5432, False),
        (OPERATOR, POSTGRES, 5432, False),
        (IMPOSTOR, POSTGRES, 5432, False),
        (NEIGHBOUR, POSTGRES, 5432, False),
        (SERVER, POSTGRES, 22, False),
        # The operator asks PostgreSQL's agent, and where the spec names nobody, nobody else does.
        (OPERATOR, POSTGRES, 8010, True),
        (SERVER, POSTGRES, 8010, False),
        (STRANGER, POSTGRES, 8010, False),
        (MONITOR, POSTGRES, 8010, False),
        # The operator and whom the spec names read metrics.
        (OPERATOR, SERVER, 9090, True),
        (OPERATOR, INGRESS, 8404, True),
        (OPERATOR, INGRESS, 8443, True),
        (OPERATOR, SERVER, 8080, False),
        (MONITOR, SERVER, 9090, False),
        (STRANGER, SERVER, 9090, False),
        # Out goes what the parts need.
        (SERVER, INTERNET, 443, False),
        (SERVER, INTERNET, 5432, False),
        (INGRESS, INTERNET, 443, False),
        (POSTGRES, INTERNET, 443, False),
        (POSTGRES, SERVER, 8080, False),
        (MIGRATE, SERVER, 8080, False),
        (MIGRATE, INTERNET, 443, False),
    ],
)
def test_the_rules_of_a_minimal_chat(source: Endpoint, target: Endpoint, port: int, *, expected: bool) -> None:
    assert allowed(policies(), source, target, port) is expected


def test_all_but_the_database_may_ask_dns() -> None:
    made = policies()
    asking = {
        name
        for name, pod in {"i": INGRESS, "s": SERVER, "m": MIGRATE, "p": POSTGRES}.items()
        if allowed(made, pod, DNS, 53, "UDP")
    }
    assert asking == {"i", "s", "m"}
    # NodeLocal DNS has a link-local address; OpenShift's pods listen on another port.
    assert allowed(made, SERVER, Endpoint(address="169.254.20.10"), 53, "UDP")
    assert allowed(made, INGRESS, Endpoint(namespace="openshift-dns"), 5353, "TCP")


def test_every_pod_is_selected_in_both_directions() -> None:
    """A part without a policy would be open to everybody."""
    for database in ({}, EXTERNAL):
        made = render(desired(cluster(database=database)))
        selected = [m["spec"]["podSelector"]["matchLabels"] for m in made if m["kind"] == "NetworkPolicy"]
        assert all(m["spec"]["policyTypes"] == ["Ingress", "Egress"] for m in made if m["kind"] == "NetworkPolicy")
        pods = [m["spec"]["template"]["metadata"]["labels"] for m in made if "template" in m.get("spec", {})]
        assert pods
        for pod in pods:
            assert sum(selector.items() <= pod.items() for selector in selected) == 1, pod
        assert len(selected) == len(pods)


def test_policies_come_before_the_pods_that_they_guard() -> None:
    kinds = [manifest["kind"] for manifest in render(desired(cluster()))]
    assert kinds[:4] == ["NetworkPolicy"] * 4


def test_whom_the_spec_names_may_read_metrics() -> None:
    peers = [
        {"namespaceSelector": {"matchLabels": {"team": "sre"}}, "podSelector": {"matchLabels": PROMETHEUS}},
        {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.9.0/24"]}},
    ]
    made = policies(networkPolicies={"metricsFrom": peers})
    scraper = Endpoint(namespace="monitoring", labels=PROMETHEUS, namespace_labels={"team": "sre"})
    for target, port in ((SERVER, 9090), (INGRESS, 8404), (POSTGRES, 8010)):
        assert allowed(made, scraper, target, port)
        assert allowed(made, Endpoint(address="10.1.2.3"), target, port)
        assert not allowed(made, Endpoint(address="10.1.9.3"), target, port)
        assert not allowed(made, MONITOR, target, port), "without its namespace's label"
    assert not allowed(made, scraper, SERVER, 8080)
    assert not allowed(made, scraper, POSTGRES, 5432)


@pytest.mark.parametrize(
    ("url", "port"), [("https://sms.example.com/codes", 443), ("https://sms.example.com:8443/", 8443)]
)
def test_servers_reach_the_webhook_and_migrations_do_not(url: str, port: int) -> None:
    made = policies(auth={"otp": {"sender": "Webhook", "webhook": {"url": url, "secretName": "codes"}}})
    assert allowed(made, SERVER, INTERNET, port)
    assert not allowed(made, SERVER, INTERNET, 80)
    assert not allowed(made, MIGRATE, INTERNET, port)
    assert not allowed(made, INGRESS, INTERNET, port)


def test_an_external_database_stays_reachable() -> None:
    made = policies({"ports": (5433,)}, database=EXTERNAL)
    for pod in (SERVER, MIGRATE):
        assert allowed(made, pod, INTERNET, 5433)
        assert not allowed(made, pod, INTERNET, 5432)
    assert not allowed(made, INGRESS, INTERNET, 5433)


def test_where_the_databases_port_cannot_be_told_nothing_is_open_but_dns() -> None:
    made = policies(database=EXTERNAL)
    for pod in (SERVER, MIGRATE):
        assert [port for port in (53, 443, 5432, 6000) if allowed(made, pod, INTERNET, port)] == [53]


@pytest.mark.parametrize("ports", [(), (5433,), (5432, 6432)])
def test_the_live_policy_tells_which_ports_it_lets_through(ports: tuple[int, ...]) -> None:
    made = policies({"ports": ports}, database=EXTERNAL)
    (migrate,) = [policy for policy in made if policy["metadata"]["name"] == "demo-migrate"]
    assert live_database_ports(migrate) == ports
    assert live_database_ports(None) == ()


def test_behind_a_pooler_the_database_itself_stays_reachable() -> None:
    env = [{"name": "CHAT_DATABASE_LISTEN_DSN", "value": "postgresql://chat@db.example.com/chat"}]
    made = policies({"ports": (6432,)}, database=EXTERNAL, chatserver={"env": env})
    reached = [port for port in (5432, 6432, 6000) if allowed(made, SERVER, INTERNET, port)]
    assert reached == [5432, 6432]


def test_without_policies_there_are_none() -> None:
    assert policies(networkPolicies={"enabled": False}) == []


@pytest.mark.parametrize(
    "peer",
    [
        {},
        {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/99"}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10::/8::"]}},
    ],
)
def test_peers_that_cannot_be_are_refused_in_words(peer: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"networkPolicies\.metricsFrom"):
        cluster(networkPolicies={"metricsFrom": [peer]})
