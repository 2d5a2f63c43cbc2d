"""What a release is made from: the version, and a tree that agrees with it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import yaml

from localcluster.process import output_of
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from pathlib import Path

GIT_SECONDS = 30

CHART = "charts/chatcluster-operator"

CLIENT = "clients/python"


def version_of(root: Path) -> str:
    """The version, which `pyproject.toml` defines: wheels take it from there, the rest is compared with it."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return version


def disagreements(root: Path) -> list[str]:
    """What speaks of another version than `pyproject.toml`, each as a sentence with the remedy; empty: nothing does."""
    version = version_of(root)
    chart = yaml.safe_load((root / CHART / "Chart.yaml").read_text())
    found = [
        f"{CHART}/Chart.yaml has {field} {chart[field]}: set it to {version}"
        for field in ("version", "appVersion")
        if chart[field] != version
    ]
    client = tomllib.loads((root / CLIENT / "pyproject.toml").read_text())["project"]["version"]
    if client != version:
        found.append(f"{CLIENT}/pyproject.toml has version {client}: set it to {version}")
    title = re.compile(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", re.MULTILINE)
    if not title.search((root / "CHANGELOG.md").read_text()):
        found.append(f"CHANGELOG.md has no section [{version}]: run `make changelog`")
    return found


def commit_of(root: Path) -> tuple[str, int]:
    """The commit that is checked out, and its time in seconds since 1970.

    Raises:
        LocalClusterError: the tree has changes that no commit holds, or is no checkout.
    """
    changes = output_of(["git", "status", "--porcelain"], timeout_seconds=GIT_SECONDS, cwd=root)
    shown = output_of(["git", "show", "--no-patch", "--format=%H %ct"], timeout_seconds=GIT_SECONDS, cwd=root)
    if changes is None or not shown:
        raise LocalClusterError(f"{root} is no Git checkout", remedy="make releases from a clone")
    if changes:
        raise LocalClusterError(
            f"the tree has changes that are not committed: {', '.join(line[3:] for line in changes.splitlines()[:5])}",
            remedy="commit or remove them: a release is what a commit holds",
        )
    commit, _, seconds = shown.partition(" ")
    return commit, int(seconds)
