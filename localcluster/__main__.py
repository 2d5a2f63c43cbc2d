"""The command line: `python -m localcluster --name NAME up|status|url|...`, from the repository's root."""

from __future__ import annotations

import argparse
import sys

from localcluster import lock, report, teardown, up
from localcluster.paths import DEFAULT_NAME, ClusterPaths
from localcluster.progress import LocalClusterError, explain, say


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="localcluster", description="A local Kubernetes with a chat on it.")
    parser.add_argument("--name", default=DEFAULT_NAME, help="several clusters can stand side by side")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make or repair the cluster, the images, the operator and the chat")
    up.add_argument("--nodes", type=int, help="how many nodes; by default those of the cluster that is there, or one")
    until = up.add_mutually_exclusive_group()
    until.add_argument("--cluster-only", action="store_true", help="stop when Kubernetes works")
    until.add_argument("--no-chat", action="store_true", help="stop when the operator runs")
    commands.add_parser("status", help="what runs, and the chat's address")
    commands.add_parser("url", help="the chat's address, for scripts")
    commands.add_parser("logs", help="newest lines of the operator and the chatservers")
    commands.add_parser("tools", help="build the programs that the integration tests start")
    commands.add_parser("down", help="remove the cluster and all it left")
    commands.add_parser("purge", help="down for every cluster of this checkout, and delete the caches")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Run the command of the command line.

    Raises:
        LocalClusterError: it did not work.
    """
    paths = ClusterPaths.of(options.name)
    match options.command:
        case "up":
            lock.acquire(paths, take_over=False)
            up.up(paths, nodes=options.nodes, cluster_only=options.cluster_only, chat=not options.no_chat)
        case "tools":
            up.build_test_tools(paths)
        case "down":
            lock.acquire(paths, take_over=True)
            teardown.down(paths)
        case "purge":
            teardown.purge()
        case "status":
            report.status(paths)
        case "url":
            report.url(paths)
        case "logs":
            report.logs(paths)
        case unknown:
            raise AssertionError(unknown)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and turn an error into words and an exit status."""
    try:
        run(parse(arguments))
    except LocalClusterError as e:
        explain(e)
        return 1
    except KeyboardInterrupt:
        say("interrupted; `make up` continues from here, `make down` cleans up")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
