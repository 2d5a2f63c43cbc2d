"""A kubectl that changes nothing: the API server only checks each change, as it checks a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """\
#!/bin/bash
case "$1 ${{2:-}}" in
  "annotate "* | "patch "* | "delete "* | "scale "* | "taint "* | "cordon "*) exec {kubectl} "$@" --dry-run=server ;;
  "exec "* | "chatcluster drain" | "chatcluster support-bundle") printf 'not run: kubectl %s\\n' "$*" ;;
  "get "* | "describe "* | "logs "*) exec {kubectl} "$@" ;;
  *) printf 'neither read nor tried: kubectl %s\\n' "$*" >&2; exit 2 ;;
esac
"""
"""What changes the inside of a pod cannot be tried: tests/integration/test_runbook_sql.py runs its SQL, and
tests/e2e/test_plugin.py the plugin."""


def install(folder: Path, kubectl: Path) -> Path:
    """Write the program; returns the folder to put at the front of the PATH.

    Args:
        folder: Gets a folder with it.
        kubectl: The real one.
    """
    program = folder / "dry-run" / "kubectl"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(kubectl=kubectl))
    program.chmod(0o755)
    return program.parent
