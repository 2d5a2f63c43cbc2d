"""The operator's process: stands by, leads, watches and reconciles until it is told to stop."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import time
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import kopf
import structlog

from chatoperator import handlers, health, metrics
from chatoperator.cache import Cache
from chatoperator.controller import Controller
from chatoperator.errors import KubeError
from chatoperator.kube import FORBIDDEN, connect
from chatoperator.manifests.metadata import KIND
from chatoperator.probe import Prober
from chatoperator.reconcile import Reconciler

if TYPE_CHECKING:
    from chatoperator.kube import Kube
    from chatoperator.lease import Lease
    from chatoperator.settings import Settings

CRD_WAIT_SECONDS = 2
"""Between two looks for the ChatCluster's CRD, or for a Role, while the chart is still being installed."""

PROBE_CONNECTIONS = 64
"""Requests to the data plane at a time."""

EXIT_LEASE_LOST = 3

log = structlog.get_logger(__name__)


async def run(configured: Settings) -> None:
    """Stand by until this process holds the Lease, then reconcile ChatClusters until it is told to stop.

    A process that loses the Lease ends at once: another one may already reconcile.
    """
    # As process 1 of a container it would not hear SIGTERM otherwise; Kopf replaces this once it runs.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cast("Any", asyncio.current_task()).cancel)
    connector = aiohttp.TCPConnector(limit=PROBE_CONNECTIONS, force_close=True)
    async with connect(os.environ.get("KUBECONFIG")) as kube, aiohttp.ClientSession(connector=connector) as session:
        reconciler = Reconciler(
            kube,
            Cache(kube, configured.watch_namespaces, monotonic=time.monotonic),
            Prober(session),
            configured,
            monotonic=time.monotonic,
            now=lambda: dt.datetime.now(dt.UTC),
        )
        controller = Controller(reconciler, monotonic=time.monotonic, unix_time=time.time)
        async with health.serving(configured.health_port, controller.check_alive):
            await _readable(kube, configured)
            lease = kube.lease(configured.namespace, configured.lease_name, configured.pod_name)
            log.info("standing by", version=configured.version, lease=configured.lease_name)
            await lease.acquire()
            namespaces = await _readable(kube, configured)
            log.info("leading", version=configured.version, namespaces=namespaces or "all")
            await _lead(lease, controller, configured, namespaces)


async def _lead(lease: Lease, controller: Controller, configured: Settings, namespaces: list[str]) -> None:
    metrics.LEADING.set(1)
    operating = asyncio.create_task(_operate(controller, configured, namespaces))
    keeping = asyncio.create_task(lease.keep())
    await asyncio.wait({operating, keeping}, return_when=asyncio.FIRST_COMPLETED)
    if not operating.done():
        log.error("lost the lease", lease=configured.lease_name)
        # Not by way of cancelling what runs, which could take its time.
        os._exit(EXIT_LEASE_LOST)
    keeping.cancel()
    await asyncio.wait({keeping})
    await lease.release()
    operating.result()


async def _operate(controller: Controller, configured: Settings, namespaces: list[str]) -> None:
    await kopf.operator(
        registry=handlers.registry(controller),
        # Kopf would ask for the process's user name, and a container's user has none.
        identity=cast("Any", configured.pod_name),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


async def _readable(kube: Kube, configured: Settings) -> list[str]:
    """Wait for the CRD, which the chart may still be bringing: Kopf looks for it once, at its start.

    Returns:
        The namespaces for Kopf to watch; none for all. It would end at the first one that it may not read, such as one
        that was deleted; those are left to the sweep, which reads them again when their Role is back.
    """
    wanted: tuple[str | None, ...] = configured.watch_namespaces or (None,)
    while True:
        found: list[str | None] = []
        for namespace in wanted:
            try:
                await kube.list(KIND, namespace)
            except KubeError as error:
                log.warning("cannot read ChatClusters yet", namespace=namespace or "all", error=str(error))
                if error.status != FORBIDDEN:
                    found.clear()
                    break
            else:
                found.append(namespace)
        if found:
            return [namespace for namespace in found if namespace is not None]
        await asyncio.sleep(CRD_WAIT_SECONDS)
