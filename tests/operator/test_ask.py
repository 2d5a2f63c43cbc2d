"""What a reconcile asks the running parts; the rest of it is tested on a real API server."""

from typing import Any, cast

import pytest

from chatoperator.observed import Answer, Observed, Pod
from chatoperator.probe import Target
from chatoperator.reconcile.ask import ask, targets
from tests.support.chatclusters import body

SERVICE = {"spec": {"clusterIP": "192.0.2.1"}}


class Proxies:
    """A data plane where some addresses answer and others do not."""

    def __init__(self, silent: str) -> None:
        self.silent = silent
        self.asked: list[tuple[str, int]] = []

    async def ask(self, target: Target) -> Answer:
        self.asked.append((target.address, target.port))
        return Answer(ok=target.address != self.silent, message=f"{target.address} was asked")


def proxy(address: str, *, ready: bool = True, terminating: bool = False) -> Pod:
    return Pod(
        name=address,
        component="ingress",
        address=address,
        host_address=None,
        ready=ready,
        started=True,
        terminating=terminating,
        lost=False,
        trouble=None,
        deletion_cost=None,
        credentials_digest=None,
        certificate_digest=None,
    )


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
    answer = await ask(cast("Any", proxies), targets(body(), observed))
    assert answer.ok is ok
    assert sorted(proxies.asked) == [("192.0.2.1", 443), ("192.0.2.11", 8443), ("192.0.2.12", 8443)]
