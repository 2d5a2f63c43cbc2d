"""Whether the chat answers: a real request through the ingress Service, and through each proxy behind it."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from chatoperator.kube.objects import mounted_secrets, rolling, secret_text
from chatoperator.metadata import ca_secret_name, part_name, tls_secret_name
from chatoperator.observed import Answer
from chatoperator.parts.database.replication import patroni
from chatoperator.parts.ingress.clients import expects_header
from chatoperator.parts.ingress.haproxy import HTTPS_PORT
from chatoperator.parts.ingress.tls.faults import CERTIFICATE_BYTES_MAX
from chatoperator.probes.prober import Target

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from chatoperator.kube.lanes import Key
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.probes.prober import Prober
    from chatoperator.reconcile.state import State
    from chatoperator.reports import AgentReport, BackupReport


GLANCE_SECONDS = 2
"""For the pulse's request: one that takes longer is worth a reconcile, which waits longer."""

GLANCES_AT_A_TIME = 128
"""Of a pulse. Where all hang, a thousand of them take a quarter of a minute."""

PROXIES_MAX, PROXIES_AT_A_TIME = 64, 32
"""Of one chat that are probed, and at once. There are at most 20, and as many again in a rollout; a tenant can
create any number of pods that look like them, and each costs the operator sockets and a TLS handshake."""

SWAP_SECONDS = 90
"""Until every proxy serves what its Secret holds: kubelet refreshes a mount within it, touched or not."""


def targets(body: Manifest, observed: Observed, *, own_for: float | None = math.inf) -> tuple[Target, ...]:
    """The Service, and each proxy behind it: one that has found no server yet fails some clients.

    Args:
        body: The ChatCluster.
        observed: Its children.
        own_for: Seconds for which the proxies' Secret has held the operator's own certificate again; None where it
            is to hold another.

    Returns:
        The Service first; none while it has no address.
    """
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    service = observed.child("Service", part_name(name, "ingress"))
    address = service["spec"].get("clusterIP") if service else None
    if not address or address == "None":
        return ()
    swapped = own_for is not None and own_for >= SWAP_SECONDS
    authority = _authority(name, observed) if swapped else None
    server_name = f"{part_name(name, 'ingress')}.{namespace}.svc"
    config = observed.child("ConfigMap", part_name(name, "ingress")) or {}
    headed = expects_header((config.get("data") or {}).get("haproxy.cfg", ""))
    proxies = [
        Target(proxy.address, server_name, authority, HTTPS_PORT, headed)
        for proxy in observed.component("ingress")
        if proxy.ready and not proxy.terminating and proxy.address
    ]
    return (Target(address, server_name, authority, headed=headed), *proxies[:PROXIES_MAX])


def _authority(name: str, observed: Observed) -> str | None:
    """Who issued what the proxies serve, if it is the operator. Its Secret alone is no sign: it outlives its use."""
    proxies = observed.workload(name, "ingress")
    if proxies is None or rolling(proxies):
        return None
    held = secret_text(observed.child("Secret", tls_secret_name(name)), "ca.crt")
    own = secret_text(observed.child("Secret", ca_secret_name(name)), "ca.crt")
    # The operator's own is short; each request would read it again.
    if own is None or own != held or len(own) > CERTIFICATE_BYTES_MAX:
        return None
    return own if tls_secret_name(name) in mounted_secrets(proxies) else None


async def reach(prober: Prober, targets: Sequence[Target]) -> Answer:
    """Probe all of them, some at a time.

    Returns:
        The first bad answer, else the first one's.
    """
    if not targets:
        return Answer(ok=False, message="The ingress Service does not exist yet")
    turn = asyncio.Semaphore(PROXIES_AT_A_TIME)

    async def answer(target: Target) -> Answer:
        async with turn:
            return await prober.probe(target)

    answers = await asyncio.gather(*map(answer, targets))
    return next((one for one in answers if not one.ok), answers[0])


async def reports_of_agents(prober: Prober, observed: Observed) -> dict[str, AgentReport | None]:
    """What the agents of healthy PostgreSQLs say, by pod name; one that is not healthy is not waited for."""
    addresses = {
        pod.name: pod.address
        for pod in observed.component("postgres")
        if pod.ready and not pod.terminating and pod.address
    }
    reports = await asyncio.gather(*map(prober.agent, addresses.values()))
    return dict(zip(addresses, reports, strict=True))


async def report_of_backup(prober: Prober, observed: Observed) -> BackupReport | None:
    """What the backup pod says; None where it is not healthy, or there is none."""
    for pod in observed.component("backup"):
        if pod.ready and not pod.terminating and pod.address:
            return await prober.backup(pod.address)
    return None


def report_of_leader(cluster_name: str, observed: Observed) -> AgentReport | None:
    """That of the agent beside the leader, or the only one: roles and passwords are changed there."""
    leader = patroni.read(cluster_name, observed).leader
    reports = list(observed.agents.values())
    if leader is not None and leader in observed.agents:
        return observed.agents[leader]
    return reports[0] if len(reports) == 1 else None


async def pulse(prober: Prober, states: Mapping[Key, State], now: dt.datetime) -> list[Key]:
    """The ChatClusters whose Ready may have turned since their last reconcile: one request each, to the Service.

    And those that wait for a change that no event reports.

    Args:
        prober: Sends the requests.
        states: What the last reconciles left behind.
        now: The time with its zone.
    """
    held = {key: state for key, state in states.items() if state.targets}
    turn = asyncio.Semaphore(GLANCES_AT_A_TIME)

    async def glance(target: Target) -> Answer:
        async with turn:
            return await prober.probe_once(target, GLANCE_SECONDS)

    answers = await asyncio.gather(*(glance(state.targets[0]) for state in held.values()))
    turned = [key for key, state in states.items() if state.waiting]
    for (key, state), answer in zip(held.items(), answers, strict=True):
        if answer.seconds is not None:
            state.series.answered(answer.seconds, ok=answer.ok)
        over = state.unaccepted or (state.certificate_expires is not None and state.certificate_expires <= now)
        if (answer.ok and not over) != state.ready and not state.waiting:
            turned.append(key)
    return turned
