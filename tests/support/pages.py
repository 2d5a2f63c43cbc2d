"""The commands of the project's pages, run as they stand there by an admin's shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localcluster import programs
from tests.support.cluster import ROOT, environment, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster

COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""Blocks marked `sh` can be run as they stand."""

OPERATIONS = ROOT / "docs" / "operations"

BLOCK_SECONDS = 16 * 60
"""More than the longest --timeout on a page."""


def commands(page: Path, heading: str | None = None) -> list[str]:
    """The blocks of a page, or of its part under a heading of any level.

    Raises:
        AssertionError: There is no such heading.
    """
    text = page.read_text()
    if heading is not None:
        found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
        assert found, f"{page.name} has no heading {heading!r}"
        text = found[2]
    return COMMANDS.findall(text)


class Admin:
    """Somebody who follows a page in a checkout, with kubectl and Helm at hand.

    Args:
        cluster: What KUBECONFIG names.
        folder: Where the page's files go; `charts/` and `examples/` are found in it.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        for part in ("charts", "examples"):
            (folder / part).symlink_to(ROOT / part)

    async def types(self, block: str) -> str:
        """Run a block's commands until one fails; returns what they printed.

        Raises:
            CommandFailed: One failed.
        """
        helm = programs.in_cache("helm")
        path = environment()["PATH"] + (f":{helm.parent}" if helm else "")
        return await run(
            *("bash", "-c", f"set -euo pipefail\ncd {self._folder}\n{block}"),
            env={"KUBECONFIG": str(self._cluster.kubeconfig), "PATH": path},
            timeout_seconds=BLOCK_SECONDS,
        )
