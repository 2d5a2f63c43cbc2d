"""What is said of an HTTPRoute in front."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.parts.ingress.routing import route_trouble
from tests.support.chatclusters import cluster

PARENTS = [{"name": "public", "namespace": "gateways", "sectionName": "https"}, {"name": "inside"}]

FRONTED = cluster(ingress={"hostnames": ["chat.example.com"], "front": {"kind": "HTTPRoute", "parentRefs": PARENTS}})


def said(parent: dict[str, Any], *conditions: tuple[str, str], generation: int = 2) -> dict[str, Any]:
    """A controller's words about one Gateway."""
    made = [
        {"type": kind, "status": status, "message": f"{kind} is {status}", "observedGeneration": generation}
        for kind, status in conditions
    ]
    return {"parentRef": {"kind": "Gateway", **parent}, "conditions": made}


def route(*parents: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "chat", "generation": 2}, "status": {"parents": list(parents)}}


WELL = (("Accepted", "True"), ("ResolvedRefs", "True"))
BOTH_WELL = route(said(PARENTS[0], *WELL), said({**PARENTS[1], "namespace": "chat"}, *WELL))


def test_a_route_that_all_gateways_take_on_is_no_news() -> None:
    assert route_trouble(FRONTED, BOTH_WELL, known=True) is None


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (None, "does not exist yet"),
        (route(), "Gateway public has not accepted the route"),
        (route(said(PARENTS[0], *WELL)), "Gateway inside has not accepted the route"),
        (
            route(said(PARENTS[0], *WELL, generation=1), said(PARENTS[1], *WELL)),
            "Gateway public has not accepted the route",
        ),
        (route(said({**PARENTS[0], "sectionName": "http"}, *WELL)), "Gateway public has not accepted the route"),
        (route(said(PARENTS[0], ("Accepted", "False"))), "Gateway public rejects the route: Accepted is False"),
        (route(said(PARENTS[0], ("Accepted", "True"), ("ResolvedRefs", "False"))), "ResolvedRefs is False"),
    ],
)
def test_what_a_gateway_does_not_do_is_told_in_its_words(live: dict[str, Any] | None, words: str) -> None:
    trouble = route_trouble(FRONTED, live, known=True)
    assert trouble is not None
    assert trouble.reason == "RouteNotAccepted"
    assert words in trouble.message


def test_a_cluster_without_the_gateway_api_is_told_what_to_do() -> None:
    trouble = route_trouble(FRONTED, None, known=False)
    assert trouble is not None
    assert trouble.reason == "GatewayApiMissing"


@pytest.mark.parametrize("front", [None, {"kind": "Ingress"}])
def test_without_a_route_nothing_is_said(front: dict[str, Any] | None) -> None:
    other = cluster(ingress={"hostnames": ["chat.example.com"], "front": front})
    assert route_trouble(other, None, known=False) is None
