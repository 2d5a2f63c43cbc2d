"""Kinds of other projects on a test's API server, from their Go modules."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from localcluster import toolchain
from localcluster.progress import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

PATIENCE_SECONDS = 60

CERTIFICATES = ("cert-manager", "cert-manager.io_certificates.yaml")
ROUTES = ("gateway-api", "gateway.networking.k8s.io_httproutes.yaml")


def folder(server: ApiServer, module: str) -> Path:
    """What the build of `gomodules.PROGRAMS[module]` yields, made once under the toolchain's lock."""
    return toolchain.ensure(module, Stage(module), server.folder / f"build-{module}.log")


def await_established(server: ApiServer, crds: str) -> None:
    """Wait until the API server serves the kinds of a file or folder."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    # It gives up where a status has no conditions yet.
    while (done := server.run_kubectl("wait", "--for=condition=Established", "--timeout=5s", "-f", crds)).returncode:
        assert time.monotonic() < deadline, done.stderr


@contextlib.contextmanager
def installed(server: ApiServer, module: str, file: str = "") -> Iterator[None]:
    """The API server with a module's kinds, or one of them; afterwards without, as other tests expect."""
    crds = str(folder(server, module) / "crds" / file)
    done = server.run_kubectl("apply", "--server-side", "-f", crds)
    assert done.returncode == 0, done.stderr
    await_established(server, crds)
    try:
        yield
    finally:
        done = server.run_kubectl("delete", "--timeout=30s", "-f", crds)
        assert done.returncode == 0, done.stderr
