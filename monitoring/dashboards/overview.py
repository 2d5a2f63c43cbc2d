"""What users of the chosen chats feel now, and how much of the error budgets is left."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Kind, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import BY_CHAT, CHAT, increase, of, quantiles, rate, share, total
from monitoring.rules.slo import BUDGET_LEFT, OBJECTIVE, ratio

BY_PROBE = (*BY_CHAT, "instance")
"""One inside the cluster, and others outside: the sum of both would hide what one of them sees."""

PROBE = f"{CHAT} {{{{instance}}}}"

BURN = ("ChatErrorBudgetBurnFast", "ChatErrorBudgetBurnSlow")

_FIRING = of("ALERTS", 'alertstate="firing"')

_STATE = Row(
    "Is it up, and does it keep its objectives?",
    (
        Panel(
            title="Ready",
            shows="The condition Ready of each chat: whether the operator's own request through the ingress gets an "
            "answer and all parts run.",
            normal="ready. Otherwise `kubectl describe chatcluster` names the part and the remedy.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(f"min by (namespace, chatcluster) ({of('chatcluster_ready')})", CHAT),),
            alerts=("ChatNotReady",),
            values={1: ("ready", Color.GOOD), 0: ("not ready", Color.BAD)},
            width=6,
            height=6,
        ),
        Panel(
            title="Alerts that fire",
            shows="Number of firing alerts of the chosen chats, by severity.",
            normal="none. Each name is a page of the runbooks (link above).",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(f"count by (severity) ({_FIRING}) or on () vector(0)", "{{severity}}"),),
            thresholds=(Threshold(1, Color.BAD),),
            width=4,
            height=6,
        ),
        Panel(
            title="Error budget left (30 days)",
            shows="What is left of each objective's error budget over the last 30 days; below 0 the objective is "
            "missed. "
            "A Prometheus that is younger judges by what it has.",
            normal="above 25 %. Less: do what is risky later.",
            unit=Unit.RATIO,
            kind=Kind.STAT,
            queries=(Query(f"min by (slo) ({of(BUDGET_LEFT)})", "{{slo}}"),),
            alerts=BURN,
            thresholds=(Threshold(0, Color.BAD), Threshold(0.25, Color.WARNING)),
            falling=True,
            decimals=1,
            width=14,
            height=6,
        ),
    ),
)

_SENDING = Row(
    "Sending and delivery",
    (
        Panel(
            title="Messages sent, by result",
            shows="Sends a second by WebSocket and REST: ok (stored, or known already), rejected (the client's "
            "mistake or "
            "a block), limited (a rate limit), unavailable (the database did not store it; clients try again).",
            normal="nearly all ok, none unavailable. More limited: one client repeats itself, or a limit is too low.",
            unit=Unit.MESSAGES_PER_SECOND,
            queries=(Query(total(rate("chatserver_send_seconds_count"), "result"), "{{result}}"),),
            alerts=BURN,
            stacked=True,
            colors={"ok": Color.GOOD, "unavailable": Color.BAD, "limited": Color.WARNING},
        ),
        Panel(
            title="Time to the acknowledgement",
            shows="From the read of a send until its answer is handed over, of sends that were stored.",
            normal="p99 of tens of milliseconds. The objective is 99 % within 100 ms (dashed line). "
            "The dashboard of the chatservers shows where sends wait.",
            unit=Unit.SECONDS,
            queries=quantiles("chatserver_send_seconds", *BY_CHAT, labels='result="ok"'),
            alerts=(*BURN, "ChatWritesQueue", "ChatPoolWaits"),
            thresholds=(Threshold(0.1, Color.BAD),),
            logarithmic=True,
        ),
        Panel(
            title="Delivery to connected recipients",
            shows="From the commit of a message until its frame is written to the recipient's connection.",
            normal="p99 of tens of milliseconds. The objective is 99 % within 250 ms (dashed line). "
            "Steps of 5 s and more mean that notifications between servers are lost.",
            unit=Unit.SECONDS,
            queries=quantiles("chatserver_push_seconds", *BY_CHAT),
            alerts=(*BURN, "ChatBusLost"),
            thresholds=(Threshold(0.25, Color.BAD),),
            logarithmic=True,
        ),
        Panel(
            title="Share of sends that were not accepted",
            shows="Tries that ended as unavailable, of all that were ok or unavailable.",
            normal="0. The objective allows 0.1 % over 30 days (dashed line).",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(
                        total(rate("chatserver_send_seconds_count", 'result="unavailable"'), *BY_CHAT),
                        total(rate("chatserver_send_seconds_count", 'result=~"ok|unavailable"'), *BY_CHAT),
                    ),
                    CHAT,
                ),
            ),
            alerts=BURN,
            thresholds=(Threshold(0.001, Color.BAD),),
            reaches=0.002,
            width=12,
        ),
        Panel(
            title="Speed at which error budgets are used (1 hour)",
            shows="Share of bad events of the last hour, divided by the share that the objective allows; the worst "
            "chat "
            "for each objective. At 1 the budget lasts exactly 30 days.",
            normal="below 1. At 14.4 (dashed) for an hour, or 6 for six hours, it pages.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    f"max by (slo) ({of(ratio('1h'))}) / on (slo) (1 - max by (slo) ({OBJECTIVE}))",
                    "{{slo}}",
                ),
            ),
            alerts=BURN,
            thresholds=(Threshold(14.4, Color.BAD),),
            width=12,
        ),
    ),
)

_CONNECTIONS = Row(
    "Connections",
    (
        Panel(
            title="Open connections",
            shows="Open WebSockets of each chat, over all of its servers.",
            normal="follows the day. A sudden fall is a lost server, proxy or network; clients come back within a "
            "minute.",
            unit=Unit.COUNT,
            queries=(Query(total(of("chatserver_connections"), *BY_CHAT), CHAT),),
            alerts=("ChatReconnectStorm", "ChatNoServers"),
            width=12,
        ),
        Panel(
            title="Connection attempts, by result",
            shows="WebSocket handshakes a second: accepted, unauthenticated, full (the server has its most), "
            "draining, "
            "forbidden (another origin), limited.",
            normal="nearly all accepted. Full: scaling lags or is limited. Draining for minutes: the ingress does "
            "not "
            "see that a server leaves.",
            unit=Unit.PER_SECOND,
            queries=(Query(total(rate("chatserver_connections_opened_total"), "result"), "{{result}}"),),
            alerts=(*BURN, "ChatReconnectStorm"),
            stacked=True,
            colors={"accepted": Color.GOOD, "full": Color.BAD, "unavailable": Color.BAD, "draining": Color.WARNING},
            width=12,
        ),
    ),
)

_PROBE = Row(
    "Probe: a message every few seconds, through everything",
    (
        Panel(
            title="Broken promises",
            shows="Messages of the probe that were acknowledged and then lost, delivered twice, or delivered in "
            "another "
            "order, in the shown time.",
            normal="0. Any other number is a defect or lost data; it pages at once.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=tuple(
                Query(total(increase(f"chatprobe_{name}_total")), name) for name in ("lost", "duplicated", "reordered")
            ),
            alerts=("ChatMessageLost", "ChatMessageDuplicated", "ChatMessageReordered"),
            thresholds=(Threshold(1, Color.BAD),),
            decimals=0,
            empty="no probe",
            width=4,
        ),
        Panel(
            title="Last success",
            shows="Time since a message of the probe last arrived, for each probe.",
            normal="below two intervals of the probe (spec.monitoring.probe.intervalSeconds).",
            unit=Unit.SECONDS,
            kind=Kind.STAT,
            queries=(Query(f"time() - {total(of('chatprobe_last_success_timestamp_seconds'), *BY_PROBE)}", PROBE),),
            alerts=("ChatProbeFailing",),
            decimals=0,
            empty="no probe",
            width=4,
        ),
        Panel(
            title="Round trip of the probe",
            shows="From the send until the other account has the message, through Service, TLS, HAProxy, servers and "
            "database.",
            normal="p99 below 500 ms (dashed line), which the objective requires of 99.5 %.",
            unit=Unit.SECONDS,
            queries=quantiles("chatprobe_round_trip_seconds", *BY_PROBE, legend=PROBE),
            alerts=BURN,
            thresholds=(Threshold(0.5, Color.BAD),),
            logarithmic=True,
        ),
        Panel(
            title="Failures of the probe, by step",
            shows="Failed tries a second, by the step that failed: sign_in, connect, send, receive.",
            normal="0. connect: look at the ingress. send: at the database. receive: at the bus.",
            unit=Unit.PER_SECOND,
            queries=(Query(total(rate("chatprobe_failures_total"), *BY_PROBE, "step"), f"{PROBE} {{{{step}}}}"),),
            alerts=("ChatProbeFailing",),
        ),
    ),
)

_EXPIRY = Row(
    "Messages that disappear",
    (
        Panel(
            title="Delay of expiries",
            shows="Time for which messages of the chat that waits longest should have been deleted, by timers or by "
            "retention.days.",
            normal="seconds. Hours after a lower retention.days; otherwise look at locks and load of the database.",
            unit=Unit.SECONDS,
            queries=(Query(f"max by (namespace, chatcluster) ({of('chatserver_expiry_lag_seconds')})", CHAT),),
            alerts=("ChatExpiryLate",),
            width=12,
        ),
        Panel(
            title="Messages deleted by expiries",
            shows="Messages a second whose time was over.",
            normal="in bursts after each search for messages older than retention.days.",
            unit=Unit.MESSAGES_PER_SECOND,
            queries=(Query(total(rate("chatserver_expired_messages_total"), *BY_CHAT), CHAT),),
            width=12,
        ),
    ),
)

OVERVIEW = Dashboard(
    "overview",
    "ChatCluster / Overview",
    "Do users of these chats notice anything? Start here in an incident.",
    (_STATE, _SENDING, _CONNECTIONS, _PROBE, _EXPIRY),
)
