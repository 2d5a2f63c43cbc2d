"""An operator process as the image runs it, but with a data plane that answers nothing: no pod runs in these tests.

Run as `python -m tests.support.operator_process` with the operator's environment and KUBECONFIG.
"""

import asyncio
import contextlib
import os
from unittest import mock

from chatoperator import logs, operate, settings
from tests.support.chatclusters import FakeProber


def main() -> None:
    """Stand by, lead, reconcile."""
    logs.configure("INFO")
    with (
        contextlib.suppress(asyncio.CancelledError),
        # The Services' addresses belong to somebody else here.
        mock.patch.object(operate, "Prober", return_value=FakeProber()),
    ):
        asyncio.run(operate.run(settings.read(os.environ)))


if __name__ == "__main__":
    main()
