"""`down` and `purge`: end what runs, then remove what lies around; each step works whatever state it finds."""

from __future__ import annotations

import contextlib
import shutil

from localcluster import engine as engines
from localcluster import lock, process, programs
from localcluster.paths import ClusterPaths, cache_root, known_names
from localcluster.progress import LocalClusterError, Stage, say

RELAY_GRACE_SECONDS = 2


def down(paths: ClusterPaths) -> None:
    """Remove one cluster with its processes, network, cgroups and files. Nothing there is no error.

    Raises:
        LocalClusterError: something could not be removed.
    """
    with Stage(f"removing cluster {paths.kind_name}") as stage:
        stage.detail = "relay"
        process.end(process.find("localcluster.relay", str(paths.state)), grace_seconds=RELAY_GRACE_SECONDS)
        stage.detail = "private engine"
        had_private = paths.engine.exists() or engines.running_engine(paths.engine) is not None
        engines.stop_private(paths.engine, paths.cgroup)
        engines.stop_abandoned_build_engine()
        if not had_private:
            stage.detail = "cluster in your Docker Engine"
            _delete_from_users_engine(paths, stage)
        stage.detail = "files"
        _remove_files(paths)


def purge() -> None:
    """Remove every cluster of this checkout and the caches.

    Raises:
        LocalClusterError: something could not be removed.
    """
    for name in known_names():
        paths = ClusterPaths.of(name)
        lock.acquire(paths, take_over=True)
        down(paths)
    with Stage(f"deleting {cache_root()}"):
        engines.stop_private(engines.build_engine_folder(), engines.build_cgroup())
        for entry in sorted(cache_root().iterdir()) if cache_root().is_dir() else []:
            # uv runs this very program.
            if entry.name != "uv":
                shutil.rmtree(entry, ignore_errors=False)
    say("the module and build caches of Go are your own: `go clean -cache -modcache` empties them")


def _delete_from_users_engine(paths: ClusterPaths, stage: Stage) -> None:
    users = engines.users_engine()
    # Whatever of it is left: an interrupted removal may have taken the control plane and not the others.
    of_cluster = f"label=io.x-k8s.kind.cluster={paths.kind_name}"
    nodes = users.query("container", "ls", "--all", "--quiet", "--filter", of_cluster) if users else None
    if users is None or not nodes:
        return
    log = paths.logs / "down.log"
    kind = programs.kind(stage, log)
    process.run(
        [kind, "delete", "cluster", "--name", paths.kind_name],
        log=log,
        timeout_seconds=120,
        env=users.env(),
        remedy=f"`docker rm --force --volumes $(docker ps -aq --filter {of_cluster})`",
    )


def _remove_files(paths: ClusterPaths) -> None:
    paths.kubeconfig.unlink(missing_ok=True)
    paths.kubeconfig.with_name(f"{paths.kubeconfig.name}.lock").unlink(missing_ok=True)
    try:
        if paths.state.exists():
            shutil.rmtree(paths.state)
    except OSError as e:
        raise LocalClusterError(f"{paths.state} cannot be removed: {e}", remedy=f"`rm -rf {paths.state}`") from e
    # Held by this process until it ends; another one that waits for it would find it deleted and make its own.
    (paths.root / f"{paths.name}.lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.root.rmdir()
