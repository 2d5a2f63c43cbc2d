"""An operator process as the image runs it, but with a data plane that only seems to be there: no pod runs here.

Run as `python -m tests.support.operator_process` with the operator's environment and KUBECONFIG. CHAT_TEST_ANSWERS=1
has every chat answer and every server tell of its connections, and CHAT_TEST_CONSTANTS, JSON like
{"kube": {"WATCH_SECONDS": 3}}, shortens waits.
"""

import asyncio
import contextlib
import importlib
import json
import os
from unittest import mock

from chatoperator import logs, metrics, operate, settings
from chatoperator.observed import Answer, Reading
from tests.support.chatclusters import FakeProber


class Steady(dict[str, Reading | None]):
    """Each server there is has as many connections as the others, and keeps them."""

    def get(self, _name: str, _default: object = None) -> Reading:
        """What any server tells."""
        return Reading(connections=100, draining=False)


def main() -> None:
    """Stand by, lead, reconcile."""
    logs.configure("INFO")
    for module, constants in json.loads(os.environ.get("CHAT_TEST_CONSTANTS", "{}")).items():
        for name, value in constants.items():
            loaded = importlib.import_module(f"chatoperator.{module}")
            assert hasattr(loaded, name), f"{module} has no {name}"
            setattr(loaded, name, value)
    prober = FakeProber()
    if "CHAT_TEST_ANSWERS" in os.environ:
        prober.answer = Answer(ok=True, message="A request through the ingress was answered")
        prober.connections = Steady()
    configured = settings.read(os.environ)
    metrics.serve(configured.metrics_port)
    with (
        contextlib.suppress(asyncio.CancelledError),
        # The Services' addresses belong to somebody else here.
        mock.patch.object(operate, "Prober", return_value=prober),
    ):
        asyncio.run(operate.run(configured))


if __name__ == "__main__":
    main()
