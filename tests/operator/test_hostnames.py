"""Two ChatClusters with one hostname: the younger one is told, whoever is asked first."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.reporting.hostnames import Claim, Claims, claim, conflict
from tests.support.chatclusters import body


def _claim(name: str, created: str, namespace: str = "chat", **ingress: Any) -> Claim:
    raw = body(name=name, namespace=namespace, ingress=ingress)
    raw["metadata"]["creationTimestamp"] = created
    return claim(parse(raw))


OLD = _claim("old", "2026-01-01T00:00:00Z", hostnames=["a.example.com", "b.example.com"])
YOUNG = _claim("young", "2026-02-01T00:00:00Z", hostnames=["b.example.com", "c.example.com"])


def test_the_younger_has_the_conflict_and_the_older_has_none() -> None:
    assert conflict(YOUNG, [YOUNG, OLD]) == "The older ChatCluster old in namespace chat already uses b.example.com"
    assert conflict(OLD, [YOUNG, OLD]) is None


def test_a_chatcluster_of_another_namespace_is_not_named() -> None:
    theirs = _claim("secret-project", "2025-01-01T00:00:00Z", "their-namespace", hostnames=["b.example.com"])
    told = conflict(YOUNG, [YOUNG, OLD, theirs])
    assert told == "An older ChatCluster in another namespace already uses b.example.com"


def test_of_two_made_in_the_same_second_exactly_one_has_it() -> None:
    twins = [_claim(name, "2026-01-01T00:00:00Z", hostnames=["a.example.com"]) for name in ("b", "a")]
    assert [conflict(twin, twins) is not None for twin in twins] == [True, False]


@pytest.mark.parametrize(
    ("service", "conflicting"),
    [
        ({"type": "NodePort", "nodePort": 30443}, False),
        ({"type": "NodePort"}, False),
        ({"type": "NodePort", "nodePort": 443}, True),
        ({"type": "LoadBalancer"}, True),
    ],
)
def test_another_port_is_no_conflict(service: dict[str, Any], *, conflicting: bool) -> None:
    other = _claim("young", "2026-02-01T00:00:00Z", hostnames=["a.example.com"], service=service)
    assert (conflict(other, [OLD]) is not None) is conflicting


def test_claims_are_found_by_address_and_go_with_their_chatcluster() -> None:
    claims = Claims()
    for one in (OLD, YOUNG):
        claims.put(one)
    assert claims.conflict(YOUNG) == conflict(YOUNG, [OLD, YOUNG])
    assert claims.conflict(OLD) is None
    claims.put(_claim("old", OLD.created, hostnames=["a.example.com"]))
    assert claims.conflict(YOUNG) is None
    claims.put(OLD)
    claims.keep([("chat", "young")])
    assert claims.conflict(YOUNG) is None
    assert ("chat", "old") not in claims
