"""Every Kopf decorator. Kopf runs the process: it starts the controller, hears signals, and stops it.

It watches nothing: its own watch reads each line with `json.loads`, and one ChatCluster that Python cannot read would
end it, and the process, for all of them (docs/decisions/0030). The cache lists and watches ChatClusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

if TYPE_CHECKING:
    from chatoperator.controller import Controller


def registry(controller: Controller) -> kopf.OperatorRegistry:
    """The handlers, bound to a controller."""
    made = kopf.OperatorRegistry()

    @kopf.on.startup(registry=made)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        # Of all settings the only one that matters without a watch: Kopf would watch CRDs, which takes another right.
        settings.scanning.disabled = True
        controller.start()

    @kopf.on.login(registry=made)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=made)
    async def stop(**_: Any) -> None:
        await controller.stop()

    return made
