"""An Ingress or an HTTPRoute in front of HAProxy: made, changed, missing, refused, removed; and the way through."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatoperator.observed import Answer
from tests.support import crds
from tests.support.front import PATIENCE_SECONDS, ROUTE, echo, in_front
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

GATEWAYS = [{"name": "public", "namespace": "gateways", "sectionName": "https"}]

CONTROLLER = "example.com/gateway"


@pytest.fixture
def gateways(server: ApiServer) -> Iterator[None]:
    """The Gateway API's kind HTTPRoute. No controller runs: what one would say is the test's to say."""
    with crds.installed(server, *crds.ROUTES):
        yield


async def _brought_up(operator: Operator, front: dict[str, Any]) -> None:
    operator.chatcluster["spec"]["ingress"] = {"hostnames": ["chat.example.com", "b.example.com"], "front": front}
    operator.prober.answer = Answer(ok=True, message="answered")
    await operator.brought_up()
    live = await operator.get("Deployment", "demo-ingress")
    status = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    status["observedGeneration"] = live["metadata"]["generation"]
    operator.patch_status("deployment", "demo-ingress", status)
    await operator.reconcile()


async def test_an_ingress_follows_the_spec_and_goes_with_it(operator: Operator) -> None:
    await _brought_up(operator, {"kind": "Ingress", "className": "public", "tlsSecretName": "mine"})
    made = await operator.get("Ingress", "demo-front")
    assert made["spec"]["ingressClassName"] == "public"
    assert made["spec"]["tls"] == [{"hosts": ["chat.example.com", "b.example.com"], "secretName": "mine"}]
    assert [rule["host"] for rule in made["spec"]["rules"]] == ["chat.example.com", "b.example.com"]
    (path,) = made["spec"]["rules"][0]["http"]["paths"]
    service = await operator.get("Service", path["backend"]["service"]["name"])
    (port,) = service["spec"]["ports"]
    assert port["port"] == path["backend"]["service"]["port"]["number"]
    without = await operator.condition("IngressReady")
    assert (without["status"], without["reason"]) == ("False", "FrontCertificateMissing")
    assert "Secret mine of ingress.front.tlsSecretName does not exist" in without["message"]
    assert (await operator.status())["url"] == "https://chat.example.com/"
    writes = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == writes

    operator.patch({"ingress": {"front": {"annotations": {"a": "b"}, "tlsSecretName": None}}})
    await operator.reconcile()
    changed = await operator.get("Ingress", "demo-front")
    assert changed["metadata"]["annotations"] == {"a": "b"}
    assert "tls" not in changed["spec"]
    assert (await operator.condition("IngressReady"))["reason"] == "AllReady"
    operator.patch({"ingress": {"front": None}})
    await operator.reconcile(2)
    for kind in ("Ingress", "Service"):
        assert await operator.kube.get(kind, operator.namespace, "demo-front") is None


async def test_without_the_gateway_api_the_chat_is_set_up_and_the_condition_says_what_to_do(operator: Operator) -> None:
    await _brought_up(operator, {"kind": "HTTPRoute", "parentRefs": GATEWAYS})
    told = await operator.condition("IngressReady")
    assert (told["status"], told["reason"]) == ("False", "GatewayApiMissing")
    assert "Install the Gateway API" in told["message"]
    assert (await operator.condition("Ready"))["status"] == "True"
    operator.patch({"ingress": {"front": {"kind": "Ingress", "parentRefs": None}}})
    await operator.reconcile(2)
    assert (await operator.condition("IngressReady"))["reason"] == "AllReady"
    await operator.get("Ingress", "demo-front")


@pytest.mark.usefixtures("gateways")
async def test_a_route_is_made_and_its_gateways_words_are_shown(operator: Operator) -> None:
    await _brought_up(operator, {"kind": "HTTPRoute", "parentRefs": GATEWAYS})
    made = await operator.get("HTTPRoute", "demo-front")
    assert made["spec"]["hostnames"] == ["chat.example.com", "b.example.com"]
    (reference,) = made["spec"]["rules"][0]["backendRefs"]
    assert (reference["kind"], reference["name"], reference["port"]) == ("Service", "demo-front", 80)
    waiting = await operator.condition("IngressReady")
    assert (waiting["status"], waiting["reason"]) == ("False", "RouteNotAccepted")
    assert "Gateway public has not accepted the route" in waiting["message"]

    _say(operator, made, "False", "NotAllowedByListeners", "no listener takes routes from there")
    await operator.reconcile()
    refused = await operator.condition("IngressReady")
    assert "Gateway public rejects the route: no listener takes routes from there" in refused["message"]

    _say(operator, made, "True", "Accepted", "all is well")
    await operator.reconcile()
    assert (await operator.condition("IngressReady"))["reason"] == "AllReady"
    writes = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == writes

    operator.patch({"ingress": {"front": None}})
    await operator.reconcile(2)
    for kind in ("HTTPRoute", "Service"):
        assert await operator.kube.get(kind, operator.namespace, "demo-front") is None


def _say(operator: Operator, route: dict[str, Any], status: str, reason: str, message: str) -> None:
    """What a Gateway's controller writes."""
    condition = {
        "type": "Accepted",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": route["metadata"]["generation"],
        "lastTransitionTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    parent = {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", **GATEWAYS[0]},
        "controllerName": CONTROLLER,
        "conditions": [condition],
    }
    operator.patch_status("httproute", "demo-front", {"parents": [parent]})


async def test_the_way_through_the_front_has_the_same_rules_and_insists_on_https(tmp_path: Path) -> None:
    route = replace(ROUTE, fronted=True, trusted_proxies=("127.0.0.1",))
    async with (
        in_front(tmp_path, route) as front,
        httpx.AsyncClient(base_url=front.fronted, verify=NO_TLS) as controller,
    ):
        by_https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Host": "chat.example.com"}
        answer = await controller.get("/x", headers=by_https)
        assert answer.text == "from the server"
        assert "Strict-Transport-Security" not in answer.headers
        (seen,) = front.seen
        assert (seen.headers["X-Forwarded-For"], seen.headers["X-Forwarded-Proto"]) == ("203.0.113.9", "https")
        sent_away = await controller.get("/x?y", headers={**by_https, "X-Forwarded-Proto": "http"})
        assert sent_away.status_code == httpx.codes.PERMANENT_REDIRECT
        assert sent_away.headers["Location"] == "https://chat.example.com/x?y"
        hidden = await controller.get("/metrics", headers=by_https)
        assert hidden.status_code == httpx.codes.NOT_FOUND
        assert len(front.seen) == 1

        reader, writer = await asyncio.open_connection("127.0.0.1", front.front_port)
        writer.write(
            b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"X-Forwarded-Proto: https\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert head.startswith(b"HTTP/1.1 101")
        assert await echo(reader, writer, b"through the front") == b"through the front"
        writer.close()
