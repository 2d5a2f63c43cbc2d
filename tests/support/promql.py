"""PromQL in pages: checked by promtool, and the metrics that it names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.support.prometheus import check

if TYPE_CHECKING:
    from collections.abc import Iterable

HAPROXY = frozenset(
    {
        "haproxy_backend_active_servers",
        "haproxy_backend_connection_errors_total",
        "haproxy_backend_current_queue",
        "haproxy_backend_http_responses_total",
        "haproxy_backend_response_errors_total",
        "haproxy_frontend_current_sessions",
        "haproxy_frontend_http_responses_total",
        "haproxy_process_current_connections",
        "haproxy_process_max_connections",
    }
)
"""Those of its own exporter that runbooks use."""

VALKEY = frozenset(
    {
        "valkey_client_output_buffer_limit_disconnections_total",
        "valkey_evicted_keys_total",
        "valkey_memory_max_bytes",
        "valkey_memory_used_bytes",
    }
)
"""Those of Valkey's exporter that runbooks use."""

OTHERS = HAPROXY | VALKEY | {"up"}
"""Metrics that no component of the project declares."""

_NAME = re.compile(r"(?<![\w:\"])[a-z_][\w:]*(?=\s*[{\[)]|\s*$|\s+[-+*/<>=]|\s+(?:and|or|unless)\b)", re.MULTILINE)
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")


def metrics(expression: str) -> set[str]:
    """Names of the metrics in an expression.

    `sum by (pod) (rate(x_total{a="b"}[5m])) / y` has `x_total` and `y`.
    """
    bare = re.sub(r"\{[^}]*\}", "{", _GROUPING.sub("", expression))
    return {name for name in _NAME.findall(bare) if "_" in name or name in OTHERS}


def faults(expressions: Iterable[str]) -> str:
    """What promtool says against expressions; empty where it accepts all."""
    rules = [{"record": f"checked:{number}", "expr": text} for number, text in enumerate(expressions)]
    # JSON is YAML.
    return check("rules", json.dumps({"groups": [{"name": "checked", "rules": rules}]}))
