"""An operator process as the image runs it, but with a data plane that only seems to be there: no pod runs here.

Run as `python -m tests.support.operator_process` with the operator's environment and KUBECONFIG. CHAT_TEST_ANSWERS=1
has every chat answer and every server tell of its connections, and CHAT_TEST_CONSTANTS, JSON like
{"kube.client": {"WATCH_SECONDS": 3}}, shortens waits. CHAT_TEST_INGRESSES, JSON like {"demo": ["127.0.0.2", 8443]},
has it probe the real parts: pods at their addresses, and the ingress of each ChatCluster at this one.
"""

import asyncio
import contextlib
import importlib
import json
import os
from dataclasses import replace
from unittest import mock

import aiohttp

from chatoperator import logs, operate, settings
from chatoperator.metrics import prometheus
from chatoperator.observed import Answer, Reading
from chatoperator.probes.prober import Prober, Target
from tests.support.chatclusters import FakeProber


class Steady(dict[str, Reading | None]):
    """Each server there is has as many connections as the others, and keeps them."""

    def get(self, _name: str, _default: object = None) -> Reading:
        """What any server tells."""
        return Reading(connections=100, draining=False)


class Led(Prober):
    """The real one, which finds ingresses elsewhere than at their Services' addresses.

    Args:
        session: Its own.
        ingresses: Address and port by the ChatCluster's name.
    """

    def __init__(self, session: aiohttp.ClientSession, ingresses: dict[str, tuple[str, int]]) -> None:
        super().__init__(session)
        self._ingresses = ingresses

    async def probe_once(self, target: Target, seconds: float) -> Answer:
        """What the ingress of this name answers."""
        address, port = self._ingresses[target.server_name.partition("-ingress.")[0]]
        return await super().probe_once(replace(target, address=address, port=port), seconds)


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
        prober.answer = Answer(ok=True, message="A request through the ingress was answered", seconds=0.02)
        prober.connections = Steady()
    configured = settings.read(os.environ)
    prometheus.serve(configured.metrics_port)
    ingresses = os.environ.get("CHAT_TEST_INGRESSES")

    def made(session: aiohttp.ClientSession) -> Prober | FakeProber:
        return prober if ingresses is None else Led(session, json.loads(ingresses))

    with (
        contextlib.suppress(asyncio.CancelledError),
        # The Services' addresses belong to somebody else here.
        mock.patch.object(operate, "Prober", side_effect=made),
    ):
        asyncio.run(operate.run(configured))


if __name__ == "__main__":
    main()
