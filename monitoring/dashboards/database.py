"""PostgreSQL of the chosen chats: room, connections, locks, write-ahead log, vacuum."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Kind, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import BY_CHAT, CHAT, increase, of, rate, share, total
from monitoring.rules.database import WRAPAROUND_AGE

YEAR_SECONDS = 365 * 86400


def _each(function: str, metric: str, *by: str, labels: str = "") -> str:
    return f"{function} by ({', '.join((*BY_CHAT, *by))}) ({of(metric, labels)})"


_STATE = Row(
    "Is it up, and has it room?",
    (
        Panel(
            title="Database",
            shows="Whether PostgreSQL answers the agent beside it.",
            normal="up. down for more than a restart: `kubectl describe chatcluster`, condition DatabaseReady.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(_each("min", "chatpostgres_up"), CHAT),),
            alerts=("ChatDatabaseDown",),
            values={1: ("up", Color.GOOD), 0: ("down", Color.BAD)},
            width=5,
        ),
        Panel(
            title="Writes",
            shows="Whether the agent has stopped writes because the volume is full but for its reserve.",
            normal="accepted. refused: nobody can send. Enlarge the volume (docs/operations/database.md).",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(_each("max", "chatpostgres_refusing_writes"), CHAT),),
            alerts=("ChatVolumeFull",),
            values={0: ("accepted", Color.GOOD), 1: ("refused", Color.BAD)},
            width=5,
        ),
        Panel(
            title="Time until the volume is full",
            shows="At the growth of the last 6 hours, until only the reserve is left; a year stands for longer.",
            normal="months. Orange below 4 days, red below 4 hours.",
            unit=Unit.SECONDS,
            kind=Kind.STAT,
            queries=(
                Query(
                    f"clamp_max(({_each('min', 'chatpostgres_volume_free_bytes')}"
                    f" - {_each('max', 'chatpostgres_volume_reserve_bytes')})"
                    f" / clamp_min(-min by (namespace, chatcluster) (deriv({of('chatpostgres_volume_free_bytes')}[6h]))"
                    f", 1e-3), {YEAR_SECONDS})",
                    CHAT,
                ),
            ),
            alerts=("ChatVolumeFullSoon",),
            thresholds=(Threshold(4 * 3600, Color.BAD), Threshold(4 * 86400, Color.WARNING)),
            falling=True,
            decimals=1,
            width=5,
        ),
        Panel(
            title="Room on the volume",
            shows="Free bytes, and the reserve: when free falls to the reserve, writes stop.",
            normal="free far above the reserve. A fall without traffic: write-ahead log or temporary files.",
            unit=Unit.BYTES,
            queries=(
                Query(_each("min", "chatpostgres_volume_free_bytes"), f"{CHAT} free"),
                Query(_each("max", "chatpostgres_volume_reserve_bytes"), f"{CHAT} reserve"),
            ),
            alerts=("ChatVolumeFull", "ChatVolumeFullSoon", "ChatArchiveBehind"),
            width=9,
        ),
    ),
)

_CONNECTIONS = Row(
    "Connections, transactions, locks",
    (
        Panel(
            title="Connections, by state",
            shows="Backends of clients, by state; active ones run a statement, `idle in transaction` hold locks.",
            normal="mostly idle. Many active: slow statements or locks.",
            unit=Unit.COUNT,
            queries=(Query(total(of("chatpostgres_backends"), "state"), "{{state}}"),),
            alerts=("ChatDatabaseConnections",),
            stacked=True,
        ),
        Panel(
            title="Share of the connections in use",
            shows="Backends of clients, of max_connections.",
            normal="below 80 % (dashed line). At 100 % new servers cannot connect "
            "(docs/operations/database-connections.md).",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(total(of("chatpostgres_backends"), *BY_CHAT), _each("max", "chatpostgres_max_connections")),
                    CHAT,
                ),
            ),
            alerts=("ChatDatabaseConnections",),
            thresholds=(Threshold(0.8, Color.BAD),),
            maximum=1,
        ),
        Panel(
            title="Longest transaction",
            shows="Age of the oldest open transaction.",
            normal="below a second, except for dumps and migrations. From 5 minutes on (dashed line) it holds up "
            "vacuum.",
            unit=Unit.SECONDS,
            queries=(Query(_each("max", "chatpostgres_longest_transaction_seconds"), CHAT),),
            alerts=("ChatLongTransaction",),
            thresholds=(Threshold(300, Color.BAD),),
            reaches=1,
        ),
        Panel(
            title="Waits for locks, deadlocks, damaged pages",
            shows="Connections that have waited for a lock for over a second, deadlocks in the last 5 minutes, and "
            "pages in the last 6 hours whose checksum did not match.",
            normal="no such wait, no deadlock. A damaged page: dump the database before anything else.",
            unit=Unit.COUNT,
            queries=(
                Query(_each("max", "chatpostgres_lock_waits"), f"{CHAT} waits"),
                Query(total(increase("chatpostgres_deadlocks_total", over="5m"), *BY_CHAT), f"{CHAT} deadlocks"),
                Query(total(increase("chatpostgres_checksum_failures_total", over="6h"), *BY_CHAT), f"{CHAT} damaged"),
            ),
            alerts=("ChatLockWaits", "ChatChecksumFailure"),
        ),
        Panel(
            title="Transactions",
            shows="Commits and rollbacks a second; one commit stores a batch of messages.",
            normal="follows the traffic; rollbacks near 0.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(total(rate("chatpostgres_commits_total"), *BY_CHAT), f"{CHAT} commits"),
                Query(total(rate("chatpostgres_rollbacks_total"), *BY_CHAT), f"{CHAT} rollbacks"),
            ),
        ),
        Panel(
            title="Queue of notifications",
            shows="Share of PostgreSQL's NOTIFY queue that is in use.",
            normal="0. It fills when a session that listens does not read; at 100 % commits fail. Above 10 % "
            "(dashed line): "
            "find and end that session.",
            unit=Unit.RATIO,
            queries=(Query(_each("max", "chatpostgres_notification_queue_ratio"), CHAT),),
            alerts=("ChatNotifyQueue",),
            thresholds=(Threshold(0.1, Color.BAD),),
            reaches=0.2,
        ),
    ),
)

_DISK = Row(
    "Memory and disk",
    (
        Panel(
            title="Blocks read from the cache",
            shows="Share of the blocks that were in PostgreSQL's shared buffers.",
            normal="above 99 %. Less: sends and syncs wait for the disk; give the database more memory.",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(
                        total(rate("chatpostgres_blocks_hit_total"), *BY_CHAT),
                        f"{total(rate('chatpostgres_blocks_hit_total'), *BY_CHAT)}"
                        f" + {total(rate('chatpostgres_blocks_read_total'), *BY_CHAT)}",
                    ),
                    CHAT,
                ),
            ),
            maximum=1,
        ),
        Panel(
            title="Write-ahead log",
            shows="Bytes a second, and of them full-page images as a share of records after checkpoints (times 8 KiB).",
            normal="follows the traffic. Full pages far above half: checkpoints are too frequent.",
            unit=Unit.BYTES_PER_SECOND,
            queries=(
                Query(total(rate("chatpostgres_wal_bytes_total"), *BY_CHAT), f"{CHAT} all"),
                Query(
                    f"{total(rate('chatpostgres_wal_full_page_images_total'), *BY_CHAT)} * 8192", f"{CHAT} full pages"
                ),
            ),
        ),
        Panel(
            title="Checkpoints, by cause",
            shows="In the last hour: timed ones, and those that PostgreSQL had to make because max_wal_size was "
            "reached.",
            normal="timed. Many requested ones: raise max_wal_size, if the volume has room.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    total(increase("chatpostgres_checkpoints_total", over="1h"), *BY_CHAT, "kind"),
                    f"{CHAT} {{{{kind}}}}",
                ),
            ),
        ),
        Panel(
            title="Largest tables",
            shows="Bytes of the eight largest tables, with indexes.",
            normal="messages above all; it grows with the messages that are kept.",
            unit=Unit.BYTES,
            queries=(
                Query(f"topk(8, {total(of('chatpostgres_table_bytes'), *BY_CHAT, 'table')})", f"{CHAT} {{{{table}}}}"),
            ),
            alerts=("ChatVolumeFullSoon",),
        ),
        Panel(
            title="Dead rows",
            shows="Rows that were changed or deleted and that vacuum has not removed yet; the five tables with the "
            "most.",
            normal="rising and falling, below a fifth of the table. More than 100,000 (dashed line) that are also "
            "30 % of "
            "a table: a long transaction stops vacuum, or vacuum is too slow.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    f"topk(5, {total(of('chatpostgres_table_dead_rows'), *BY_CHAT, 'table')})", f"{CHAT} {{{{table}}}}"
                ),
            ),
            alerts=("ChatVacuumBehind",),
            thresholds=(Threshold(100_000, Color.BAD),),
        ),
        Panel(
            title="Age of the oldest transaction id",
            shows="Transactions and multixacts since the oldest that vacuum has not frozen.",
            normal="below 200 million and falling back. At 1.5 billion (dashed line) it pages; at 2.1 billion "
            "PostgreSQL "
            "stops writes.",
            unit=Unit.COUNT,
            queries=(
                Query(_each("max", "chatpostgres_xid_age"), f"{CHAT} transactions"),
                Query(_each("max", "chatpostgres_mxid_age"), f"{CHAT} multixacts"),
            ),
            alerts=("ChatWraparound", "ChatVacuumBehind"),
            thresholds=(Threshold(WRAPAROUND_AGE, Color.BAD),),
        ),
    ),
)

DATABASE = Dashboard(
    "database",
    "ChatCluster / Database",
    "Does PostgreSQL keep up, and how long does its volume last?",
    (_STATE, _CONNECTIONS, _DISK),
)
