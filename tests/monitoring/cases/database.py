"""Cases for monitoring/rules/database.py."""

from tests.support.rulecases import Case, Signal, counter, gauge

GIB = 2**30


LARGE = {
    "chatpostgres_volume_size_bytes": gauge(10 * GIB, 10 * GIB),
    "chatpostgres_volume_reserve_bytes": gauge(0.2 * GIB, 0.2 * GIB),
    "chatpostgres_refusing_writes": gauge(0, 0),
}


def volume(loss: float, near: float) -> dict[str, Signal]:
    """10 GiB, of which 4 are free; then so many bytes less in each step."""
    return {
        **LARGE,
        "chatpostgres_volume_free_bytes": Signal(0, -loss, -near, "counter", 4 * GIB),
    }


CASES = [
    Case(
        "ChatDatabaseDown",
        ("page",),
        {
            'chatserver_database_up{pod="a"}': gauge(1, 0),
            'chatserver_database_up{pod="b"}': gauge(1, 0, 1),
            "chatpostgres_up": gauge(1, None, 0),
        },
    ),
    # No chatserver is left that could report it.
    Case(
        "ChatDatabaseDown",
        ("page",),
        {'chatserver_database_up{pod="a"}': gauge(1, None, 1), "chatpostgres_up": gauge(1, 0, 0)},
    ),
    Case(
        "ChatVolumeFull",
        ("page",),
        {"chatpostgres_refusing_writes": gauge(0, 1), "chatpostgres_volume_free_bytes": gauge(GIB, 0, 1)},
        steps=(20, 2, 10),
    ),
    # An external database.
    Case(
        "ChatVolumeFull",
        ("page",),
        {
            'chatserver_database_volume_full{pod="a"}': gauge(0, 1, 0),
            'chatserver_send_seconds_count{pod="a", result="unavailable"}': counter(0, 5, 5),
        },
    ),
    Case("ChatVolumeFullSoon", ("page", "ticket"), volume(0.02 * GIB, 0.0001 * GIB), steps=(240, 120, 480), every=10),
    Case("ChatVolumeFullSoon", ("ticket",), volume(0.002 * GIB, 0.0001 * GIB), steps=(240, 400, 480), every=10),
    # Much is free: it fills fast, but slower than it will be looked at.
    Case(
        "ChatVolumeFullSoon",
        ("ticket",),
        {**volume(0.002 * GIB, 0.002 * GIB), "chatpostgres_volume_size_bytes": gauge(4 * GIB, 10 * GIB)},
        steps=(240, 400, 480),
        every=10,
    ),
    # Its pod is replaced, and writes for the first minutes: the hours before still count.
    Case(
        "ChatVolumeFullSoon",
        ("page", "ticket"),
        {
            **LARGE,
            'chatpostgres_volume_free_bytes{instance="a"}': gauge(4 * GIB, None),
            'chatpostgres_volume_free_bytes{instance="b"}': Signal(None, -0.02 * GIB, None, "counter", 4 * GIB),
        },
        steps=(240, 120, 480),
        every=5,
        brief=25,
    ),
    Case(
        "ChatChecksumFailure",
        ("page",),
        {"chatpostgres_checksum_failures_total": counter(0, 1, 0), "chatpostgres_rollbacks_total": counter(0, 1, 1)},
        steps=(10, 2, 370),
        every=2,
    ),
    # PostgreSQL ended, and its pod was replaced before a scrape.
    Case(
        "ChatChecksumFailure",
        ("page",),
        {
            'chatpostgres_checksum_failures_total{instance="a"}': gauge(3, None),
            'chatpostgres_checksum_failures_total{instance="b"}': gauge(None, 4, 3),
        },
        steps=(10, 4, 370),
        every=2,
    ),
    Case("ChatWraparound", ("page",), {"chatpostgres_xid_age": gauge(2e8, 1.6e9, 1.4e9)}),
    Case("ChatWraparound", ("page",), {"chatpostgres_mxid_age": gauge(2e8, 1.6e9, 1.4e9)}),
    Case(
        "ChatDatabaseConnections",
        ("ticket",),
        {
            'chatpostgres_backends{state="active", role="chat_a"}': gauge(10, 100, 90),
            'chatpostgres_backends{state="idle", role="chat_b"}': gauge(10, 150),
            "chatpostgres_max_connections": gauge(300, 300),
        },
    ),
    Case("ChatLongTransaction", ("ticket",), {"chatpostgres_longest_transaction_seconds": gauge(1, 400, 200)}),
    Case("ChatLockWaits", ("ticket",), {"chatpostgres_lock_waits": gauge(0, 2)}, brief=9),
    Case(
        "ChatVacuumBehind",
        ("ticket",),
        {
            'chatpostgres_table_dead_rows{table="messages"}': gauge(1e4, 5e5, 2e5),
            'chatpostgres_table_live_rows{table="messages"}': gauge(1e6, 1e6),
            # Few rows are no problem, however many of them are dead.
            'chatpostgres_table_dead_rows{table="chats"}': gauge(100, 5e4),
            'chatpostgres_table_live_rows{table="chats"}': gauge(1e3, 1e3),
        },
        labels={"table": "messages"},
        steps=(20, 40, 20),
    ),
    Case("ChatNotifyQueue", ("ticket",), {"chatpostgres_notification_queue_ratio": gauge(0, 0.3, 0.05)}),
]
