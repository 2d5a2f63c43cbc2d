"""The instances of the chosen chats' databases: who leads, who follows, and how far behind."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Kind, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import BY_CHAT, CHAT, of, rate, total
from monitoring.rules.replication import LAG_BYTES

_POD = "{{namespace}}/{{pod}}"


def _each(function: str, metric: str, *by: str) -> str:
    return f"{function} by ({', '.join((*BY_CHAT, *by))}) ({of(metric)})"


_STATE = Row(
    "Who leads, and is every copy there?",
    (
        Panel(
            title="Leader",
            shows="Which instance takes writes, and which ones follow it.",
            normal="one leads, all others are replicas. None leads for more than 30 s: nobody can send.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(_each("max", "chatpostgres_in_recovery", "pod"), _POD),),
            alerts=("ChatDatabaseHasNoLeader",),
            values={0: ("leads", Color.GOOD), 1: ("replica", Color.OTHER)},
            width=6,
        ),
        Panel(
            title="Second copy of each commit",
            shows="Whether a replica follows that has each commit before it is acknowledged.",
            normal="yes. no: sends wait, or messages are on one volume only; the condition DatabaseReplicated says "
            "which.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(_each("max", "chatpostgres_replica_synchronous"), CHAT),),
            alerts=("ChatDatabaseNotReplicated",),
            values={1: ("yes", Color.GOOD), 0: ("no", Color.BAD)},
            width=6,
        ),
        Panel(
            title="Replicas that follow",
            shows="Replicas that get what the leader writes, as it counts them.",
            normal="one less than there are instances. Fewer: a copy, a restart, or a replica that cannot follow.",
            unit=Unit.COUNT,
            queries=(Query(_each("count", "chatpostgres_replica_lag_bytes"), CHAT),),
            alerts=("ChatReplicaMissing",),
            width=6,
        ),
        Panel(
            title="Timeline",
            shows="The timeline of the database: each step is another leader.",
            normal="flat, but for changes that restart PostgreSQL and for switchovers. A step that nobody caused: the "
            "leader was lost.",
            unit=Unit.COUNT,
            queries=(Query(_each("max", "chatpostgres_timeline"), CHAT),),
            alerts=("ChatDatabaseFailedOver",),
            width=6,
        ),
    ),
)

_LAG = Row(
    "How far are the copies behind?",
    (
        Panel(
            title="What replicas have not stored",
            shows="Bytes that the leader has written and a replica has not stored yet.",
            normal="some KiB, more for moments of much traffic. Above a segment of WAL (dashed line) for minutes: the "
            "replica's disk or network is too slow.",
            unit=Unit.BYTES,
            queries=(Query(_each("max", "chatpostgres_replica_lag_bytes", "replica"), "{{namespace}}/{{replica}}"),),
            alerts=("ChatReplicaBehind",),
            thresholds=(Threshold(LAG_BYTES, Color.BAD),),
            reaches=2 * LAG_BYTES,
        ),
        Panel(
            title="What replicas have not replayed",
            shows="Age of what a replica has replayed last, while it has received more.",
            normal="below a second. Minutes (dashed line: 5): a long query on the replica, or its CPU is too slow; a "
            "replica replays before it leads.",
            unit=Unit.SECONDS,
            queries=(Query(_each("max", "chatpostgres_replay_lag_seconds", "pod"), _POD),),
            alerts=("ChatReplicaBehind",),
            thresholds=(Threshold(300, Color.BAD),),
            reaches=10,
        ),
        Panel(
            title="Commits that wait for a replica",
            shows="Commits that are stored on the leader and not yet on a replica.",
            normal="as many as are written at that moment. A rising number: no replica answers.",
            unit=Unit.COUNT,
            queries=(Query(_each("max", "chatpostgres_commits_waiting"), CHAT),),
            alerts=("ChatDatabaseNotReplicated",),
            reaches=5,
        ),
        Panel(
            title="Write-ahead log on the volumes",
            shows="Bytes of WAL that each instance keeps; a leader keeps what a replica has not got yet.",
            normal="below max_wal_size. Far above it on the leader: it keeps WAL for a replica that does not follow, "
            "and its volume fills.",
            unit=Unit.BYTES,
            queries=(Query(_each("max", "chatpostgres_wal_directory_bytes", "pod"), _POD),),
            alerts=("ChatReplicaMissing", "ChatVolumeFullSoon"),
        ),
        Panel(
            title="Free space of each volume",
            shows="Free bytes, by instance.",
            normal="much the same on all of them, since all have the same data.",
            unit=Unit.BYTES,
            queries=(Query(_each("min", "chatpostgres_volume_free_bytes", "pod"), _POD),),
            alerts=("ChatVolumeFullSoon",),
        ),
        Panel(
            title="Write-ahead log written",
            shows="Bytes a second of the leader: what each replica has to receive and replay.",
            normal="follows the traffic; times the number of replicas, it is what the leader's node sends.",
            unit=Unit.BYTES_PER_SECOND,
            queries=(Query(total(rate("chatpostgres_wal_bytes_total"), *BY_CHAT), CHAT),),
            alerts=("ChatReplicaBehind",),
        ),
    ),
)

REPLICATION = Dashboard(
    "replication",
    "ChatCluster / Database instances",
    "Which instance of PostgreSQL leads, and do the others have everything?",
    (_STATE, _LAG),
)
