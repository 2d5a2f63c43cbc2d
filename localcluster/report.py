"""`status`, `url` and `logs`: what runs, where, and what it said last. Nothing is changed."""

from __future__ import annotations

from pathlib import Path

from localcluster import engine as engines
from localcluster import ports, process, programs
from localcluster.deploy import CHAT_NAME, CHAT_NAMESPACE, OPERATOR_NAMESPACE, address, answers
from localcluster.kindcluster import kubectl_argv
from localcluster.paths import ClusterPaths, known_names
from localcluster.progress import LocalClusterError, say

LOG_LINES = 20
"""Newest lines a pod."""

QUERY_SECONDS = 20


def status(paths: ClusterPaths) -> None:
    """Print what runs.

    Raises:
        LocalClusterError: the cluster does not exist or does not answer.
    """
    others = [name for name in known_names(paths.root) if name != paths.name]
    say(f"cluster:    {paths.kind_name}" + (f" (others: {', '.join(others)})" if others else ""))
    engine = engines.running_engine(paths.engine)
    say("engine:     " + (f"private, process {engine.init.pid}" if engine and engine.init else "yours, or none"))
    relays = process.find("localcluster.relay", str(paths.state))
    if engine is not None:
        say("relay:      " + (f"process {relays[0].pid}" if relays else "NOT RUNNING; `make up` starts it"))
    chosen = _reachable(paths)
    say(f"kubeconfig: {paths.kubeconfig}")
    say("")
    say(_kubectl(paths, "get", "nodes") or "nodes: the API does not answer")
    say("")
    say(_kubectl(paths, "get", "chatclusters", "-A") or "no ChatClusters")
    say("")
    for namespace in (OPERATOR_NAMESPACE, CHAT_NAMESPACE):
        say(_kubectl(paths, "get", "pods", "-n", namespace) or f"no pods in {namespace}")
        say("")
    say(f"chat:       {address(chosen)}" + ("" if answers(chosen) else " (does not answer)"))


def url(paths: ClusterPaths) -> None:
    """Print the chat's address alone, for scripts.

    Raises:
        LocalClusterError: the cluster does not exist or does not answer.
    """
    say(address(_reachable(paths)).rstrip("/"))


def logs(paths: ClusterPaths) -> None:
    """Print the newest lines of the operator and of each chatserver.

    Raises:
        LocalClusterError: the cluster does not exist or does not answer.
    """
    _reachable(paths)
    selectors = (
        (OPERATOR_NAMESPACE, "app.kubernetes.io/name=chatcluster-operator"),
        (CHAT_NAMESPACE, f"app.kubernetes.io/instance={CHAT_NAME},app.kubernetes.io/component=chatserver"),
    )
    for namespace, selector in selectors:
        newest = _kubectl(
            paths,
            *["logs", "-n", namespace, "-l", selector, f"--tail={LOG_LINES}", "--prefix"],
            *["--max-log-requests=20", "--ignore-errors"],
        )
        say(f"==> {namespace}: {selector}")
        say(newest or "(no lines)")


def _reachable(paths: ClusterPaths) -> ports.Ports:
    chosen = ports.load(paths)
    if chosen is None or not paths.kubeconfig.exists():
        raise LocalClusterError(f"there is no cluster {paths.name}", remedy="`make up` makes it")
    if _kubectl(paths, "get", "--raw", "/readyz") is None:
        raise LocalClusterError(f"cluster {paths.name} does not answer", remedy="`make up` repairs it")
    return chosen


def _kubectl(paths: ClusterPaths, *arguments: str) -> str | None:
    return process.output_of(
        kubectl_argv(programs.in_cache("kubectl") or Path("kubectl"), paths, *arguments), timeout_seconds=QUERY_SECONDS
    )
