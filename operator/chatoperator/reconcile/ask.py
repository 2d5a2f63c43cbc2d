"""Whether the chat answers: a real request through the ingress Service, and through each proxy behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatoperator.manifests.haproxy import HTTPS_PORT
from chatoperator.manifests.metadata import part_name, tls_secret_name
from chatoperator.observed import Answer, secret_text
from chatoperator.probe import Target

if TYPE_CHECKING:
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.probe import Prober


async def ask(prober: Prober, body: Manifest, observed: Observed) -> Answer:
    """Ask through the Service, and each proxy behind it: one that has found no server yet fails some clients.

    Returns:
        The first bad answer, else the Service's.
    """
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    service = observed.child("Service", part_name(name, "ingress"))
    address = service["spec"].get("clusterIP") if service else None
    if not address or address == "None":
        return Answer(ok=False, message="There is no ingress Service yet")
    authority = secret_text(observed.child("Secret", tls_secret_name(name)), "ca.crt")
    server_name = f"{part_name(name, 'ingress')}.{namespace}.svc"
    proxies = [
        Target(proxy.address, server_name, authority, HTTPS_PORT)
        for proxy in observed.component("ingress")
        if proxy.ready and not proxy.terminating and proxy.address
    ]
    targets = [Target(address, server_name, authority), *proxies]
    answers = await asyncio.gather(*(prober.ask(target) for target in targets))
    return next((answer for answer in answers if not answer.ok), answers[0])
