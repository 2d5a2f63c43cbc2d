"""cert-manager's own controllers, built from its Go module, on a test's API server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from localcluster import toolchain
from localcluster.progress import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer


def _folder(server: ApiServer) -> Path:
    """Built once, under the toolchain's lock; that takes four minutes of processor time."""
    return toolchain.ensure("cert-manager", Stage("cert-manager"), server.folder / "build-cert-manager.log")


@contextlib.contextmanager
def kinds(server: ApiServer) -> Iterator[None]:
    """The API server with cert-manager's kinds; afterwards without them, as other tests expect."""
    crds = str(_folder(server) / "crds")
    for arguments in (
        ("apply", "--server-side", "-f", crds),
        ("wait", "--for=condition=Established", "--timeout=30s", "-f", crds),
    ):
        done = server.run_kubectl(*arguments)
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        done = server.run_kubectl("delete", "--timeout=30s", "-f", crds)
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def controllers(server: ApiServer) -> Iterator[None]:
    """The controllers, for as long as their kinds are there."""
    with server.beside(_folder(server) / "cert-manager"):
        yield
