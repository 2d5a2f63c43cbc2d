"""PromQL in pages: checked by promtool, and the metrics that it names."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

OTHERS = frozenset({"up"})
"""Metrics that Prometheus itself makes."""

_NAME = re.compile(r"(?<![\w:\"])[a-z_][\w:]*(?=\s*[{\[)]|\s*$|\s+[-+*/<>=]|\s+(?:and|or|unless)\b)", re.MULTILINE)
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")


def metrics(expression: str) -> set[str]:
    """Names of the metrics in an expression.

    `sum by (pod) (rate(x_total{a="b"}[5m])) / y` has `x_total` and `y`.
    """
    bare = re.sub(r"\{[^}]*\}", "{", _GROUPING.sub("", expression))
    return {name for name in _NAME.findall(bare) if "_" in name or name in OTHERS}


def faults(expressions: Iterable[str], folder: Path) -> str:
    """What promtool says against expressions; empty where it accepts all.

    Args:
        expressions: Each is checked as a rule of its own.
        folder: Where to write the file of rules.
    """
    rules = [{"record": f"checked:{number}", "expr": text} for number, text in enumerate(expressions)]
    path = folder / "checked.json"
    # JSON is YAML.
    path.write_text(json.dumps({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
