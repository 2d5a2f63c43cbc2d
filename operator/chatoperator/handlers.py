"""Every Kopf decorator. Kopf runs the process and watches ChatClusters; an event only wakes a reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from chatoperator.manifests.metadata import GROUP, VERSION

if TYPE_CHECKING:
    from chatoperator.controller import Controller


def registry(controller: Controller) -> kopf.OperatorRegistry:
    """The handlers, bound to a controller."""
    made = kopf.OperatorRegistry()

    @kopf.on.startup(registry=made)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        tune(settings)
        controller.start()

    @kopf.on.login(registry=made)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=made)
    async def stop(**_: Any) -> None:
        await controller.stop()

    @kopf.on.event(GROUP, VERSION, "chatclusters", registry=made)
    async def chatcluster_changed(event: kopf.RawEvent, **_: Any) -> None:
        controller.changed(event["type"], dict(event["object"]))

    return made


def tune(settings: kopf.OperatorSettings) -> None:
    """Kopf's settings that have held elsewhere, for the one kind it watches."""
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (0.5, 1, 2, 4, 8)
    settings.execution.max_workers = 16
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{GROUP}")
    # The reconcile writes its own Events.
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.peering.standalone = True
    # The CRD is there before Kopf starts, so that watching CRDs and namespaces needs no rights.
    settings.scanning.disabled = True
