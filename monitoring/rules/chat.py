"""Alerts on a chat as its users see it: Ready, the probe, and what is not monitored at all."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity

_INVARIANT = (
    "One of the promises of the chat is broken: this is a defect, or data was restored or edited behind the chat. "
    "Keep the logs of all chatservers and of the probe before pods are replaced, then follow the runbook."
)


_FAILURES = "sum by (namespace, chatcluster, instance) (increase(chatprobe_failures_total[5m]))"
_ATTEMPTS = "sum by (namespace, chatcluster, instance) (increase(chatprobe_attempts_total[5m]))"


def _broken(name: str, metric: str, what: str) -> Alert:
    return Alert(
        name,
        Severity.PAGE,
        f"sum by (namespace, chatcluster) (increase({metric}[1h])) > 0",
        "0s",
        f"{CHAT} {what}",
        f"The probe found this within the last hour, for {{{{ $value | humanize }}}} messages. {_INVARIANT}",
    )


GROUPS = (
    Group(
        "chatcluster-chat",
        "30s",
        (
            Alert(
                "ChatNotReady",
                Severity.PAGE,
                # A new chat has ten minutes to start. An operator that was down for a while gives no other ten.
                "max by (namespace, chatcluster) (chatcluster_ready) == 0\n"
                "and\n"
                "max by (namespace, chatcluster) (present_over_time(chatcluster_ready[1h] offset 10m)) == 1",
                "2m",
                f"{CHAT} is not Ready",
                "A request through the ingress gets no answer, or a part of the chat that it needs is not ready. "
                "Users cannot connect or cannot send. Run kubectl describe chatcluster: the conditions name the cause "
                "and the remedy.",
            ),
            _broken("ChatMessageLost", "chatprobe_lost_total", "lost an acknowledged message"),
            _broken("ChatMessageDuplicated", "chatprobe_duplicated_total", "delivered a message twice"),
            _broken("ChatMessageReordered", "chatprobe_reordered_total", "delivered messages in the wrong order"),
            Alert(
                "ChatProbeFailing",
                Severity.PAGE,
                # For each probe: one that succeeds would hide another that comes another way. Three attempts, or
                # nearly: `increase` estimates. A probe with a long interval has fewer within 5 minutes.
                "max by (namespace, chatcluster) (\n"
                f"{_FAILURES}\n/\n({_ATTEMPTS} > 0)\n"
                f"and\n{_FAILURES} > 2.5\n"
                ") > 0.5\n"
                "or\n"
                "(max by (namespace, chatcluster) (chatprobe_consecutive_failures) >= 3) * 0 + 1",
                "3m",
                f"The probe of {CHAT} fails",
                "{{ $value | humanizePercentage }} of the probe's last messages did not get through: of those of 5 "
                "minutes, or of the last three. "
                "What the probe does, users do: they cannot sign in, connect, send or receive. "
                "The label step of chatprobe_failures_total says which of these fails; begin with the logs of the "
                "probe and of the part that the step reaches first.",
            ),
            Alert(
                "ChatNoServers",
                Severity.PAGE,
                'max by (namespace, chatcluster) (haproxy_backend_active_servers{proxy="chatserver"}) == 0',
                "1m",
                f"No chatserver of {CHAT} accepts requests",
                "HAProxy finds no chatserver that answers /readyz. New connections and requests get 503; open "
                "WebSockets stay. Check the chatserver pods, and the database, without which they are not ready.",
            ),
            Alert(
                "ChatTargetsAbsent",
                Severity.PAGE,
                'max by (namespace, chatcluster, component) (chatcluster_replicas{state="desired"}) > 0\n'
                # PostgreSQL of release 0.1.0, which runs until the chat is upgraded, has no metrics.
                "unless on (namespace, chatcluster, component) label_replace(\n"
                "max by (namespace, chatcluster) "
                '(chatcluster_condition{type="UpgradeAvailable", status="True"}) == 1,\n'
                '"component", "database", "", "")\n'
                "unless on (namespace, chatcluster, component)\n"
                "max by (namespace, chatcluster, component) "
                '(up{component=~"backup|bus|chatserver|database|ingress|probe"}) == 1',
                "10m",
                f"Prometheus reads no {{{{ $labels.component }}}} of {CHAT}",
                "The chat has pods of this part, but Prometheus gets no metrics from any of them. No alert on this "
                "part can fire. Check whether the pods run, whether spec.networkPolicies.metricsFrom admits "
                "Prometheus, and whether Prometheus selects the PodMonitors of the chart.",
            ),
        ),
    ),
)
