"""Commands of the runbooks on a real API server: what they read of objects is there, what they change is valid.

tests/e2e/test_runbooks.py runs all of them, those that need running pods too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import dryrun
from tests.support.runbooks import CHANGE, READ, runbooks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.apiserver import ApiServer
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

OF_OBJECTS = re.compile(r"kubectl (?:get(?! --raw| pvc .*-o| node ).*|describe .*)")
"""Commands that need neither a kubelet nor a controller."""


def run(script: str, server: ApiServer, namespace: str, programs: Path) -> subprocess.CompletedProcess[str]:
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(server.kubeconfig())}
    variables = f"NAMESPACE={namespace} CHAT=demo SYSTEM={namespace} OPERATOR=demo-chatserver POD=demo-chatserver-a"
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{variables}\n{script}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_what_a_runbook_reads_of_objects_is_there(operator: Operator) -> None:
    await operator.brought_up()
    for name, part in (("chatserver-a", "chatserver"), ("ingress-a", "ingress"), ("postgres-0", "postgres")):
        operator.pod(f"demo-{name}", part)
    await operator.reconcile(2)
    server, namespace = operator.server, operator.namespace
    # The operator's Lease, which no operator writes here.
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "demo-chatserver"}}
    operator.kubectl("create", "-f", "-", stdin=json.dumps(lease))
    lines = {
        line: book.name
        for book in runbooks()
        for block in book.blocks(READ)
        for line in re.sub(r"(\\|\|)\n\s*", r"\1 ", block).replace("\\ ", "").splitlines()
        if OF_OBJECTS.match(line)
    }
    assert len(lines) > 30
    failed = {}
    for line, name in lines.items():
        done = run(line, server, namespace, server.kubectl.parent)
        if done.returncode:
            failed[f"{name}: {line}"] = done.stderr
    assert failed == {}


def test_each_patch_of_a_runbook_is_accepted(server: ApiServer, minimal: dict[str, Any], tmp_path: Path) -> None:
    namespace = minimal["metadata"]["namespace"]
    assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(minimal)).returncode == 0
    programs = dryrun.install(tmp_path, server.kubectl)
    blocks = {block: book.name for book in runbooks() for block in book.blocks(CHANGE) if "patch chatcluster" in block}
    assert len(blocks) > 10
    for block, name in blocks.items():
        done = run(block, server, namespace, programs)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    live = json.loads(server.run_kubectl("get", "cc", "demo", "-n", namespace, "-o", "json").stdout)
    assert live["metadata"]["generation"] == 1, "a trial changes nothing"
