"""Nodes that only say that they run pods: kwok in the place of kubelets."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support.apiserver import process
from tests.support.cluster import ROOT
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apiserver import ApiServer

NODE = "kwok"

STAGES = ROOT / "tests" / "support" / "kwok.yaml"

POD_CIDR, NODE_ADDRESS = "198.18.0.0/15", "192.0.2.1"
"""Addresses that stand for nobody's machines (RFC 2544, RFC 5737)."""


@contextlib.contextmanager
def node(server: ApiServer) -> Iterator[int]:
    """A node on which every pod is ready at once, and every Job's pod done; gives the id of kwok's process.

    kwok is built from its Go modules the first time, which takes minutes.
    """
    program = toolchain.ensure("kwok", Stage("kwok"), server.folder / "kwok-build.log") / "kwok"
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    applied = server.run_kubectl("apply", "-f", "-", stdin=json.dumps(made))
    assert applied.returncode == 0, applied.stderr
    port = free_port()
    with process(
        server.folder / "kwok.log",
        str(program),
        f"--kubeconfig={server.kubeconfig()}",
        f"--config={STAGES}",
        "--manage-all-nodes",
        f"--cidr={POD_CIDR}",
        f"--node-ip={NODE_ADDRESS}",
        f"--server-address=127.0.0.1:{port}",
    ) as started:
        try:
            yield started.pid
        finally:
            server.run_kubectl("delete", "node", NODE, "--wait=false")
