"""The operator, and all chats that it serves: which of them need somebody."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Kind, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import BY_CHAT, CHAT, increase, of, total

BAD_IF_FALSE = (
    "Ready",
    "DatabaseReady",
    "DatabaseReplicated",
    "BackedUp",
    "DatabaseRestored",
    "RestoreTested",
    "ChatserverReady",
    "IngressReady",
    "DataSafe",
    "BusReady",
    "ScalingActive",
)
BAD_IF_TRUE = (
    *("Progressing", "ScalingLimited", "Paused", "DevelopmentCodes", "UpgradeAvailable"),
    *("HostnameConflict", "ClientAddressesShared", "Contested"),
)
"""Types of conditions by the status that needs attention."""


def _conditions(types: tuple[str, ...], status: str) -> str:
    chosen = of("chatcluster_condition", f'status="{status}", type=~"{"|".join(types)}"')
    return f"max by (namespace, chatcluster, type, status, reason) ({chosen})"


_BAD = f"({_conditions(BAD_IF_FALSE, 'False')} or {_conditions(BAD_IF_TRUE, 'True')})"

_SINCE = f"max by (namespace, chatcluster, type) ({of('chatcluster_condition_since_timestamp_seconds')})"


_DESIRED = of("chatcluster_replicas", 'state="desired"')
_UP = of("up", 'component=~"chatserver|ingress|database|bus"')
_RUNNING = of("chatcluster_replicas", 'state="ready"')


def _each(function: str, metric: str, labels: str = "") -> str:
    return f"{function} by (namespace, chatcluster) ({of(metric, labels)})"


def _own(metric: str) -> str:
    """Of the operator itself; its series of this kind name no chat."""
    return f"rate({metric}[$__rate_interval])"


def _last_day(histogram: str, *by: str) -> str:
    return f"histogram_quantile(0.95, {total(f'increase({histogram}_bucket[1d])', *by, 'le')})"


_CHATS = Row(
    "Chats",
    (
        Panel(
            title="Conditions that need attention",
            shows="Conditions of the chosen chats whose status is not the good one, with their reason, and for how "
            "long.",
            normal="empty, or what you know of: Paused, UpgradeAvailable, Progressing in a rollout. Messages and "
            "remedies: "
            "`kubectl describe chatcluster`, docs/operations/conditions.md.",
            unit=Unit.COUNT,
            kind=Kind.TABLE,
            queries=(Query(f"(time() - {_SINCE}) * on (namespace, chatcluster, type) group_right () {_BAD}", "since"),),
            alerts=("ChatNotReady", "ChatScalingLimited", "ChatChangeStuck"),
            units={"since": Unit.SECONDS},
            empty="none",
            width=24,
            height=7,
        ),
        Panel(
            title="Chats",
            shows="Each chat: whether it is ready (1), its chatservers as decided and as ready, its open "
            "connections, and "
            "how long its ingress took to answer the operator.",
            normal="ready 1, as many servers ready as desired.",
            unit=Unit.COUNT,
            kind=Kind.TABLE,
            queries=(
                Query(_each("min", "chatcluster_ready"), "ready"),
                Query(_each("max", "chatcluster_replicas", 'component="chatserver", state="desired"'), "desired"),
                Query(_each("max", "chatcluster_replicas", 'component="chatserver", state="ready"'), "running"),
                Query(_each("max", "chatcluster_connections"), "connections"),
                Query(_each("max", "chatcluster_answer_seconds"), "answer"),
            ),
            alerts=("ChatNotReady",),
            units={"answer": Unit.SECONDS},
            width=24,
            height=7,
        ),
        Panel(
            title="Pods that are missing or not scraped",
            shows="Replicas desired and not ready, and pods that Prometheus does not reach, by chat and part.",
            normal="0; more for a minute or two in a rollout or when scaling. Only not scraped: a NetworkPolicy.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    f"max by (namespace, chatcluster, component) ({_DESIRED} - ignoring (state) {_RUNNING})",
                    f"{CHAT} {{{{component}}}}",
                ),
                Query(
                    f"sum by (namespace, chatcluster, component) (1 - {_UP})", f"{CHAT} {{{{component}}}} not scraped"
                ),
            ),
            alerts=("ChatPodsNotReady", "ChatNotReady", "ChatChangeStuck", "ChatTargetsAbsent"),
        ),
        Panel(
            title="Failed requests through the ingresses",
            shows="In the last 5 minutes: requests of the operator through a chat's ingress that got no answer.",
            normal="0. The condition Ready follows them.",
            unit=Unit.COUNT,
            queries=(Query(total(increase("chatcluster_answer_failures_total", over="5m"), *BY_CHAT), CHAT),),
            alerts=("ChatNotReady",),
        ),
        Panel(
            title="Drains and forced closes",
            shows="In the last hour: chatservers that left and moved their clients, and clients that they had to "
            "close "
            "because their time ended.",
            normal="drains in a rollout or when scaling in, and no forced close.",
            unit=Unit.COUNT,
            queries=(
                Query("sum(increase(chatcluster_drain_seconds_count[1h]))", "drains"),
                Query(total(increase("chatcluster_drain_forced_closes_total", over="1h"), *BY_CHAT), f"{CHAT} closed"),
            ),
            alerts=("ChatReconnectStorm",),
        ),
    ),
)

_OPERATOR = Row(
    "Operator",
    (
        Panel(
            title="Leader",
            shows="Number of operator processes that hold the Lease.",
            normal="1. 0 for minutes: no change is made to any chat; the chats themselves keep running.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query("sum(chatcluster_leading)", "leading"),),
            alerts=("ChatOperatorDeaf", "ChatOperatorAbsent"),
            values={0: ("none", Color.BAD)},
            width=4,
        ),
        Panel(
            title="Last sweep",
            shows="Time since the operator last looked at all chats.",
            normal="below 60 s. From 5 minutes on (red) it pages.",
            unit=Unit.SECONDS,
            kind=Kind.STAT,
            queries=(Query("time() - max(chatcluster_last_sweep_timestamp_seconds)", "ago"),),
            alerts=("ChatOperatorDeaf",),
            thresholds=(Threshold(60, Color.WARNING), Threshold(300, Color.BAD)),
            decimals=0,
            width=4,
        ),
        Panel(
            title="Reconciles, by result",
            shows="Reconciles a second: ok or error.",
            normal="ok, several a minute for each chat. error: the table of conditions names the chat.",
            unit=Unit.PER_SECOND,
            queries=(Query(f"sum by (result) ({_own('chatcluster_reconcile_total')})", "{{result}}"),),
            alerts=("ChatOperatorErrors",),
            stacked=True,
        ),
        Panel(
            title="Chats whose reconcile fails",
            shows="Failed reconciles in the last 10 minutes, the ten worst chats.",
            normal="0; one or two when objects change at the same moment.",
            unit=Unit.COUNT,
            queries=(
                Query(f"topk(10, {total(increase('chatcluster_reconcile_errors_total', over='10m'), *BY_CHAT)})", CHAT),
            ),
            alerts=("ChatOperatorErrors", "ChatChangeStuck"),
        ),
        Panel(
            title="Queue",
            shows="Age of the chat that waits the longest for its reconcile, and the p99 of all waits.",
            normal="below a second; seconds when the operator starts with many chats.",
            unit=Unit.SECONDS,
            queries=(
                Query("max(chatcluster_queue_oldest_seconds)", "oldest"),
                Query(
                    f"histogram_quantile(0.99, sum by (le) ({_own('chatcluster_queue_wait_seconds_bucket')}))",
                    "wait p99",
                ),
                Query(
                    f"histogram_quantile(0.99, sum by (le) ({_own('chatcluster_reconcile_seconds_bucket')}))",
                    "work p99",
                ),
            ),
            alerts=("ChatOperatorDeaf",),
        ),
        Panel(
            title="Requests to the API server, by status",
            shows="Requests a second of the operator, by status of the answer.",
            normal="200 and 201; a few 409 when two write at once. 403: a Role is missing. 429 and 5xx: the API "
            "server "
            "is overloaded.",
            unit=Unit.REQUESTS_PER_SECOND,
            queries=(Query(f"sum by (status) ({_own('chatcluster_kube_requests_total')})", "{{status}}"),),
            alerts=("ChatOperatorErrors",),
            stacked=True,
        ),
        Panel(
            title="Failures of loops",
            shows="In the last hour: unexpected errors in the operator's own loops, which it starts again.",
            normal="0. Report others with their log lines.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    "sum by (loop) (increase(chatcluster_loop_failures_total[1h]))"
                    # A loop that never failed has no series.
                    ' or label_replace(vector(0), "loop", "none", "", "")',
                    "{{loop}}",
                ),
            ),
            alerts=("ChatOperatorErrors",),
        ),
    ),
)

_VERSIONS = Row(
    "Versions",
    (
        Panel(
            title="Versions that run",
            shows="Number of operators, chatservers and probes, by version.",
            normal="one version of each; two during an upgrade.",
            unit=Unit.COUNT,
            queries=(
                Query("count by (version) (chatcluster_build_info)", "operator {{version}}"),
                Query(
                    f"count by (version, schema) ({of('chatserver_build_info')})",
                    "chatserver {{version}} (schema {{schema}})",
                ),
                Query(f"count by (version) ({of('chatprobe_build_info')})", "probe {{version}}"),
            ),
            width=12,
        ),
        Panel(
            title="Duration of drains and password rotations (p95)",
            shows="Of those in the last day: how long a leaving chatserver took to move its clients, and how long a "
            "rotation took, by kind.",
            normal="drains well below drainSeconds of the chatservers, rotations below a few minutes.",
            unit=Unit.SECONDS,
            queries=(
                Query(_last_day("chatcluster_drain_seconds"), "drain"),
                Query(_last_day("chatcluster_rotation_seconds", "kind"), "rotation {{kind}}"),
            ),
            alerts=("ChatChangeStuck",),
            empty="none in the last day",
            width=12,
        ),
    ),
)

_BACKUPS = Row(
    "Backups, where there are any",
    (
        Panel(
            title="Age of the last backup, by type, and of the last good restore drill",
            shows="Time since the last backup and the last good drill ended, of the eight chats with the oldest.",
            normal="below the time between two of the schedule: a day, a week for full ones, and a month for drills.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    "topk(8, time() - max by (namespace, chatcluster, type) "
                    f"({of('chatbackup_last_backup_timestamp_seconds')} > 0))",
                    f"{CHAT} {{{{type}}}}",
                ),
                Query(
                    "topk(8, time() - max by (namespace, chatcluster) "
                    f"({of('chatbackup_last_good_drill_timestamp_seconds')}))",
                    f"{CHAT} restore drill",
                ),
            ),
            alerts=("ChatBackupOverdue", "ChatBackupFailing", "ChatRestoreDrillFailed", "ChatRestoreDrillOverdue"),
            width=12,
        ),
        Panel(
            title="Free share of the volumes with backups",
            shows="Of the eight chats with the least; object stores have no such volume.",
            normal="above 15 % (dashed line). At 0 neither backups nor WAL are stored.",
            unit=Unit.RATIO,
            queries=(
                Query(
                    "bottomk(8, min by (namespace, chatcluster) "
                    f"({of('chatbackup_repository_free_bytes')} / ({of('chatbackup_repository_size_bytes')} > 0)))",
                    CHAT,
                ),
            ),
            alerts=("ChatBackupRepositoryFilling",),
            thresholds=(Threshold(0.15, Color.BAD),),
            falling=True,
            maximum=1,
            width=12,
        ),
    ),
)

FLEET = Dashboard(
    "fleet",
    "ChatCluster / Operator and fleet",
    "Which chats need somebody, and does the operator keep up?",
    (_CHATS, _BACKUPS, _OPERATOR, _VERSIONS),
)
