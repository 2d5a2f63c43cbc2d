"""The operator's process: stands by, leads, watches and reconciles until it is stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import time
from typing import TYPE_CHECKING, Any, cast

import kopf
import structlog

from chatoperator import handlers, health, metrics
from chatoperator.controller import Controller
from chatoperator.errors import KubeError
from chatoperator.kube.cache import Cache
from chatoperator.kube.client import FORBIDDEN, connect
from chatoperator.metadata import KIND
from chatoperator.probes.connection import session
from chatoperator.probes.prober import Prober
from chatoperator.reconcile import Reconciler
from chatoperator.reconcile.context import Context

if TYPE_CHECKING:
    from chatoperator.kube.client import Kube
    from chatoperator.kube.lease import Lease
    from chatoperator.settings import Settings

CRD_WAIT_SECONDS = 2
"""Between two looks for the ChatCluster's CRD, or for a Role, while the chart is still being installed."""

EXIT_LEASE_LOST = 3

log = structlog.get_logger(__name__)


async def run(configured: Settings) -> None:
    """Stand by until this process holds the Lease, then reconcile ChatClusters until it is stopped.

    A process that loses the Lease exits at once: another one may already reconcile.
    """
    # As process 1 of a container it would not hear SIGTERM otherwise; Kopf replaces this once it runs.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cast("Any", asyncio.current_task()).cancel)
    metrics.BUILD_INFO.labels(version=configured.version).set(1)
    async with connect(os.environ.get("KUBECONFIG")) as kube, session() as probing:
        reconciler = Reconciler(
            Context(
                kube,
                Cache(
                    kube,
                    configured.watch_namespaces,
                    monotonic=time.monotonic,
                    bytes_max=configured.cache_bytes_max,
                ),
                Prober(probing),
                configured,
                monotonic=time.monotonic,
                now=lambda: dt.datetime.now(dt.UTC),
            )
        )
        controller = Controller(reconciler, monotonic=time.monotonic, unix_time=time.time)
        async with health.serving(configured.health_port, controller.check_alive):
            await _readable(kube, configured)
            lease = kube.lease(configured.namespace, configured.lease_name, configured.pod_name)
            log.info("standing by", version=configured.version, lease=configured.lease_name)
            await lease.acquire()
            await _readable(kube, configured)
            log.info("leading", version=configured.version, namespaces=configured.watch_namespaces or "all")
            await _lead(lease, controller, configured)


async def _lead(lease: Lease, controller: Controller, configured: Settings) -> None:
    metrics.LEADING.set(1)
    operating = asyncio.create_task(_operate(controller, configured))
    keeping = asyncio.create_task(lease.keep())
    await asyncio.wait({operating, keeping}, return_when=asyncio.FIRST_COMPLETED)
    if not operating.done():
        error = None if keeping.cancelled() else keeping.exception()
        log.error("lost the lease", lease=configured.lease_name, exc_info=error)
        # Not by way of cancelling what runs, which could take its time.
        os._exit(EXIT_LEASE_LOST)
    keeping.cancel()
    await asyncio.wait({keeping})
    await lease.release()
    operating.result()


async def _operate(controller: Controller, configured: Settings) -> None:
    await kopf.operator(
        registry=handlers.registry(controller),
        # Kopf would look up the user name of the process, and a container's user has none.
        identity=cast("Any", configured.pod_name),
        standalone=True,
        clusterwide=True,
    )


async def _readable(kube: Kube, configured: Settings) -> None:
    """Wait for the CRD, which the chart may still be bringing, and for a namespace that may be read."""
    namespaces: tuple[str | None, ...] = configured.watch_namespaces or (None,)
    while True:
        for namespace in namespaces:
            try:
                await kube.check_readable(KIND, namespace)
            except KubeError as error:
                log.warning("cannot read ChatClusters yet", namespace=namespace or "all", error=str(error))
                if error.status != FORBIDDEN:
                    break
            else:
                return
        await asyncio.sleep(CRD_WAIT_SECONDS)
