"""Where the local cluster keeps its files, and every name derived from the cluster's name."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from localcluster.progress import LocalClusterError

REPO_ROOT = Path(__file__).resolve().parent.parent

DEFAULT_NAME = "default"

MAX_NAME_LENGTH = 30
"""Characters. kind appends `-control-plane` to `chatcluster-NAME`; a hostname may have 63."""

_NAME = re.compile(rf"[a-z0-9]([a-z0-9-]{{0,{MAX_NAME_LENGTH - 2}}}[a-z0-9])?")

MAX_NODES = 5
"""More of them than two cores can carry."""

# Folders of .local that are no cluster's state.
_RESERVED = frozenset({"bench", "engine", "lanes", "logs"})


class InvalidNameError(LocalClusterError):
    """The cluster name cannot be used as a host name and a folder."""


@dataclass(frozen=True)
class ClusterPaths:
    """The files and names of one local cluster.

    Example:
        `ClusterPaths.of("other").kubeconfig` is `<repo>/.local/other/kubeconfig`.
    """

    name: str
    root: Path

    @classmethod
    def of(cls, name: str, root: Path | None = None) -> ClusterPaths:
        """Check the name and derive the paths.

        Raises:
            InvalidNameError: the name is no lower-case DNS label of at most 30 characters, or is reserved.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise InvalidNameError(
                f"NAME={name!r} cannot be used",
                remedy=f"choose 1 to {MAX_NAME_LENGTH} lower-case letters, digits and inner hyphens, "
                f"and none of {', '.join(sorted(_RESERVED))}",
            )
        return cls(name=name, root=root or REPO_ROOT / ".local")

    @property
    def state(self) -> Path:
        """Everything of this cluster except the default cluster's kubeconfig lies below this folder."""
        return self.root / self.name

    @property
    def kubeconfig(self) -> Path:
        """The file for KUBECONFIG."""
        return self.root / "kubeconfig" if self.name == DEFAULT_NAME else self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One log file a stage."""
        return self.state / "logs"

    @property
    def engine(self) -> Path:
        """Data, sockets and settings of the private engine."""
        return self.state / "engine"

    @property
    def kind_name(self) -> str:
        """The cluster's name in kind."""
        return f"chatcluster-{self.name}"

    @property
    def node(self) -> str:
        """The container that is the node with the control plane: the only one, or the first."""
        return f"{self.kind_name}-control-plane"

    def nodes(self, count: int) -> tuple[str, ...]:
        """The containers that are the nodes of a cluster with so many, the control plane first, as kind names them.

        Example:
            Three nodes of `other` -> `chatcluster-other-control-plane`, `chatcluster-other-worker`,
            `chatcluster-other-worker2`.
        """
        workers = (f"{self.kind_name}-worker{number if number > 1 else ''}" for number in range(1, count))
        return (self.node, *workers)

    @property
    def cgroup(self) -> str:
        """The parent of all cgroups of the private engine; its name is unique per machine and folder."""
        return f"chatcluster-{self.name}-{short_hash(str(self.state))}"


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that stand for the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def cache_root() -> Path:
    """The folder for what is built once and used by all clusters."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatcluster"


def known_names(root: Path | None = None) -> list[str]:
    """Names of the clusters that have state in this checkout."""
    base = root or REPO_ROOT / ".local"
    if not base.is_dir():
        return []
    names = (entry.name for entry in base.iterdir() if entry.is_dir())
    return sorted(name for name in names if _NAME.fullmatch(name) and name not in _RESERVED)
