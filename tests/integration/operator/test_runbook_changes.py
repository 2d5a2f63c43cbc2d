"""What runbooks change in the ChatCluster is a valid change: the real API server checks it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import dryrun
from tests.support.runbooks import CHANGE, runbooks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration


def test_each_patch_of_a_runbook_is_accepted(server: ApiServer, minimal: dict[str, Any], tmp_path: Path) -> None:
    namespace = minimal["metadata"]["namespace"]
    assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(minimal)).returncode == 0
    folder = dryrun.install(tmp_path, server.kubectl)
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(server.kubeconfig()),
    }
    blocks = {block: book.name for book in runbooks() for block in book.blocks(CHANGE) if "patch chatcluster" in block}
    assert len(blocks) > 10
    for block, name in blocks.items():
        script = f"set -euo pipefail\nNAMESPACE={namespace} CHAT=demo\n{block}"
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    live = json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout)
    assert live["metadata"]["generation"] == 1, "a trial changes nothing"
