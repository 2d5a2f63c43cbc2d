"""Alerts on the chatservers: delivery between them, waits, clients that are slow or return all at once, limits."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity, grown


def _p99(histogram: str, labels: str = "namespace, chatcluster") -> str:
    return f"histogram_quantile(0.99, sum by ({labels}, le) (rate({histogram}_bucket[5m])))"


def _resource(name: str, share: str) -> str:
    return f'label_replace(\n{share}\n, "resource", "{name}", "", "")'


_DELIVERY = Group(
    "chatcluster-delivery",
    "30s",
    (
        Alert(
            "ChatBusLost",
            Severity.TICKET,
            "min by (namespace, chatcluster) (chatserver_bus_connected) == 0\n"
            "or\n"
            "max by (namespace, chatcluster) (increase(chatserver_bus_losses_total[15m])) > 3",
            "2m",
            f"Chatservers of {CHAT} lose their bus",
            "A chatserver does not receive the hints of other servers, or lost its connection for them several times "
            "within 15 minutes. Messages from other servers reach its users up to 10 s late; none is lost. With bus "
            "PostgreSQL check the connections between chatservers and PostgreSQL, and poolers in between, which must "
            "not be in transaction mode; with Valkey its pods. BusReady in kubectl describe chatcluster has the cause.",
        ),
        Alert(
            "ChatNotificationsLost",
            Severity.TICKET,
            "sum by (namespace, chatcluster) (increase(chatserver_gaps_healed_total[15m])) > 5\n"
            "unless\n"
            "sum by (namespace, chatcluster) (increase(chatserver_bus_losses_total[15m])) > 0\n"
            "unless\n"
            "min by (namespace, chatcluster) (chatserver_bus_connected) == 0",
            "2m",
            f"Notifications of {CHAT} get lost while the bus is up",
            "Chatservers found {{ $value | humanize }} messages only by reading chats again, although they listen for "
            "notifications. Those messages came up to 10 s late. Check that all chatservers use the same database, "
            "and whether something between them and PostgreSQL drops notifications.",
        ),
        Alert(
            "ChatClockSkew",
            Severity.TICKET,
            "max by (namespace, chatcluster) (abs(chatserver_clock_offset_seconds)) > 0.5",
            "10m",
            f"Clocks of {CHAT} differ",
            "The clock of a chatserver's node differs by {{ $value | humanizeDuration }} from that of PostgreSQL. "
            "Measured delivery times are wrong, and at minutes codes and certificates expire at the wrong time. Check "
            "NTP on the nodes.",
        ),
    ),
)

_WAITS = Group(
    "chatcluster-waits",
    "30s",
    (
        Alert(
            "ChatWritesQueue",
            Severity.TICKET,
            f"{_p99('chatserver_write_wait_seconds')} > 0.25",
            "10m",
            f"Messages of {CHAT} wait before they are stored",
            "One message of a hundred waits {{ $value | humanizeDuration }} or longer for its commit. Users see slow "
            "sends. Check chatserver_write_batch_seconds: if commits are slow, look at the disk and at locks; if not, "
            "the messages need more chatservers.",
        ),
        Alert(
            "ChatPoolWaits",
            Severity.TICKET,
            f"{_p99('chatserver_database_acquire_seconds')} > 0.1",
            "10m",
            f"Chatservers of {CHAT} wait for connections to the database",
            "One database call of a hundred waits {{ $value | humanizeDuration }} or longer for a free connection. "
            "Sends and syncs are slow by as much. Check chatserver_database_call_seconds for the call that is slow, "
            "then docs/operations/database-connections.md for the size of the pools.",
        ),
        Alert(
            "ChatEventLoopLags",
            Severity.TICKET,
            f"{_p99('chatserver_event_loop_lag_seconds', 'namespace, chatcluster, pod')} > 0.1",
            "10m",
            f"A chatserver of {CHAT} stalls",
            "The event loop of {{ $labels.pod }} runs {{ $value | humanizeDuration }} late or later once in a hundred "
            "times; everything on this server waits as long. Check its CPU limit and throttling, then its log for slow "
            "calls.",
        ),
    ),
)

_CLIENTS = Group(
    "chatcluster-clients",
    "30s",
    (
        Alert(
            "ChatReadersSlow",
            Severity.TICKET,
            'sum by (namespace, chatcluster) (increase(chatserver_connections_closed_total{reason="slow_reader"}'
            "[1h])) > 5\n"
            "and\n"
            'sum by (namespace, chatcluster) (increase(chatserver_connections_closed_total{reason="slow_reader"}'
            "[1h]))\n"
            "/\n"
            "(sum by (namespace, chatcluster) (chatserver_connections) > 0)\n"
            "> 0.01\n"
            "or\n"
            "sum by (namespace, chatcluster) (chatserver_slow_readers) > 5\n"
            "and\n"
            "sum by (namespace, chatcluster) (chatserver_slow_readers)\n"
            "/\n"
            "(sum by (namespace, chatcluster) (chatserver_connections) > 0)\n"
            "> 0.05",
            "5m",
            f"Clients of {CHAT} read too slowly",
            "More clients than usual do not read what the server sends, and are disconnected; they get everything "
            "after they reconnect. Check the network in front of the chat, and whether one kind of client is "
            "concerned (the log event disconnected has the user).",
        ),
        Alert(
            "ChatCodesFail",
            Severity.TICKET,
            'sum by (namespace, chatcluster) (increase(chatserver_codes_total{result=~"failed|refused"}[15m])) > 2\n'
            "and\n"
            'sum by (namespace, chatcluster) (increase(chatserver_codes_total{result=~"failed|refused"}[15m]))\n'
            "/\n"
            "(sum by (namespace, chatcluster) (increase(chatserver_codes_total[15m])) > 0)\n"
            "> 0.05\n"
            "or\n"
            "max by (namespace, chatcluster) (chatserver_code_oldest_seconds) > seconds(1m)",
            "2m",
            f"Sign-in codes of {CHAT} do not reach users",
            "Codes fail, are refused, or have waited longer than a minute for the gateway. Users who are signed in "
            "notice nothing; others cannot sign in. Check the gateway, its address in auth.otp.webhook, and the log "
            "event code_not_sent (docs/sign-in-codes.md).",
        ),
        Alert(
            "ChatReconnectStorm",
            Severity.TICKET,
            'sum by (namespace, chatcluster) (increase(chatserver_connections_opened_total{result="accepted"}[5m])) '
            "> 100\n"
            "and\n"
            'sum by (namespace, chatcluster) (increase(chatserver_connections_opened_total{result="accepted"}[5m]))\n'
            "/\n"
            "(sum by (namespace, chatcluster) (avg_over_time(chatserver_connections[5m])) > 0)\n"
            "> 0.5\n"
            "or\n"
            f"{_p99('chatserver_handshake_wait_seconds')} > 1",
            "1m",
            f"Many clients of {CHAT} reconnect at once",
            "Within 5 minutes more than half as many clients connected as are open, or handshakes wait longer than a "
            "second. Users wait for their chats. Find what closed the connections: "
            "chatserver_connections_closed_total by reason, restarts of HAProxy or chatservers, the network in front.",
        ),
        Alert(
            "ChatConnectionsUneven",
            Severity.TICKET,
            "max by (namespace, chatcluster) (chatserver_connections)\n"
            "/\n"
            "(avg by (namespace, chatcluster) (chatserver_connections) > 100)\n"
            "> 1.5",
            "15m",
            f"The connections of {CHAT} are unevenly distributed",
            "One chatserver has {{ $value | humanize }} times as many connections as the average; servers should level "
            "this out within minutes. It reaches its limits before the others. Check whether all proxies reach all "
            "servers, and the metric chatserver_shed_total.",
        ),
    ),
)

_SERVERS = Group(
    "chatcluster-servers",
    "30s",
    (
        Alert(
            "ChatServerNearLimit",
            Severity.TICKET,
            "\nor\n".join(
                (
                    _resource(
                        "cpu",
                        "max by (namespace, chatcluster, pod) (rate(process_cpu_seconds_total"
                        '{component="chatserver"}[5m])) > 0.8',
                    ),
                    _resource(
                        "files",
                        "max by (namespace, chatcluster, pod) (process_open_fds"
                        '{component="chatserver"} / process_max_fds{component="chatserver"}) > 0.8',
                    ),
                    # By kubelet's metrics, where they are scraped; the server does not know its limit.
                    _resource(
                        "memory",
                        # A restarted container has the series of both for minutes, which would match many to many.
                        # They have no label chatcluster.
                        "max by (namespace, chatcluster, pod) (\n"
                        "max by (namespace, chatcluster, pod) "
                        '(container_memory_working_set_bytes{container="chatserver"})\n'
                        "/ on (namespace, pod) (max by (namespace, chatcluster, pod) "
                        '(container_spec_memory_limit_bytes{container="chatserver"}) > 0)\n'
                        "* on (namespace, pod) group_left (chatcluster) "
                        "(max by (namespace, chatcluster, pod) (chatserver_draining) * 0 + 1)\n"
                        ") > 0.8",
                    ),
                    _resource(
                        "connections",
                        "max by (namespace, chatcluster, pod) (increase(chatserver_connections_opened_total"
                        '{result="full"}[5m])) > 0',
                    ),
                )
            ),
            "5m",
            f"A chatserver of {CHAT} is near a limit: {{{{ $labels.resource }}}}",
            "{{ $labels.pod }} uses more than 80 % of its core (cpu), its open files or its memory limit, or refuses "
            "clients because it has as many as it may have (connections). At the limit it is slow, refuses clients, or "
            "is killed with all its connections. Add chatservers, or raise the limit (docs/operations/sizing.md).",
        ),
        Alert(
            "ChatServersRestart",
            Severity.TICKET,
            'max by (namespace, chatcluster, pod) (changes(process_start_time_seconds{component="chatserver"}[1h])) '
            "> 2",
            "0s",
            f"A chatserver of {CHAT} restarts again and again",
            "{{ $labels.pod }} started {{ $value }} times more within an hour. Each time its clients reconnect. Read "
            "why it stopped (kubectl describe pod: exit code, OOMKilled, liveness) and its previous log (kubectl logs "
            "--previous).",
        ),
        Alert(
            "ChatDefects",
            Severity.TICKET,
            f"sum by (namespace, chatcluster, event) ({grown('chatserver_defects_total', '1h')}) > 0",
            "0s",
            f"Unexpected errors in {CHAT}: {{{{ $labels.event }}}}",
            "A chatserver met an exception that it does not expect: a defect of ChatCluster. Only the work that met it "
            "failed. The log event {{ $labels.event }} has the traceback; report it.",
        ),
    ),
)

_EXPIRY = Group(
    "chatcluster-expiry",
    "30s",
    (
        Alert(
            "ChatExpiryLate",
            Severity.TICKET,
            "max by (namespace, chatcluster) (chatserver_expiry_lag_seconds) > seconds(1h)",
            "10m",
            f"Messages of {CHAT} are deleted too late",
            "Messages whose time is over, by the timer of a chat or by retention.days, have waited "
            "{{ $value | humanizeDuration }} for their deletion. Users can still read them. After a lower "
            "retention.days this is normal until the old messages are deleted. Otherwise look for the log events "
            "expiry_failed and chat_not_expired_yet, and for locks and load of the database.",
        ),
    ),
)

GROUPS = (_DELIVERY, _WAITS, _CLIENTS, _SERVERS, _EXPIRY)
