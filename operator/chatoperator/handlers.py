"""Every Kopf decorator. Kopf gives the watches; each event only wakes the reconcile of the ChatCluster it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from chatoperator.manifests.metadata import GROUP, MANAGED_SELECTOR, VERSION

if TYPE_CHECKING:
    from chatoperator.controller import Controller

CHILDREN = (
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("batch", "v1", "jobs"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("", "v1", "services"),
    ("", "v1", "configmaps"),
    ("", "v1", "secrets"),
    ("", "v1", "persistentvolumeclaims"),
    ("", "v1", "pods"),
)
"""(group, version, plural) of what the operator makes, and of the pods that come of it."""


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
    async def chatcluster_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        controller.wake(namespace, name)

    async def child_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        controller.wake_owner(namespace, labels)

    for resource in CHILDREN:
        kopf.on.event(*resource, id=resource[-1], registry=made)(child_changed)
    return made


def tune(settings: kopf.OperatorSettings) -> None:
    """Kopf's settings that have held elsewhere, and server-side selectors for all that is not ours."""
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
    for group, version, plural in CHILDREN:
        settings.watching.label_selectors[group, version, plural] = MANAGED_SELECTOR
