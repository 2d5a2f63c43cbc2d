"""The Helm chart, rendered by a real Helm."""

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from localcluster import programs
from localcluster.progress import Stage
from tests.support.cluster import ROOT

CHART = ROOT / "charts" / "chatcluster-operator"

KUBERNETES_VERSION = "1.34.0"
"""Outside a cluster Helm takes its own idea of one, which may be older than the chart allows."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm, the machine's own or the one that `make up` builds; the result may be a refusal."""
    return subprocess.run([_program(), *arguments], capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def _program() -> str:
    with tempfile.TemporaryDirectory() as folder:
        return str(programs.helm(Stage("helm"), Path(folder) / "build.log"))


def render(*values: str, namespace: str = "chatcluster-system") -> list[dict[str, Any]]:
    """All objects of the chart, installed as README says, with `--set` for each of `values`.

    Raises:
        AssertionError: Helm refused; with its words.
    """
    return [document for document in yaml.load_all(_text(values, namespace), yaml.CSafeLoader) if document]


@functools.cache
def _text(values: tuple[str, ...], namespace: str) -> str:
    settings = [part for value in values for part in ("--set", value)]
    done = helm(
        *("template", "chatcluster", str(CHART), "--namespace", namespace),
        *("--kube-version", KUBERNETES_VERSION, *settings),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
