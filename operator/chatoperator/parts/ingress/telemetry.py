"""What HAProxy reports: its log, and its page of metrics. Pure."""

from __future__ import annotations

_PAGE = "{ path /metrics }"

DEFAULT_SCOPES = "scope=global&scope=frontend&scope=backend"
"""Of the metrics, where a scrape names none: about 300 series. The scope `server` has 57 for each of 150 slots."""

LIMIT_PAGE = f"    http-request set-query {DEFAULT_SCOPES} if {_PAGE} !{{ query -m len ge 1 }}\n"

PAGE = f"{LIMIT_PAGE}    http-request use-service prometheus-exporter if {_PAGE}\n"
"""Rules of the frontend that answers scrapes. A query of the scrape counts instead of the default: `?scope=server`."""


def _format(fields: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


_FIELDS_OF_0_1_0 = {
    "event": '"request"',
    "timestamp": "%Ts.%ms",
    "client": '"%ci"',
    "method": '"%[var(txn.method),json(utf8s)]"',
    "path": '"%[var(txn.path),json(utf8s)]"',
    "status": "%ST",
    "bytes": "%B",
    "milliseconds": "%Ta",
    "server": '"%s"',
    "termination": '"%ts"',
    "request_id": '"%[var(txn.request_id),json(utf8s)]"',
}
"""Of release 0.1.0, whose pods keep it until they restart for something else."""

_FIELDS = {
    **_FIELDS_OF_0_1_0,
    # When the line is written, as in the servers' lines. Also without a request, unlike request_date.
    "timestamp": '"%[date(0,us),us_utime(%Y-%m-%dT%H:%M:%S.%6NZ)]"',
    "queue_milliseconds": "%Tw",
}

LOG_FORMAT = _format(_FIELDS)
"""One JSON object a request. Paths without their query, which can carry tickets; no header of the client."""

LOG_FORMAT_OF_0_1_0 = _format(_FIELDS_OF_0_1_0)
