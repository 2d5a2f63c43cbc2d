"""The chatservers, pod by pod: connections, where sends wait, the bus, the processes."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import BY_CHAT, CHAT, increase, of, quantile, rate, share, total

POD = "{{pod}}"

SERVER = 'component="chatserver"'
"""Of metrics that every process has."""

_CONNECTIONS = Row(
    "Connections",
    (
        Panel(
            title="Open connections, by server",
            shows="Open WebSockets of each server.",
            normal="even: the servers move clients until they differ little. The operator scales by "
            "targetConnectionsPerServer.",
            unit=Unit.COUNT,
            queries=(Query(total(of("chatserver_connections"), "pod"), POD),),
            alerts=("ChatConnectionsUneven", "ChatServerNearLimit"),
        ),
        Panel(
            title="Closed connections, by reason",
            shows="WebSockets that ended, a second: by the client, the network, a missing pong, a reader that is too "
            "slow, a restart, a move to another server.",
            normal="client above all. network or ping_timeout of many at once: a proxy, node or network is gone. "
            "restart: servers drain.",
            unit=Unit.PER_SECOND,
            queries=(Query(total(rate("chatserver_connections_closed_total"), "reason"), "{{reason}}"),),
            alerts=("ChatReconnectStorm", "ChatServersRestart"),
            stacked=True,
            colors={"client": Color.GOOD, "network": Color.WARNING, "ping_timeout": Color.WARNING, "defect": Color.BAD},
        ),
        Panel(
            title="Wait of handshakes (p99)",
            shows="Time that a WebSocket handshake waited for its turn; servers admit a few at a time.",
            normal="milliseconds. Seconds: a reconnect storm, which passes; longer: too few servers.",
            unit=Unit.SECONDS,
            queries=(Query(quantile(0.99, "chatserver_handshake_wait_seconds", "pod"), POD),),
            alerts=("ChatReconnectStorm",),
            logarithmic=True,
        ),
    ),
)

_SENDS = Row(
    "Sends: where does the time go?",
    (
        Panel(
            title="Time to the acknowledgement, by server (p99)",
            shows="From the read of a send until its answer is handed over, of sends that were stored.",
            normal="the same for all servers, below 100 ms (dashed line). One server alone: look at its processes "
            "below. "
            "All of them: look at the database.",
            unit=Unit.SECONDS,
            queries=(Query(quantile(0.99, "chatserver_send_seconds", "pod", labels='result="ok"'), POD),),
            alerts=("ChatErrorBudgetBurnFast", "ChatErrorBudgetBurnSlow"),
            thresholds=(Threshold(0.1, Color.BAD),),
            logarithmic=True,
        ),
        Panel(
            title="Where a send waits (p99)",
            shows="queue: for the batch before it. pool: for a connection to the database. commit: the write itself.",
            normal="commit of a few milliseconds, the others less. queue high and commit low: too many writes for "
            "one "
            "server. pool: too few connections. commit: disk or locks of the database.",
            unit=Unit.SECONDS,
            queries=tuple(
                Query(quantile(0.99, histogram, *BY_CHAT), f"{CHAT} {name}")
                for name, histogram in (
                    ("queue", "chatserver_write_wait_seconds"),
                    ("pool", "chatserver_database_acquire_seconds"),
                    ("commit", "chatserver_write_batch_seconds"),
                )
            ),
            alerts=("ChatWritesQueue", "ChatPoolWaits"),
            logarithmic=True,
        ),
        Panel(
            title="Calls of the database, by kind (p99)",
            shows="Time of calls without the wait for a connection: store (messages), sync (clients that connect), "
            "deliver (rows for other servers), receipts, other.",
            normal="milliseconds, and tens of them for sync. All kinds slow: the database; one kind: its query.",
            unit=Unit.SECONDS,
            queries=(Query(quantile(0.99, "chatserver_database_call_seconds", "call"), "{{call}}"),),
            alerts=("ChatLockWaits", "ChatLongTransaction"),
            logarithmic=True,
        ),
    ),
)

_BUS = Row(
    "Between the servers",
    (
        Panel(
            title="Lag of the bus (p99), unsent notifications, clock offset",
            shows="From a commit of this server until it hears its own notification; how old its oldest change is "
            "of which it has not notified the others; and how far its clock is from the database's.",
            normal="milliseconds. More lag: the database or this server's event loop is slow. Old changes: "
            "notifications fail, and users of other servers wait. More offset: the clock of a node is wrong (NTP).",
            unit=Unit.SECONDS,
            queries=(
                Query(quantile(0.99, "chatserver_bus_lag_seconds", "pod"), f"{POD} lag"),
                Query(f"max by (pod) ({of('chatserver_hints_unpublished_seconds')})", f"{POD} unsent"),
                Query(f"max by (pod) (abs({of('chatserver_clock_offset_seconds')}))", f"{POD} clock"),
            ),
            alerts=("ChatBusLost", "ChatNotifyQueue", "ChatClockSkew"),
            logarithmic=True,
        ),
        Panel(
            title="Lost bus connections, recovered gaps, notifications sent for others",
            shows="In the last 5 minutes: how often a server lost its connection to the bus, how many messages it "
            "found only by comparing chats, late, and how many notifications it sent for a server that ended before; "
            "and 1 while it counts rate limits for itself, although Valkey is the bus.",
            normal="0. Gaps without lost connections: notifications disappear on the way. Notifications for others: "
            "a server was killed, or commits had unknown outcomes. Limits alone: Valkey does not answer, or refuses.",
            unit=Unit.COUNT,
            queries=(
                Query(total(increase("chatserver_bus_losses_total", over="5m"), "pod"), f"{POD} lost"),
                Query(total(increase("chatserver_gaps_healed_total", over="5m"), "pod"), f"{POD} recovered"),
                Query(total(increase("chatserver_hints_swept_total", over="5m"), "pod"), f"{POD} for others"),
                Query(total(increase("chatserver_bus_gaps_total", over="5m"), "pod"), f"{POD} Valkey lost"),
                Query(f"max by (pod) (1 - {of('chatserver_limits_shared')})", f"{POD} limits alone"),
            ),
            alerts=("ChatBusLost", "ChatBusGaps", "ChatLimitsNotShared", "ChatNotificationsLost"),
        ),
        Panel(
            title="Clients that read too slowly",
            shows="Connections whose transport is paused, because the client or its network does not take what is "
            "sent.",
            normal="a few of thousands. They are closed when their outbox is full, and recover by their cursor.",
            unit=Unit.COUNT,
            queries=(Query(total(of("chatserver_slow_readers"), "pod"), POD),),
            alerts=("ChatReadersSlow",),
        ),
    ),
)

_PROCESSES = Row(
    "Processes",
    (
        Panel(
            title="Lag of the event loop (p99)",
            shows="How late a timer fires: nothing else runs in that time.",
            normal="below 10 ms. Above 100 ms (dashed line): one call or too much load blocks the loop.",
            unit=Unit.SECONDS,
            queries=(Query(quantile(0.99, "chatserver_event_loop_lag_seconds", "pod"), POD),),
            alerts=("ChatEventLoopLags",),
            thresholds=(Threshold(0.1, Color.BAD),),
            logarithmic=True,
            width=6,
        ),
        Panel(
            title="CPU, by server",
            shows="Cores in use. A server has one event loop and cannot use more than one core (dashed line at 80 %).",
            normal="below 0.8. More: lower targetConnectionsPerServer, or raise maxReplicas.",
            unit=Unit.RATIO,
            queries=(Query(total(rate("process_cpu_seconds_total", SERVER), "pod"), POD),),
            alerts=("ChatServerNearLimit",),
            thresholds=(Threshold(0.8, Color.BAD),),
            reaches=1,
            width=6,
        ),
        Panel(
            title="Memory, by server and Valkey pod",
            shows="Resident memory of the process, and what Valkey pods use for users, where Valkey is the bus.",
            normal="grows with connections (docs/operations/sizing.md) and stays below the limit of the pod.",
            unit=Unit.BYTES,
            queries=(
                Query(total(of("process_resident_memory_bytes", SERVER), "pod"), POD),
                Query(f"max by (pod) ({of('valkey_memory_used_bytes')})", POD),
            ),
            alerts=("ChatServerNearLimit", "ChatServersRestart", "ChatBusMemory"),
            width=6,
        ),
        Panel(
            title="File descriptors in use",
            shows="Share of the descriptors that the process may open; each connection needs one.",
            normal="below 80 % (dashed line). At 100 % new connections fail.",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(total(of("process_open_fds", SERVER), "pod"), total(of("process_max_fds", SERVER), "pod")),
                    POD,
                ),
            ),
            alerts=("ChatServerNearLimit",),
            thresholds=(Threshold(0.8, Color.BAD),),
            maximum=1,
            width=6,
        ),
    ),
)

_REFUSALS = Row(
    "Sign-in, refusals, defects",
    (
        Panel(
            title="Sign-in codes, by result",
            shows="Codes a second: sent, failed (the gateway did not take it), refused (too many waited).",
            normal="all sent. failed: look at the gateway and at the log event code_not_sent.",
            unit=Unit.PER_SECOND,
            queries=(Query(total(rate("chatserver_codes_total"), "result"), "{{result}}"),),
            alerts=("ChatCodesFail",),
            stacked=True,
            colors={"sent": Color.GOOD, "failed": Color.BAD, "refused": Color.WARNING},
        ),
        Panel(
            title="Requests refused by a limit",
            shows="Refusals a second, by limit: messages, bytes, polls, device, address, numbers, exports, codes, "
            "tries, pins, invites.",
            normal="few. One limit suddenly: a client in a loop, or an attack; many users: the limit is too low.",
            unit=Unit.REQUESTS_PER_SECOND,
            queries=(Query(total(rate("chatserver_rate_limited_total"), "limit"), "{{limit}}"),),
            stacked=True,
        ),
        Panel(
            title="Defects and restarts",
            shows="In the last hour: unexpected exceptions by the name of their log event, and restarts of containers.",
            normal="0: a rollout makes new pods, which are no restarts. Report defects with their log lines.",
            unit=Unit.COUNT,
            queries=(
                Query(total(increase("chatserver_defects_total", over="1h"), "event"), "{{event}}"),
                Query(f"sum by (pod) (changes({of('process_start_time_seconds', SERVER)}[1h]))", f"{POD} restarts"),
            ),
            alerts=("ChatDefects", "ChatServersRestart"),
        ),
    ),
)

CHATSERVERS = Dashboard(
    "chatservers",
    "ChatCluster / Chatservers",
    "Which server is slow or full, and what does it wait for?",
    (_CONNECTIONS, _SENDS, _BUS, _PROCESSES, _REFUSALS),
)
