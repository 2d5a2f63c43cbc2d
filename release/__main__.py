"""The command line: `python -m release`, from the repository's root."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from localcluster.paths import REPO_ROOT, ClusterPaths
from localcluster.progress import LocalClusterError, Stage, explain, say
from release import artifacts
from release.source import commit_of, disagreements, version_of

TARGET = REPO_ROOT / "dist"


def make(*, with_images: bool) -> None:
    """Fill `dist/`; what was there is replaced when all is made.

    Raises:
        LocalClusterError: the tree is no release, or a step failed.
    """
    version, (commit, seconds) = version_of(REPO_ROOT), commit_of(REPO_ROOT)
    if wrong := disagreements(REPO_ROOT):
        raise LocalClusterError("; ".join(wrong), remedy="see docs/releasing.md")
    paths = ClusterPaths.of("release")
    paths.logs.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="dist-", dir=paths.state))
    try:
        with Stage("wheels"):
            artifacts.make_wheels(REPO_ROOT, made, seconds, paths.logs / "release.log")
        artifacts.make_chart(REPO_ROOT, made, version, seconds, paths.logs / "release.log")
        if with_images:
            artifacts.make_images(paths, made, version, seconds)
        artifacts.write_sums(made)
        made.chmod(0o755)
        shutil.rmtree(TARGET, ignore_errors=True)
        made.rename(TARGET)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    # Only now: after a failure its logs are what somebody looks for.
    shutil.rmtree(paths.state, ignore_errors=True)
    say(f"{TARGET} holds {version} of commit {commit}; next: git tag --sign v{version} {commit}")


def main(arguments: list[str] | None = None) -> int:
    """Make the release; returns the exit status."""
    parser = argparse.ArgumentParser(prog="release", description="Make the artifacts of a release in dist/.")
    parser.add_argument("--no-images", action="store_true", help="leave the image archives out")
    parser.add_argument("--print-version", action="store_true", help="print the version and do nothing else")
    options = parser.parse_args(arguments)
    if options.print_version:
        say(version_of(REPO_ROOT))
        return 0
    try:
        make(with_images=not options.no_images)
    except LocalClusterError as e:
        explain(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
