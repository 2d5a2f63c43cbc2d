"""The operator's process: connects, watches and reconciles until it is told to stop."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import kopf
import structlog

from chatoperator import handlers
from chatoperator.controller import Controller
from chatoperator.errors import KubeError
from chatoperator.kube import connect
from chatoperator.manifests.metadata import KIND
from chatoperator.probe import Prober
from chatoperator.reconcile import Reconciler

if TYPE_CHECKING:
    from chatoperator.kube import Kube
    from chatoperator.settings import Settings

CRD_WAIT_SECONDS = 2
"""Between two looks for the ChatCluster's CRD while the chart is still being installed."""

PROBE_CONNECTIONS = 64
"""Requests to the data plane at a time."""

log = structlog.get_logger(__name__)


async def run(configured: Settings) -> None:
    """Reconcile ChatClusters until the process is told to stop."""
    connector = aiohttp.TCPConnector(limit=PROBE_CONNECTIONS, force_close=True)
    async with connect(os.environ.get("KUBECONFIG")) as kube, aiohttp.ClientSession(connector=connector) as session:
        await _wait_for_crd(kube, configured)
        reconciler = Reconciler(
            kube,
            Prober(session),
            configured,
            monotonic=time.monotonic,
            now=lambda: dt.datetime.now(dt.UTC),
        )
        controller = Controller(reconciler, monotonic=time.monotonic, unix_time=time.time)
        log.info("started", version=configured.version, watch_namespace=configured.watch_namespace)
        await kopf.operator(
            registry=handlers.registry(controller),
            # Kopf would ask for the process's user name, and a container's user has none.
            identity=cast("Any", configured.pod_name),
            standalone=True,
            clusterwide=configured.watch_namespace is None,
            namespaces=[configured.watch_namespace] if configured.watch_namespace else [],
            liveness_endpoint=f"http://0.0.0.0:{configured.health_port}/healthz",
        )


async def _wait_for_crd(kube: Kube, configured: Settings) -> None:
    """Kopf looks for the CRD once, at its start; the chart may still be bringing it."""
    while True:
        try:
            await kube.list(KIND, configured.watch_namespace)
        except KubeError as error:
            log.warning("waiting for the CRD", error=str(error))
            await asyncio.sleep(CRD_WAIT_SECONDS)
        else:
            return
