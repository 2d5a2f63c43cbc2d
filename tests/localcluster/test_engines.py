"""An engine that cannot carry the cluster is rejected with a clear message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from localcluster import engine as engines
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from pathlib import Path

DOCKER = """#!/bin/sh
case "$*" in
"--version") echo "{version}" ;;
"version --format"*) echo "{components}" ;;
*SecurityOptions*) echo "{options}" ;;
"info --format"*) echo "29.1.3" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program `docker` can be put, before all others on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker"


def answer(
    docker: Path,
    version: str = "Docker version 29.1.3, build 1234567",
    components: str = "Engine;containerd;runc;docker-init;",
    options: str = "[name=seccomp,profile=builtin name=cgroupns] cgroup=2",
) -> None:
    docker.write_text(DOCKER.format(version=version, components=components, options=options))
    docker.chmod(0o755)


def checked() -> engines.Engine:
    engines.check_program()
    engine = engines.users_engine()
    assert engine is not None
    engines.check_engine(engine)
    return engine


def test_an_engine_that_runs_as_root_is_taken(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(docker)
    assert not checked().private
    assert capsys.readouterr().out == ""


def test_podmans_docker_command_is_rejected(docker: Path) -> None:
    answer(docker, version="Emulate Docker CLI using podman. podman version 5.4.2")
    with pytest.raises(LocalClusterError, match="`docker` is Podman here"):
        checked()


def test_podmans_socket_behind_dockers_command_is_rejected(docker: Path) -> None:
    answer(docker, components="Podman Engine;Conmon;OCI Runtime (crun);")
    with pytest.raises(LocalClusterError, match="reaches is Podman"):
        checked()


def test_an_engine_without_root_needs_cgroup_2(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(docker, options="[name=seccomp,profile=builtin name=rootless] cgroup=1")
    with pytest.raises(LocalClusterError, match="without root on cgroup v1") as caught:
        checked()
    assert "cgroup v2" in caught.value.remedy
    answer(docker, options="[name=seccomp,profile=builtin name=rootless name=cgroupns] cgroup=2")
    assert not checked().private
    assert "needs cgroup delegation" in capsys.readouterr().out
