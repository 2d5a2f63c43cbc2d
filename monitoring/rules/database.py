"""Alerts on PostgreSQL and its volume."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity

_GROW = "Raise database.storage.size, or find out what uses the space (docs/operations/database.md)."

WRAPAROUND_AGE = 1_500_000_000
"""Transactions. PostgreSQL refuses writes at about 2,100 million; autovacuum acts at 200 million, so that it has failed
for long when this many are reached."""


def _full_soon(severity: Severity, window: str, step: str, before: str, ahead: str, within: str) -> Alert:
    # By the chat: the volume stays when its pod is replaced, whose series have another `instance`.
    free, size, reserve = (
        f"min by (namespace, chatcluster) (chatpostgres_volume_{name}_bytes)" for name in ("free", "size", "reserve")
    )
    return Alert(
        "ChatVolumeFullSoon",
        severity,
        f"predict_linear({free}[{window}:{step}], seconds({ahead})) < {reserve}\n"
        "and\n"
        f"{free} / {size} < 0.5\n"
        "and\n"
        # A line through a few minutes of a young Prometheus or a new chat predicts nothing.
        f"min by (namespace, chatcluster) (chatpostgres_volume_free_bytes offset {before}) >= 0\n"
        "unless\n"
        "max by (namespace, chatcluster) (chatpostgres_refusing_writes) == 1",
        "10m",
        f"The volume of {CHAT} is full {within}",
        f"By its growth in the last {window}, the free space reaches {within} the reserve below which PostgreSQL "
        f"refuses writes. Users could then read, but not send. {_GROW}",
    )


GROUPS = (
    Group(
        "chatcluster-database",
        "30s",
        (
            Alert(
                "ChatDatabaseDown",
                Severity.PAGE,
                # An agent that cannot connect is no outage while the chatservers can.
                "max by (namespace, chatcluster) (chatserver_database_up) == 0\n"
                "or\n"
                "(\n"
                "max by (namespace, chatcluster) (chatpostgres_up) == 0\n"
                "unless\n"
                "max by (namespace, chatcluster) (chatserver_database_up) == 1\n"
                ")",
                "1m",
                f"The database of {CHAT} is unavailable",
                "No chatserver reaches PostgreSQL. Users can neither send nor read; their clients keep unsent messages "
                "and retry. Run kubectl describe chatcluster: DatabaseReady names the cause; then read the logs of the "
                "PostgreSQL pod.",
            ),
            Alert(
                "ChatVolumeFull",
                Severity.PAGE,
                "max by (namespace, chatcluster) (chatpostgres_refusing_writes) == 1\n"
                "or\n"
                "max by (namespace, chatcluster) (chatserver_database_volume_full) == 1",
                "0s",
                f"The volume of {CHAT} is full",
                f"PostgreSQL refuses writes, so users can read, but not send. No acknowledged message is lost. {_GROW}",
            ),
            _full_soon(Severity.PAGE, "1h", "1m", "30m", "4h", "within 4 hours"),
            _full_soon(Severity.TICKET, "6h", "5m", "3h", "4d", "within 4 days"),
            Alert(
                "ChatChecksumFailure",
                Severity.PAGE,
                # By the chat: PostgreSQL keeps its count when its pod is replaced, perhaps because of the damage.
                "increase((max by (namespace, chatcluster) (chatpostgres_checksum_failures_total))[6h:1m]) > 0",
                "0s",
                f"PostgreSQL of {CHAT} read damaged data",
                "The checksum of a page did not match its content: the disk or the file system changed data. Reads of "
                "that page fail, and more pages may be damaged. Dump the database now (docs/operations/database.md), "
                "do not restart PostgreSQL before that, and move the chat to another volume.",
            ),
            Alert(
                "ChatWraparound",
                Severity.PAGE,
                f"max by (namespace, chatcluster) (chatpostgres_xid_age) > {WRAPAROUND_AGE}\n"
                "or\n"
                f"max by (namespace, chatcluster) (chatpostgres_mxid_age) > {WRAPAROUND_AGE}",
                "5m",
                f"PostgreSQL of {CHAT} soon runs out of transaction numbers",
                "The oldest row that is not frozen is {{ $value | humanize }} transactions old. At about 2.1 G "
                "PostgreSQL refuses all writes. Find what prevents vacuum: a transaction, a replication slot or a "
                "prepared transaction that stays open. End it, then run VACUUM FREEZE.",
            ),
            Alert(
                "ChatDatabaseConnections",
                Severity.TICKET,
                "sum by (namespace, chatcluster) (chatpostgres_backends)\n"
                "/\n"
                "max by (namespace, chatcluster) (chatpostgres_max_connections)\n"
                "> 0.8",
                "10m",
                f"PostgreSQL of {CHAT} has few connections left",
                "{{ $value | humanizePercentage }} of max_connections are in use. Without a free one new chatservers "
                "do not become ready. chatpostgres_backends shows who holds them, by state and role; lower maxReplicas "
                "or raise max_connections (docs/operations/database-connections.md).",
            ),
            Alert(
                "ChatLongTransaction",
                Severity.TICKET,
                "max by (namespace, chatcluster) (chatpostgres_longest_transaction_seconds) > seconds(5m)",
                "1m",
                f"A transaction of {CHAT} stays open",
                "A transaction has been open for {{ $value | humanizeDuration }}. Vacuum cannot remove rows that died "
                "since it began, and clients that sync wait for it. The chat itself has no transaction of minutes: "
                "find it in pg_stat_activity, and end it if it is no dump.",
            ),
            Alert(
                "ChatLockWaits",
                Severity.TICKET,
                "min by (namespace, chatcluster) (min_over_time(chatpostgres_lock_waits[5m])) > 0",
                "5m",
                f"Statements of {CHAT} wait for locks",
                "For minutes at least {{ $value }} connection has waited for a lock for over a second; sends to the "
                "chats concerned are slow. Find the blocking transaction with pg_blocking_pids and end it.",
            ),
            Alert(
                "ChatVacuumBehind",
                Severity.TICKET,
                "max by (namespace, chatcluster, table) (chatpostgres_table_dead_rows) > 100000\n"
                "and\n"
                "max by (namespace, chatcluster, table) (chatpostgres_table_dead_rows)\n"
                "/\n"
                "(max by (namespace, chatcluster, table) (chatpostgres_table_live_rows) > 0)\n"
                "> 0.3",
                "30m",
                f"Vacuum does not keep up in {CHAT}: {{{{ $labels.table }}}}",
                "Table {{ $labels.table }} has {{ $value | humanize }} dead rows, more than 30 % of the live ones; "
                "autovacuum acts at 5 %. Reads become slower and the volume fills. Check for a long transaction, then "
                "whether autovacuum workers run all the time.",
            ),
            Alert(
                "ChatNotifyQueue",
                Severity.TICKET,
                "max by (namespace, chatcluster) (chatpostgres_notification_queue_ratio) > 0.1",
                "5m",
                f"The notification queue of PostgreSQL of {CHAT} fills",
                "The queue is {{ $value | humanizePercentage }} full, because a session that listens does not read. "
                "When it is full, every send fails. Find the listening session in pg_stat_activity that is in a "
                "transaction, and end it.",
            ),
        ),
    ),
)
