"""What a reconcile asks the running parts; the rest of it is tested on a real API server."""

import asyncio
import base64
from dataclasses import replace
from typing import Any, cast

import pytest

from chatoperator.observed import Answer, Observed, Pod
from chatoperator.parts.ingress.haproxy import render
from chatoperator.probes.prober import Target
from chatoperator.reconcile.reachability import PROXIES_AT_A_TIME, PROXIES_MAX, reach, targets
from tests.support.chatclusters import body, pod
from tests.support.front import ROUTE

SERVICE = {"spec": {"clusterIP": "192.0.2.1"}}


class Proxies:
    """A data plane where some addresses answer and others do not."""

    def __init__(self, silent: str) -> None:
        self.silent = silent
        self.asked: list[tuple[str, int]] = []

    async def probe(self, target: Target) -> Answer:
        self.asked.append((target.address, target.port))
        return Answer(ok=target.address != self.silent, message=f"{target.address} was asked")


def proxy(address: str, *, ready: bool = True, terminating: bool = False) -> Pod:
    return pod(address, "ingress", address=address, ready=ready, terminating=terminating)


@pytest.mark.parametrize(
    ("silent", "ok"),
    [("none", True), ("192.0.2.1", False), ("192.0.2.12", False), ("192.0.2.13", True), ("192.0.2.14", True)],
)
async def test_ready_rests_on_the_service_and_on_every_proxy_behind_it(silent: str, *, ok: bool) -> None:
    proxies = Proxies(silent)
    observed = Observed(
        children={("Service", "demo-ingress"): SERVICE},
        pods=(
            proxy("192.0.2.11"),
            proxy("192.0.2.12"),
            proxy("192.0.2.13", ready=False),
            proxy("192.0.2.14", terminating=True),
        ),
    )
    answer = await reach(cast("Any", proxies), targets(body(), observed))
    assert answer.ok is ok
    assert sorted(proxies.asked) == [("192.0.2.1", 443), ("192.0.2.11", 8443), ("192.0.2.12", 8443)]


class Crowd(Proxies):
    """One that counts how many are asked at once."""

    now = most = 0

    async def probe(self, target: Target) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().probe(target)


async def test_any_number_of_pods_like_proxies_takes_a_few_sockets_at_a_time() -> None:
    """Whoever may create pods in the chat's namespace can give them the labels and an owner of that name."""
    crowd = Crowd("none")
    pods = tuple(proxy(f"192.0.2.{number}") for number in range(1000))
    observed = Observed(children={("Service", "demo-ingress"): SERVICE}, pods=pods)
    assert (await reach(cast("Any", crowd), targets(body(), observed))).ok
    assert crowd.most == PROXIES_AT_A_TIME
    assert len(crowd.asked) == 1 + PROXIES_MAX


def _deployment(secret: str, **status: int) -> dict[str, Any]:
    """HAProxy's Deployment, which mounts a Secret."""
    volumes = [{"name": "tls", "secret": {"secretName": secret}}]
    counts = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, **status}
    spec = {"replicas": 2, "template": {"spec": {"volumes": volumes}}}
    return {"metadata": {"generation": 1}, "spec": spec, "status": counts}


@pytest.mark.parametrize(
    ("deployment", "trusted"),
    [
        (_deployment("demo-ingress-tls"), "the authority"),
        (_deployment("mine"), None),
        (_deployment("demo-ingress-tls", updatedReplicas=1), None),
        (None, None),
    ],
    ids=["own", "the user's, after another mode", "some pods still serve the one before", "none"],
)
def test_the_own_authority_is_asked_for_only_where_the_own_certificate_is_served(
    deployment: dict[str, Any] | None, trusted: str | None
) -> None:
    secret = {"data": {"ca.crt": base64.b64encode(b"the authority").decode()}}
    children = {("Service", "demo-ingress"): SERVICE}
    children |= {("Secret", "demo-ingress-tls"): secret, ("Secret", "demo-ingress-ca"): secret}
    if deployment is not None:
        children["Deployment", "demo-ingress"] = deployment
    observed = Observed(children=children, pods=(proxy("192.0.2.11"),))
    assert [target.authority for target in targets(body(), observed)] == [trusted, trusted]


@pytest.mark.parametrize(("own_for", "trusted"), [(None, None), (89.0, None), (90.0, "the authority")])
def test_proxies_get_time_to_swap_before_the_own_authority_is_asked_for(
    own_for: float | None, trusted: str | None
) -> None:
    secret = {"data": {"ca.crt": base64.b64encode(b"the authority").decode()}}
    children = {
        ("Service", "demo-ingress"): SERVICE,
        ("Secret", "demo-ingress-tls"): secret,
        ("Secret", "demo-ingress-ca"): secret,
        ("Deployment", "demo-ingress"): _deployment("demo-ingress-tls"),
    }
    observed = Observed(children=children, pods=())
    assert [target.authority for target in targets(body(), observed, own_for=own_for)] == [trusted]


def test_an_authority_of_others_in_the_same_secret_is_not_asked_for() -> None:
    theirs, own = ({"data": {"ca.crt": base64.b64encode(text).decode()}} for text in (b"theirs", b"the authority"))
    children = {
        ("Service", "demo-ingress"): SERVICE,
        ("Secret", "demo-ingress-tls"): theirs,
        ("Secret", "demo-ingress-ca"): own,
        ("Deployment", "demo-ingress"): _deployment("demo-ingress-tls"),
    }
    assert [target.authority for target in targets(body(), Observed(children=children, pods=()))] == [None]


def test_an_authority_that_is_far_too_long_is_not_read_anew_for_each_request() -> None:
    """The operator's own is short; whoever put a megabyte in its place has it in both Secrets."""
    secret = {"data": {"ca.crt": base64.b64encode(b"x" * 70_000).decode()}}
    children = {
        ("Service", "demo-ingress"): SERVICE,
        ("Secret", "demo-ingress-tls"): secret,
        ("Secret", "demo-ingress-ca"): secret,
        ("Deployment", "demo-ingress"): _deployment("demo-ingress-tls"),
    }
    assert [target.authority for target in targets(body(), Observed(children=children, pods=()))] == [None]


def test_a_header_is_offered_where_haproxy_expects_them_of_some() -> None:
    for networks, headed in ((("10.0.0.0/8",), True), ((), False)):
        text = render(replace(ROUTE, proxy_protocol_from=networks))
        children = {
            ("Service", "demo-ingress"): SERVICE,
            ("ConfigMap", "demo-ingress"): {"data": {"haproxy.cfg": text}},
        }
        observed = Observed(children=children, pods=(proxy("192.0.2.11"),))
        assert [target.headed for target in targets(body(), observed)] == [headed, headed]
