"""Alerts on the operator: what it reports of a chat that an admin has to decide, and its own health."""

from __future__ import annotations

from chatoperator.conditions import progressing
from chatoperator.conditions.declared import Level
from monitoring.rules.declared import CHAT, Alert, Group, Severity, grown

STUCK = tuple(reason.name for reason in progressing.TYPE.reasons if reason.level is Level.WARNING)
"""Reasons of Progressing with which a change waits for an admin, or fails again and again."""

_STUCK = f'chatcluster_condition{{type="Progressing", reason=~"{"|".join(STUCK)}"}}'
_PROGRESSING = 'chatcluster_condition{type="Progressing", status="True"}'
_SINCE = 'chatcluster_condition_since_timestamp_seconds{type="Progressing"}'

GROUPS = (
    Group(
        "chatcluster-operator",
        "30s",
        (
            Alert(
                "ChatScalingLimited",
                Severity.TICKET,
                'max by (namespace, chatcluster) (chatcluster_condition{type="ScalingLimited", status="True", '
                'reason="TooFewServers"}) == 1',
                "15m",
                f"{CHAT} needs more chatservers than maxReplicas",
                "The connections need more chatservers than chatserver.scaling.maxReplicas allows, so that each has "
                "more than its target. When they reach their limit, they refuse clients. Raise maxReplicas "
                "(docs/operations/autoscaling.md).",
            ),
            Alert(
                "ChatChangeStuck",
                Severity.TICKET,
                f"max by (namespace, chatcluster, reason) ({_STUCK}) == 1\n"
                "or\n"
                "(\n"
                f"max by (namespace, chatcluster, reason) ({_PROGRESSING}) == 1\n"
                "and on (namespace, chatcluster)\n"
                f"time() - max by (namespace, chatcluster) ({_SINCE}) > seconds(1h)\n"
                ")",
                "10m",
                f"A change of {CHAT} is stuck: {{{{ $labels.reason }}}}",
                "The operator cannot apply a change, or has worked on it for more than an hour. The previous version "
                "keeps running where there was one. The message of the condition Progressing names the cause and the "
                "remedy (kubectl describe chatcluster, docs/operations/conditions.md).",
            ),
            Alert(
                "ChatPodsNotReady",
                Severity.TICKET,
                # A share of the time: a pod that dies again and again is ready for moments, some before any scrape.
                "avg_over_time((\n"
                'max by (namespace, chatcluster, component) (chatcluster_replicas{state="ready"})\n'
                "< bool\n"
                'max by (namespace, chatcluster, component) (chatcluster_replicas{state="desired"})\n'
                ")[15m:1m]) > 0.5",
                "10m",
                f"Pods of {CHAT} are not ready: {{{{ $labels.component }}}}",
                "For {{ $value | humanizePercentage }} of 15 minutes, fewer pods of this part were ready than desired: "
                "they do not start, or die again and again. The others carry the load, and nothing is left for a "
                "fault. The condition of the part says why (kubectl describe chatcluster).",
            ),
            Alert(
                "ChatOperatorErrors",
                Severity.TICKET,
                f"sum by (namespace, chatcluster) ({grown('chatcluster_reconcile_errors_total', '15m')}) >= 3\n"
                "or\n"
                f"sum by (namespace) ({grown('chatcluster_loop_failures_total', '15m')}) > 0",
                "0s",
                "The operator meets errors in {{ $labels.namespace }}{{ with $labels.chatcluster }}/{{ . }}{{ end }}",
                "Reconciles of the ChatCluster fail repeatedly, or, without a ChatCluster's name, a loop of the "
                "operator failed and was restarted. Chats keep running, but changes may not be applied. Read the "
                "operator's log for the error: it names the object and what to do.",
            ),
            Alert(
                "ChatOperatorDeaf",
                Severity.PAGE,
                "time() - max by (namespace, job) (chatcluster_last_sweep_timestamp_seconds) > seconds(5m)\n"
                "or\n"
                "max by (namespace, job) (chatcluster_leading) == 0",
                "2m",
                "The operator in {{ $labels.namespace }} does not look after its ChatClusters",
                "No operator pod holds the Lease, or the leader has not swept over all ChatClusters for 5 minutes. "
                "Chats keep running, but nothing scales, repairs or renews them, and Ready is out of date. Read the "
                "operator's log, and check whether it reaches the API server.",
            ),
            Alert(
                "ChatOperatorAbsent",
                Severity.PAGE,
                "absent(chatcluster_leading)\n"
                "or on ()\n"
                # One of several operators is gone, or no longer watches a namespace: its chats have pods, and no Ready.
                "count by (namespace) (\n"
                'max by (namespace, chatcluster) (up{component=~"chatserver|ingress|database"})\n'
                "unless on (namespace, chatcluster)\n"
                "max by (namespace, chatcluster) (chatcluster_ready)\n"
                ")",
                "5m",
                "Prometheus reads no ChatCluster operator{{ with $labels.namespace }} of the chats in {{ . }}{{ end }}",
                "No operator pod gives metrics, or, with the namespace of chats, none reports these chats. Chats keep "
                "running, but nothing scales, repairs or renews them, and most alerts on them cannot fire. Check the "
                "operator's Deployment, its watchNamespaces, its NetworkPolicy, and whether Prometheus selects its "
                "PodMonitor.",
            ),
        ),
    ),
)
