"""Every command of every runbook, and of the page of monitoring, on the real cluster, with a healthy chat.

What reads runs as it stands, and has to succeed. What changes something goes through a kubectl that only has the API
server check it; what changes the inside of a pod is not run here.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support import dryrun
from tests.support.cluster import Cluster, CommandFailed, environment, run
from tests.support.findings import tell
from tests.support.pages import Admin, commands
from tests.support.runbooks import CHANGE, READ, runbooks, with_pods
from tests.support.scrapes import PAGE

AT_A_TIME = 4
"""Scripts: enough to keep two cores busy."""

SCRIPT_SECONDS = 180


async def test_the_diagnosis_of_every_runbook_runs_on_a_healthy_chat(cluster: Cluster, tmp_path: Path) -> None:
    failed = await _failures(cluster, tmp_path, READ, {})
    assert failed == {}


async def test_the_api_server_accepts_the_changes_of_every_runbook(cluster: Cluster, tmp_path: Path) -> None:
    path = environment()["PATH"]
    kubectl = shutil.which("kubectl", path=path)
    assert kubectl is not None
    folder = dryrun.install(tmp_path, Path(kubectl))
    before = await _state(cluster)
    failed = await _failures(cluster, tmp_path, CHANGE, {"PATH": f"{folder}{os.pathsep}{path}"})
    assert failed == {}
    assert await _state(cluster) == before, "a trial changes nothing"


async def test_the_commands_of_the_page_of_monitoring_run(cluster: Cluster, tmp_path: Path) -> None:
    admin = Admin(cluster, tmp_path)
    for block in commands(PAGE):
        await admin.types(block)


async def _failures(cluster: Cluster, folder: Path, kind: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Run the different scripts of a kind; returns the errors by the names of the pages."""
    pods = {part: (await cluster.pods(part))[0]["metadata"]["name"] for part in ("chatserver", "ingress")}
    scripts: dict[str, list[str]] = {}
    for book in runbooks():
        for script in book.scripts(kind):
            scripts.setdefault(with_pods(script, pods), []).append(book.name)
    tell(f"runbooks: {len(scripts)} scripts of kind {kind!r}")
    turns = asyncio.Semaphore(AT_A_TIME)

    async def tried(script: str, names: Iterable[str]) -> tuple[str, str]:
        async with turns:
            try:
                await run(
                    *("bash", "-c", f"set -euo pipefail\ncd {folder}\n{script}"),
                    env={"KUBECONFIG": str(cluster.kubeconfig), **extra},
                    timeout_seconds=SCRIPT_SECONDS,
                )
            except CommandFailed as error:
                return ", ".join(names), str(error)
        return "", ""

    found = await asyncio.gather(*(tried(script, names) for script, names in scripts.items()))
    return {names: error for names, error in found if error}


async def _state(cluster: Cluster) -> Any:
    """What the changes of runbooks would change, without what changes in a healthy chat."""
    chat = await cluster.get("chatcluster", "demo")
    kinds = ("pods", "chat"), ("nodes", ""), ("pods", "chatcluster-system")
    listed = [await cluster.get(kind, namespace=namespace) for kind, namespace in kinds]
    return chat["spec"], [
        (one["metadata"]["uid"], one["metadata"].get("deletionTimestamp"), one["spec"].get("unschedulable"))
        for items in listed
        for one in items
    ]
