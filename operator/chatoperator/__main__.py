"""`chatoperator run`: the composition root."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import sys
import time
from typing import Any, cast

import aiohttp
import kopf
import structlog

from chatoperator import handlers, logs, metrics, settings
from chatoperator.controller import Controller
from chatoperator.errors import KubeError, SettingsError
from chatoperator.kube import Kube, connect
from chatoperator.manifests.metadata import KIND
from chatoperator.probe import Prober
from chatoperator.reconcile import Reconciler

CRD_WAIT_SECONDS = 2
"""Between two looks for the ChatCluster's CRD while the chart is still being installed."""

PROBE_CONNECTIONS = 64
"""Requests to the data plane at a time."""

EXIT_MISUSE = 2

log = structlog.get_logger(__name__)


def main() -> None:
    """Entry point of the command `chatoperator`."""
    parser = argparse.ArgumentParser(prog="chatoperator", description=__doc__)
    parser.add_argument("command", choices=["run"], help="run: reconcile ChatClusters until stopped")
    parser.parse_args()
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        # Elsewhere its requests to pods and Services would leave for addresses that belong to somebody else.
        sys.stderr.write("chatoperator: run it in a pod of the cluster; the Helm chart does\n")
        sys.exit(EXIT_MISUSE)
    try:
        configured = settings.read(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"chatoperator: {error}\n")
        sys.exit(EXIT_MISUSE)
    logs.configure(configured.log_level)
    metrics.serve(configured.metrics_port)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run(configured))


async def run(configured: settings.Settings) -> None:
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


async def _wait_for_crd(kube: Kube, configured: settings.Settings) -> None:
    """Kopf looks for the CRD once, at its start; the chart may still be bringing it."""
    while True:
        try:
            await kube.list(KIND, configured.watch_namespace)
        except KubeError as error:
            log.warning("waiting for the CRD", error=str(error))
            await asyncio.sleep(CRD_WAIT_SECONDS)
        else:
            return


if __name__ == "__main__":
    main()
